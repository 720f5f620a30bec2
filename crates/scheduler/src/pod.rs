//! A Pod as the scheduler sees it, compiled once when it arrives.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration, TopologySpreadConstraint};
use model::selector::{LabelSelector, Operator, Requirement};

use crate::resources::{self, Resources};
use crate::terms::{Labels, NodeRule, NodeTerm, Term, compile};

/// A Pod's namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodKey {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl PodKey {
    /// From the parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// Of a Pod.
    pub fn of(pod: &Pod) -> Self {
        let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
        Self::new(namespace.unwrap_or_default(), name.unwrap_or_default())
    }
}

impl fmt::Display for PodKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// A port on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    address: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    pub(crate) fn conflicts(&self, other: &Self) -> bool {
        let any = |port: &Self| port.address == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(self) || any(other) || self.address == other.address)
    }
}

/// A spread constraint.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spread {
    pub(crate) term: Term,
    pub(crate) skew_max: i64,
    pub(crate) domains_min: usize,
    /// Whether nodes the Pod may not be on are left out of the count.
    pub(crate) honor_affinity: bool,
    /// Whether nodes with taints it does not tolerate are.
    pub(crate) honor_taints: bool,
}

/// A Pod, compiled. Equal ones are scheduled equally.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PodInfo {
    pub(crate) key: PodKey,
    pub(crate) uid: String,
    pub(crate) labels: Labels,
    pub(crate) priority: i32,
    pub(crate) preempts: bool,
    pub(crate) started: Option<Timestamp>,
    pub(crate) deleting: bool,
    /// Being deleted to make room.
    pub(crate) preempted: bool,
    pub(crate) node: Option<Arc<str>>,
    pub(crate) scheduler: String,
    pub(crate) gates: Vec<String>,
    pub(crate) requests: Resources,
    /// As it counts when nodes are scored.
    pub(crate) scored: Resources,
    pub(crate) ports: Vec<HostPort>,
    pub(crate) tolerations: Vec<Toleration>,
    pub(crate) rule: NodeRule,
    pub(crate) preferred_nodes: Vec<(i64, NodeTerm)>,
    pub(crate) affinity: Vec<Term>,
    pub(crate) anti_affinity: Vec<Term>,
    /// Preferred terms with their weight, negative where Pods are to be avoided.
    pub(crate) preferred: Vec<(i64, Term)>,
    pub(crate) spread_hard: Vec<Spread>,
    pub(crate) spread_soft: Vec<Spread>,
    /// Whether it has constraints of its own (else the defaults apply).
    pub(crate) spreads_itself: bool,
    pub(crate) images: Vec<String>,
    pub(crate) container_count: i64,
    /// Kind and name of its controller.
    pub(crate) owner: Option<(String, String)>,
}

impl PodInfo {
    pub(crate) fn compile(pod: &Pod) -> Self {
        let key = PodKey::of(pod);
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let (requests, scored) = resources::of_pod(pod);
        let namespace = Arc::clone(&key.namespace);
        let (affinity, anti_affinity, preferred) = pod_terms(spec, &namespace);
        let spread = |action: &str| {
            let own = spec.topology_spread_constraints.iter().flatten();
            let own = own.filter(|constraint| constraint.when_unsatisfiable == action);
            own.map(|constraint| compile_spread(constraint, &namespace, &labels)).collect()
        };
        let status = pod.status.as_ref();
        let mut owners = pod.metadata.owner_references.iter().flatten();
        let controller = owners.find(|owner| owner.controller == Some(true));
        let mut info = Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            started: status.and_then(|status| status.start_time.as_ref()).map(|time| time.0),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            preempted: is_preempted(pod),
            node: spec.node_name.as_deref().filter(|name| !name.is_empty()).map(Arc::from),
            scheduler: spec.scheduler_name.clone().unwrap_or_default(),
            gates: spec.scheduling_gates.iter().flatten().map(|gate| gate.name.clone()).collect(),
            requests,
            scored,
            ports: host_ports(spec),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            rule: NodeRule::compile(spec),
            preferred_nodes: preferred_nodes(spec),
            affinity,
            anti_affinity,
            preferred,
            spread_hard: spread("DoNotSchedule"),
            spread_soft: spread("ScheduleAnyway"),
            spreads_itself: spec.topology_spread_constraints.as_ref().is_some_and(|list| !list.is_empty()),
            images: images(spec),
            container_count: 0,
            owner: controller.map(|owner| (owner.kind.clone(), owner.name.clone())),
            labels,
            key,
        };
        let count = spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len);
        info.container_count = i64::try_from(count).unwrap_or(i64::MAX);
        info
    }

    /// Whether other Pods' placement matters to it or its own to theirs.
    pub(crate) fn has_pod_terms(&self) -> bool {
        !(self.affinity.is_empty() && self.anti_affinity.is_empty() && self.preferred.is_empty())
    }
}

/// Whether a Pod runs no more (nor ever will) and so takes no room.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn is_preempted(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_some()
        && conditions.into_iter().any(|condition| {
            condition.type_ == "DisruptionTarget"
                && condition.status == "True"
                && condition.reason.as_deref() == Some("PreemptionByScheduler")
        })
}

/// The containers that run with the Pod: its own and its sidecars.
fn lasting(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    spec.init_containers.iter().flatten().filter(sidecar).chain(&spec.containers)
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let ports = lasting(spec).flat_map(|container| container.ports.iter().flatten());
    let on_host = ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let address = port.host_ip.clone().filter(|address| !address.is_empty());
        let protocol = port.protocol.clone().filter(|protocol| !protocol.is_empty());
        Some(HostPort {
            address: address.unwrap_or_else(|| "0.0.0.0".into()),
            protocol: protocol.unwrap_or_else(|| "TCP".into()),
            port: number,
        })
    });
    on_host.collect()
}

fn preferred_nodes(spec: &PodSpec) -> Vec<(i64, NodeTerm)> {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms = affinity.and_then(|node| node.preferred_during_scheduling_ignored_during_execution.as_ref());
    let terms = terms.into_iter().flatten().filter(|term| term.weight != 0);
    terms.map(|term| (i64::from(term.weight), NodeTerm::compile(&term.preference))).collect()
}

type PodTerms = (Vec<Term>, Vec<Term>, Vec<(i64, Term)>);

fn pod_terms(spec: &PodSpec, namespace: &str) -> PodTerms {
    let (mut near, mut far, mut preferred) = (Vec::new(), Vec::new(), Vec::new());
    let Some(affinity) = &spec.affinity else { return (near, far, preferred) };
    if let Some(own) = &affinity.pod_affinity {
        let required = own.required_during_scheduling_ignored_during_execution.iter().flatten();
        near.extend(required.map(|term| Term::affinity(term, namespace)));
        for term in own.preferred_during_scheduling_ignored_during_execution.iter().flatten() {
            preferred.push((i64::from(term.weight), Term::affinity(&term.pod_affinity_term, namespace)));
        }
    }
    if let Some(own) = &affinity.pod_anti_affinity {
        let required = own.required_during_scheduling_ignored_during_execution.iter().flatten();
        far.extend(required.map(|term| Term::affinity(term, namespace)));
        for term in own.preferred_during_scheduling_ignored_during_execution.iter().flatten() {
            preferred.push((-i64::from(term.weight), Term::affinity(&term.pod_affinity_term, namespace)));
        }
    }
    (near, far, preferred)
}

fn compile_spread(constraint: &TopologySpreadConstraint, namespace: &str, labels: &Labels) -> Spread {
    let mut selector = compile(constraint.label_selector.as_ref());
    let same = constraint.match_label_keys.iter().flatten().filter_map(|key| {
        let values = vec![labels.get(key)?.clone()];
        Some(Requirement { key: key.clone(), operator: Operator::In, values })
    });
    let same: Vec<Requirement> = same.collect();
    if !same.is_empty() && !selector.is_nothing() {
        selector = LabelSelector::new(selector.requirements().iter().cloned().chain(same).collect());
    }
    Spread {
        term: Term::within(namespace, selector, &constraint.topology_key),
        skew_max: i64::from(constraint.max_skew),
        domains_min: constraint.min_domains.and_then(|count| usize::try_from(count).ok()).unwrap_or(1),
        honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
        honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn images(spec: &PodSpec) -> Vec<String> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let of_containers = containers.filter_map(|container| container.image.as_deref());
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref());
    let of_volumes = volumes.filter_map(|image| image.reference.as_deref());
    of_containers.chain(of_volumes).map(normalized_image).collect()
}

/// An image's name with its tag, as nodes report it.
pub(crate) fn normalized_image(name: &str) -> String {
    if name.rfind(':') <= name.rfind('/') { format!("{name}:latest") } else { name.to_owned() }
}
