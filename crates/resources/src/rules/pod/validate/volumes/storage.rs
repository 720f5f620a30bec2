//! Volume sources that Pods and persistent volumes share: disks, network file systems and old in-tree drivers.

use model::names;

use crate::field::{Errors, FieldError};
use crate::rules::at::At;
use crate::rules::checks;

/// What upstream says of too long iSCSI names.
pub const ISCSI_NAME_TOO_LONG: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";
const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";

/// `hostPath`.
pub fn host_path(errors: &mut Errors, source: &At) {
    if !source.require(errors, "path") {
        return;
    }
    checks::no_backsteps(errors, &source.child("path"));
    if let Some(kind) = source.some("type") {
        let kinds = [
            "",
            "BlockDevice",
            "CharDevice",
            "Directory",
            "DirectoryOrCreate",
            "File",
            "FileOrCreate",
            "Socket",
        ];
        kind.one_of(errors, &kinds);
    }
}

/// `local`.
pub fn local(errors: &mut Errors, source: &At) {
    if source.require(errors, "path") {
        checks::no_backsteps(errors, &source.child("path"));
    }
}

fn partition(errors: &mut Errors, source: &At) {
    let number = source.int("partition").unwrap_or_default();
    if !(0..=255).contains(&number) {
        errors.push(source.child("partition").invalid(names::not_between(1, 255)));
    }
}

/// `gcePersistentDisk`.
pub fn gce_disk(errors: &mut Errors, source: &At) {
    source.require(errors, "pdName");
    partition(errors, source);
}

/// `awsElasticBlockStore`.
pub fn aws_disk(errors: &mut Errors, source: &At) {
    source.require(errors, "volumeID");
    partition(errors, source);
}

/// `nfs`.
pub fn nfs(errors: &mut Errors, source: &At) {
    source.require(errors, "server");
    source.require(errors, "path");
    let path = source.child("path");
    if !path.text().starts_with('/') {
        errors.push(path.invalid_as(path.text(), "must be an absolute path"));
    }
}

fn lun(errors: &mut Errors, source: &At) {
    let number = source.int("lun").unwrap_or_default();
    if !(0..=255).contains(&number) {
        errors.push(source.child("lun").invalid(names::not_between(0, 255)));
    }
}

/// `iqn.2001-04.com.example:disk`, `eui.` and 16, `naa.` and 32 letters or digits.
fn iscsi_name(name: &str) -> Option<&'static str> {
    let alphanumeric = |rest: &str, count: usize| {
        rest.len() == count + 1 && rest.chars().skip(1).all(|letter| letter.is_ascii_alphanumeric())
    };
    let fine = match (name.strip_prefix("iqn"), name.strip_prefix("eui"), name.strip_prefix("naa")) {
        (Some(rest), _, _) => qualified_iscsi_name(rest),
        (_, Some(rest), _) => alphanumeric(rest, 16),
        (_, _, Some(rest)) => alphanumeric(rest, 32),
        _ => return Some("must be valid format starting with iqn, eui, or naa"),
    };
    (!fine).then_some("must be valid format")
}

/// `.yyyy-mm.authority:name`.
fn qualified_iscsi_name(rest: &str) -> bool {
    let Some((authority, name)) = rest.strip_prefix('.').and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    let bytes = authority.as_bytes();
    let date = bytes.len() > 8
        && bytes.iter().take(8).enumerate().all(|(index, byte)| match index {
            4 => *byte == b'-',
            7 => *byte == b'.',
            _ => byte.is_ascii_digit(),
        });
    let letters =
        bytes.iter().skip(8).all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let allowed = |letter: char| !letter.is_whitespace() && !",;*&$|".contains(letter);
    date && letters && !name.is_empty() && name.chars().all(allowed)
}

/// `iscsi`.
pub fn iscsi(errors: &mut Errors, source: &At) {
    source.require(errors, "targetPortal");
    if source.require(errors, "iqn")
        && let Some(words) = iscsi_name(source.str("iqn"))
    {
        errors.push(source.child("iqn").invalid(words));
    }
    lun(errors, source);
    if (source.flag("chapAuthDiscovery") || source.flag("chapAuthSession")) && !source.has("secretRef") {
        errors.push(source.child("secretRef").required(""));
    }
    if let Some(initiator) = source.some("initiatorName")
        && let Some(words) = iscsi_name(initiator.text())
    {
        errors.push(source.child("initiatorname").invalid_as(initiator.text(), words));
    }
}

/// `glusterfs`.
pub fn glusterfs(errors: &mut Errors, source: &At) {
    source.require(errors, "endpoints");
    source.require(errors, "path");
}

/// `flocker`.
pub fn flocker(errors: &mut Errors, source: &At) {
    let (name, uuid) = (source.child("datasetName"), source.str("datasetUUID"));
    if name.text().is_empty() && uuid.is_empty() {
        errors.push(source.required("one of datasetName and datasetUUID is required"));
    }
    if !name.text().is_empty() && !uuid.is_empty() {
        let words = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(source.invalid_as("resource", words));
    }
    if name.text().contains('/') {
        errors.push(name.invalid("must not contain '/'"));
    }
}

/// `rbd`.
pub fn rbd(errors: &mut Errors, source: &At) {
    source.require(errors, "monitors");
    source.require(errors, "image");
}

/// `cinder`.
pub fn cinder(errors: &mut Errors, source: &At) {
    source.require(errors, "volumeID");
    if let Some(reference) = source.some("secretRef") {
        reference.require(errors, "name");
    }
}

/// `cephfs`.
pub fn cephfs(errors: &mut Errors, source: &At) {
    source.require(errors, "monitors");
}

/// `quobyte`.
pub fn quobyte(errors: &mut Errors, source: &At) {
    let registry = source.child("registry");
    if registry.text().is_empty() {
        errors.push(registry.required(PAIRS));
    } else if source.str("tenant").len() >= 65 {
        let words = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(source.child("tenant").required(words));
    } else {
        for pair in registry.text().split(',') {
            let port = pair.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
            if port.is_none() {
                errors.push(registry.invalid(PAIRS));
            }
        }
    }
    source.require(errors, "volume");
}

/// `fc`.
pub fn fibre_channel(errors: &mut Errors, source: &At) {
    let names = source.child("targetWWNs");
    if names.is_empty() && source.child("wwids").is_empty() {
        errors.push(names.required("must specify either targetWWNs or wwids, but not both"));
    }
    if !names.is_empty() && !source.child("wwids").is_empty() {
        errors.push(names.invalid("targetWWNs and wwids can not be specified simultaneously"));
    }
    if !names.is_empty() {
        if source.has("lun") {
            lun(errors, source);
        } else {
            errors.push(source.child("lun").required("lun is required if targetWWNs is specified"));
        }
    }
}

/// `flexVolume`.
pub fn flex(errors: &mut Errors, source: &At) {
    source.require(errors, "driver");
    for (key, at) in source.entries("options") {
        let namespace = key.split('/').next().unwrap_or_default();
        let normal = format!(".{}", namespace.to_lowercase());
        if normal.ends_with(".kubernetes.io") || normal.ends_with(".k8s.io") {
            errors.push(at.invalid_as(key, "kubernetes.io and k8s.io namespaces are reserved"));
        }
    }
}

/// `azureFile`.
pub fn azure_file(errors: &mut Errors, source: &At) {
    source.require(errors, "secretName");
    source.require(errors, "shareName");
}

/// `vsphereVolume`.
pub fn vsphere(errors: &mut Errors, source: &At) {
    source.require(errors, "volumePath");
}

/// `photonPersistentDisk`.
pub fn photon(errors: &mut Errors, source: &At) {
    source.require(errors, "pdID");
}

/// `portworxVolume`.
pub fn portworx(errors: &mut Errors, source: &At) {
    source.require(errors, "volumeID");
}

/// `azureDisk`.
pub fn azure_disk(errors: &mut Errors, source: &At) {
    source.require(errors, "diskName");
    source.require(errors, "diskURI");
    if let Some(mode) = source.some("cachingMode") {
        mode.one_of(errors, &["None", "ReadOnly", "ReadWrite"]);
    }
    let Some(kind) = source.some("kind") else { return };
    kind.one_of(errors, &["Dedicated", "Managed", "Shared"]);
    let address = source.child("diskURI");
    if kind.text() == "Managed" {
        if !address.text().starts_with("/subscriptions/") {
            let form = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
            errors.push(address.not_supported(&[form]));
        }
    } else if !address.text().starts_with("https://") {
        let form = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
        errors.push(address.not_supported(&[form]));
    }
}

/// `storageos`.
pub fn storage_os(errors: &mut Errors, source: &At) {
    if source.require(errors, "volumeName") {
        checks::dns_label(errors, &source.child("volumeName"));
    }
    if !source.str("volumeNamespace").is_empty() {
        checks::dns_label(errors, &source.child("volumeNamespace"));
    }
    if let Some(reference) = source.some("secretRef") {
        reference.require(errors, "name");
    }
}

/// `scaleIO`.
pub fn scale_io(errors: &mut Errors, source: &At) {
    for key in ["gateway", "system", "volumeName"] {
        source.require(errors, key);
    }
}

/// The name of a CSI driver.
pub fn csi_driver_name(errors: &mut Errors, driver: &At) {
    if driver.text().is_empty() {
        errors.push(driver.required(""));
        return;
    }
    if driver.text().len() > 63 {
        errors.push(FieldError::too_long(&driver.path, 63));
    }
    driver.complain(errors, names::dns_subdomain(&driver.text().to_lowercase()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iscsi_names() {
        for fine in ["iqn.2001-04.com.example:storage.disk1", "eui.0123456789abcdef"] {
            assert_eq!(iscsi_name(fine), None, "{fine}");
        }
        for faulty in
            ["x", "iqn.2001", "iqn.2001-04.com.example:", "eui.1", "naa.1", "iqn.2001-04.com.example:a b"]
        {
            assert!(iscsi_name(faulty).is_some(), "{faulty}");
        }
    }
}
