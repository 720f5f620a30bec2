//! Volume mounts and block devices of containers.

use std::collections::BTreeSet;

use model::tree::TreeExt;
use serde_json::Value;

use super::Context;
use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::checks;

/// `volumeMounts`.
pub(super) fn mounts(errors: &mut Errors, container: &At, context: &Context) {
    let list = container.child("volumeMounts");
    let devices = container.value.items(&["volumeDevices"]);
    let privileged = container.value.at(&["securityContext", "privileged"]) == Some(&Value::Bool(true));
    let mut seen = BTreeSet::new();
    for mount in list.elements() {
        let (name, path) = (mount.child("name"), mount.child("mountPath"));
        mount.require(errors, "name");
        if context.volume(name.text()).is_none() {
            errors.push(name.not_found());
        }
        mount.require(errors, "mountPath");
        if !seen.insert(path.text()) {
            errors.push(path.invalid_as(path.text(), "must be unique"));
        }
        if devices.iter().any(|device| device.text(&["name"]) == name.text()) {
            errors.push(name.invalid("must not already exist in volumeDevices"));
        }
        if devices.iter().any(|device| device.text(&["devicePath"]) == path.text()) {
            errors.push(path.invalid("must not already exist as a path in volumeDevices"));
        }
        // Upstream names the list, not the mount, for the following fields.
        let field = |key: &str| At::new(mount.child(key).value, list.path.child(key));
        if !mount.str("subPath").is_empty() {
            checks::descending_path(errors, &field("subPath"));
        }
        if !mount.str("subPathExpr").is_empty() {
            if !mount.str("subPath").is_empty() {
                let expression = mount.child("subPathExpr");
                errors.push(expression.invalid("subPathExpr and subPath are mutually exclusive"));
            }
            checks::descending_path(errors, &field("subPathExpr"));
        }
        propagation(errors, &field("mountPropagation"), privileged);
        recursive_read_only(errors, &field("recursiveReadOnly"), &mount);
    }
}

fn propagation(errors: &mut Errors, at: &At, privileged: bool) {
    if at.value.is_null() {
        return;
    }
    at.one_of(errors, &["Bidirectional", "HostToContainer", "None"]);
    if at.text() == "Bidirectional" && !privileged {
        errors
            .push(at.forbidden("Bidirectional mount propagation is available only to privileged containers"));
    }
}

fn recursive_read_only(errors: &mut Errors, at: &At, mount: &At) {
    match at.text() {
        _ if at.value.is_null() => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                errors.push(at.forbidden("may only be specified when readOnly is true"));
            }
            if !matches!(mount.str("mountPropagation"), "" | "None") {
                errors.push(
                    at.forbidden("may only be specified when mountPropagation is None or not specified"),
                );
            }
        }
        _ => errors.push(at.not_supported(&["Disabled", "Enabled", "IfPossible"])),
    }
}

/// `volumeDevices`.
pub(super) fn devices(errors: &mut Errors, container: &At, context: &Context) {
    let mounts = container.value.items(&["volumeMounts"]);
    let (mut paths, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for device in container.items("volumeDevices") {
        let (name, path) = (device.child("name"), device.child("devicePath"));
        device.require(errors, "name");
        if seen.contains(name.text()) {
            errors.push(name.invalid("must be unique"));
        }
        match context.volume(name.text()) {
            None => errors.push(name.not_found()),
            Some(volume) => {
                let claim =
                    ["persistentVolumeClaim", "ephemeral"].iter().any(|key| volume.at(&[key]).is_some());
                if !claim {
                    let words = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    errors.push(name.invalid(words));
                }
            }
        }
        device.require(errors, "devicePath");
        if paths.contains(path.text()) {
            errors.push(path.invalid("must be unique"));
        }
        if path.text().split('/').any(|part| part == "..") {
            errors.push(path.invalid("can not contain backsteps ('..')"));
        } else {
            paths.insert(path.text());
        }
        if mounts.iter().any(|mount| mount.text(&["name"]) == name.text()) {
            errors.push(name.invalid("must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|mount| mount.text(&["mountPath"]) == path.text()) {
            errors.push(path.invalid("must not already exist as a path in volumeMounts"));
        }
        if !name.text().is_empty() {
            seen.insert(name.text());
        }
    }
}
