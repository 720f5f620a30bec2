//! A node with the sums over its Pods, kept up to date as Pods come and go.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

use crate::pod::{HostPort, PodInfo, PodKey, normalized_image};
use crate::resources::{self, Resources};
use crate::terms::Labels;

/// A node's place in the scheduler's list.
pub(crate) type NodeIndex = usize;

/// A node.
#[derive(Debug, Clone, Default)]
pub(crate) struct NodeInfo {
    pub(crate) name: Arc<str>,
    /// Whether the node object exists; Pods may be bound to a node that does not (any more).
    pub(crate) present: bool,
    pub(crate) labels: Labels,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) allocatable: Resources,
    pub(crate) pods_max: i64,
    pub(crate) requested: Resources,
    /// CPU and memory as they count for scores.
    pub(crate) scored: Resources,
    pub(crate) pods: Vec<Arc<PodInfo>>,
    pub(crate) ports: Vec<HostPort>,
    /// Sizes of its images in bytes, by name.
    pub(crate) images: HashMap<String, i64>,
}

impl NodeInfo {
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Takes over what the object says, keeps the Pods.
    pub(crate) fn update(&mut self, node: &Node) {
        let (spec, status) = (node.spec.as_ref(), node.status.as_ref());
        let allocatable = status.and_then(|status| status.allocatable.as_ref());
        self.present = true;
        self.labels = node.metadata.labels.clone().unwrap_or_default();
        self.taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        self.unschedulable = spec.and_then(|spec| spec.unschedulable).unwrap_or(false);
        self.allocatable = Resources::from_list(allocatable);
        self.pods_max = resources::pods_in(allocatable);
        self.images.clear();
        for image in status.into_iter().flat_map(|status| status.images.iter().flatten()) {
            for name in image.names.iter().flatten() {
                self.images.insert(normalized_image(name), image.size_bytes.unwrap_or(0));
            }
        }
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests, 1);
        self.scored.add(&pod.scored, 1);
        self.ports.extend(pod.ports.iter().cloned());
        self.pods.push(pod);
    }

    pub(crate) fn remove(&mut self, key: &PodKey) -> Option<Arc<PodInfo>> {
        let at = self.pods.iter().position(|pod| pod.key == *key)?;
        let pod = self.pods.swap_remove(at);
        self.requested.add(&pod.requests, -1);
        self.scored.add(&pod.scored, -1);
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|own| own == port) {
                self.ports.swap_remove(at);
            }
        }
        Some(pod)
    }

    /// Region and zone, by which nodes are interleaved.
    pub(crate) fn zone(&self) -> (&str, &str) {
        let label = |name: &str| self.labels.get(name).map_or("", String::as_str);
        (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"))
    }
}

/// Whether a toleration tolerates a taint (core/v1 `ToleratesTaint`).
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |value: &Option<String>| value.as_deref().unwrap_or_default().to_owned();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match toleration.operator.as_deref() {
        None | Some("" | "Equal") => text(&toleration.value) == text(&taint.value),
        Some("Exists") => true,
        Some(_) => false,
    }
}

/// Whether a taint keeps Pods away (rather than being a preference).
pub(crate) fn is_hard(taint: &Taint) -> bool {
    matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
}

/// Whether a Pod tolerates all hard taints of a node.
pub(crate) fn tolerates_hard(pod: &PodInfo, node: &NodeInfo) -> bool {
    let tolerated = |taint: &Taint| pod.tolerations.iter().any(|toleration| tolerates(toleration, taint));
    node.taints.iter().filter(|taint| is_hard(taint)).all(tolerated)
}
