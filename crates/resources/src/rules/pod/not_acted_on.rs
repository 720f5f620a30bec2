//! Fields of Pods that are stored and shown but that no part of the system acts on yet: a warning names them, so that
//! nobody waits for an effect. Empty once everything is acted on.

use crate::rules::at::{At, is_empty};
use crate::rules::pod::containers;

/// Where a field stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// The Pod's spec.
    Spec,
    /// Every container.
    Container,
    /// Every volume.
    Volume,
}

/// (holder, path below it).
pub const FIELDS: &[(Holder, &[&str])] = &[
    (Holder::Spec, &["resourceClaims"]),
    (Holder::Spec, &["schedulingGroup"]),
    (Holder::Spec, &["securityContext", "windowsOptions"]),
    (Holder::Spec, &["securityContext", "seLinuxOptions"]),
    (Holder::Container, &["securityContext", "windowsOptions"]),
    (Holder::Container, &["securityContext", "seLinuxOptions"]),
    (Holder::Container, &["volumeDevices"]),
    (Holder::Volume, &["awsElasticBlockStore"]),
    (Holder::Volume, &["azureDisk"]),
    (Holder::Volume, &["azureFile"]),
    (Holder::Volume, &["cinder"]),
    (Holder::Volume, &["csi"]),
    (Holder::Volume, &["fc"]),
    (Holder::Volume, &["flexVolume"]),
    (Holder::Volume, &["gcePersistentDisk"]),
    (Holder::Volume, &["iscsi"]),
    (Holder::Volume, &["nfs"]),
    (Holder::Volume, &["portworxVolume"]),
    (Holder::Volume, &["vsphereVolume"]),
];

/// Adds a warning for every such field that is set.
pub(super) fn warn(list: &mut Vec<String>, spec: &At) {
    for (holder, path) in FIELDS {
        let holders = match holder {
            Holder::Spec => vec![spec.clone()],
            Holder::Container => containers(spec),
            Holder::Volume => spec.items("volumes"),
        };
        for holder in holders {
            let field = path.iter().fold(holder, |field, key| field.child(key));
            if !is_empty(field.value) {
                list.push(format!("{}: nothing acts on this field yet", field.path));
            }
        }
    }
}
