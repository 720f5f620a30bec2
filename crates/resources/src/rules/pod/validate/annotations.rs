//! Annotations that mean something to Pods (`ValidatePodSpecificAnnotations`), and that those which became fields agree
//! with the fields.

use model::tree::TreeExt;
use serde_json::Value;

use crate::field::{Errors, FieldError, Path};
use crate::rules::at::At;
use crate::rules::checks;
use crate::rules::pod::containers;
use crate::rules::pod::prepare::{APP_ARMOR, is_deletion_cost};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";

/// Checks the annotations of a Pod or a template.
pub fn check(errors: &mut Errors, annotations: &At, spec: &At) {
    let entry = |key: &str| At { value: annotations.child(key).value, path: annotations.path.key(key) };
    let mirror = entry(super::MIRROR);
    if !mirror.value.is_null() && spec.str("nodeName").is_empty() {
        errors.push(mirror.invalid("must set spec.nodeName if mirror pod annotation is set"));
    }
    if !entry(TOLERATIONS).text().is_empty() {
        match serde_json::from_str::<Value>(entry(TOLERATIONS).text()) {
            Ok(list) => super::tolerations(errors, &At::new(&list, annotations.path.child(TOLERATIONS))),
            Err(error) => errors.push(annotations.invalid_as(TOLERATIONS, error.to_string())),
        }
    }
    let cost = entry(DELETION_COST);
    if !cost.value.is_null() && !is_deletion_cost(cost.text()) {
        errors.push(cost.invalid("must be a 32bit integer"));
    }
    seccomp(errors, annotations);
    app_armor(errors, annotations, spec);
}

fn seccomp(errors: &mut Errors, annotations: &At) {
    let mut profile = |key: &str| {
        let at = At { value: annotations.child(key).value, path: annotations.path.child(key) };
        match at.text() {
            "runtime/default" | "docker/default" | "unconfined" => {}
            other => match other.strip_prefix("localhost/") {
                Some(path) => {
                    let path = Value::from(path);
                    checks::descending_path(errors, &At::new(&path, at.path.clone()));
                }
                None => errors.push(at.invalid("must be a valid seccomp profile")),
            },
        }
    };
    let keys: Vec<&String> =
        annotations.value.as_object().into_iter().flatten().map(|(key, _)| key).collect();
    keys.iter().filter(|key| key.as_str() == SECCOMP_POD).for_each(|key| profile(key));
    keys.iter().filter(|key| key.starts_with(SECCOMP_CONTAINER)).for_each(|key| profile(key));
}

fn app_armor(errors: &mut Errors, annotations: &At, spec: &At) {
    for (key, profile) in annotations.value.as_object().into_iter().flatten() {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        let at = At::new(profile, annotations.path.key(key));
        if !containers(spec).iter().any(|container| container.str("name") == name) {
            errors.push(at.invalid_as(name, "container not found"));
        }
        let text = at.text();
        let fine = matches!(text, "" | "runtime/default" | "unconfined") || text.starts_with("localhost/");
        if !fine {
            errors.push(at.invalid(format!("invalid AppArmor profile name: {text:?}")));
        }
    }
}

/// Profiles given as annotation and as field must agree, on creation.
pub fn match_fields(errors: &mut Errors, annotations: &Value, spec: &At) {
    if annotations.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    let of_pod = spec.child("securityContext");
    agree(errors, annotations, SECCOMP_POD, &of_pod.child("seccompProfile"), "seccomp");
    for container in containers(spec) {
        let key = format!("{SECCOMP_CONTAINER}{}", container.str("name"));
        agree(
            errors,
            annotations,
            &key,
            &container.child("securityContext").child("seccompProfile"),
            "seccomp",
        );
    }
    if spec.child("os").str("name") == "windows" {
        return;
    }
    for container in containers(spec) {
        let own = container.child("securityContext").child("appArmorProfile");
        let used =
            if own.value.is_null() { At::new(of_pod.child("appArmorProfile").value, own.path) } else { own };
        let key = format!("{APP_ARMOR}{}", container.str("name"));
        agree(errors, annotations, &key, &used, "apparmor");
    }
}

fn agree(errors: &mut Errors, annotations: &Value, key: &str, profile: &At, what: &str) {
    let Some(annotation) = annotations.get(key).and_then(Value::as_str) else { return };
    if profile.value.is_null() {
        return;
    }
    let kind = profile.child("type").path;
    let differs = |path: &Path, part: &str| {
        FieldError::forbidden(path, format!("{what} {part} in annotation and field must match"))
    };
    match profile.str("type") {
        "Unconfined" if annotation != "unconfined" => errors.push(differs(&kind, "type")),
        "RuntimeDefault" => {
            let docker = what == "seccomp" && annotation == "docker/default";
            if annotation != "runtime/default" && !docker {
                errors.push(differs(&kind, "type"));
            }
        }
        "Localhost" => match annotation.strip_prefix("localhost/") {
            None => errors.push(differs(&kind, "type")),
            Some(path) if profile.value.text(&["localhostProfile"]) != path => {
                errors.push(differs(&profile.child("localhostProfile").path, "profile"));
            }
            Some(_) => {}
        },
        _ => {}
    }
}
