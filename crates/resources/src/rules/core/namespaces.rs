//! Namespaces: the finalizer that empties them, their phase, the label with their name.

use model::names;
use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::field::{Errors, FieldError, Path};
use crate::rules::at::At;
use crate::rules::generic_update;
use crate::rules::kind::Kind;
use crate::rules::metadata;

/// Label of every namespace: its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// Finalizer that the namespace controller removes once the namespace is empty.
const FINALIZER: &str = "kubernetes";

/// The rules of namespaces.
pub const NAMESPACE: Kind = Kind {
    default,
    create,
    update,
    validate,
    validate_update: Some(validate_update),
    name: names::dns_label_name,
    fields: &["status.phase", "name"],
    field: |object, path| match path {
        "name" => object.name().to_owned(),
        _ => object.text(&["status", "phase"]).to_owned(),
    },
    ..Kind::PLAIN
};

fn default(object: &mut Value) {
    let name = object.name().to_owned();
    if !name.is_empty() {
        object.set(&["metadata", "labels", NAME_LABEL], name);
    }
    if object.text(&["status", "phase"]).is_empty() {
        object.set(&["status", "phase"], "Active");
    }
}

fn create(object: &mut Value) {
    object.set(&["status"], json!({"phase": "Active"}));
    let finalizers = object.at_mut(&["spec", "finalizers"]);
    if !finalizers.is_array() {
        *finalizers = json!([]);
    }
    if let Some(list) = finalizers.as_array_mut().filter(|list| !list.iter().any(|name| name == FINALIZER)) {
        list.push(json!(FINALIZER));
    }
    default(object);
}

fn update(object: &mut Value, old: &Value, subresource: Option<&str>) {
    generic_update(object, old, subresource.filter(|name| *name == "status"));
    // Only `finalize` may change the finalizers.
    if subresource.is_none() {
        match old.at(&["spec", "finalizers"]) {
            Some(finalizers) => object.set(&["spec", "finalizers"], finalizers.clone()),
            None => {
                object.unset(&["spec", "finalizers"]);
            }
        }
    }
    default(object);
}

fn validate(errors: &mut Errors, namespace: &At) {
    let list = namespace.child("spec").child("finalizers");
    for name in list.elements() {
        finalizer(errors, &At::new(name.value, list.path.clone()));
    }
}

fn finalizer(errors: &mut Errors, at: &At) {
    at.complain(errors, names::qualified_name(at.text()));
    metadata::kube_finalizer(errors, at);
}

fn validate_update(errors: &mut Errors, new: &At, _old: &At, subresource: Option<&str>) {
    match subresource {
        Some("status") => {
            let phase = Value::from(new.child("status").str("phase"));
            let deleted = new.child("metadata").has("deletionTimestamp");
            let (expected, state) = if deleted { ("Terminating", "not empty") } else { ("Active", "empty") };
            if phase != expected {
                let words = format!("may only be '{expected}' if `deletionTimestamp` is {state}");
                errors.push(FieldError::invalid(&Path::new("status.Phase"), &phase, words));
            }
        }
        Some("finalize") => {
            new.child("spec").items("finalizers").iter().for_each(|name| finalizer(errors, name));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;

    #[test]
    fn a_namespace_gets_finalizer_phase_and_label() {
        let mut object = json!({"metadata": {"name": "n"}});
        NAMESPACE.default(&mut object);
        NAMESPACE.prepare_for_create(&mut object);
        assert_eq!(
            object,
            json!({"metadata": {"name": "n", "labels": {(NAME_LABEL): "n"}}, "spec": {"finalizers": ["kubernetes"]},
                "status": {"phase": "Active"}})
        );
        let mut changed = object.clone();
        changed["spec"]["finalizers"] = json!([]);
        NAMESPACE.prepare_for_update(&mut changed, &object, None);
        assert_eq!(changed, object);
        let mut finalized = object.clone();
        finalized["spec"]["finalizers"] = json!([]);
        NAMESPACE.prepare_for_update(&mut finalized, &object, Some("finalize"));
        assert_eq!(finalized["spec"]["finalizers"], json!([]));
        let mut terminating = object.clone();
        terminating["status"]["phase"] = json!("Terminating");
        assert_eq!(NAMESPACE.validate_update(&terminating, &object, Some("status")).len(), 1);
    }
}
