//! Pods: defaults, preparation, validation, warnings and selectable fields (pkg/apis/core and pkg/registry/core/pod).

pub mod defaults;
mod disabled;
pub mod not_acted_on;
mod prepare;
pub mod qos;
mod resize;
mod status;
mod update;
pub mod validate;
mod warnings;

use model::tree::TreeExt;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::rules::at::At;
use crate::rules::{Rules, checks, metadata};

pub use defaults::template as default_template;
pub use disabled::drop as drop_disabled;
pub use validate::{Subject, validate_spec};
pub use warnings::template_warnings;

/// The rules of Pods.
#[derive(Debug, Default, Clone, Copy)]
pub struct Pod;

impl Rules for Pod {
    fn default(&self, object: &mut Value) {
        defaults::pod(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        prepare::for_create(object);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, subresource: Option<&str>) {
        prepare::for_update(object, old, subresource);
    }

    fn validate(&self, object: &Value) -> Errors {
        validate::create(object)
    }

    fn validate_update(&self, object: &Value, old: &Value, subresource: Option<&str>) -> Errors {
        match subresource {
            Some("status") => status::validate(object, old),
            Some("resize") => resize::validate(object, old),
            Some("ephemeralcontainers") => update::ephemeral_containers(object, old),
            _ => update::validate(object, old),
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        // Upstream warns on creation only.
        if old.is_some() { Vec::new() } else { warnings::create(object) }
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let text = |path: &[&str]| object.text(path).to_owned();
        let host_network = object.at(&["spec", "hostNetwork"]).and_then(Value::as_bool).unwrap_or_default();
        let ips = object.items(&["status", "podIPs"]);
        let ip = ips.first().map_or_else(|| object.text(&["status", "podIP"]), |ip| ip.text(&["ip"]));
        vec![
            ("spec.nodeName", text(&["spec", "nodeName"])),
            ("spec.restartPolicy", text(&["spec", "restartPolicy"])),
            ("spec.schedulerName", text(&["spec", "schedulerName"])),
            ("spec.serviceAccountName", text(&["spec", "serviceAccountName"])),
            ("spec.hostNetwork", host_network.to_string()),
            ("status.phase", text(&["status", "phase"])),
            ("status.podIP", ip.to_owned()),
            ("status.nominatedNodeName", text(&["status", "nominatedNodeName"])),
        ]
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ]
    }

    fn deletion_grace_s(&self, object: &Value, asked_s: Option<i64>) -> Option<i64> {
        let unbound = object.text(&["spec", "nodeName"]).is_empty();
        let ended = matches!(object.text(&["status", "phase"]), "Failed" | "Succeeded");
        if unbound || ended {
            return Some(0);
        }
        let own_s = || object.integer(&["spec", "terminationGracePeriodSeconds"]).unwrap_or_default();
        let grace_s = asked_s.unwrap_or_else(own_s);
        Some(if grace_s < 0 { 1 } else { grace_s })
    }
}

/// All containers with their paths, in upstream's order: init, app, ephemeral.
pub(crate) fn containers<'o>(spec: &At<'o>) -> Vec<At<'o>> {
    ["initContainers", "containers", "ephemeralContainers"].iter().flat_map(|key| spec.items(key)).collect()
}

/// Calls a function for every container of a spec.
pub(crate) fn each_container(spec: &mut Value, mut change: impl FnMut(&mut Value)) {
    for key in ["initContainers", "containers", "ephemeralContainers"] {
        let list = spec.get_mut(key).and_then(Value::as_array_mut);
        list.into_iter().flatten().for_each(&mut change);
    }
}

/// Errors of a Pod template: its metadata and its spec (`ValidatePodTemplateSpec`). `path` is the template's.
pub fn validate_template(errors: &mut Errors, template: &Value, path: &Path) {
    let template = At::new(template, path.clone());
    // Upstream's paths leave `metadata` out here.
    let metadata = template.child("metadata").value;
    let part = |key: &str| At::new(metadata.get(key).unwrap_or(&Value::Null), path.child(key));
    checks::labels(errors, &part("labels"));
    metadata::annotations(errors, &part("annotations"));
    let spec = template.child("spec");
    validate::annotations::check(errors, &part("annotations"), &spec);
    validate::validate_spec(errors, &spec, &Subject { pod_name: None, is_pod: false, mirror: false });
    validate::annotations::match_fields(errors, part("annotations").value, &spec);
    let ephemeral = spec.child("ephemeralContainers");
    if !ephemeral.is_empty() {
        errors.push(ephemeral.forbidden("ephemeral containers not allowed in pod template"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn grace_of_deletion() {
        let bound = json!({"spec": {"nodeName": "n", "terminationGracePeriodSeconds": 30}, "status": {"phase": "Running"}});
        let mut ended = bound.clone();
        ended["status"]["phase"] = json!("Failed");
        let unbound = json!({"spec": {"terminationGracePeriodSeconds": 30}});
        let table = [
            (&bound, None, 30),
            (&bound, Some(5), 5),
            (&bound, Some(-1), 1),
            (&ended, Some(5), 0),
            (&unbound, None, 0),
        ];
        for (pod, asked, expected) in table {
            assert_eq!(Pod.deletion_grace_s(pod, asked), Some(expected));
        }
    }
}
