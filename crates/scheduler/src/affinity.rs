//! Affinity between Pods (upstream's InterPodAffinity plugin).

use std::collections::HashMap;
use std::sync::Arc;

use crate::node::{NodeIndex, NodeInfo};
use crate::pod::PodInfo;
use crate::terms::Term;
use crate::world::{Bond, ByNode, World, all_match};

/// Numbers by node label and its value.
pub(crate) type Domains = HashMap<Arc<str>, HashMap<String, i64>>;

/// Adds to the domain of a node.
fn add(domains: &mut Domains, key: &Arc<str>, node: &NodeInfo, amount: i64) {
    if let Some(value) = node.labels.get(&**key) {
        let values = domains.entry(Arc::clone(key)).or_default();
        match values.get_mut(value) {
            Some(sum) => *sum += amount,
            None => drop(values.insert(value.clone(), amount)),
        }
    }
}

fn of(domains: &Domains, key: &str, node: &NodeInfo) -> Option<i64> {
    let value = node.labels.get(key)?;
    domains.get(key)?.get(value).copied()
}

/// What must be known to filter nodes for one Pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct Affinity {
    /// Placed Pods that want this one not near.
    repelling: Domains,
    /// Placed Pods this one must be near.
    near: Domains,
    /// Placed Pods this one must not be near.
    far: Domains,
    /// Whether it would be the first of the Pods it must be near.
    first_of_its_kind: bool,
}

impl Affinity {
    /// None: nothing restricts this Pod.
    pub(crate) fn prepare(world: &mut World, pod: &PodInfo) -> Option<Self> {
        let mut state =
            Self { first_of_its_kind: all_match(&pod.affinity, pod, &world.namespaces), ..Self::default() };
        for ((bond, term), counts) in &world.bonds {
            if *bond == Bond::Repels && term.matches(&pod.key.namespace, &pod.labels, &world.namespaces) {
                for (node, count) in counts {
                    add(&mut state.repelling, &term.topology_key, &world.nodes[*node], *count);
                }
            }
        }
        if pod.affinity.is_empty() && pod.anti_affinity.is_empty() && state.repelling.is_empty() {
            return None;
        }
        if !pod.affinity.is_empty() {
            let counts = world.counts(&pod.affinity, false).clone();
            for term in &pod.affinity {
                gather(&mut state.near, term, &counts, world, 1);
            }
        }
        for term in &pod.anti_affinity {
            let counts = world.counts(std::slice::from_ref(term), false).clone();
            gather(&mut state.far, term, &counts, world, 1);
        }
        Some(state)
    }

    /// Takes a Pod away in thought.
    pub(crate) fn without(
        &mut self,
        world: &World,
        pod: &PodInfo,
        gone: &PodInfo,
        node: NodeIndex,
        sign: i64,
    ) {
        let node = &world.nodes[node];
        for term in &gone.anti_affinity {
            if term.matches(&pod.key.namespace, &pod.labels, &world.namespaces) {
                add(&mut self.repelling, &term.topology_key, node, sign);
            }
        }
        if all_match(&pod.affinity, gone, &world.namespaces) {
            for term in &pod.affinity {
                add(&mut self.near, &term.topology_key, node, sign);
            }
        }
        for term in &pod.anti_affinity {
            if all_match(std::slice::from_ref(term), gone, &world.namespaces) {
                add(&mut self.far, &term.topology_key, node, sign);
            }
        }
    }

    /// Whether a Pod's own affinity allows a node.
    pub(crate) fn near_allows(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let labelled = pod.affinity.iter().all(|term| node.labels.contains_key(&*term.topology_key));
        let present = |term: &Term| of(&self.near, &term.topology_key, node).is_some_and(|count| count > 0);
        let nowhere = || self.near.values().flat_map(HashMap::values).all(|count| *count <= 0);
        labelled && (pod.affinity.iter().all(present) || self.first_of_its_kind && nowhere())
    }

    /// Whether a Pod's own anti-affinity allows a node.
    pub(crate) fn far_allows(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        pod.anti_affinity.iter().all(|term| of(&self.far, &term.topology_key, node).unwrap_or(0) <= 0)
    }

    /// Whether the placed Pods' anti-affinity allows a node.
    pub(crate) fn others_allow(&self, node: &NodeInfo) -> bool {
        self.repelling.keys().all(|key| of(&self.repelling, key, node).unwrap_or(0) <= 0)
    }
}

fn gather(domains: &mut Domains, term: &Term, counts: &ByNode, world: &World, weight: i64) {
    for (node, count) in counts {
        add(domains, &term.topology_key, &world.nodes[*node], weight * count);
    }
}

/// The weights of domains for a Pod: its preferences, and those of placed Pods towards it.
pub(crate) fn preferences(world: &mut World, pod: &PodInfo) -> Domains {
    let mut domains = Domains::new();
    for (weight, term) in &pod.preferred {
        let counts = world.counts(std::slice::from_ref(term), false).clone();
        gather(&mut domains, term, &counts, world, *weight);
    }
    for ((bond, term), counts) in &world.bonds {
        let Bond::Prefers(weight) = bond else { continue };
        if term.matches(&pod.key.namespace, &pod.labels, &world.namespaces) {
            gather(&mut domains, term, counts, world, *weight);
        }
    }
    domains
}

/// A node's weight.
pub(crate) fn preference(domains: &Domains, node: &NodeInfo) -> i64 {
    domains.keys().filter_map(|key| of(domains, key, node)).sum()
}
