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

/// Numbers by node label and its value.
pub(crate) type Domains = HashMap<Arc<str>, HashMap<String, i64>>;

/// Adds to the domain of a node.
pub(crate) fn add_domain(domains: &mut Domains, key: &Arc<str>, labels: &Labels, amount: i64) {
    let Some(value) = labels.get(&**key) else { return };
    if !domains.contains_key(key) {
        domains.insert(Arc::clone(key), HashMap::new());
    }
    let Some(values) = domains.get_mut(key) else { return };
    match values.get_mut(value) {
        Some(sum) => *sum += amount,
        None => drop(values.insert(value.clone(), amount)),
    }
}

/// Where some Pods are. Shared with the decision under way; changed in place between decisions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Whereabouts {
    pub(crate) by_node: Arc<ByNode>,
    /// By the topology labels of the terms that mean them.
    pub(crate) domains: Arc<Domains>,
}

impl Whereabouts {
    fn bump(&mut self, terms: &[Term], index: NodeIndex, labels: &Labels, amount: i64) {
        let by_node = Arc::make_mut(&mut self.by_node);
        let count = by_node.entry(index).or_default();
        *count += amount;
        if *count == 0 {
            by_node.remove(&index);
        }
        let domains = Arc::make_mut(&mut self.domains);
        for (at, term) in terms.iter().enumerate() {
            // A label that several terms name counts a Pod once.
            if !terms[..at].iter().any(|before| before.topology_key == term.topology_key) {
                add_domain(domains, &term.topology_key, labels, amount);
            }
        }
    }
}

/// Counts of Pods that match sets of terms.
#[derive(Default)]
struct Counted(HashMap<Vec<Term>, Whereabouts>);

impl Counted {
    fn update(&mut self, pod: &PodInfo, at: (NodeIndex, &Labels), sign: i64, namespaces: &Namespaces) {
        for (terms, counts) in &mut self.0 {
            if all_match(terms, pod, namespaces) {
                counts.bump(terms, at.0, at.1, sign);
            }
        }
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
    pub(crate) bonds: HashMap<(Bond, Term), Whereabouts>,
    /// How many nodes have each value of a label, where somebody asked.
    values: HashMap<String, Arc<HashMap<String, i64>>>,
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
        let (was_present, labels) = (self.nodes[index].present, self.nodes[index].labels.clone());
        self.count_images(index, -1);
        self.nodes[index].update(node);
        self.count_images(index, 1);
        if !was_present || labels != self.nodes[index].labels {
            self.relabel(index);
        }
        index
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        let Some(index) = self.node_index(name) else { return };
        self.count_images(index, -1);
        self.nodes[index].present = false;
        self.nodes[index].images.clear();
        self.nodes[index].labels.clear();
        self.relabel(index);
        self.drop_if_unused(index);
    }

    /// A node came, went or changed its labels: what was counted by them is counted anew.
    fn relabel(&mut self, index: NodeIndex) {
        self.order_stale = true;
        self.values.clear();
        if self.nodes[index].pods.is_empty() {
            return;
        }
        self.counted.0.clear();
        self.counted_lasting.0.clear();
        for ((_, term), places) in &mut self.bonds {
            let mut domains = Domains::new();
            for (node, count) in &*places.by_node {
                add_domain(&mut domains, &term.topology_key, &self.nodes[*node].labels, *count);
            }
            places.domains = Arc::new(domains);
        }
    }

    /// How many nodes have each value of a label.
    pub(crate) fn values(&mut self, key: &str) -> Arc<HashMap<String, i64>> {
        if let Some(values) = self.values.get(key) {
            return Arc::clone(values);
        }
        let mut values: HashMap<String, i64> = HashMap::new();
        for value in self.nodes.iter().filter(|node| node.present).filter_map(|node| node.labels.get(key)) {
            *values.entry(value.clone()).or_default() += 1;
        }
        let values = Arc::new(values);
        self.values.insert(key.to_owned(), Arc::clone(&values));
        values
    }

    /// Whether every node has a label.
    pub(crate) fn everywhere(&mut self, key: &str) -> bool {
        let labelled: i64 = self.values(key).values().sum();
        usize::try_from(labelled).is_ok_and(|labelled| labelled == self.node_count())
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

    fn count(&mut self, pod: &PodInfo, index: NodeIndex, sign: i64) {
        let labels = &self.nodes[index].labels;
        self.counted.update(pod, (index, labels), sign, &self.namespaces);
        if !pod.deleting {
            self.counted_lasting.update(pod, (index, labels), sign, &self.namespaces);
        }
        for bond in bonds(pod) {
            let term = bond.1.clone();
            let places = self.bonds.entry(bond.clone()).or_default();
            places.bump(std::slice::from_ref(&term), index, labels, sign);
            if places.by_node.is_empty() {
                self.bonds.remove(&bond);
            }
        }
    }

    /// Where the Pods are that match all terms.
    pub(crate) fn whereabouts(&mut self, terms: &[Term], lasting_only: bool) -> Whereabouts {
        let counted = if lasting_only { &mut self.counted_lasting } else { &mut self.counted };
        if let Some(known) = counted.0.get(terms) {
            return known.clone();
        }
        if counted.0.len() >= COUNTED_MAX {
            counted.0.clear();
        }
        let mut places = Whereabouts::default();
        for (index, node) in self.nodes.iter().enumerate() {
            let wanted = node.pods.iter().filter(|pod| !(lasting_only && pod.deleting));
            let count = wanted.filter(|pod| all_match(terms, pod, &self.namespaces)).count();
            if count > 0 {
                places.bump(terms, index, &node.labels, i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        counted.0.insert(terms.to_vec(), places.clone());
        places
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

fn bonds(pod: &PodInfo) -> Vec<(Bond, Term)> {
    if !pod.has_pod_terms() {
        return Vec::new();
    }
    let repels = pod.anti_affinity.iter().map(|term| (Bond::Repels, term.clone()));
    let near = pod.affinity.iter().map(|term| (Bond::Prefers(1), term.clone()));
    let prefers = pod.preferred.iter().map(|(weight, term)| (Bond::Prefers(*weight), term.clone()));
    repels.chain(near).chain(prefers).collect()
}
