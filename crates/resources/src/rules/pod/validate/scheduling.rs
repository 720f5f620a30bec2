//! Where a Pod may run: affinity, tolerations, spreading, gates.

use std::collections::BTreeSet;

use model::names;
use serde_json::Value;

use crate::field::{Errors, FieldError};
use crate::rules::at::At;
use crate::rules::checks;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `affinity`.
pub(super) fn affinity(errors: &mut Errors, affinity: &At) {
    if let Some(node) = affinity.some("nodeAffinity") {
        if let Some(selector) = node.some(REQUIRED) {
            node_selector(errors, &selector);
        }
        for term in node.items(PREFERRED) {
            weight(errors, &term);
            node_selector_term(errors, &term.child("preference"), true);
        }
    }
    for pods in ["podAffinity", "podAntiAffinity"].iter().filter_map(|key| affinity.some(key)) {
        pods.items(REQUIRED).iter().for_each(|term| pod_term(errors, term));
        for term in pods.items(PREFERRED) {
            weight(errors, &term);
            pod_term(errors, &term.child("podAffinityTerm"));
        }
    }
}

fn weight(errors: &mut Errors, term: &At) {
    let weight = term.int("weight").unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(term.child("weight").invalid_as(weight, "must be in the range 1-100"));
    }
}

/// A `NodeSelector`: at least one term.
pub fn node_selector(errors: &mut Errors, selector: &At) {
    let terms = selector.child("nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(terms.required("must have at least one node selector term"));
    }
    terms.elements().iter().for_each(|term| node_selector_term(errors, term, false));
}

/// A term of a node selector. `lax`: values need not be label values.
pub fn node_selector_term(errors: &mut Errors, term: &At, lax: bool) {
    for expression in term.items("matchExpressions") {
        let values = expression.child("values");
        let operator = expression.child("operator");
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                errors.push(values.required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.push(
                    values.forbidden("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
                );
            }
            "Gt" | "Lt" if values.elements().len() != 1 => {
                errors
                    .push(values.required("must be specified single value when `operator` is 'Lt' or 'Gt'"));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.push(operator.invalid_as(other, "not a valid selector operator")),
        }
        checks::qualified_name(errors, &expression.child("key"));
        for value in values.elements().iter().filter(|_| !lax) {
            value.complain(errors, names::label_value(value.text()));
        }
    }
    for field in term.items("matchFields") {
        let (values, operator, key) = (field.child("values"), field.child("operator"), field.child("key"));
        match operator.text() {
            "In" | "NotIn" => {
                if values.elements().len() != 1 {
                    let words =
                        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    errors.push(values.required(words));
                }
            }
            other => errors.push(operator.invalid_as(other, "not a valid selector operator")),
        }
        if key.text() == "metadata.name" {
            values.elements().iter().for_each(|value| checks::dns_subdomain(errors, value));
        } else {
            errors.push(key.invalid_as(key.text(), "not a valid field selector key"));
        }
    }
}

fn pod_term(errors: &mut Errors, term: &At) {
    for selector in ["labelSelector", "namespaceSelector"].iter().filter_map(|key| term.some(key)) {
        checks::label_selector(errors, &selector);
    }
    for namespace in term.items("namespaces") {
        let at = At::new(namespace.value, term.child("namespace").path);
        at.complain(errors, names::dns_label(at.text()));
    }
    label_keys(errors, term, &["matchLabelKeys", "mismatchLabelKeys"]);
    let topology = term.child("topologyKey");
    if topology.text().is_empty() {
        errors.push(topology.required("can not be empty"));
    }
    checks::qualified_name(errors, &topology);
}

/// `matchLabelKeys` and `mismatchLabelKeys` against each other and the selector.
fn label_keys(errors: &mut Errors, holder: &At, lists: &[&str]) {
    let selector = holder.child("labelSelector");
    for list in lists.iter().map(|list| holder.child(list)).filter(|list| !list.is_empty()) {
        if selector.value.is_null() {
            errors.push(list.forbidden("must not be specified when labelSelector is not set"));
            continue;
        }
        list.elements().iter().for_each(|key| checks::qualified_name(errors, key));
    }
    let texts = |key: &str| -> Vec<&str> { holder.items(key).iter().map(At::text).collect() };
    let keys = texts("matchLabelKeys");
    let mut seen: BTreeSet<&str> = selector.entries("matchLabels").iter().map(|(key, _)| *key).collect();
    for expression in selector.items("matchExpressions") {
        let key = expression.str("key");
        if let Some(index) = keys.iter().rposition(|own| *own == key).filter(|_| seen.contains(key)) {
            let words = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid(&holder.path.index(index), &Value::from(key), words));
        }
        seen.insert(key);
    }
    if lists.len() < 2 {
        return;
    }
    let mismatches = texts("mismatchLabelKeys");
    for key in holder.items("matchLabelKeys") {
        if mismatches.contains(&key.text()) {
            errors.push(key.invalid("exists in both matchLabelKeys and mismatchLabelKeys"));
        }
    }
}

/// Tolerations.
pub fn tolerations(errors: &mut Errors, list: &At) {
    for toleration in list.elements() {
        let (key, value) = (toleration.child("key"), toleration.child("value"));
        let (operator, effect) = (toleration.child("operator"), toleration.child("effect"));
        if !key.text().is_empty() {
            checks::qualified_name(errors, &key);
        } else if operator.text() != "Exists" {
            let words =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(operator.invalid_as(operator.text(), words));
        }
        if toleration.has("tolerationSeconds") && effect.text() != "NoExecute" {
            let words = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(effect.invalid_as(effect.text(), words));
        }
        match operator.text() {
            "" | "Equal" => {
                let complaints = names::label_value(value.text());
                if !complaints.is_empty() {
                    errors.push(operator.invalid_as(value.text(), complaints.join(";")));
                }
            }
            "Exists" => {
                if !value.text().is_empty() {
                    let words = "value must be empty when `operator` is 'Exists'";
                    errors.push(operator.invalid_as(value.text(), words));
                }
            }
            "Lt" | "Gt" => errors.push(operator.not_supported(&["Equal", "Exists", "Lt", "Gt"])),
            _ => errors.push(operator.not_supported(&["Equal", "Exists"])),
        }
        if !effect.text().is_empty() {
            effect.one_of(errors, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

/// `schedulingGates`.
pub(super) fn gates(errors: &mut Errors, list: &At) {
    let mut seen = BTreeSet::new();
    for gate in list.elements() {
        let name = gate.child("name");
        let at = At::new(name.value, gate.path.clone());
        at.complain(errors, names::qualified_name(name.text()));
        if !seen.insert(name.text()) {
            errors.push(at.duplicate());
        }
    }
}

/// `schedulingGroup`.
pub(super) fn group(errors: &mut Errors, spec: &At) {
    let Some(group) = spec.some("schedulingGroup") else { return };
    let name = group.child("podGroupName");
    if name.value.is_null() {
        errors.push(name.invalid("must specify one of: `podGroupName`"));
    } else {
        checks::dns_subdomain(errors, &name);
    }
}

/// `topologySpreadConstraints`.
pub(super) fn spread(errors: &mut Errors, list: &At) {
    let constraints = list.elements();
    for (index, constraint) in constraints.iter().enumerate() {
        checks::positive(errors, &constraint.child("maxSkew"));
        let (topology, action) = (constraint.child("topologyKey"), constraint.child("whenUnsatisfiable"));
        if topology.text().is_empty() {
            errors.push(topology.required("can not be empty"));
        }
        action.one_of(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        let again = constraints[index + 1..].iter().any(|other| {
            other.str("topologyKey") == topology.text() && other.str("whenUnsatisfiable") == action.text()
        });
        if again {
            let shown = Value::from(format!("{{{}, {}}}", topology.text(), action.text()));
            let path = constraint.path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(FieldError::duplicate(&path, &shown));
        }
        if let Some(domains) = constraint.some("minDomains") {
            checks::positive(errors, &domains);
            if action.text() != "DoNotSchedule" {
                let words = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not";
                errors.push(domains.invalid(format!("{words} {}", action.text())));
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"].iter().filter_map(|key| constraint.some(key))
        {
            policy.one_of(errors, &["Honor", "Ignore"]);
        }
        label_keys(errors, constraint, &["matchLabelKeys"]);
        if let Some(selector) = constraint.some("labelSelector") {
            checks::label_selector(errors, &selector);
        }
    }
}
