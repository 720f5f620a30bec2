//! Which nodes can take a Pod: upstream's filter plugins in their order; the first that refuses a node gives the
//! reasons.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Taint;

use crate::affinity::Affinity;
use crate::node::{NodeInfo, tolerates, tolerates_hard};
use crate::pod::PodInfo;
use crate::spread::{MissingLabel, Spreading};

/// A filter plugin, by whose refusal a waiting Pod is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Plugin {
    /// `spec.unschedulable`.
    NodeUnschedulable,
    /// `spec.nodeName`.
    NodeName,
    /// Hard taints.
    TaintToleration,
    /// `nodeSelector` and node affinity.
    NodeAffinity,
    /// Host ports.
    NodePorts,
    /// Resources and the number of Pods.
    NodeResourcesFit,
    /// Hard topology spread constraints.
    PodTopologySpread,
    /// Required Pod affinity and anti-affinity.
    InterPodAffinity,
}

/// One reason for which a node was refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    Text(&'static str),
    Insufficient(Arc<str>),
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Insufficient(resource) => write!(formatter, "Insufficient {resource}"),
        }
    }
}

/// A refused node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) plugin: Plugin,
    pub(crate) reasons: Vec<Reason>,
    /// Whether removing Pods could help.
    pub(crate) resolvable: bool,
}

impl Refusal {
    fn new(plugin: Plugin, text: &'static str, resolvable: bool) -> Self {
        Self { plugin, reasons: vec![Reason::Text(text)], resolvable }
    }
}

/// What was prepared once for all nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cycle {
    pub(crate) affinity: Option<Affinity>,
    pub(crate) spreading: Option<Spreading>,
}

/// Whether a node can take a Pod.
pub(crate) fn check(pod: &PodInfo, node: &NodeInfo, cycle: &Cycle) -> Result<(), Refusal> {
    fits_itself(pod, node)?;
    match cycle.spreading.as_ref().and_then(|spreading| spreading.objection(node)) {
        None => {}
        Some(MissingLabel(true)) => {
            let text = "node(s) didn't match pod topology spread constraints (missing required label)";
            return Err(Refusal::new(Plugin::PodTopologySpread, text, false));
        }
        Some(MissingLabel(false)) => {
            let text = "node(s) didn't match pod topology spread constraints";
            return Err(Refusal::new(Plugin::PodTopologySpread, text, true));
        }
    }
    let Some(affinity) = &cycle.affinity else { return Ok(()) };
    let refuse = |text, resolvable| Err(Refusal::new(Plugin::InterPodAffinity, text, resolvable));
    if !affinity.near_allows(pod, node) {
        return refuse("node(s) didn't match pod affinity rules", false);
    }
    if !affinity.far_allows(pod, node) {
        return refuse("node(s) didn't match pod anti-affinity rules", true);
    }
    if !affinity.others_allow(node) {
        return refuse("node(s) didn't satisfy existing pods anti-affinity rules", true);
    }
    Ok(())
}

/// The filters that look at one node alone.
pub(crate) fn fits_itself(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    if node.unschedulable && !tolerates_unschedulable(pod) {
        return Err(Refusal::new(Plugin::NodeUnschedulable, "node(s) were unschedulable", false));
    }
    if pod.node.as_ref().is_some_and(|name| *name != node.name) {
        return Err(Refusal::new(Plugin::NodeName, "node(s) didn't match the requested node name", false));
    }
    if !node.taints.is_empty() && !tolerates_hard(pod, node) {
        return Err(Refusal::new(Plugin::TaintToleration, "node(s) had untolerated taint(s)", false));
    }
    if !pod.rule.is_none() && !pod.rule.matches(&node.name, &node.labels) {
        let text = "node(s) didn't match Pod's node affinity/selector";
        return Err(Refusal::new(Plugin::NodeAffinity, text, false));
    }
    let taken = |port| node.ports.iter().any(|used| used.conflicts(port));
    if pod.ports.iter().any(taken) {
        let text = "node(s) didn't have free ports for the requested pod ports";
        return Err(Refusal::new(Plugin::NodePorts, text, true));
    }
    fits_resources(pod, node)
}

fn tolerates_unschedulable(pod: &PodInfo) -> bool {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    };
    pod.tolerations.iter().any(|toleration| tolerates(toleration, &taint))
}

fn fits_resources(pod: &PodInfo, node: &NodeInfo) -> Result<(), Refusal> {
    let mut reasons = Vec::new();
    let mut resolvable = true;
    if i64::try_from(node.pods.len()).unwrap_or(i64::MAX) >= node.pods_max {
        reasons.push(Reason::Text("Too many pods"));
    }
    let (wanted, all, used) = (&pod.requests, &node.allocatable, &node.requested);
    let mut compare = |name: &Arc<str>, wanted: i64, all: i64, used: i64| {
        if wanted > 0 && wanted > all - used {
            reasons.push(Reason::Insufficient(Arc::clone(name)));
            resolvable &= wanted <= all;
        }
    };
    if wanted.milli_cpu > all.milli_cpu - used.milli_cpu
        || wanted.memory > all.memory - used.memory
        || wanted.ephemeral > all.ephemeral - used.ephemeral
    {
        compare(&"cpu".into(), wanted.milli_cpu, all.milli_cpu, used.milli_cpu);
        compare(&"memory".into(), wanted.memory, all.memory, used.memory);
        compare(&"ephemeral-storage".into(), wanted.ephemeral, all.ephemeral, used.ephemeral);
    }
    for (name, amount) in &wanted.scalars {
        let of = |list: &BTreeMap<Arc<str>, i64>| list.get(name).copied().unwrap_or(0);
        compare(name, *amount, of(&all.scalars), of(&used.scalars));
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Refusal { plugin: Plugin::NodeResourcesFit, reasons, resolvable })
}
