//! Writes to a Pod's status (`ValidatePodStatusUpdate`).

use std::collections::BTreeSet;

use model::names;
use model::tree::TreeExt;
use serde_json::Value;

use crate::field::{Errors, FieldError};
use crate::rules::at::At;
use crate::rules::checks;
use crate::rules::pod::update;
use crate::rules::pod::validate;

const SYSTEM_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];
const STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];
const NOT_NEGATIVE: &str = "must be a non-negative integer";

/// Errors of a status write.
pub(super) fn validate(object: &Value, old: &Value) -> Errors {
    let mut errors = Errors::new();
    update::annotations(&mut errors, object, old);
    let pod = At::root(object);
    let (spec, status) = (pod.child("spec"), pod.child("status"));
    conditions(&mut errors, &status);
    if spec.str("nodeName") != old.text(&["spec", "nodeName"]) {
        errors.push(status.child("nodeName").forbidden("may not be changed directly"));
    }
    nominated_node(&mut errors, &status.child("nominatedNodeName"), old);
    if let Some(generation) = status.int("observedGeneration").filter(|generation| *generation < 0) {
        errors.push(status.child("observedGeneration").invalid_as(generation, NOT_NEGATIVE));
    }
    let class = status.child("qosClass");
    if class.text() != old.text(&["status", "qosClass"]) {
        errors.push(class.invalid_as(class.text(), checks::IMMUTABLE));
    }
    for (list, containers) in STATUSES {
        transitions(&mut errors, &status.child(list), old, list, containers);
    }
    claims(&mut errors, &spec, &status);
    validate::addresses(&mut errors, &status.child("podIPs"), old, "podIPs");
    host_addresses(&mut errors, &status, old);
    let os = spec.child("os").str("name");
    for (list, _) in STATUSES {
        status.items(list).iter().for_each(|container| user(&mut errors, container, os));
    }
    for (list, containers) in STATUSES {
        allocated(&mut errors, &spec, &status.child(list), containers);
    }
    errors
}

fn conditions(errors: &mut Errors, status: &At) {
    for condition in status.items("conditions") {
        if let Some(generation) = condition.int("observedGeneration").filter(|generation| *generation < 0) {
            errors.push(condition.child("observedGeneration").invalid_as(generation, NOT_NEGATIVE));
        }
        if !SYSTEM_CONDITIONS.contains(&condition.str("type")) {
            // Upstream writes the field's name with a capital.
            let kind = At::new(condition.child("type").value, condition.child("Type").path);
            checks::qualified_name(errors, &kind);
        }
    }
}

fn nominated_node(errors: &mut Errors, at: &At, old: &Value) {
    let name = at.text();
    if name.is_empty() || name == old.text(&["status", "nominatedNodeName"]) {
        return;
    }
    at.complain(errors, names::dns_subdomain(name));
    if !old.text(&["spec", "nodeName"]).is_empty() {
        errors.push(at.forbidden("may not be set on pods that are already bound to a node"));
    }
}

/// Whether the Pod's or the container's policy, or one of its rules, lets a container start again after an exit code.
fn restarts(spec: &Value, container: &Value, code: i64) -> bool {
    for rule in container.items(&["restartPolicyRules"]) {
        let listed = rule.items(&["exitCodes", "values"]).iter().any(|value| value.as_i64() == Some(code));
        let matches = match rule.text(&["exitCodes", "operator"]) {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if matches && matches!(rule.text(&["action"]), "Restart" | "RestartAllContainers") {
            return true;
        }
    }
    let policy = match container.text(&["restartPolicy"]) {
        "" => spec.text(&["restartPolicy"]),
        own => own,
    };
    match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

/// A terminated container may not run again unless it may restart.
fn transitions(errors: &mut Errors, new: &At, old: &Value, list: &str, containers: &str) {
    let spec = old.get("spec").unwrap_or(&Value::Null);
    let all = spec.items(&["containers"]).iter().chain(spec.items(&["initContainers"]));
    let restart_all = all
        .flat_map(|container| container.items(&["restartPolicyRules"]))
        .any(|rule| rule.text(&["action"]) == "RestartAllContainers");
    let ephemeral = containers == "ephemeralContainers";
    if restart_all && !ephemeral {
        return;
    }
    for (index, before) in old.items(&["status", list]).iter().enumerate() {
        let Some(ended) = before.at(&["state", "terminated"]) else { continue };
        let name = before.text(&["name"]);
        let now = new.value.as_array().into_iter().flatten().find(|status| status.text(&["name"]) == name);
        if now.is_none_or(|now| now.at(&["state", "terminated"]).is_some()) {
            continue;
        }
        let code = ended.integer(&["exitCode"]).unwrap_or_default();
        let container = spec.items(&[containers]).iter().find(|container| container.text(&["name"]) == name);
        if ephemeral || !container.is_some_and(|container| restarts(spec, container, code)) {
            let path = new.path.index(index).child("state");
            errors.push(FieldError::forbidden(&path, "may not be transitioned to non-terminated state"));
        }
    }
}

fn claims(errors: &mut Errors, spec: &At, status: &At) {
    let mut seen = BTreeSet::new();
    for claim in status.items("resourceClaimStatuses") {
        let name = claim.child("name");
        if !spec.items("resourceClaims").iter().any(|own| own.str("name") == name.text()) {
            let words = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(name.invalid_as(name.text(), words));
        }
        if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
        if let Some(object) = claim.some("resourceClaimName") {
            checks::dns_subdomain(errors, &object);
        }
    }
}

fn host_addresses(errors: &mut Errors, status: &At, old: &Value) {
    let list = status.child("hostIPs");
    let Some(first) = list.elements().into_iter().next() else { return };
    if status.str("hostIP") != first.str("ip") {
        errors.push(first.child("ip").invalid("must be equal to `hostIP`"));
    }
    validate::addresses(errors, &list, old, "hostIPs");
}

fn user(errors: &mut Errors, container: &At, os: &str) {
    let Some(user) = container.child("user").some("linux") else { return };
    match os {
        "windows" => errors.push(user.forbidden("cannot be set for a windows pod")),
        "" | "linux" => {
            for field in
                [user.child("uid"), user.child("gid")].into_iter().chain(user.items("supplementalGroups"))
            {
                field.complain(errors, names::user_or_group_id(field.number().unwrap_or_default()));
            }
        }
        _ => {}
    }
}

fn allocated(errors: &mut Errors, spec: &At, list: &At, containers: &str) {
    for status in list.elements() {
        let resources = status.items("allocatedResourcesStatus");
        if containers == "ephemeralContainers" {
            if !resources.is_empty() {
                let field = status.child("allocatedResourcesStatus");
                errors.push(field.forbidden("must not be specified in container status"));
            }
            continue;
        }
        let all = spec.items(containers);
        let container = all.iter().find(|container| container.str("name") == status.str("name"));
        for resource in resources {
            if let Some(container) = container {
                allocated_name(errors, container, &resource.child("name"));
            }
            let mut seen = BTreeSet::new();
            for health in resource.items("resources") {
                health.child("health").one_of(errors, &["Healthy", "Unhealthy", "Unknown"]);
                if let Some(message) = health.some("message")
                    && message.text().is_empty()
                {
                    errors.push(message.required("must be non-empty if specified"));
                }
                if !seen.insert(health.str("resourceID")) {
                    errors.push(health.child("resourceID").duplicate());
                }
            }
        }
    }
}

fn allocated_name(errors: &mut Errors, container: &At, name: &At) {
    let resources = container.child("resources");
    if name.text().starts_with("claim:") {
        let known = resources.items("claims").iter().any(|claim| {
            let request = claim.str("request");
            let suffix = if request.is_empty() { String::new() } else { format!("/{request}") };
            name.text() == format!("claim:{}{suffix}", claim.str("name"))
        });
        if !known {
            let words = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
                         'claim:<claimName>' if request is empty";
            errors.push(name.invalid(words));
        }
    } else if !resources.child("requests").has(name.text()) {
        errors.push(name.invalid("must match one of the container's resource requests"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ended_containers_stay_ended() {
        let pod = |policy: &str, state: Value| {
            json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": policy, "containers": [{"name": "c"}]},
                "status": {"containerStatuses": [{"name": "c", "state": state}]}})
        };
        let running = || json!({"running": {}});
        let ended = |code: i64| json!({"terminated": {"exitCode": code}});
        let table = [("Always", 0, 0), ("OnFailure", 1, 0), ("OnFailure", 0, 1), ("Never", 1, 1)];
        for (policy, code, expected) in table {
            let errors = validate(&pod(policy, running()), &pod(policy, ended(code)));
            assert_eq!(errors.len(), expected, "{policy} {code} {errors:?}");
        }
    }

    #[test]
    fn the_class_is_fixed() {
        let old = json!({"status": {"qosClass": "BestEffort"}});
        let errors = validate(&json!({"status": {"qosClass": "Burstable"}}), &old);
        assert_eq!(errors[0].to_cause().message, "Invalid value: \"Burstable\": field is immutable");
    }
}
