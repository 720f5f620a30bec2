//! Affinity between Pods (upstream's InterPodAffinity plugin).

use std::collections::HashMap;
use std::sync::Arc;

use crate::node::{NodeIndex, NodeInfo};
use crate::pod::PodInfo;
use crate::terms::Term;
use crate::world::{Bond, Domains, World, add_domain, all_match};

fn of(domains: &Domains, key: &str, node: &NodeInfo) -> i64 {
    let value = node.labels.get(key);
    value.and_then(|value| domains.get(key)?.get(value)).copied().unwrap_or(0)
}

fn is_nowhere(domains: &Domains) -> bool {
    domains.values().flat_map(HashMap::values).all(|count| *count <= 0)
}

/// What must be known to filter nodes for one Pod.
#[derive(Debug, Clone, Default)]
pub(crate) struct Affinity {
    /// Placed Pods that want this one not near, by their term.
    repelling: Vec<(Term, Arc<Domains>)>,
    /// Placed Pods this one must be near.
    near: Arc<Domains>,
    /// Placed Pods this one must not be near, in the order of its terms.
    far: Vec<Arc<Domains>>,
    /// Whether it is itself one of the Pods it must be near.
    of_the_kind: bool,
    /// Whether there are none yet: the first may go anywhere.
    nowhere: bool,
}

impl Affinity {
    /// None: nothing restricts this Pod.
    pub(crate) fn prepare(world: &mut World, pod: &PodInfo) -> Option<Self> {
        let mut repelling = Vec::new();
        for ((bond, term), places) in &world.bonds {
            if *bond == Bond::Repels && term.matches(&pod.key.namespace, &pod.labels, &world.namespaces) {
                repelling.push((term.clone(), Arc::clone(&places.domains)));
            }
        }
        if pod.affinity.is_empty() && pod.anti_affinity.is_empty() && repelling.is_empty() {
            return None;
        }
        let mut state = Self { repelling, ..Self::default() };
        if !pod.affinity.is_empty() {
            state.near = world.whereabouts(&pod.affinity, false).domains;
            state.nowhere = is_nowhere(&state.near);
            state.of_the_kind = all_match(&pod.affinity, pod, &world.namespaces);
        }
        for term in &pod.anti_affinity {
            state.far.push(world.whereabouts(std::slice::from_ref(term), false).domains);
        }
        Some(state)
    }

    /// Takes a Pod away in thought (or with 1 puts it back).
    pub(crate) fn shift(
        &mut self,
        world: &World,
        pod: &PodInfo,
        moved: &PodInfo,
        node: NodeIndex,
        sign: i64,
    ) {
        let labels = &world.nodes[node].labels;
        for (term, domains) in &mut self.repelling {
            if moved.anti_affinity.contains(term) {
                add_domain(Arc::make_mut(domains), &term.topology_key, labels, sign);
            }
        }
        if all_match(&pod.affinity, moved, &world.namespaces) {
            let near = Arc::make_mut(&mut self.near);
            for (at, term) in pod.affinity.iter().enumerate() {
                if !pod.affinity[..at].iter().any(|before| before.topology_key == term.topology_key) {
                    add_domain(near, &term.topology_key, labels, sign);
                }
            }
            self.nowhere = is_nowhere(&self.near);
        }
        for (term, domains) in pod.anti_affinity.iter().zip(&mut self.far) {
            if all_match(std::slice::from_ref(term), moved, &world.namespaces) {
                add_domain(Arc::make_mut(domains), &term.topology_key, labels, sign);
            }
        }
    }

    /// Whether a Pod's own affinity allows a node.
    pub(crate) fn near_allows(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let first = self.of_the_kind && self.nowhere;
        pod.affinity.iter().all(|term| {
            let key = &*term.topology_key;
            node.labels.contains_key(key) && (first || of(&self.near, key, node) > 0)
        })
    }

    /// Whether a Pod's own anti-affinity allows a node.
    pub(crate) fn far_allows(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let mut terms = pod.anti_affinity.iter().zip(&self.far);
        terms.all(|(term, domains)| of(domains, &term.topology_key, node) <= 0)
    }

    /// Whether the placed Pods' anti-affinity allows a node.
    pub(crate) fn others_allow(&self, node: &NodeInfo) -> bool {
        self.repelling.iter().all(|(term, domains)| of(domains, &term.topology_key, node) <= 0)
    }
}

/// The Pods that draw a Pod to domains or away from them, with the weight of each: its own preferences, and those of
/// placed Pods.
pub(crate) fn preferences(world: &mut World, pod: &PodInfo) -> Vec<(i64, Term, Arc<Domains>)> {
    let mut drawn = Vec::new();
    for (weight, term) in &pod.preferred {
        drawn.push((*weight, term.clone(), world.whereabouts(std::slice::from_ref(term), false).domains));
    }
    for ((bond, term), places) in &world.bonds {
        let Bond::Prefers(weight) = bond else { continue };
        if term.matches(&pod.key.namespace, &pod.labels, &world.namespaces) {
            drawn.push((*weight, term.clone(), Arc::clone(&places.domains)));
        }
    }
    drawn
}

/// A node's weight.
pub(crate) fn preference(drawn: &[(i64, Term, Arc<Domains>)], node: &NodeInfo) -> i64 {
    drawn.iter().map(|(weight, term, domains)| weight * of(domains, &term.topology_key, node)).sum()
}
