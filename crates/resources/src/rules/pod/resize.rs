//! The `resize` subresource: CPU and memory of containers and of the Pod may change, nothing else (`ValidatePodResize`).

use model::tree::TreeExt;
use serde_json::{Map, Value, json};

use crate::field::{Errors, FieldError, Path};
use crate::rules::at::{At, same};
use crate::rules::pod::validate::MIRROR;
use crate::rules::pod::{qos, update};

const ONLY: &str = "only cpu and memory resources are mutable";

/// Errors of a resize.
pub(super) fn validate(object: &Value, old: &Value) -> Errors {
    let whole = |words: &str| vec![FieldError::forbidden(&Path::new(""), words)];
    if old.at(&["metadata", "annotations", MIRROR]).is_some() {
        return whole("static pods cannot be resized");
    }
    if old.text(&["spec", "os", "name"]) == "windows" {
        return whole("windows pods cannot be resized");
    }
    let mut errors = update::whole(object);
    let (new, before) = (At::root(object).child("spec"), At::root(old).child("spec"));
    let class = match old.text(&["status", "qosClass"]) {
        "" => qos::class(before.value),
        class => class,
    };
    if class != qos::class(new.value) {
        let shown = object.text(&["status", "qosClass"]);
        errors.push(new.invalid_as(shown, "Pod QOS Class may not change as a result of resizing"));
    }
    if !supported(old) {
        errors.push(new.forbidden("Pod running on node without support for resize"));
    }
    let mut munged = new.value.clone();
    pod_level(&mut errors, &new, &before, &mut munged);
    if !old.items(&["status", "nodeAllocatableResourceClaimStatuses"]).is_empty() {
        errors.push(new.forbidden("pods with node allocatable resource claims cannot be resized"));
    }
    if !same_order(&mut errors, &new, &before) {
        return errors;
    }
    for key in ["initContainers", "containers"] {
        for (container, before) in new.items(key).iter().zip(before.items(key)) {
            kept(&mut errors, &container.child("resources"), before.child("resources").value, "resource");
        }
    }
    containers(&mut errors, &new, &before, &mut munged);
    if errors.is_empty() && !same(Some(&munged), Some(before.value)) {
        errors.push(new.forbidden(ONLY));
    }
    errors
}

/// A node that reports no resources of a running container cannot resize.
fn supported(pod: &Value) -> bool {
    let running = pod.items(&["status", "containerStatuses"]).iter();
    let mut running = running.filter(|status| status.at(&["state", "running"]).is_some());
    running.next().is_none_or(|status| status.at(&["resources"]).is_some())
}

fn same_order(errors: &mut Errors, new: &At, old: &At) -> bool {
    let count = errors.len();
    for key in ["containers", "initContainers"] {
        let (list, before) = (new.items(key), old.items(key));
        if list.len() != before.len() {
            errors.push(new.child(key).forbidden(format!("{key} may not be added or removed on resize")));
            continue;
        }
        for (container, before) in list.iter().zip(&before) {
            if container.str("name") != before.str("name") {
                let words = format!("{key} may not be renamed or reordered on resize");
                errors.push(container.child("name").forbidden(words));
            }
        }
    }
    errors.len() == count
}

/// Requests and limits may not disappear.
fn kept(errors: &mut Errors, new: &At, old: &Value, what: &str) {
    for key in ["requests", "limits"] {
        let before = old.at(&[key]).and_then(Value::as_object);
        let list = new.child(key);
        if before.into_iter().flatten().any(|(name, _)| !list.has(name)) {
            errors.push(list.forbidden(format!("{what} {key} cannot be removed")));
        }
    }
}

fn pod_level(errors: &mut Errors, new: &At, old: &At, munged: &mut Value) {
    let (resources, before) = (new.child("resources"), old.child("resources"));
    let set = |at: &At| at.len_of("requests") + at.len_of("limits") > 0;
    if !set(&resources) && !set(&before) {
        return;
    }
    if !before.value.is_null() && resources.value.is_null() {
        errors.push(resources.forbidden("pod-level resources cannot be removed"));
        return;
    }
    if !before.value.is_null() {
        kept(errors, &resources, before.value, "pod-level resource");
    }
    let mut own = resources.value.clone();
    restore_compute(&mut own, before.value);
    if before.value.is_null() && own.items(&["claims"]).is_empty() {
        let bare =
            ["requests", "limits"].iter().all(|key| own.at(&[key]).is_none_or(crate::rules::at::is_empty));
        if bare {
            own = Value::Null;
        }
    }
    if !same(Some(&own), Some(before.value)) {
        errors.push(new.forbidden("only cpu and memory resources are mutable at pod-level"));
    }
    match own {
        Value::Null => {
            munged.unset(&["resources"]);
        }
        own => munged.set(&["resources"], own),
    }
}

fn containers(errors: &mut Errors, new: &At, old: &At, munged: &mut Value) {
    for key in ["containers", "initContainers"] {
        let mut list = Vec::new();
        for (container, before) in new.items(key).iter().zip(old.items(key)) {
            let mut own = container.value.clone();
            let changed = !same(Some(&own), Some(before.value));
            let mut resources = own.at(&["resources"]).cloned().unwrap_or_else(|| json!({}));
            restore_compute(&mut resources, before.child("resources").value);
            resources.unset(&["claims"]);
            own.set(&["resources"], resources);
            let differs = !same(Some(&own), Some(before.value));
            if key == "containers" {
                if differs {
                    errors.push(new.forbidden(ONLY));
                }
            } else {
                if differs {
                    let words = "only cpu and memory resources for init or sidecar containers are mutable";
                    errors.push(container.forbidden(words));
                }
                let restarts = container.items("resizePolicy").into_iter();
                let restarts = restarts.filter(|policy| policy.str("restartPolicy") == "RestartContainer");
                if changed && container.str("restartPolicy") != "Always" {
                    let words = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                    errors.extend(restarts.map(|_| container.forbidden(words)));
                }
            }
            list.push(own);
        }
        if !list.is_empty() {
            munged.set(&[key], Value::Array(list));
        }
    }
}

/// Sets CPU and memory to what they were.
fn restore_compute(resources: &mut Value, old: &Value) {
    for key in ["limits", "requests"] {
        let list = resources.at(&[key]).and_then(Value::as_object).cloned();
        let before = old.at(&[key]).and_then(Value::as_object);
        if list.is_none() && before.is_none() {
            continue;
        }
        let mut list: Map<String, Value> = list.unwrap_or_default();
        for name in ["cpu", "memory"] {
            list.remove(name);
            if let Some(amount) = before.and_then(|before| before.get(name)) {
                list.insert(name.to_owned(), amount.clone());
            }
        }
        if list.is_empty() {
            resources.unset(&[key]);
        } else {
            resources.set(&[key], Value::Object(list));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;
    use crate::rules::pod::Pod;

    #[test]
    fn only_compute_resources_change() {
        let mut old = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"serviceAccountName": "s",
            "containers": [{"name": "c", "image": "i:1", "resources": {"requests": {"cpu": "1"}}}]}});
        Pod.default(&mut old);
        Pod.prepare_for_create(&mut old);
        let check = |change: &dyn Fn(&mut Value), expected: &[&str]| {
            let mut new = old.clone();
            change(&mut new);
            let errors = Pod.validate_update(&new, &old, Some("resize"));
            let texts: Vec<String> = errors.iter().map(|error| error.to_cause().message).collect();
            assert_eq!(texts.len(), expected.len(), "{texts:?}");
            for (text, part) in texts.iter().zip(expected) {
                assert!(text.contains(part), "{text}");
            }
        };
        check(&|pod| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2"), &[]);
        check(&|pod| pod["spec"]["containers"][0]["image"] = json!("i:2"), &[ONLY]);
        check(
            &|pod| pod["spec"]["containers"][0]["resources"] = json!({}),
            &["QOS Class may not change", "requests cannot be removed"],
        );
        check(&|pod| pod["spec"]["hostNetwork"] = json!(true), &[ONLY]);
    }
}
