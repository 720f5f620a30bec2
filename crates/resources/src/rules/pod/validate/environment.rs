//! Environment variables and their sources, and the downward API's field references.

use model::names;
use model::quantity::Quantity;
use serde_json::Value;

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::checks;
use crate::rules::pod::containers;

/// Fields that variables may take their value from.
const VARIABLE_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that volumes may hold.
pub(super) const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Labels of fields that the downward API knows, besides those two lists.
const OTHER_FIELDS: [&str; 3] = ["spec.restartPolicy", "spec.schedulerName", "status.phase"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const DIVISORS: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// `env`.
pub(super) fn variables(errors: &mut Errors, container: &At) {
    for variable in container.items("env") {
        if variable.require(errors, "name") {
            let name = variable.child("name");
            name.complain(errors, names::env_name(name.text()));
        }
        if let Some(source) = variable.some("valueFrom") {
            value_from(errors, &source, variable.str("value"));
        }
    }
}

fn value_from(errors: &mut Errors, source: &At, value: &str) {
    let mut count = 0;
    if let Some(reference) = source.some("fieldRef") {
        count += 1;
        field_reference(errors, &reference, &VARIABLE_FIELDS);
    }
    if let Some(reference) = source.some("resourceFieldRef") {
        count += 1;
        resource_reference(errors, &reference, false);
    }
    for key in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(reference) = source.some(key) {
            count += 1;
            key_reference(errors, &reference);
        }
    }
    if let Some(reference) = source.some("fileKeyRef") {
        count += 1;
        file_reference(errors, &reference);
    }
    let words = match count {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !value.is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(source.invalid_as("", words));
}

fn key_reference(errors: &mut Errors, reference: &At) {
    checks::dns_subdomain(errors, &reference.child("name"));
    if reference.require(errors, "key") {
        let key = reference.child("key");
        key.complain(errors, names::config_key(key.text()));
    }
}

fn file_reference(errors: &mut Errors, reference: &At) {
    if reference.require(errors, "key") {
        let key = reference.child("key");
        key.complain(errors, names::env_name(key.text()));
    }
    if reference.require(errors, "volumeName") {
        checks::dns_label(errors, &reference.child("volumeName"));
    }
    if reference.require(errors, "path") {
        checks::no_backsteps(errors, &reference.child("path"));
    }
}

/// A `fieldRef`: its path must be one of a few, or an entry of labels or annotations.
pub(super) fn field_reference(errors: &mut Errors, reference: &At, allowed: &[&str]) {
    if !reference.require(errors, "apiVersion") || !reference.require(errors, "fieldPath") {
        return;
    }
    let field = reference.child("fieldPath");
    let fault = |words: String| field.invalid(format!("error converting fieldPath: {words}"));
    if reference.str("apiVersion") != "v1" {
        errors.push(fault(format!("unsupported pod version: {}", reference.str("apiVersion"))));
        return;
    }
    let subscripted = field.text().strip_suffix("']").and_then(|text| text.split_once("['"));
    if let Some((path, subscript)) = subscripted.filter(|(path, _)| !path.is_empty()) {
        let subscript = match path {
            "metadata.annotations" => subscript.to_lowercase(),
            "metadata.labels" => subscript.to_owned(),
            _ => {
                errors.push(fault(format!("field label does not support subscript: {}", field.text())));
                return;
            }
        };
        for complaint in names::qualified_name(&subscript) {
            errors.push(reference.invalid_as(subscript.as_str(), complaint));
        }
        return;
    }
    let path = if field.text() == "spec.host" { "spec.nodeName" } else { field.text() };
    let known =
        VARIABLE_FIELDS.contains(&path) || VOLUME_FIELDS.contains(&path) || OTHER_FIELDS.contains(&path);
    if !known {
        errors.push(fault(format!("field label not supported: {path}")));
    } else if !allowed.contains(&path) {
        let path = Value::from(path);
        errors.push(At::new(&path, field.path).not_supported(allowed));
    }
}

/// A `resourceFieldRef`; volumes must name the container.
pub(super) fn resource_reference(errors: &mut Errors, reference: &At, volume: bool) {
    let resource = reference.child("resource");
    let name = resource.text();
    let huge = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if volume && reference.str("containerName").is_empty() {
        errors.push(reference.child("containerName").required(""));
    } else if name.is_empty() {
        errors.push(resource.required(""));
    } else if !RESOURCES.contains(&name) && !huge {
        errors.push(resource.not_supported(&RESOURCES));
    }
    let divisor = reference.child("divisor");
    let amount = Quantity::of(Some(divisor.value));
    let text = amount.to_string();
    if amount.is_zero() {
        return;
    }
    let kind = match name {
        "limits.cpu" | "requests.cpu" => {
            if !["1m", "1"].contains(&text.as_str()) {
                let words = "only divisor's values 1m and 1 are supported with the cpu resource";
                errors.push(divisor.invalid_as(name, words));
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if huge => "hugepages",
        _ => return,
    };
    if !DIVISORS.contains(&text.as_str()) {
        let values = DIVISORS.join(", ");
        let words = format!("only divisor's values {values} are supported with the {kind} resource");
        errors.push(divisor.invalid_as(name, words));
    }
}

/// `envFrom`.
pub(super) fn sources(errors: &mut Errors, container: &At) {
    let list = container.child("envFrom");
    for source in list.elements() {
        let prefix = source.child("prefix");
        if !prefix.text().is_empty() {
            prefix.complain(errors, names::env_name(prefix.text()));
        }
        let mut count = 0;
        for reference in ["configMapRef", "secretRef"].iter().filter_map(|key| source.some(key)) {
            count += 1;
            if reference.require(errors, "name") {
                let name = reference.child("name");
                name.complain(errors, names::dns_subdomain_name(name.text(), true));
            }
        }
        match count {
            0 => errors.push(list.invalid_as("", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(list.invalid_as("", "may not have more than one field specified at a time")),
        }
    }
}

/// Volumes that `fileKeyRef` names must be there and empty directories.
pub(super) fn file_volumes(errors: &mut Errors, spec: &At) {
    for container in containers(spec) {
        for variable in container.items("env") {
            let Some(reference) = variable.child("valueFrom").some("fileKeyRef") else { continue };
            let name = reference.child("volumeName");
            let volumes = spec.items("volumes");
            match volumes.iter().rev().find(|volume| volume.str("name") == name.text()) {
                None => errors.push(name.not_found()),
                Some(volume) if !volume.has("emptyDir") => {
                    errors.push(name.invalid("referenced volume must be of type emptyDir"));
                }
                Some(_) => {}
            }
        }
    }
}
