//! Containers of all three kinds: what they share, and what each kind may have.

use std::collections::BTreeSet;

use model::names;
use serde_json::Value;

use super::{Context, environment, handlers, mounts, resources, security};
use crate::field::{Errors, FieldError};
use crate::rules::at::{At, is_empty};
use crate::rules::checks;

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// App containers.
pub(super) fn apps(errors: &mut Errors, spec: &At, context: &Context) {
    let list = spec.child("containers");
    if list.is_empty() {
        errors.push(list.required(""));
        return;
    }
    let mut seen = BTreeSet::new();
    for container in list.elements() {
        common(errors, &container, context);
        if !seen.insert(container.str("name")) {
            errors.push(container.child("name").duplicate());
        }
        lifecycle_and_probes(errors, &container, context);
        restart_policy(errors, &container);
    }
    host_port_conflicts(errors, &list.elements());
}

/// Init containers, sidecars among them.
pub(super) fn init(errors: &mut Errors, spec: &At, context: &Context) {
    let apps = spec.items("containers");
    let mut seen: BTreeSet<&str> = apps.iter().map(|container| container.str("name")).collect();
    for container in spec.items("initContainers") {
        common(errors, &container, context);
        let sidecar = container.str("restartPolicy") == "Always";
        restart_policy(errors, &container);
        let name = container.str("name");
        if seen.contains(name) {
            errors.push(container.child("name").duplicate());
        } else if !name.is_empty() {
            seen.insert(name);
        }
        // Upstream gives the path of the first container here, whichever it is.
        let first = At::new(container.value, spec.child("initContainers").path.index(0));
        host_port_conflicts(errors, &[first]);
        if sidecar {
            lifecycle_and_probes(errors, &container, context);
        } else {
            let keys = std::iter::once("lifecycle").chain(PROBES);
            for field in keys.filter_map(|key| container.some(key)) {
                errors
                    .push(field.forbidden("may not be set for init containers without restartPolicy=Always"));
            }
            for policy in container.items("resizePolicy") {
                let restart = policy.child("restartPolicy");
                if restart.text() == "RestartContainer" {
                    let words = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                    errors.push(restart.invalid(words));
                }
            }
        }
    }
}

/// Fields that an ephemeral container may not have, in the order of upstream's struct.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// Ephemeral containers.
pub(super) fn ephemeral(errors: &mut Errors, spec: &At, context: &Context) {
    let containers = [spec.items("containers"), spec.items("initContainers")].concat();
    let others: BTreeSet<&str> = containers.iter().map(|container| container.str("name")).collect();
    let mut seen = others.clone();
    for container in spec.items("ephemeralContainers") {
        common(errors, &container, context);
        super::trimmed_image(errors, &container);
        if !seen.insert(container.str("name")) {
            errors.push(container.child("name").duplicate());
        }
        let target = container.child("targetContainerName");
        if !target.text().is_empty() && !others.contains(target.text()) {
            errors.push(target.not_found());
        }
        for key in NOT_EPHEMERAL {
            let value = container.value.get(key).unwrap_or(&Value::Null);
            let set =
                if key == "lifecycle" || PROBES.contains(&key) { !value.is_null() } else { !is_empty(value) };
            if set {
                errors.push(container.child(key).forbidden("cannot be set for an Ephemeral Container"));
            }
        }
        for mount in container.items("volumeMounts") {
            for key in ["subPath", "subPathExpr"] {
                if !mount.str(key).is_empty() {
                    errors.push(mount.child(key).forbidden("cannot be set for an Ephemeral Container"));
                }
            }
        }
    }
}

fn common(errors: &mut Errors, container: &At, context: &Context) {
    if container.require(errors, "name") {
        checks::dns_label(errors, &container.child("name"));
    }
    container.require(errors, "image");
    let message = container.child("terminationMessagePolicy");
    message.required_one_of(errors, &["File", "FallbackToLogsOnError"]);
    ports(errors, container);
    environment::variables(errors, container);
    environment::sources(errors, container);
    mounts::mounts(errors, container, context);
    mounts::devices(errors, container, context);
    container.child("imagePullPolicy").required_one_of(errors, &["Always", "IfNotPresent", "Never"]);
    resources::of_container(errors, &container.child("resources"), &context.claims);
    resize_policy(errors, container, context);
    security::of_container(errors, &container.child("securityContext"), context.host_users);
}

fn lifecycle_and_probes(errors: &mut Errors, container: &At, context: &Context) {
    if let Some(lifecycle) = container.some("lifecycle") {
        handlers::lifecycle(errors, &lifecycle, context);
    }
    for key in PROBES {
        if let Some(probe) = container.some(key) {
            handlers::probe(errors, &probe, key, context.grace_s);
        }
    }
}

fn ports(errors: &mut Errors, container: &At) {
    let mut seen = BTreeSet::new();
    for port in container.items("ports") {
        let name = port.child("name");
        if !name.text().is_empty() {
            let complaints = names::port_name(name.text());
            if complaints.is_empty() {
                if !seen.insert(name.text()) {
                    errors.push(name.duplicate());
                }
            } else {
                name.complain(errors, complaints);
            }
        }
        let own = port.child("containerPort");
        match own.number().unwrap_or_default() {
            0 => errors.push(own.required("")),
            number => own.complain(errors, names::port_number(number)),
        }
        let host = port.child("hostPort");
        if let Some(number) = host.number().filter(|number| *number != 0) {
            host.complain(errors, names::port_number(number));
        }
        port.child("protocol").required_one_of(errors, &["SCTP", "TCP", "UDP"]);
    }
}

fn host_port_conflicts(errors: &mut Errors, containers: &[At]) {
    let mut seen = BTreeSet::new();
    for container in containers {
        for port in container.items("ports") {
            let number = port.int("hostPort").unwrap_or_default();
            let key = format!("{}/{}/{number}", port.str("protocol"), port.str("hostIP"));
            if number != 0 && !seen.insert(key.clone()) {
                errors.push(FieldError::duplicate(&port.child("hostPort").path, &Value::from(key)));
            }
        }
    }
}

fn resize_policy(errors: &mut Errors, container: &At, context: &Context) {
    let list = container.child("resizePolicy");
    let mut seen = BTreeSet::new();
    for policy in list.elements() {
        let resource = policy.child("resourceName");
        if !seen.insert(resource.text()) {
            errors.push(FieldError::duplicate(&policy.path, resource.value));
        }
        let at_list = |field: At<'_>| -> Value { Value::from(field.text()) };
        let (resource, restart) = (at_list(resource), at_list(policy.child("restartPolicy")));
        At::new(&resource, list.path.clone()).required_one_of(errors, &["cpu", "memory"]);
        let restart = At::new(&restart, list.path.clone());
        restart.required_one_of(errors, &["NotRequired", "RestartContainer"]);
        if context.restart_policy == "Never" && restart.text() != "NotRequired" {
            errors.push(restart.invalid("must be 'NotRequired' when pod `restartPolicy` is 'Never'"));
        }
    }
}

/// A container's own restart policy and the rules by exit code.
fn restart_policy(errors: &mut Errors, container: &At) {
    let rules = container.items("restartPolicyRules");
    let policy = container.child("restartPolicy");
    if policy.value.is_null() {
        if !rules.is_empty() {
            errors.push(policy.required("must specify restartPolicy when restart rules are used"));
        }
        if container.path.to_string().contains("initContainers") {
            return;
        }
    } else {
        policy.one_of(errors, &["Always", "Never", "OnFailure"]);
    }
    if rules.len() > 20 {
        errors.push(FieldError::too_many(&container.child("restartPolicyRules").path, rules.len(), 20));
    }
    for rule in rules {
        rule.child("action").one_of(errors, &["Restart", "RestartAllContainers"]);
        let codes = rule.child("exitCodes");
        if codes.value.is_null() {
            errors.push(codes.required("must be specified"));
            continue;
        }
        codes.child("operator").one_of(errors, &["In", "NotIn"]);
        let count = codes.len_of("values");
        if count > 255 {
            errors.push(FieldError::too_many(&codes.child("values").path, count, 255));
        }
    }
}
