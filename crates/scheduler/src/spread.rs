//! Spreading Pods over the values of node labels (upstream's PodTopologySpread plugin).

use std::collections::HashMap;

use crate::node::{NodeIndex, NodeInfo, tolerates_hard};
use crate::pod::{PodInfo, Spread};
use crate::terms::Term;
use crate::world::{Whereabouts, World, all_match};

/// The label of a single node.
const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The constraints of Pods that have none: label and skew.
const DEFAULTS: [(&str, i64); 2] = [(HOSTNAME, 3), (ZONE, 5)];

/// The hard constraints of one Pod with the Pods in each domain.
#[derive(Debug, Clone)]
pub(crate) struct Spreading(Vec<Constraint>);

#[derive(Debug, Clone)]
struct Constraint {
    spread: Spread,
    by_value: HashMap<String, i64>,
    /// 1 if the Pod itself is among those spread.
    own: i64,
    least: i64,
}

impl Constraint {
    fn settle(&mut self) {
        let few = self.by_value.len() < self.spread.domains_min;
        self.least =
            if few { 0 } else { self.by_value.values().copied().min().unwrap_or(i64::from(i32::MAX)) };
    }
}

/// Whether a node's Pods count for a constraint.
fn included(spread: &Spread, pod: &PodInfo, node: &NodeInfo) -> bool {
    (!spread.honor_affinity || pod.rule.matches(&node.name, &node.labels))
        && (!spread.honor_taints || tolerates_hard(pod, node))
}

fn has_all(spreads: &[Spread], node: &NodeInfo) -> bool {
    spreads.iter().all(|spread| node.labels.contains_key(&*spread.term.topology_key))
}

/// Where a constraint's Pods are; a constraint that selects everything counts nothing.
fn whereabouts(world: &mut World, term: &Term) -> Whereabouts {
    if term.is_unselective() {
        return Whereabouts::default();
    }
    world.whereabouts(std::slice::from_ref(term), true)
}

/// Whether a constraint counts the Pods of every node: then nothing has to be looked up node by node.
fn counts_all(world: &mut World, spreads: &[Spread], pod: &PodInfo) -> bool {
    let alike =
        spreads.iter().all(|spread| !spread.honor_taints && (!spread.honor_affinity || pod.rule.is_none()));
    alike && spreads.iter().all(|spread| world.everywhere(&spread.term.topology_key))
}

/// The Pods of a constraint in each domain of the nodes that count.
fn by_value(world: &mut World, spreads: &[Spread], spread: &Spread, pod: &PodInfo) -> HashMap<String, i64> {
    let places = whereabouts(world, &spread.term);
    let key = &spread.term.topology_key;
    if counts_all(world, spreads, pod) {
        let values = world.values(key);
        let count = |value: &String| places.domains.get(key).and_then(|domain| domain.get(value)).copied();
        return values.keys().map(|value| (value.clone(), count(value).unwrap_or(0))).collect();
    }
    let mut by_value: HashMap<String, i64> = HashMap::new();
    for (index, node) in world.nodes.iter().enumerate() {
        if !node.present || !has_all(spreads, node) || !included(spread, pod, node) {
            continue;
        }
        let count = places.by_node.get(&index).copied().unwrap_or(0);
        let value = &node.labels[&**key];
        match by_value.get_mut(value) {
            Some(sum) => *sum += count,
            None => drop(by_value.insert(value.clone(), count)),
        }
    }
    by_value
}

impl Spreading {
    /// None: no hard constraint.
    pub(crate) fn prepare(world: &mut World, pod: &PodInfo) -> Option<Self> {
        if pod.spread_hard.is_empty() {
            return None;
        }
        let mut constraints = Vec::with_capacity(pod.spread_hard.len());
        for spread in &pod.spread_hard {
            let by_value = by_value(world, &pod.spread_hard, spread, pod);
            let own = i64::from(all_match(std::slice::from_ref(&spread.term), pod, &world.namespaces));
            let mut constraint = Constraint { spread: spread.clone(), by_value, own, least: 0 };
            constraint.settle();
            constraints.push(constraint);
        }
        Some(Self(constraints))
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
        let node = &world.nodes[node];
        if !has_all(&pod.spread_hard, node) {
            return;
        }
        for constraint in &mut self.0 {
            let term = std::slice::from_ref(&constraint.spread.term);
            if all_match(term, moved, &world.namespaces) && included(&constraint.spread, pod, node) {
                let value = &node.labels[&*constraint.spread.term.topology_key];
                *constraint.by_value.entry(value.clone()).or_default() += sign;
                constraint.settle();
            }
        }
    }

    /// None: the node is fine. Else whether it lacks the label altogether.
    pub(crate) fn objection(&self, node: &NodeInfo) -> Option<MissingLabel> {
        for constraint in &self.0 {
            let Some(value) = node.labels.get(&*constraint.spread.term.topology_key) else {
                return Some(MissingLabel(true));
            };
            let count = constraint.by_value.get(value).copied().unwrap_or(0);
            if count + constraint.own - constraint.least > constraint.spread.skew_max {
                return Some(MissingLabel(false));
            }
        }
        None
    }
}

/// Whether a node was refused for want of the label, which nothing but a change of the node can mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MissingLabel(pub(crate) bool);

/// The soft constraints that apply to a Pod, its own or the defaults.
fn soft(world: &World, pod: &PodInfo) -> Vec<Spread> {
    if pod.spreads_itself {
        return pod.spread_soft.clone();
    }
    let Some(selector) = world.siblings(pod) else { return Vec::new() };
    let default = |(key, skew_max): &(&str, i64)| Spread {
        term: Term::within(&pod.key.namespace, selector.clone(), key),
        skew_max: *skew_max,
        domains_min: 1,
        honor_affinity: true,
        honor_taints: false,
    };
    DEFAULTS.iter().map(default).collect()
}

/// The scores of nodes for a Pod, 0 to 100, or none if no constraint applies.
pub(crate) fn scores(world: &mut World, pod: &PodInfo, nodes: &[NodeIndex]) -> Option<Vec<i64>> {
    let spreads = soft(world, pod);
    if spreads.is_empty() {
        return None;
    }
    let all_required = pod.spreads_itself;
    let all_counted = counts_all(world, &spreads, pod);
    let ignored: Vec<bool> =
        nodes.iter().map(|index| all_required && !has_all(&spreads, &world.nodes[*index])).collect();
    let mut raw = vec![0.0; nodes.len()];
    for spread in &spreads {
        let key = &*spread.term.topology_key;
        let places = whereabouts(world, &spread.term);
        let counts = &*places.by_node;
        let per_node = key == HOSTNAME;
        let value = |index: NodeIndex| world.nodes[index].labels.get(key).map_or("", String::as_str);
        let mut domains: HashMap<&str, i64> = HashMap::new();
        if !per_node {
            let considered = nodes.iter().zip(&ignored).filter(|(_, ignored)| !**ignored);
            domains.extend(considered.map(|(index, _)| (value(*index), 0)));
            if all_counted {
                let known = places.domains.get(key);
                for (value, sum) in &mut domains {
                    *sum = known.and_then(|known| known.get(*value)).copied().unwrap_or(0);
                }
            } else {
                for (index, count) in counts {
                    let node = &world.nodes[*index];
                    let labelled = !all_required || has_all(&spreads, node);
                    let counted = node.present && labelled && included(spread, pod, node);
                    if let Some(sum) = domains.get_mut(value(*index)).filter(|_| counted) {
                        *sum += count;
                    }
                }
            }
        }
        let size = if per_node { ignored.iter().filter(|ignored| !**ignored).count() } else { domains.len() };
        let weight = (size as f64 + 2.0).ln();
        for (at, index) in nodes.iter().enumerate() {
            if ignored[at] || !world.nodes[*index].labels.contains_key(key) {
                continue;
            }
            let count = if per_node { counts.get(index) } else { domains.get(value(*index)) };
            raw[at] += count.copied().unwrap_or(0) as f64 * weight + (spread.skew_max - 1) as f64;
        }
    }
    Some(normalize(&raw, &ignored))
}

/// The fewest Pods make the highest score.
fn normalize(raw: &[f64], ignored: &[bool]) -> Vec<i64> {
    let rounded: Vec<i64> = raw.iter().map(|score| score.round() as i64).collect();
    let considered =
        || rounded.iter().zip(ignored).filter(|(_, ignored)| !**ignored).map(|(score, _)| *score);
    let (least, most) = (considered().min().unwrap_or(0), considered().max().unwrap_or(0));
    let one = |(score, ignored): (&i64, &bool)| match (ignored, most) {
        (true, _) => 0,
        (false, 0) => 100,
        (false, most) => 100 * (most + least - score) / most,
    };
    rounded.iter().zip(ignored).map(one).collect()
}
