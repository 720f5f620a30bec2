//! Warnings that several kinds share.

use model::names;
use model::quantity::Quantity;

use crate::rules::at::At;

/// Labels of nodes that have newer names.
const OLD_NODE_LABELS: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    (
        "scheduler.alpha.kubernetes.io/preferAvoidPods",
        "deprecated since v1.22; use Taints and Tolerations instead",
    ),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// What to say of an old label of nodes.
pub fn old_node_label(key: &str) -> Option<&'static str> {
    OLD_NODE_LABELS.iter().find(|(label, _)| *label == key).map(|(_, words)| *words)
}

/// Warnings about a term of a node selector. `values`: they are looked at too.
pub fn node_selector_term(list: &mut Vec<String>, term: &At, values: bool) {
    for expression in term.items("matchExpressions") {
        let key = expression.child("key");
        if let Some(words) = old_node_label(key.text()) {
            list.push(format!("{}: {} is {words}", key.path, key.text()));
        }
        for value in expression.items("values").iter().filter(|_| values) {
            for complaint in names::label_value(value.text()) {
                list.push(format!("{}: {} is invalid, {complaint}", value.path, value.text()));
            }
        }
    }
}

/// Warnings about a claim's spec.
pub fn claim_spec(list: &mut Vec<String>, spec: &At) {
    let storage = spec.child("resources").child("requests").child("storage");
    let quantity = Quantity::of(Some(storage.value));
    if quantity.milli_value() % 1000 != 0 {
        let path = spec.child("resources").child("requests").path.key("storage");
        list.push(format!("{path}: fractional byte value \"{quantity}\" is invalid, must be an integer"));
    }
}
