//! Volumes of Pods.

use model::tree::TreeExt;
use serde_json::Value;

use super::Writer;
use super::writer::{or_none, plain};

/// The section; `indent` stands before it in a template.
pub fn list(volumes: &[Value], indent: &str, writer: &mut Writer) {
    if volumes.is_empty() {
        writer.field(0, &format!("{indent}Volumes"), "<none>");
        return;
    }
    writer.line(0, format!("{indent}Volumes:"));
    for volume in volumes {
        let indent = if indent.is_empty() { "" } else { " " };
        writer.line(1, format!("{indent}{}:", volume.text(&["name"])));
        one(volume, writer);
    }
}

/// A field of a source: its name in the output, its path, what stands for nothing.
type Row = (&'static str, &'static str, &'static str);

/// Sources whose fields are shown one by one: name, type's text, fields.
const SOURCES: &[(&str, &str, &[Row])] = &[
    (
        "hostPath",
        "HostPath (bare host directory volume)",
        &[("Path", "path", ""), ("HostPathType", "type", "<none>")],
    ),
    (
        "emptyDir",
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        &[("Medium", "medium", ""), ("SizeLimit", "sizeLimit", "<unset>")],
    ),
    (
        "secret",
        "Secret (a volume populated by a Secret)",
        &[("SecretName", "secretName", ""), ("Optional", "optional", "false")],
    ),
    (
        "configMap",
        "ConfigMap (a volume populated by a ConfigMap)",
        &[("Name", "name", ""), ("Optional", "optional", "false")],
    ),
    (
        "nfs",
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        &[("Server", "server", ""), ("Path", "path", ""), ("ReadOnly", "readOnly", "false")],
    ),
    (
        "persistentVolumeClaim",
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        &[("ClaimName", "claimName", ""), ("ReadOnly", "readOnly", "false")],
    ),
    (
        "csi",
        "CSI (a Container Storage Interface (CSI) volume source)",
        &[("Driver", "driver", ""), ("FSType", "fsType", ""), ("ReadOnly", "readOnly", "false")],
    ),
    (
        "image",
        "Image (a container image or OCI artifact)",
        &[("Reference", "reference", ""), ("PullPolicy", "pullPolicy", "")],
    ),
    (
        "gitRepo",
        "GitRepo (a volume that is pulled from git when the pod is created)",
        &[("Repository", "repository", ""), ("Revision", "revision", "")],
    ),
    (
        "iscsi",
        "ISCSI (an ISCSI Disk resource that is attached to a kubelet's host machine and then exposed to the pod)",
        &[
            ("TargetPortal", "targetPortal", ""),
            ("IQN", "iqn", ""),
            ("Lun", "lun", "0"),
            ("ISCSIInterface", "iscsiInterface", ""),
            ("FSType", "fsType", ""),
            ("ReadOnly", "readOnly", "false"),
        ],
    ),
];

fn one(volume: &Value, writer: &mut Writer) {
    for (name, kind, rows) in SOURCES {
        let Some(source) = volume.at(&[name]) else { continue };
        writer.field(2, "Type", kind);
        for (title, field, nothing) in *rows {
            let text = plain(source.at(&[field]));
            writer.field(2, title, if text.is_empty() { *nothing } else { text.as_str() });
        }
        return;
    }
    if let Some(source) = volume.at(&["projected"]) {
        return projected(source, writer);
    }
    if let Some(source) = volume.at(&["downwardAPI"]) {
        return downward(source, writer);
    }
    if let Some(source) = volume.at(&["ephemeral"]) {
        return ephemeral(source, writer);
    }
    writer.line(1, "<unknown>");
}

fn projected(source: &Value, writer: &mut Writer) {
    writer.field(2, "Type", "Projected (a volume that contains injected data from multiple sources)");
    for part in source.items(&["sources"]) {
        let optional = |reference: &Value| reference.at(&["optional"]) == Some(&Value::Bool(true));
        if let Some(secret) = part.at(&["secret"]) {
            writer.field(2, "SecretName", secret.text(&["name"]));
            writer.field(2, "Optional", optional(secret));
        } else if part.at(&["downwardAPI"]).is_some() {
            writer.field(2, "DownwardAPI", "true");
        } else if let Some(map) = part.at(&["configMap"]) {
            writer.field(2, "ConfigMapName", map.text(&["name"]));
            writer.field(2, "Optional", optional(map));
        } else if let Some(token) = part.at(&["serviceAccountToken"]) {
            writer.field(2, "TokenExpirationSeconds", token.integer(&["expirationSeconds"]).unwrap_or(3600));
        }
    }
}

fn downward(source: &Value, writer: &mut Writer) {
    writer.field(2, "Type", "DownwardAPI (a volume populated by information about the pod)");
    writer.line(2, "Items:");
    for item in source.items(&["items"]) {
        let path = item.text(&["path"]);
        if let Some(field) = item.at(&["fieldRef"]) {
            writer.line(3, format!("{} -> {path}", field.text(&["fieldPath"])));
        }
        if let Some(field) = item.at(&["resourceFieldRef"]) {
            writer.line(3, format!("{} -> {path}", field.text(&["resource"])));
        }
    }
}

fn ephemeral(source: &Value, writer: &mut Writer) {
    writer.field(
        2,
        "Type",
        "EphemeralVolume (an inline specification for a volume that gets created and deleted with the pod)",
    );
    let claim = &source["volumeClaimTemplate"];
    let spec = &claim["spec"];
    writer.field(2, "StorageClass", spec.text(&["storageClassName"]));
    writer.field(2, "Volume", "");
    let labels = super::writer::pairs(claim.at(&["metadata", "labels"]), "=").join(",");
    writer.field(2, "Labels", or_none(&labels));
    let annotations = super::writer::pairs(claim.at(&["metadata", "annotations"]), ": ").join(",");
    writer.field(2, "Annotations", or_none(&annotations));
    writer.field(2, "Capacity", "");
    writer.field(2, "Access Modes", "");
    let mode = spec.text(&["volumeMode"]);
    writer.field(2, "VolumeMode", if mode.is_empty() { "Filesystem" } else { mode });
}
