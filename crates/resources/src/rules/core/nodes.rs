//! Nodes: what a node may say of itself on joining, and what does not change afterwards.

use std::collections::BTreeSet;

use model::names;
use model::tree::TreeExt;
use serde_json::Value;

use crate::field::{Errors, Fault, FieldError, Path};
use crate::rules::at::{At, same};
use crate::rules::kind::{Kind, nothing};
use crate::rules::{checks, fill};

const CIDR_FIXED: &str = "node updates may not change podCIDR except from \"\" to valid";
const PROVIDER_FIXED: &str = "node updates may not change providerID except from \"\" to valid";

/// The rules of nodes. A new node brings its status along.
pub const NODE: Kind = Kind {
    default,
    create: nothing,
    validate,
    validate_update: Some(validate_update),
    fields: &["spec.unschedulable"],
    field: |object, _| {
        object.at(&["spec", "unschedulable"]).and_then(Value::as_bool).unwrap_or_default().to_string()
    },
    ..Kind::PLAIN
};

fn default(object: &mut Value) {
    if let Some(status) = fill::some(object, "status") {
        if let Some(capacity) = status.get("capacity").filter(|capacity| !capacity.is_null()).cloned() {
            fill::pointer(status, "allocatable", capacity);
        }
        fill::round_resources(status, &["capacity", "allocatable"]);
    }
    // The single and the plural form of the Pod network follow each other.
    let single = object.text(&["spec", "podCIDR"]).to_owned();
    let first = object.pointer("/spec/podCIDRs/0").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !single.is_empty() && single != first {
        object.set(&["spec", "podCIDRs"], vec![single]);
    } else if single.is_empty() && !first.is_empty() {
        object.set(&["spec", "podCIDR"], first);
    }
}

fn validate(errors: &mut Errors, node: &At) {
    taints(errors, node);
    amounts(errors, node);
    let cidrs = node.child("spec").child("podCIDRs");
    cidrs.elements().iter().for_each(|cidr| checks::legacy_cidr(errors, cidr));
    let texts: Vec<&str> = cidrs.elements().iter().map(At::text).collect();
    if !checks::at_most_one_per_family(&texts) {
        errors.push(cidrs.invalid("may specify no more than one CIDR for each IP family"));
    }
}

fn validate_update(errors: &mut Errors, new: &At, old: &At, _subresource: Option<&str>) {
    amounts(errors, new);
    let mut seen = BTreeSet::new();
    for address in new.child("status").items("addresses") {
        if !seen.insert((address.str("type"), address.str("address"))) {
            let [kind, text] = ["type", "address"].map(|key| Value::from(address.str(key)));
            errors.push(FieldError {
                fault: Fault::Duplicate,
                path: address.path.clone(),
                value: format!("{{\"Type\":{kind},\"Address\":{text}}}"),
                detail: String::new(),
            });
        }
    }
    let (spec, before) = (new.child("spec"), old.child("spec"));
    let cidrs = before.child("podCIDRs");
    if !cidrs.is_empty() && !same(Some(spec.child("podCIDRs").value), Some(cidrs.value)) {
        errors.push(spec.child("podCIDRs").forbidden(CIDR_FIXED));
    }
    let provider = before.str("providerID");
    if !provider.is_empty() && provider != spec.str("providerID") {
        errors.push(spec.child("providerID").forbidden(PROVIDER_FIXED));
    }
    taints(errors, new);
    if spec.str("externalID") != before.str("externalID") {
        errors.push(spec.child("externalID").forbidden("may not be updated"));
    }
}

fn amounts(errors: &mut Errors, node: &At) {
    for list in ["capacity", "allocatable"] {
        for (name, amount) in node.child("status").entries(list) {
            // Upstream gives the resource as a field here.
            let path = Path::new(format!("status.{list}.{name}"));
            checks::resource_quantity(errors, name, &At::new(amount.value, path));
        }
    }
}

/// Taints; upstream gives them below `metadata`.
fn taints(errors: &mut Errors, node: &At) {
    let mut seen = BTreeSet::new();
    let list = At::new(node.child("spec").child("taints").value, Path::new("metadata.taints"));
    for taint in list.elements() {
        checks::qualified_name(errors, &taint.child("key"));
        let value = taint.child("value");
        let complaints = names::label_value(value.text());
        if !complaints.is_empty() {
            errors.push(value.invalid(complaints.join(";")));
        }
        taint.child("effect").required_one_of(errors, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        if !seen.insert((taint.str("effect"), taint.str("key"))) {
            let text = |key: &str| Value::from(taint.str(key));
            let time = taint.value.get("timeAdded").unwrap_or(&Value::Null);
            errors.push(FieldError {
                fault: Fault::Duplicate,
                path: taint.path.clone(),
                value: format!(
                    "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{time}}}",
                    text("key"),
                    text("value"),
                    text("effect")
                ),
                detail: "taints must be unique by key and effect pair".into(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;
    use serde_json::json;

    #[test]
    fn status_comes_with_the_node() {
        let mut object = json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "10.0.0.0/24"},
            "status": {"capacity": {"cpu": "2"}}});
        NODE.default(&mut object);
        NODE.prepare_for_create(&mut object);
        assert_eq!(object["status"]["allocatable"]["cpu"], "2");
        assert_eq!(object["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
        assert!(NODE.validate(&object).is_empty());
    }

    #[test]
    fn networks_do_not_change() {
        let old = json!({"spec": {"podCIDRs": ["10.0.0.0/24"], "providerID": "a"}});
        let new = json!({"spec": {"podCIDRs": ["10.0.1.0/24"], "providerID": "b",
            "taints": [{"key": "a", "effect": "NoExecute"}, {"key": "a", "effect": "NoExecute"}]}});
        let errors = NODE.validate_update(&new, &old, None);
        let texts: Vec<String> = errors.iter().map(|error| error.path.to_string()).collect();
        assert_eq!(texts, ["spec.podCIDRs", "spec.providerID", "metadata.taints[1]"]);
    }
}
