//! What a write to a Pod may touch, and what the server sets by itself (upstream's Pod strategies).

use model::tree::TreeExt;
use serde_json::{Map, Value, json};

use crate::rules::at::same;
use crate::rules::pod::{disabled, qos};
use crate::rules::{checks, fill, generic_update};

/// Metadata that writes to a subresource cannot change (`ResetObjectMetaForStatus`).
const METADATA_KEPT: [&str; 8] = [
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "ownerReferences",
    "labels",
    "annotations",
    "finalizers",
    "selfLink",
];

/// A new Pod: a fresh status, merged label keys, the AppArmor annotation as a field.
pub fn for_create(object: &mut Value) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let mut status = json!({"phase": "Pending", "qosClass": qos::class(spec)});
    if !spec.items(&["schedulingGates"]).is_empty() {
        status["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": null,
        }]);
    }
    object.set(&["status"], status);
    if let Some(spec) = fill::some(object, "spec") {
        disabled::drop(spec, None);
    }
    let labels = object.at(&["metadata", "labels"]).and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(spec) = fill::some(object, "spec") {
        merge_label_keys(spec, &labels);
    }
    app_armor_fields(object);
}

/// An update of the Pod itself or of one of its subresources.
pub fn for_update(object: &mut Value, old: &Value, subresource: Option<&str>) {
    match subresource {
        Some("status") => return for_status_update(object, old),
        Some("ephemeralcontainers") => keep_all_but_ephemeral(object, old),
        Some("resize") => keep_all_but_resources(object, old),
        _ => generic_update(object, old, subresource),
    }
    if let Some(spec) = fill::some(object, "spec") {
        disabled::drop(spec, old.get("spec"));
    }
}

fn for_status_update(object: &mut Value, old: &Value) {
    generic_update(object, old, Some("status"));
    for key in ["deletionTimestamp", "ownerReferences"] {
        keep(object, old, &["metadata", key]);
    }
    if object.text(&["status", "qosClass"]).is_empty() {
        keep(object, old, &["status", "qosClass"]);
    }
    keep_observed_generations(object, old);
    for key in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        let Some(status) = fill::some(object, "status") else { return };
        for container in fill::items(status, key) {
            for mount in fill::items(container, "volumeMounts") {
                fill::drop(mount, "volumeStatus");
            }
        }
    }
}

/// Clients that know nothing of `observedGeneration` do not reset it (`preserveOldObservedGeneration`).
fn keep_observed_generations(object: &mut Value, old: &Value) {
    if object.integer(&["status", "observedGeneration"]).unwrap_or_default() == 0 {
        keep(object, old, &["status", "observedGeneration"]);
    }
    let mut before: Vec<(&str, i64)> = old
        .items(&["status", "conditions"])
        .iter()
        .map(|condition| {
            (condition.text(&["type"]), condition.integer(&["observedGeneration"]).unwrap_or_default())
        })
        .collect();
    let Some(status) = fill::some(object, "status") else { return };
    for condition in fill::items(status, "conditions") {
        let place = before.iter().position(|(kind, _)| *kind == condition.text(&["type"]));
        let generation = place.map_or(0, |place| before.remove(place).1);
        if generation != 0 && condition.integer(&["observedGeneration"]).unwrap_or_default() == 0 {
            condition.set(&["observedGeneration"], generation);
        }
    }
}

/// Sets a field to what it was.
fn keep(object: &mut Value, old: &Value, path: &[&str]) {
    match old.at(path) {
        Some(value) => object.set(path, value.clone()),
        None => {
            object.unset(path);
        }
    }
}

fn keep_metadata(object: &mut Value, old: &Value) {
    METADATA_KEPT.iter().for_each(|key| keep(object, old, &["metadata", key]));
}

fn keep_all_but_ephemeral(object: &mut Value, old: &Value) {
    let containers = object.unset(&["spec", "ephemeralContainers"]);
    keep(object, old, &["spec"]);
    keep(object, old, &["status"]);
    keep_metadata(object, old);
    match containers {
        Some(containers) => object.set(&["spec", "ephemeralContainers"], containers),
        None => {
            object.unset(&["spec", "ephemeralContainers"]);
        }
    }
}

fn keep_all_but_resources(object: &mut Value, old: &Value) {
    let same_count = |key: &str| object.items(&["spec", key]).len() == old.items(&["spec", key]).len();
    if !same_count("containers") || !same_count("initContainers") {
        return;
    }
    let resources = object.at(&["spec", "resources"]).cloned();
    let merged: Vec<(&str, Option<Value>)> = ["containers", "initContainers"]
        .into_iter()
        .map(|key| (key, merged_resources(object.at(&["spec", key]), old.at(&["spec", key]))))
        .collect();
    keep(object, old, &["spec"]);
    keep(object, old, &["status"]);
    keep_metadata(object, old);
    for (key, list) in merged.into_iter().chain([("resources", resources)]) {
        match list {
            Some(list) => object.set(&["spec", key], list),
            None => {
                object.unset(&["spec", key]);
            }
        }
    }
}

/// The old containers with the new ones' resources and resize policy; the new ones where names differ.
fn merged_resources(new: Option<&Value>, old: Option<&Value>) -> Option<Value> {
    let new_list = new?.as_array()?;
    let mut list = old.and_then(Value::as_array).cloned().unwrap_or_default();
    for (container, changed) in list.iter_mut().zip(new_list) {
        if container.text(&["name"]) != changed.text(&["name"]) {
            return new.cloned();
        }
        for key in ["resources", "resizePolicy"] {
            keep(container, changed, &[key]);
        }
    }
    Some(Value::Array(list))
}

/// `matchLabelKeys` and `mismatchLabelKeys` become conditions of the selector next to them.
fn merge_label_keys(spec: &mut Value, labels: &Map<String, Value>) {
    for affinity in ["podAffinity", "podAntiAffinity"] {
        for list in [
            "preferredDuringSchedulingIgnoredDuringExecution",
            "requiredDuringSchedulingIgnoredDuringExecution",
        ] {
            let terms = spec.pointer_mut(&format!("/affinity/{affinity}/{list}"));
            for term in terms.and_then(Value::as_array_mut).into_iter().flatten() {
                let term =
                    if term.get("podAffinityTerm").is_some() { &mut term["podAffinityTerm"] } else { term };
                merge_keys(term, labels, &[("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")]);
            }
        }
    }
    for constraint in fill::items(spec, "topologySpreadConstraints") {
        merge_keys(constraint, labels, &[("matchLabelKeys", "In")]);
    }
}

fn merge_keys(holder: &mut Value, labels: &Map<String, Value>, lists: &[(&str, &str)]) {
    let mut added = Vec::new();
    for (list, operator) in lists {
        for key in holder.items(&[*list]).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key) {
                added.push(json!({"key": key, "operator": operator, "values": [value]}));
            }
        }
    }
    let Some(selector) = fill::some(holder, "labelSelector").filter(|_| !added.is_empty()) else { return };
    let Some(selector) = selector.as_object_mut() else { return };
    let expressions = selector.entry("matchExpressions").or_insert_with(|| json!([]));
    if let Some(expressions) = expressions.as_array_mut() {
        expressions.extend(added);
    }
}

/// The profile that an AppArmor annotation names.
pub fn app_armor_profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        other => {
            let name = other.strip_prefix("localhost/").filter(|name| !name.is_empty())?;
            let fine = name.trim() == name && name.len() <= 4095;
            fine.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

/// Prefix of the annotation that gave a container's AppArmor profile.
pub const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The old AppArmor annotations become fields (`applyAppArmorVersionSkew`).
fn app_armor_fields(object: &mut Value) {
    if object.text(&["spec", "os", "name"]) == "windows" {
        return;
    }
    let annotations = object.at(&["metadata", "annotations"]).and_then(Value::as_object).cloned();
    let Some(annotations) = annotations else { return };
    let of_pod = object.at(&["spec", "securityContext", "appArmorProfile"]).cloned();
    let Some(spec) = fill::some(object, "spec") else { return };
    super::each_container(spec, |container| {
        let annotation = annotations.get(&format!("{APP_ARMOR}{}", container.text(&["name"])));
        let Some(annotation) = annotation.and_then(Value::as_str) else { return };
        if container.at(&["securityContext", "appArmorProfile"]).is_some() {
            return;
        }
        if let Some(profile) =
            app_armor_profile(annotation).filter(|profile| Some(profile) != of_pod.as_ref())
        {
            container.set(&["securityContext", "appArmorProfile"], profile);
        }
    });
}

/// Warnings about AppArmor annotations that are not yet fields; taken from the object before they become so.
pub fn app_armor_warnings(object: &Value) -> Vec<String> {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    if spec.text(&["os", "name"]) == "windows" {
        return Vec::new();
    }
    let annotations = object.at(&["metadata", "annotations"]).and_then(Value::as_object);
    let Some(annotations) = annotations.filter(|annotations| !annotations.is_empty()) else {
        return Vec::new();
    };
    let of_pod = spec.at(&["securityContext", "appArmorProfile"]);
    let mut warnings = Vec::new();
    for container in super::containers(&crate::rules::at::At::new(spec, crate::field::Path::new("spec"))) {
        let key = format!("{APP_ARMOR}{}", container.str("name"));
        let Some(annotation) = annotations.get(&key).and_then(Value::as_str) else { continue };
        let own = container.value.at(&["securityContext", "appArmorProfile"]);
        let derived = app_armor_profile(annotation);
        // After preparation the field stands next to the annotation that it came from.
        let synced = own.is_none_or(|own| Some(own) == derived.as_ref());
        if synced && !same(derived.as_ref(), of_pod) {
            warnings.push(format!(
                "metadata.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
            ));
        }
    }
    warnings
}

/// Whether an annotation value is a whole number of 32 bits in upstream's strict form.
pub fn is_deletion_cost(text: &str) -> bool {
    checks::is_decimal_integer(text) && text.parse::<i32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_writes_touch_only_status() {
        let old = json!({"metadata": {"name": "p", "ownerReferences": [{"uid": "1"}]}, "spec": {"nodeName": "n"},
            "status": {"qosClass": "BestEffort", "observedGeneration": 3,
                "conditions": [{"type": "Ready", "observedGeneration": 3}]}});
        let mut new = json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": {"nodeName": "other"},
            "status": {"phase": "Running", "conditions": [{"type": "Ready"}, {"type": "New"}]}});
        for_update(&mut new, &old, Some("status"));
        assert_eq!(new["spec"]["nodeName"], "n");
        assert_eq!(new["metadata"]["labels"]["a"], "b");
        assert_eq!(new["metadata"]["ownerReferences"][0]["uid"], "1");
        assert_eq!(new["status"]["qosClass"], "BestEffort");
        assert_eq!(new["status"]["observedGeneration"], 3);
        assert_eq!(
            new["status"]["conditions"],
            json!([{"type": "Ready", "observedGeneration": 3}, {"type": "New"}])
        );
    }

    #[test]
    fn resizing_touches_only_resources() {
        let old = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"nodeName": "n", "containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]}, "status": {"phase": "Running"}});
        let mut new = old.clone();
        new["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2");
        new["spec"]["containers"][0]["image"] = json!("other");
        new["metadata"]["labels"]["a"] = json!("c");
        for_update(&mut new, &old, Some("resize"));
        let mut expected = old.clone();
        expected["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2");
        assert_eq!(new, expected);
    }

    #[test]
    fn label_keys_are_merged() {
        let mut pod = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"topologySpreadConstraints": [
            {"matchLabelKeys": ["app", "absent"], "labelSelector": {}}]}});
        for_create(&mut pod);
        assert_eq!(
            pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchExpressions"],
            json!([{"key": "app", "operator": "In", "values": ["x"]}])
        );
    }

    #[test]
    fn annotations_become_profiles() {
        let mut pod = json!({"metadata": {"annotations": {(format!("{APP_ARMOR}c")): "unconfined"}},
            "spec": {"containers": [{"name": "c"}]}});
        for_create(&mut pod);
        assert_eq!(pod["spec"]["containers"][0]["securityContext"]["appArmorProfile"]["type"], "Unconfined");
        assert_eq!(app_armor_warnings(&pod).len(), 1);
    }
}
