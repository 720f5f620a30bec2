//! Selectors compiled once: which Pods an affinity term or a spread constraint means, which nodes a Pod may be on.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use model::selector::{LabelSelector, Operator, Requirement};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Labels of namespaces by name.
pub(crate) type Namespaces = std::collections::HashMap<String, Labels>;

pub(crate) fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.matches_with(|key| labels.get(key).map(String::as_str))
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    })
}

/// Compiles a `LabelSelector`; an absent one means no object, an empty one every object.
pub fn compile(selector: Option<&meta::LabelSelector>) -> LabelSelector {
    let Some(selector) = selector else { return LabelSelector::nothing() };
    let mut requirements: Vec<Requirement> = Vec::new();
    for (key, value) in selector.match_labels.iter().flatten() {
        let values = vec![value.clone()];
        requirements.push(Requirement { key: key.clone(), operator: Operator::In, values });
    }
    for expression in selector.match_expressions.iter().flatten() {
        // Validation lets no other operator in.
        let Some(operator) = operator(&expression.operator) else { return LabelSelector::nothing() };
        let values = expression.values.clone().unwrap_or_default();
        requirements.push(Requirement { key: expression.key.clone(), operator, values });
    }
    LabelSelector::new(requirements)
}

/// Which Pods a term means. Equality is by meaning as written, so that Pods of one template share what is counted.
#[derive(Debug, Clone)]
pub struct Term {
    /// What identifies it.
    id: Arc<str>,
    namespaces: BTreeSet<String>,
    namespace_selector: Option<LabelSelector>,
    selector: LabelSelector,
    /// The node label whose values are the domains.
    pub topology_key: Arc<str>,
}

impl PartialEq for Term {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Term {}

impl Hash for Term {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Term {
    /// A Pod affinity term of a Pod in `namespace`.
    pub fn affinity(term: &PodAffinityTerm, namespace: &str) -> Self {
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        let namespace_selector = term.namespace_selector.as_ref().map(|selector| compile(Some(selector)));
        if namespaces.is_empty() && namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        let selector = compile(term.label_selector.as_ref());
        Self::build(namespaces, namespace_selector, selector, &term.topology_key)
    }

    /// Pods of one namespace, for spread constraints.
    pub fn within(namespace: &str, selector: LabelSelector, topology_key: &str) -> Self {
        Self::build(BTreeSet::from([namespace.to_owned()]), None, selector, topology_key)
    }

    fn build(
        namespaces: BTreeSet<String>,
        namespace_selector: Option<LabelSelector>,
        selector: LabelSelector,
        topology_key: &str,
    ) -> Self {
        let shown = |selector: &LabelSelector| {
            if selector.is_nothing() { "nothing".to_owned() } else { format!("({selector})") }
        };
        let of_namespaces = namespace_selector.as_ref().map(shown).unwrap_or_default();
        let names = namespaces.iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let id = format!("{names} {of_namespaces} {} {topology_key}", shown(&selector)).into();
        Self { id, namespaces, namespace_selector, selector, topology_key: topology_key.into() }
    }

    /// Whether it means a Pod with these labels in a namespace.
    pub(crate) fn matches(&self, namespace: &str, labels: &Labels, known: &Namespaces) -> bool {
        let inside = self.namespaces.contains(namespace)
            || self.namespace_selector.as_ref().is_some_and(|selector| {
                let empty = Labels::new();
                matches(selector, known.get(namespace).unwrap_or(&empty))
            });
        inside && matches(&self.selector, labels)
    }

    /// Whether it can match no Pod for want of a selector (upstream counts nothing then).
    pub(crate) fn is_unselective(&self) -> bool {
        self.selector.is_everything()
    }
}

/// One alternative of a node selector.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NodeTerm {
    labels: Vec<Requirement>,
    names: Vec<Requirement>,
    /// A term without any condition means no node.
    empty: bool,
}

impl NodeTerm {
    pub(crate) fn compile(term: &NodeSelectorTerm) -> Self {
        let compile = |list: &Option<Vec<NodeSelectorRequirement>>| -> Option<Vec<Requirement>> {
            let one = |own: &NodeSelectorRequirement| {
                let values = own.values.clone().unwrap_or_default();
                Some(Requirement { key: own.key.clone(), operator: operator(&own.operator)?, values })
            };
            list.iter().flatten().map(one).collect()
        };
        match (compile(&term.match_expressions), compile(&term.match_fields)) {
            (Some(labels), Some(names)) => {
                let empty = labels.is_empty() && names.is_empty();
                Self { labels, names, empty }
            }
            _ => Self { labels: Vec::new(), names: Vec::new(), empty: true },
        }
    }

    pub(crate) fn matches(&self, name: &str, labels: &Labels) -> bool {
        let label = |key: &str| labels.get(key).map(String::as_str);
        let field = |key: &str| (key == "metadata.name").then_some(name);
        !self.empty
            && self.labels.iter().all(|requirement| requirement.matches(label))
            && self.names.iter().all(|requirement| requirement.matches(field))
    }
}

/// The nodes a Pod's `nodeSelector` and required node affinity allow.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NodeRule {
    selector: Labels,
    terms: Option<Vec<NodeTerm>>,
    /// The only nodes it can allow, where it says so by name.
    pub(crate) names: Option<BTreeSet<String>>,
}

impl NodeRule {
    pub(crate) fn compile(spec: &PodSpec) -> Self {
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required =
            affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
        let terms =
            required.map(|required| required.node_selector_terms.iter().map(NodeTerm::compile).collect());
        let names = required.and_then(|required| names(&required.node_selector_terms));
        Self { selector: spec.node_selector.clone().unwrap_or_default(), terms, names }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.selector.is_empty() && self.terms.is_none()
    }

    pub(crate) fn matches(&self, name: &str, labels: &Labels) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|term| term.matches(name, labels)))
    }
}

/// The names to which every alternative restricts itself.
fn names(terms: &[NodeSelectorTerm]) -> Option<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for term in terms {
        let mut own: Option<BTreeSet<String>> = None;
        for field in term.match_fields.iter().flatten() {
            if field.key == "metadata.name" && field.operator == "In" {
                let values: BTreeSet<String> = field.values.iter().flatten().cloned().collect();
                own = Some(own.map_or(values.clone(), |own| own.intersection(&values).cloned().collect()));
            }
        }
        all.extend(own?);
    }
    (!terms.is_empty()).then_some(all)
}
