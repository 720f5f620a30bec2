//! `metadata` of every kind: what create and update check of it
//! (k8s.io/apimachinery/pkg/api/validation/objectmeta.go and the core kinds' additions).

use model::names;
use serde_json::Value;

use crate::field::{Errors, FieldError, Path};
use crate::rules::at::{At, is_empty, same};
use crate::rules::checks;

/// Keys and values of all annotations together, in bytes.
pub const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;
/// What is wrong with a name; `true`: it is a prefix.
pub type NameErrors<'r> = &'r dyn Fn(&str, bool) -> Vec<String>;

/// Errors of a new object's metadata (`ValidateObjectMeta`). `strict_finalizers`: the core kinds' rule that a
/// finalizer without a domain must be a standard one.
pub fn validate_create(
    object: &Value,
    namespaced: bool,
    name_errors: NameErrors,
    strict_finalizers: bool,
) -> Errors {
    let mut errors = Errors::new();
    let metadata = At::root(object).child("metadata");
    let (prefix, name) = (metadata.child("generateName"), metadata.child("name"));
    if !prefix.text().is_empty() {
        prefix.complain(&mut errors, name_errors(prefix.text(), true));
    }
    if name.text().is_empty() {
        errors.push(name.required("name or generateName is required"));
    } else {
        name.complain(&mut errors, name_errors(name.text(), false));
    }
    let namespace = metadata.child("namespace");
    match (namespaced, namespace.text()) {
        (true, "") => errors.push(namespace.required("")),
        (true, text) => namespace.complain(&mut errors, names::dns_label(text)),
        (false, "") => {}
        (false, _) => errors.push(namespace.forbidden("not allowed on this type")),
    }
    checks::nonnegative(&mut errors, &metadata.child("generation"));
    common(&mut errors, &metadata);
    finalizers(&mut errors, &metadata.child("finalizers"));
    managed_fields(&mut errors, &metadata);
    if strict_finalizers {
        standard_finalizers(&mut errors, &metadata);
    }
    errors
}

/// Errors of a changed object's metadata (`ValidateObjectMetaUpdate`).
pub fn validate_update(object: &Value, old: &Value, strict_finalizers: bool) -> Errors {
    let mut errors = Errors::new();
    let metadata = At::root(object).child("metadata");
    let before = At::root(old).child("metadata");
    if before.has("deletionTimestamp") {
        no_new_finalizers(&mut errors, &metadata.child("finalizers"), &before.child("finalizers"));
    }
    if metadata.str("resourceVersion").is_empty() {
        errors.push(metadata.child("resourceVersion").invalid_as("", "must be specified for an update"));
    }
    let generation = metadata.int("generation").unwrap_or_default();
    if generation < before.int("generation").unwrap_or_default() {
        errors.push(metadata.child("generation").invalid_as(generation, "must not be decremented"));
    }
    for (key, text) in [
        ("name", true),
        ("namespace", true),
        ("uid", true),
        ("creationTimestamp", false),
        ("deletionTimestamp", false),
        ("deletionGracePeriodSeconds", false),
    ] {
        let field = metadata.child(key);
        if !same(Some(field.value), Some(before.child(key).value)) {
            let shown = if text { Value::from(field.text()) } else { field.value.clone() };
            errors.push(field.invalid_as(shown, checks::IMMUTABLE));
        }
    }
    common(&mut errors, &metadata);
    managed_fields(&mut errors, &metadata);
    if strict_finalizers {
        standard_finalizers(&mut errors, &metadata);
    }
    errors
}

fn common(errors: &mut Errors, metadata: &At) {
    checks::labels(errors, &metadata.child("labels"));
    annotations(errors, &metadata.child("annotations"));
    owner_references(errors, &metadata.child("ownerReferences"));
}

/// Annotations: keys as label keys are (case ignored), limited in total size.
pub fn annotations(errors: &mut Errors, at: &At) {
    let mut bytes = 0;
    for (key, value) in at.value.as_object().into_iter().flatten() {
        for complaint in names::qualified_name(&key.to_lowercase()) {
            errors.push(at.invalid_as(key.as_str(), complaint));
        }
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    if bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(&at.path, ANNOTATIONS_BYTES_MAX));
    }
}

fn owner_references(errors: &mut Errors, at: &At) {
    let mut controller: Option<String> = None;
    for reference in at.value.as_array().into_iter().flatten() {
        let reference = At::new(reference, at.path.clone());
        let (group, version) = model::gvk::split_api_version(reference.str("apiVersion"));
        if version.is_empty() {
            let api_version = reference.child("apiVersion");
            errors.push(api_version.invalid_as(api_version.text(), "version must not be empty"));
        }
        for key in ["kind", "name", "uid"] {
            if reference.str(key).is_empty() {
                errors.push(reference.child(key).invalid_as("", "must not be empty"));
            }
        }
        if (group, version, reference.str("kind")) == ("", "v1", "Event") {
            let words = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(reference.invalid_shown(shown_owner(reference.value), words));
        }
        if reference.flag("controller") {
            let name = format!("{}/{}", reference.str("kind"), reference.str("name"));
            match &controller {
                None => controller = Some(name),
                Some(first) => {
                    let all: Vec<String> =
                        at.value.as_array().into_iter().flatten().map(shown_owner).collect();
                    errors.push(at.invalid_shown(
                        format!("[{}]", all.join(",")),
                        format!(
                            "Only one reference can have Controller set to true. Found \"true\" in references for \
                             {first} and {name}"
                        ),
                    ));
                }
            }
        }
    }
}

/// An owner reference with its fields in upstream's order.
fn shown_owner(reference: &Value) -> String {
    let mut parts = Vec::new();
    for key in ["apiVersion", "kind", "name", "uid"] {
        let text = reference.get(key).and_then(Value::as_str).unwrap_or_default();
        parts.push(format!("{key:?}:{}", Value::from(text)));
    }
    for key in ["controller", "blockOwnerDeletion"] {
        if let Some(value) = reference.get(key).filter(|value| !value.is_null()) {
            parts.push(format!("{key:?}:{value}"));
        }
    }
    format!("{{{}}}", parts.join(","))
}

fn finalizers(errors: &mut Errors, at: &At) {
    let list: Vec<&str> = at.value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for name in &list {
        errors
            .extend(names::qualified_name(name).into_iter().map(|complaint| at.invalid_as(*name, complaint)));
    }
    let (orphan, foreground) = ("orphan", "foregroundDeletion");
    if list.contains(&orphan) && list.contains(&foreground) {
        errors.push(at.invalid(format!("finalizer {orphan} and {foreground} cannot be both set")));
    }
}

/// Finalizers without a domain must be standard ones (`validateKubeFinalizerName`).
fn standard_finalizers(errors: &mut Errors, metadata: &At) {
    for finalizer in metadata.items("finalizers") {
        kube_finalizer(errors, &finalizer);
    }
}

/// One finalizer by the core kinds' rule.
pub fn kube_finalizer(errors: &mut Errors, at: &At) {
    let name = at.text();
    if !name.contains('/') && !matches!(name, "kubernetes" | "orphan" | "foregroundDeletion") {
        errors.push(at.invalid("name is neither a standard finalizer name nor is it fully qualified"));
    }
}

fn no_new_finalizers(errors: &mut Errors, new: &At, old: &At) {
    let list = |at: &At| -> Vec<String> {
        at.value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect()
    };
    let old = list(old);
    let mut extra: Vec<String> = list(new).into_iter().filter(|name| !old.contains(name)).collect();
    extra.sort();
    extra.dedup();
    if !extra.is_empty() {
        let shown: Vec<String> = extra.iter().map(|name| format!("{name:?}")).collect();
        errors.push(new.forbidden(format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            shown.join(", ")
        )));
    }
}

fn managed_fields(errors: &mut Errors, metadata: &At) {
    for entry in metadata.items("managedFields") {
        let operation = entry.child("operation");
        if !matches!(operation.text(), "Apply" | "Update") {
            errors.push(operation.invalid_as(operation.text(), "must be `Apply` or `Update`"));
        }
        let format = entry.child("fieldsType");
        if !matches!(format.text(), "" | "FieldsV1") {
            errors.push(format.invalid("must be `FieldsV1`"));
        }
        field_manager(errors, &entry.child("manager"));
        checks::at_most_bytes(errors, &entry.child("subresource"), 256);
    }
}

/// A field manager's name (`ValidateFieldManager`).
pub fn field_manager(errors: &mut Errors, at: &At) {
    checks::at_most_bytes(errors, at, 128);
    for (position, letter) in at.text().char_indices().filter(|(_, letter)| letter.is_control()) {
        let code = u32::from(letter);
        errors.push(at.invalid(format!("invalid character U+{code:04X} (at position {position})")));
    }
}

/// Metadata of a template inside another object: only labels and annotations are looked at, and where `sparse`, only
/// those may be set.
pub fn template(errors: &mut Errors, metadata: &At, sparse: bool) {
    annotations(errors, &metadata.child("annotations"));
    checks::labels(errors, &metadata.child("labels"));
    if sparse {
        for (key, value) in metadata.value.as_object().into_iter().flatten() {
            if !matches!(key.as_str(), "annotations" | "labels") && !is_empty(value) {
                errors.push(FieldError::forbidden(&metadata.path.child(key), "cannot be set"));
            }
        }
    }
}

/// The path of an object's metadata.
pub fn path() -> Path {
    Path::new("metadata")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn create(metadata: Value) -> Vec<String> {
        let object = json!({"metadata": metadata});
        let errors = validate_create(&object, true, &names::dns_subdomain_name, true);
        errors.iter().map(|error| format!("{}: {}", error.path, error.to_cause().message)).collect()
    }

    #[test]
    fn creation() {
        assert!(create(json!({"name": "a", "namespace": "b", "finalizers": ["x/y", "orphan"]})).is_empty());
        assert_eq!(
            create(json!({"namespace": "b"})),
            ["metadata.name: Required value: name or generateName is required"]
        );
        assert_eq!(create(json!({"name": "a"})), ["metadata.namespace: Required value"]);
        let two = json!([
            {"apiVersion": "v1", "kind": "A", "name": "a", "uid": "1", "controller": true},
            {"apiVersion": "v1", "kind": "B", "name": "b", "uid": "2", "controller": true}
        ]);
        let errors = create(json!({"name": "a", "namespace": "b", "ownerReferences": two}));
        assert!(errors[0].contains("references for A/a and B/b"), "{errors:?}");
        let big = "x".repeat(300_000);
        let errors = create(json!({"name": "a", "namespace": "b", "annotations": {"a": big}}));
        assert_eq!(errors, ["metadata.annotations: Too long: may not be more than 262144 bytes"]);
    }

    #[test]
    fn changes() {
        let old = json!({"metadata": {"name": "a", "uid": "1", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let mut new = old.clone();
        new["metadata"]["resourceVersion"] = json!("1");
        assert!(validate_update(&new, &old, true).is_empty());
        new["metadata"]["uid"] = json!("2");
        new["metadata"]["finalizers"] = json!(["a/b"]);
        let errors = validate_update(&new, &old, true);
        let texts: Vec<String> = errors.iter().map(|error| error.to_cause().message).collect();
        assert_eq!(
            texts,
            [
                "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \
                 []string{\"a/b\"}",
                "Invalid value: \"2\": field is immutable",
            ]
        );
    }
}
