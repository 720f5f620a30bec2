//! Fields of Pods that are stored and shown but that no part of the system acts on yet: a warning names them, so that
//! nobody waits for an effect. The table shrinks as parts
//! learn them.

use serde_json::Value;

use crate::rules::at::{At, is_empty};
use crate::rules::pod::containers;

/// Where a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The Pod's spec.
    Spec,
    /// Every container.
    Container,
    /// Every variable of every container.
    Environment,
    /// Every volume.
    Volume,
    /// Every source of every projected volume.
    Projection,
}

/// (holder, path below it, value that asks for nothing).
pub const FIELDS: &[(Holder, &[&str], &str)] = &[
    (Holder::Spec, &["resourceClaims"], ""),
    (Holder::Spec, &["schedulingGroup"], ""),
    (Holder::Spec, &["hostUsers"], "true"),
    (Holder::Spec, &["securityContext", "appArmorProfile", "type"], "Unconfined"),
    (Holder::Spec, &["securityContext", "fsGroupChangePolicy"], "Always"),
    (Holder::Spec, &["securityContext", "seLinuxChangePolicy"], ""),
    (Holder::Spec, &["securityContext", "windowsOptions"], ""),
    (Holder::Spec, &["securityContext", "seLinuxOptions"], ""),
    (Holder::Container, &["securityContext", "windowsOptions"], ""),
    (Holder::Container, &["securityContext", "seLinuxOptions"], ""),
    (Holder::Container, &["securityContext", "appArmorProfile", "type"], "Unconfined"),
    (Holder::Environment, &["valueFrom", "fileKeyRef"], ""),
    (Holder::Container, &["volumeDevices"], ""),
    (Holder::Volume, &["awsElasticBlockStore"], ""),
    (Holder::Volume, &["azureDisk"], ""),
    (Holder::Volume, &["azureFile"], ""),
    (Holder::Volume, &["cinder"], ""),
    (Holder::Volume, &["csi"], ""),
    (Holder::Volume, &["ephemeral"], ""),
    (Holder::Volume, &["fc"], ""),
    (Holder::Volume, &["flexVolume"], ""),
    (Holder::Volume, &["gcePersistentDisk"], ""),
    (Holder::Volume, &["gitRepo"], ""),
    (Holder::Volume, &["image"], ""),
    (Holder::Volume, &["iscsi"], ""),
    (Holder::Volume, &["nfs"], ""),
    (Holder::Volume, &["persistentVolumeClaim"], ""),
    (Holder::Volume, &["portworxVolume"], ""),
    (Holder::Volume, &["vsphereVolume"], ""),
    (Holder::Projection, &["clusterTrustBundle"], ""),
    (Holder::Projection, &["podCertificate"], ""),
];

/// What the warnings say of a field.
pub const TEXT: &str = "nothing acts on this field yet";

/// Adds a warning for every such field that is set.
pub(super) fn warn(list: &mut Vec<String>, spec: &At) {
    for (holder, path, idle) in FIELDS {
        let holders = match holder {
            Holder::Spec => vec![spec.clone()],
            Holder::Container => containers(spec),
            Holder::Environment => {
                containers(spec).iter().flat_map(|container| container.items("env")).collect()
            }
            Holder::Volume => spec.items("volumes"),
            Holder::Projection => {
                let volumes = spec.items("volumes");
                volumes.iter().flat_map(|volume| volume.child("projected").items("sources")).collect()
            }
        };
        for holder in holders {
            let field = path.iter().fold(holder, |field, key| field.child(key));
            let asks = match field.value {
                Value::Bool(value) => value.to_string() != *idle,
                Value::String(value) => !value.is_empty() && value != idle,
                value => !is_empty(value),
            };
            if asks {
                list.push(format!("{}: {TEXT}", field.path));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;
    use serde_json::json;

    #[test]
    fn fields_without_effect_are_named() {
        let spec = json!({"hostUsers": true, "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "env": [{"name": "A", "valueFrom": {"fileKeyRef": {"key": "k"}}}],
                "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "persistentVolumeClaim": {"claimName": "c"}},
                {"name": "x", "projected": {"sources": [{"podCertificate": {"keyType": "k"}}]}}]});
        let mut list = Vec::new();
        warn(&mut list, &At::new(&spec, Path::new("spec")));
        let fields: Vec<&str> = list.iter().filter_map(|text| Some(text.split_once(": ")?.0)).collect();
        let expected = [
            "spec.securityContext.appArmorProfile.type",
            "spec.containers[0].env[0].valueFrom.fileKeyRef",
            "spec.volumes[1].persistentVolumeClaim",
            "spec.volumes[2].projected.sources[0].podCertificate",
        ];
        assert_eq!(fields, expected);
    }
}
