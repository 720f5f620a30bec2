//! What the scheduler knows: nodes with their Pods, and counts over Pods that are kept instead of being taken anew for
//! each Pod to place.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use model::selector::LabelSelector;

use crate::node::{NodeIndex, NodeInfo};
use crate::pod::{PodInfo, PodKey};
use crate::terms::{Labels, Namespaces, Term};

/// Selectors whose Pods are counted at once; more are forgotten and counted again when needed.
const COUNTED_MAX: usize = 1024;

/// A number of Pods on each node that has any.
pub(crate) type ByNode = HashMap<NodeIndex, i64>;

/// Counts of Pods that match sets of terms.
#[derive(Default)]
struct Counted(HashMap<Vec<Term>, ByNode>);

impl Counted {
    fn update(&mut self, pod: &PodInfo, node: NodeIndex, sign: i64, namespaces: &Namespaces) {
        for (terms, counts) in &mut self.0 {
            if all_match(terms, pod, namespaces) {
                bump(counts, node, sign);
            }
        }
    }
}

fn bump(counts: &mut ByNode, node: NodeIndex, sign: i64) {
    let count = counts.entry(node).or_default();
    *count += sign;
    if *count == 0 {
        counts.remove(&node);
    }
}

/// Whether a Pod is meant by each of some terms (none: no).
pub(crate) fn all_match(terms: &[Term], pod: &PodInfo, namespaces: &Namespaces) -> bool {
    let matches = |term: &Term| term.matches(&pod.key.namespace, &pod.labels, namespaces);
    !terms.is_empty() && terms.iter().all(matches)
}

/// How a term of a placed Pod concerns Pods to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Bond {
    /// It must not be near them.
    Repels,
    /// It prefers them with a weight (its required affinity counts as 1).
    Prefers(i64),
}

/// Nodes, Pods on them, and what is counted over them.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) nodes: Vec<NodeInfo>,
    by_name: HashMap<Arc<str>, NodeIndex>,
    free: Vec<NodeIndex>,
    order: Vec<NodeIndex>,
    order_stale: bool,
    pub(crate) namespaces: Namespaces,
    counted: Counted,
    /// The same without Pods that are being deleted, for spreading.
    counted_lasting: Counted,
    /// The terms of placed Pods and where those are: few distinct ones, however many Pods.
    pub(crate) bonds: HashMap<(Bond, Term), ByNode>,
    /// How many nodes have an image.
    pub(crate) image_nodes: HashMap<String, i64>,
    /// Selectors of services by namespace and name.
    services: HashMap<String, HashMap<String, Labels>>,
    /// Selectors of controllers by kind, namespace and name.
    workloads: HashMap<(String, String, String), LabelSelector>,
}

impl World {
    pub(crate) fn node_index(&self, name: &str) -> Option<NodeIndex> {
        self.by_name.get(name).copied()
    }

    /// The node of that name, made if nothing is known of it.
    fn intern(&mut self, name: &str) -> NodeIndex {
        if let Some(index) = self.node_index(name) {
            return index;
        }
        let info = NodeInfo::named(name);
        let key = Arc::clone(&info.name);
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index] = info;
                index
            }
            None => {
                self.nodes.push(info);
                self.nodes.len() - 1
            }
        };
        self.by_name.insert(key, index);
        index
    }

    pub(crate) fn upsert_node(&mut self, name: &str, node: &Node) -> NodeIndex {
        let index = self.intern(name);
        let (was_present, zone) = (self.nodes[index].present, owned_zone(&self.nodes[index]));
        self.count_images(index, -1);
        self.nodes[index].update(node);
        self.count_images(index, 1);
        if !was_present || zone != owned_zone(&self.nodes[index]) {
            self.order_stale = true;
        }
        index
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        let Some(index) = self.node_index(name) else { return };
        self.count_images(index, -1);
        self.nodes[index].present = false;
        self.nodes[index].images.clear();
        self.order_stale = true;
        self.drop_if_unused(index);
    }

    fn drop_if_unused(&mut self, index: NodeIndex) {
        let node = &self.nodes[index];
        if !node.present && node.pods.is_empty() {
            self.by_name.remove(&node.name);
            self.nodes[index] = NodeInfo::default();
            self.free.push(index);
        }
    }

    fn count_images(&mut self, index: NodeIndex, sign: i64) {
        for name in self.nodes[index].images.keys() {
            let count = self.image_nodes.entry(name.clone()).or_default();
            *count += sign;
            if *count == 0 {
                self.image_nodes.remove(name);
            }
        }
    }

    /// Puts a Pod on a node (which need not exist yet).
    pub(crate) fn place(&mut self, pod: &Arc<PodInfo>, node: &str) {
        let index = self.intern(node);
        self.nodes[index].add(Arc::clone(pod));
        self.count(pod, index, 1);
    }

    pub(crate) fn displace(&mut self, key: &PodKey, node: &str) {
        let Some(index) = self.node_index(node) else { return };
        if let Some(pod) = self.nodes[index].remove(key) {
            self.count(&pod, index, -1);
            self.drop_if_unused(index);
        }
    }

    fn count(&mut self, pod: &PodInfo, node: NodeIndex, sign: i64) {
        self.counted.update(pod, node, sign, &self.namespaces);
        if !pod.deleting {
            self.counted_lasting.update(pod, node, sign, &self.namespaces);
        }
        for bond in bonds(pod) {
            let counts = self.bonds.entry(bond.clone()).or_default();
            bump(counts, node, sign);
            if counts.is_empty() {
                self.bonds.remove(&bond);
            }
        }
    }

    /// How many Pods matching all terms are on each node.
    pub(crate) fn counts(&mut self, terms: &[Term], lasting_only: bool) -> &ByNode {
        let counted = if lasting_only { &mut self.counted_lasting } else { &mut self.counted };
        if !counted.0.contains_key(terms) {
            if counted.0.len() >= COUNTED_MAX {
                counted.0.clear();
            }
            let mut counts = ByNode::new();
            for (index, node) in self.nodes.iter().enumerate() {
                let wanted = node.pods.iter().filter(|pod| !(lasting_only && pod.deleting));
                let count = wanted.filter(|pod| all_match(terms, pod, &self.namespaces)).count();
                if count > 0 {
                    counts.insert(index, i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
            counted.0.insert(terms.to_vec(), counts);
        }
        &counted.0[terms]
    }

    pub(crate) fn set_namespace(&mut self, name: &str, labels: Option<Labels>) {
        let before = match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels.clone()) == Some(labels),
            None => self.namespaces.remove(name).is_none(),
        };
        if !before {
            // Terms may select namespaces by their labels.
            self.counted.0.clear();
            self.counted_lasting.0.clear();
        }
    }

    pub(crate) fn set_service(&mut self, namespace: &str, name: &str, selector: Option<Labels>) {
        let services = self.services.entry(namespace.to_owned()).or_default();
        match selector {
            Some(selector) => drop(services.insert(name.to_owned(), selector)),
            None => drop(services.remove(name)),
        }
    }

    pub(crate) fn set_workload(&mut self, kind: &str, key: &PodKey, selector: Option<LabelSelector>) {
        let slot = (kind.to_owned(), key.namespace.to_string(), key.name.to_string());
        match selector {
            Some(selector) => drop(self.workloads.insert(slot, selector)),
            None => drop(self.workloads.remove(&slot)),
        }
    }

    /// The Pods among which a Pod without spread constraints is spread: those of its services and its controller.
    pub(crate) fn siblings(&self, pod: &PodInfo) -> Option<LabelSelector> {
        use model::selector::{Operator, Requirement};
        let namespace = pod.key.namespace.to_string();
        let mut merged = Labels::new();
        for selector in self.services.get(&namespace).into_iter().flat_map(HashMap::values) {
            let selects = selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
            if selects && !selector.is_empty() {
                merged.extend(selector.clone());
            }
        }
        let equal = |(key, value)| Requirement { key, operator: Operator::In, values: vec![value] };
        let mut requirements: Vec<Requirement> = merged.into_iter().map(equal).collect();
        if let Some((kind, name)) = &pod.owner {
            let slot = (kind.clone(), namespace, name.clone());
            let own = self.workloads.get(&slot).filter(|selector| !selector.is_nothing());
            requirements.extend(own.into_iter().flat_map(|selector| selector.requirements().to_vec()));
        }
        (!requirements.is_empty()).then(|| LabelSelector::new(requirements))
    }

    /// The present nodes, those of different zones taking turns.
    pub(crate) fn order(&mut self) -> &[NodeIndex] {
        if self.order_stale {
            self.order_stale = false;
            let mut zones: std::collections::BTreeMap<(&str, &str), Vec<NodeIndex>> = Default::default();
            for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.present) {
                zones.entry(node.zone()).or_default().push(index);
            }
            let longest = zones.values().map(Vec::len).max().unwrap_or(0);
            let turns = (0..longest).flat_map(|turn| zones.values().filter_map(move |zone| zone.get(turn)));
            self.order = turns.copied().collect();
        }
        &self.order
    }

    /// The number of present nodes.
    pub(crate) fn node_count(&mut self) -> usize {
        self.order().len()
    }
}

fn owned_zone(node: &NodeInfo) -> (String, String) {
    let (region, zone) = node.zone();
    (region.to_owned(), zone.to_owned())
}

fn bonds(pod: &PodInfo) -> Vec<(Bond, Term)> {
    if !pod.has_pod_terms() {
        return Vec::new();
    }
    let repels = pod.anti_affinity.iter().map(|term| (Bond::Repels, term.clone()));
    let near = pod.affinity.iter().map(|term| (Bond::Prefers(1), term.clone()));
    let prefers = pod.preferred.iter().map(|(weight, term)| (Bond::Prefers(*weight), term.clone()));
    repels.chain(near).chain(prefers).collect()
}
