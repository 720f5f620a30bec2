//! Claims: what a claim's spec must say (`ValidatePersistentVolumeClaimSpec`).

use model::names;
use model::quantity::Quantity;
use serde_json::Value;

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::checks;

/// Access modes, sorted.
pub const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// A claim's spec, of its own or in a Pod's ephemeral volume.
pub fn claim_spec(errors: &mut Errors, spec: &At) {
    let modes = spec.child("accessModes");
    if modes.is_empty() {
        errors.push(modes.required("at least 1 access mode is required"));
    }
    if let Some(selector) = spec.some("selector") {
        checks::label_selector(errors, &selector);
    }
    access_modes(errors, &modes);
    let path = spec.child("resources").path.key("storage");
    match spec.child("resources").child("requests").some("storage") {
        None => errors.push(At::new(&Value::Null, path).required("")),
        Some(storage) => {
            let storage = At::new(storage.value, path);
            if Quantity::of(Some(storage.value)).sign() <= 0 {
                errors.push(storage.invalid(checks::NOT_POSITIVE));
            }
        }
    }
    for key in ["storageClassName", "volumeAttributesClassName"] {
        let class = spec.child(key);
        if key == "volumeAttributesClassName" {
            data_sources(errors, spec);
        }
        if !class.text().is_empty() {
            checks::dns_subdomain(errors, &class);
        }
        if key == "storageClassName"
            && let Some(mode) = spec.some("volumeMode")
        {
            mode.one_of(errors, &["Block", "Filesystem"]);
        }
    }
}

/// Known modes; one Pod alone excludes the others.
pub fn access_modes(errors: &mut Errors, modes: &At) {
    let (mut alone, mut shared) = (false, false);
    for mode in modes.elements() {
        At::new(mode.value, modes.path.clone()).one_of(errors, &ACCESS_MODES);
        match mode.text() {
            "ReadWriteOncePod" => alone = true,
            other => shared |= ACCESS_MODES.contains(&other),
        }
    }
    if alone && shared {
        errors.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
}

fn data_sources(errors: &mut Errors, spec: &At) {
    let (source, reference) = (spec.child("dataSource"), spec.child("dataSourceRef"));
    for at in [&source, &reference].into_iter().filter(|at| !at.value.is_null()) {
        at.require(errors, "name");
        at.require(errors, "kind");
        let group = at.child("apiGroup");
        if group.text().is_empty() && at.str("kind") != "PersistentVolumeClaim" {
            let words = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(at.invalid_as(at.str("kind"), words));
        }
        if !group.text().is_empty() {
            checks::dns_subdomain(errors, &group);
        }
        let namespace = at.child("namespace");
        if !namespace.text().is_empty() {
            namespace.complain(errors, names::dns_label(namespace.text()));
        }
    }
    if source.value.is_null() || reference.value.is_null() {
        return;
    }
    let same = ["apiGroup", "kind", "name"].iter().all(|key| source.str(key) == reference.str(key));
    if !reference.str("namespace").is_empty() {
        let words = "may not be specified when dataSourceRef.namespace is specified";
        errors.push(spec.invalid_shown("{}".into(), words));
    } else if !same {
        errors.push(spec.invalid_shown("{}".into(), "must match dataSourceRef"));
    }
}
