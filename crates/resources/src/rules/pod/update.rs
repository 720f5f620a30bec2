//! What an update of a Pod may change: images, the deadline downwards, tolerations by addition, gates by removal; while
//! gated, also node selectors by addition (`ValidatePodUpdate`).

use model::names;
use model::tree::TreeExt;
use serde_json::Value;

use crate::field::{Errors, FieldError, Path};
use crate::rules::at::{At, same};
use crate::rules::pod::prepare::APP_ARMOR;
use crate::rules::pod::validate::{self, MIRROR};
use crate::rules::{diff, internal, metadata};

const UPDATABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
                         `spec.tolerations` (only additions to existing tolerations),\
                         `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Errors of the Pod's metadata and spec as on creation: upstream looks at them on every update too.
pub(super) fn whole(object: &Value) -> Errors {
    let mut errors = metadata::validate_create(object, true, &names::dns_subdomain_name, true);
    errors.extend(validate::metadata_and_spec(object));
    errors
}

/// Errors of an update of the Pod itself.
pub(super) fn validate(object: &Value, old: &Value) -> Errors {
    let mut errors = whole(object);
    annotations(&mut errors, object, old);
    let (new, before) = (At::root(object).child("spec"), At::root(old).child("spec"));
    for key in ["containers", "initContainers"] {
        if !containers(&mut errors, &new.child(key), &before.child(key)) {
            return errors;
        }
    }
    if !deadline(&mut errors, &new, &before) {
        return errors;
    }
    added_tolerations(&mut errors, &new.child("tolerations"), &before);
    removed_gates(&mut errors, &new.child("schedulingGates"), &before);
    if same(Some(new.value), Some(before.value)) {
        return errors;
    }
    let mut munged = new.value.clone();
    undo_permitted(&mut munged, before.value);
    if !before.child("schedulingGates").is_empty() {
        gated_changes(&mut errors, &mut munged, &new, &before);
    }
    if !same(Some(&munged), Some(before.value)) {
        let [left, right] =
            [before.value, &munged].map(|spec| internal::pretty("PodSpec", &internal::pod_spec(spec)));
        let words = format!(
            "pod updates may not change fields other than {UPDATABLE}\n{}",
            diff::unified(&left, &right)
        );
        errors.push(new.forbidden(words));
    }
    errors
}

/// Annotations that may not be added, changed or removed (`ValidatePodSpecificAnnotationUpdates` but for the checks of
/// the new ones).
pub(super) fn annotation_changes(errors: &mut Errors, object: &Value, old: &Value) {
    let map = |object: &Value| {
        object.at(&["metadata", "annotations"]).and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let (new, before) = (map(object), map(old));
    let path = metadata::path().child("annotations");
    let mut refuse = |key: &str, what: &str| {
        if key.starts_with(APP_ARMOR) {
            errors
                .push(FieldError::forbidden(&path.key(key), format!("may not {what} AppArmor annotations")));
        }
        if key == MIRROR {
            errors
                .push(FieldError::forbidden(&path.key(key), format!("may not {what} mirror pod annotation")));
        }
    };
    before.iter().filter(|(key, value)| new.get(*key) != Some(value)).for_each(|(key, _)| {
        refuse(key, "remove or update");
    });
    new.keys().filter(|key| !before.contains_key(*key)).for_each(|key| refuse(key, "add"));
}

/// Both parts of upstream's check of annotations on updates.
pub(super) fn annotations(errors: &mut Errors, object: &Value, old: &Value) {
    annotation_changes(errors, object, old);
    let pod = At::root(object);
    validate::annotations::check(errors, &pod.child("metadata").child("annotations"), &pod.child("spec"));
}

/// Containers stay as many as they are; false if they do not.
fn containers(errors: &mut Errors, new: &At, old: &At) -> bool {
    if new.elements().len() != old.elements().len() {
        errors.push(new.forbidden("pod updates may not add or remove containers"));
        return false;
    }
    for container in new.elements() {
        let image = container.child("image");
        if image.text().is_empty() {
            errors.push(image.required(""));
        }
        if image.text().trim() != image.text() {
            errors.push(image.invalid("must not have leading or trailing whitespace"));
        }
    }
    true
}

/// The deadline may only come nearer; false if checking ends here.
fn deadline(errors: &mut Errors, new: &At, old: &At) -> bool {
    let field = new.child("activeDeadlineSeconds");
    match (field.number(), old.int("activeDeadlineSeconds")) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            errors.push(field.invalid(names::not_between(0, i64::from(i32::MAX))));
            return false;
        }
        (Some(seconds), Some(before)) if before < seconds => {
            errors.push(field.invalid("must be less than or equal to previous value"));
            return false;
        }
        (None, Some(_)) => errors.push(field.invalid("must not update from a positive integer to nil value")),
        _ => {}
    }
    true
}

fn added_tolerations(errors: &mut Errors, new: &At, old: &At) {
    let plain = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration.unset(&["tolerationSeconds"]);
        toleration
    };
    let kept: Vec<Value> = new.elements().iter().map(|toleration| plain(toleration.value)).collect();
    for toleration in old.items("tolerations") {
        let before = plain(toleration.value);
        if !kept.iter().any(|own| same(Some(own), Some(&before))) {
            errors
                .push(new.forbidden("existing toleration can not be modified except its tolerationSeconds"));
            return;
        }
    }
    validate::tolerations(errors, new);
}

fn removed_gates(errors: &mut Errors, new: &At, old: &At) {
    let gates = old.items("schedulingGates");
    let before: Vec<&str> = gates.iter().map(|gate| gate.str("name")).collect();
    for gate in new.elements() {
        let name = gate.child("name");
        if !before.contains(&name.text()) {
            let words = format!("only deletion is allowed, but found new scheduling gate '{}'", name.text());
            errors.push(name.forbidden(words));
        }
    }
}

/// Takes back what an update may change.
fn undo_permitted(munged: &mut Value, old: &Value) {
    for key in ["containers", "initContainers"] {
        let before = old.items(&[key]);
        let list = munged.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
        for (container, before) in list.zip(before) {
            restore(container, before, "image");
        }
    }
    for key in ["activeDeadlineSeconds", "schedulingGates", "tolerations"] {
        restore(munged, old, key);
    }
    let negative = old.integer(&["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0);
    if negative && munged.integer(&["terminationGracePeriodSeconds"]) == Some(1) {
        restore(munged, old, "terminationGracePeriodSeconds");
    }
}

fn restore(object: &mut Value, old: &Value, key: &str) {
    match old.at(&[key]) {
        Some(value) => object.set(&[key], value.clone()),
        None => {
            object.unset(&[key]);
        }
    }
}

/// A gated Pod may get a narrower node selector and node affinity.
fn gated_changes(errors: &mut Errors, munged: &mut Value, new: &At, old: &At) {
    let selector = new.child("nodeSelector");
    let lost = old.entries("nodeSelector").iter().any(|(key, at)| selector.value.get(*key) != Some(at.value));
    if lost {
        let words = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.push(selector.invalid(words));
    }
    restore(munged, old.value, "nodeSelector");
    let path = ["affinity", "nodeAffinity"];
    let before = old.value.at(&path);
    if same(munged.at(&path), before) {
        return;
    }
    narrower_affinity(errors, &new.child("affinity").child("nodeAffinity"), before);
    match before {
        Some(before) => munged.set(&path, before.clone()),
        None => {
            munged.unset(&path);
            let bare =
                munged.at(&["affinity"]).and_then(Value::as_object).is_some_and(serde_json::Map::is_empty);
            if bare && old.value.at(&["affinity"]).is_none() {
                munged.unset(&["affinity"]);
            }
        }
    }
}

fn narrower_affinity(errors: &mut Errors, new: &At, old: Option<&Value>) {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let Some(old) = old.and_then(|old| old.at(&[required])) else { return };
    let before = old.items(&["nodeSelectorTerms"]);
    let terms = new.child(required).child("nodeSelectorTerms");
    let shown = |value: &Value| internal::compact("NodeSelectorTerm", value);
    if !before.is_empty() && before.len() != terms.elements().len() {
        let all: Vec<String> = terms.elements().iter().map(|term| shown(term.value)).collect();
        let all = if all.is_empty() { "null".into() } else { format!("[{}]", all.join(",")) };
        let words = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.push(terms.invalid_shown(all, words));
        return;
    }
    for (term, before) in terms.elements().iter().zip(before) {
        let lists = ["matchExpressions", "matchFields"];
        let none = lists.iter().all(|key| before.items(&[key]).is_empty());
        let grown = lists.iter().any(|key| !term.value.items(&[key]).is_empty());
        let kept = |key: &&str| {
            let (new, old) = (term.value.items(&[key]), before.items(&[key]));
            new.len() >= old.len() && new.iter().zip(old).all(|(new, old)| same(Some(new), Some(old)))
        };
        if (none && grown) || !lists.iter().all(kept) {
            let words = "only additions are allowed (no mutations or deletions)";
            errors.push(term.invalid_shown(shown(term.value), words));
        }
    }
}

/// Errors of a write to the ephemeral containers: they may only be added to.
pub(super) fn ephemeral_containers(object: &Value, old: &Value) -> Errors {
    if old.at(&["metadata", "annotations", MIRROR]).is_some() {
        let words = "static pods do not support ephemeral containers";
        return vec![FieldError::forbidden(&Path::new(""), words)];
    }
    let mut errors = whole(object);
    annotations(&mut errors, object, old);
    let list = At::root(object).child("spec").child("ephemeralContainers");
    let containers = list.elements();
    for before in old.items(&["spec", "ephemeralContainers"]) {
        let name = before.text(&["name"]);
        match containers.iter().rev().find(|container| container.str("name") == name) {
            None => {
                let words = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(list.forbidden(words));
            }
            Some(container) if !same(Some(container.value), Some(before)) => {
                let [left, right] =
                    [before, container.value].map(|value| internal::pretty("EphemeralContainer", value));
                let difference = diff::unified(&left, &right);
                let words =
                    format!("existing ephemeral containers {name:?} may not be changed\n{difference}");
                errors.push(list.forbidden(words));
            }
            Some(_) => {}
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;
    use crate::rules::pod::Pod;
    use serde_json::json;

    fn pod() -> Value {
        let mut object = json!({"metadata": {"name": "p", "namespace": "n", "resourceVersion": "1"}, "spec": {
            "serviceAccountName": "default",
            "containers": [{"name": "c", "image": "i:1"}],
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]}});
        Pod.default(&mut object);
        object
    }

    fn check(change: impl Fn(&mut Value), expected: &[&str]) {
        let old = pod();
        let mut new = old.clone();
        change(&mut new);
        let errors = Pod.validate_update(&new, &old, None);
        let texts: Vec<String> =
            errors.iter().map(|error| format!("{}: {}", error.path, error.to_cause().message)).collect();
        assert_eq!(texts.len(), expected.len(), "{texts:?}");
        for (text, part) in texts.iter().zip(expected) {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn what_may_change() {
        check(|_| {}, &[]);
        check(|pod| pod.set(&["metadata", "labels"], json!({"a": "b"})), &[]);
        check(|pod| pod["spec"]["containers"][0]["image"] = json!("i:2"), &[]);
        check(|pod| pod["spec"]["activeDeadlineSeconds"] = json!(5), &[]);
        check(|pod| pod["spec"]["tolerations"][0]["tolerationSeconds"] = json!(5), &[]);
        check(|pod| pod["spec"]["tolerations"] = json!([]), &["existing toleration can not be modified"]);
        check(|pod| pod["spec"]["schedulingGates"] = json!([{"name": "g"}]), &["only deletion is allowed"]);
        check(|pod| pod["spec"]["nodeSelector"] = json!({"a": "b"}), &["pod updates may not change fields"]);
        check(
            |pod| pod["spec"]["containers"] = json!([]),
            &["spec.containers: Required value", "may not add or remove containers"],
        );
        check(
            |pod| pod["metadata"]["annotations"] = json!({(MIRROR): "x"}),
            &["must set spec.nodeName", "may not add mirror", "must set"],
        );
    }

    /// A Pod as `kubectl run redis` makes it, and upstream's recorded answer to a change of its command.
    #[test]
    fn the_difference_is_shown_as_upstream_does() {
        // The Pod of the recording has a second ConfigMap in its token volume; line numbers count its lines too.
        let mut old = pod();
        old["spec"]["containers"][0] = json!({"name": "redis", "image": "redis",
            "volumeMounts": [{"name": "kube-api-access-x", "mountPath": "/x", "readOnly": true}]});
        old["spec"]["volumes"] = json!([{"name": "kube-api-access-x", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            {"configMap": {"name": "service-ca.crt", "items": [{"key": "service-ca.crt", "path": "service-ca.crt"}]}},
        ]}}]);
        Pod.default(&mut old);
        let mut new = old.clone();
        new["spec"]["containers"][0]["command"] = json!(["x"]);
        let errors = Pod.validate_update(&new, &old, None);
        let expected = "\n@@ -111,7 +111,9 @@\n   {\n    \"Name\": \"redis\",\n    \"Image\": \"redis\",\n-   \
                        \"Command\": null,\n+   \"Command\": [\n+    \"x\"\n+   ],\n    \"Args\": null,\n    \
                        \"WorkingDir\": \"\",\n    \"Ports\": null,\n";
        assert!(errors[0].detail.ends_with(expected), "{}", errors[0].detail);
    }
}
