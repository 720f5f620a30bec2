//! Volumes of Pods: names, exactly one source each, and what each source needs.

pub mod storage;

use std::collections::BTreeSet;

use model::names;
use serde_json::Value;

use super::{Subject, projections};
use crate::field::{Errors, FieldError};
use crate::rules::at::At;
use crate::rules::{checks, metadata, storage as claims};

/// Checks all volumes; gives those without fault.
pub(super) fn all<'o>(errors: &mut Errors, list: &At<'o>, subject: &Subject) -> Vec<(&'o str, &'o Value)> {
    let mut fine: Vec<(&str, &Value)> = Vec::new();
    let volumes = list.elements();
    let pod = subject.pod_name.filter(|name| !name.is_empty());
    let created: BTreeSet<String> = pod.map_or_else(BTreeSet::new, |pod| {
        let ephemeral = volumes.iter().filter(|volume| volume.has("ephemeral"));
        ephemeral.map(|volume| format!("{pod}-{}", volume.str("name"))).collect()
    });
    for volume in &volumes {
        let mut own = Errors::new();
        source(&mut own, volume, subject);
        let name = volume.child("name");
        if volume.require(&mut own, "name") {
            checks::dns_label(&mut own, &name);
        }
        if fine.iter().any(|(other, _)| *other == name.text()) {
            own.push(name.duplicate());
        }
        if own.is_empty() {
            fine.push((name.text(), volume.value));
        }
        errors.extend(own);
        let claim = volume.child("persistentVolumeClaim").child("claimName");
        if created.contains(claim.text()) {
            errors.push(claim.invalid("must not reference a PVC that gets created for an ephemeral volume"));
        }
    }
    fine
}

type Check = fn(&mut Errors, &At);

/// Sources in the order in which upstream looks at them: field, path shown inside, path shown when there is another
/// one already, check.
const SOURCES: [(&str, &str, &str, Check); 29] = [
    ("emptyDir", "emptyDir", "emptyDir", empty_dir),
    ("hostPath", "hostPath", "hostPath", storage::host_path),
    ("gitRepo", "gitRepo", "gitRepo", git_repository),
    ("gcePersistentDisk", "persistentDisk", "gcePersistentDisk", storage::gce_disk),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", storage::aws_disk),
    ("secret", "secret", "secret", secret),
    ("nfs", "nfs", "nfs", storage::nfs),
    ("iscsi", "iscsi", "iscsi", storage::iscsi),
    ("glusterfs", "glusterfs", "glusterfs", storage::glusterfs),
    ("flocker", "flocker", "flocker", storage::flocker),
    ("persistentVolumeClaim", "persistentVolumeClaim", "persistentVolumeClaim", claim),
    ("rbd", "rbd", "rbd", storage::rbd),
    ("cinder", "cinder", "cinder", storage::cinder),
    ("cephfs", "cephfs", "cephFS", storage::cephfs),
    ("quobyte", "quobyte", "quobyte", storage::quobyte),
    ("downwardAPI", "downwardAPI", "downwarAPI", projections::downward_api),
    ("fc", "fc", "fc", storage::fibre_channel),
    ("flexVolume", "flexVolume", "flexVolume", storage::flex),
    ("configMap", "configMap", "configMap", config_map),
    ("azureFile", "azureFile", "azureFile", storage::azure_file),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume", storage::vsphere),
    ("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", storage::photon),
    ("portworxVolume", "portworxVolume", "portworxVolume", storage::portworx),
    ("azureDisk", "azureDisk", "azureDisk", storage::azure_disk),
    ("storageos", "storageos", "storageos", storage::storage_os),
    ("projected", "projected", "projected", projections::projected),
    ("scaleIO", "scaleIO", "scaleIO", storage::scale_io),
    ("csi", "csi", "csi", csi),
    ("ephemeral", "ephemeral", "ephemeral", ephemeral),
];

/// The source of one volume (`validateVolumeSource`).
pub fn source(errors: &mut Errors, volume: &At, subject: &Subject) {
    let mut count = 0;
    let more = "may not specify more than 1 volume type";
    for (key, path, other_path, check) in SOURCES {
        let Some(found) = volume.some(key) else { continue };
        count += 1;
        if count > 1 {
            errors.push(FieldError::forbidden(&volume.child(other_path).path, more));
        } else {
            check(errors, &At::new(found.value, volume.child(path).path));
            if key == "ephemeral" {
                claim_name(errors, volume, subject);
            }
        }
        if key == "iscsi" && found.has("initiatorName") {
            let together = format!("{}:{}", volume.str("name"), found.str("targetPortal"));
            if together.len() > 64 {
                errors.push(volume.child("name").invalid(storage::ISCSI_NAME_TOO_LONG));
            }
        }
    }
    if let Some(image) = volume.some("image") {
        count += 1;
        if count > 1 {
            errors.push(image.forbidden(more));
        } else {
            if subject.is_pod && image.str("reference").is_empty() {
                errors.push(image.child("reference").required(""));
            }
            image.child("pullPolicy").required_one_of(errors, &["Always", "IfNotPresent", "Never"]);
        }
    }
    if count == 0 {
        errors.push(volume.required("must specify a volume type"));
    }
}

/// The claim made for an ephemeral volume is named after Pod and volume.
fn claim_name(errors: &mut Errors, volume: &At, subject: &Subject) {
    let (Some(pod), name) = (subject.pod_name.filter(|name| !name.is_empty()), volume.child("name")) else {
        return;
    };
    if !name.text().is_empty() {
        let claim = format!("{pod}-{}", name.text());
        for complaint in names::dns_subdomain(&claim) {
            errors.push(name.invalid(format!("PVC name {claim:?}: {complaint}")));
        }
    }
}

fn empty_dir(errors: &mut Errors, source: &At) {
    let limit = source.child("sizeLimit");
    if model::quantity::Quantity::of(Some(limit.value)).sign() < 0 {
        errors.push(limit.forbidden("SizeLimit field must be a valid resource quantity"));
    }
}

fn git_repository(errors: &mut Errors, source: &At) {
    source.require(errors, "repository");
    checks::descending_path(errors, &source.child("directory"));
}

fn secret(errors: &mut Errors, source: &At) {
    source.require(errors, "secretName");
    keys(errors, source);
}

fn config_map(errors: &mut Errors, source: &At) {
    source.require(errors, "name");
    keys(errors, source);
}

fn keys(errors: &mut Errors, source: &At) {
    checks::file_mode(errors, &source.child("defaultMode"));
    source.items("items").iter().for_each(|item| projections::key_to_path(errors, item));
}

fn claim(errors: &mut Errors, source: &At) {
    source.require(errors, "claimName");
}

fn csi(errors: &mut Errors, source: &At) {
    storage::csi_driver_name(errors, &source.child("driver"));
    if let Some(reference) = source.some("nodePublishSecretRef")
        && reference.require(errors, "name")
    {
        let name = At::new(reference.child("name").value, source.child("name").path);
        name.complain(errors, names::dns_subdomain(name.text()));
    }
}

fn ephemeral(errors: &mut Errors, source: &At) {
    let template = source.child("volumeClaimTemplate");
    if template.value.is_null() {
        errors.push(template.required(""));
        return;
    }
    metadata::template(errors, &template.child("metadata"), true);
    claims::claim_spec(errors, &template.child("spec"));
}
