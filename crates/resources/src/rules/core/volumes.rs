//! Persistent volumes, claims and storage classes.

use model::names;
use model::quantity::Quantity;
use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::field::{Errors, FieldError, Path};
use crate::rules::at::{At, same};
use crate::rules::kind::{Kind, is_status, nothing};
use crate::rules::pod::defaults::{claim_spec, source_texts};
use crate::rules::pod::validate::{node_selector, volume_sources as sources};
use crate::rules::{checks, fill, generic_update, storage, warnings};

/// The rules of persistent volumes.
pub const PERSISTENT_VOLUME: Kind = Kind {
    default: volume_defaults,
    create: |object| object.set(&["status"], json!({"phase": "Pending"})),
    validate: |errors, volume| volume_spec(errors, &volume.child("spec")),
    validate_update: Some(|errors, new, old, subresource| {
        if !is_status(subresource) {
            volume_spec(errors, &new.child("spec"));
            volume_changes(errors, &new.child("spec"), &old.child("spec"));
        }
    }),
    fields: &["name"],
    field: |object, _| object.name().to_owned(),
    ..Kind::PLAIN
};

/// The rules of claims.
pub const CLAIM: Kind = Kind {
    default: |object| {
        if let Some(spec) = fill::object(object, "spec") {
            claim_spec(spec);
        }
        if let Some(status) = fill::object(object, "status") {
            fill::plain(status, "phase", "Pending");
        }
    },
    create: |object| {
        object.set(&["status"], json!({"phase": "Pending"}));
        data_sources(object);
    },
    update: |object, old, subresource| {
        generic_update(object, old, subresource);
        if !is_status(subresource) {
            data_sources(object);
        }
    },
    validate: |errors, claim| storage::claim_spec(errors, &claim.child("spec")),
    validate_update: Some(|errors, new, old, subresource| {
        if !is_status(subresource) {
            storage::claim_spec(errors, &new.child("spec"));
            claim_changes(errors, new, old);
        }
    }),
    warnings: |object, _| {
        let mut list = Vec::new();
        warnings::claim_spec(&mut list, &At::root(object).child("spec"));
        list
    },
    fields: &["name"],
    field: |object, _| object.name().to_owned(),
    ..Kind::PLAIN
};

/// The rules of storage classes.
pub const STORAGE_CLASS: Kind = Kind {
    default: |object| {
        fill::pointer(object, "reclaimPolicy", "Delete");
        fill::pointer(object, "volumeBindingMode", "Immediate");
    },
    create: nothing,
    validate: storage_class,
    validate_update: Some(|errors, new, old, _| {
        for key in ["parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"] {
            checks::immutable(errors, &new.child(key), old.value.get(key));
        }
    }),
    ..Kind::PLAIN
};

/// The rules of CSI drivers.
pub const CSI_DRIVER: Kind = Kind {
    default: |object| {
        let Some(spec) = fill::object(object, "spec") else { return };
        fill::pointer(spec, "attachRequired", true);
        for key in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            fill::pointer(spec, key, false);
        }
        fill::pointer(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec.items(&["volumeLifecycleModes"]).is_empty() {
            spec.set(&["volumeLifecycleModes"], json!(["Persistent"]));
        }
    },
    create: nothing,
    needs_revision: true,
    ..Kind::PLAIN
};

fn volume_defaults(object: &mut Value) {
    if let Some(spec) = fill::object(object, "spec") {
        fill::plain(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill::pointer(spec, "volumeMode", "Filesystem");
        fill::round_resources(spec, &["capacity"]);
        source_texts(spec);
    }
    if let Some(status) = fill::object(object, "status") {
        fill::plain(status, "phase", "Pending");
    }
}

type Check = fn(&mut Errors, &At);

/// Sources in upstream's order: field, path shown inside, path shown when there is another one already, check.
const SOURCES: [(&str, &str, &str, Check); 21] = [
    ("hostPath", "hostPath", "hostPath", sources::host_path),
    ("gcePersistentDisk", "persistentDisk", "gcePersistentDisk", sources::gce_disk),
    ("awsElasticBlockStore", "awsElasticBlockStore", "awsElasticBlockStore", sources::aws_disk),
    ("glusterfs", "glusterfs", "glusterfs", sources::glusterfs),
    ("flocker", "flocker", "flocker", sources::flocker),
    ("nfs", "nfs", "nfs", sources::nfs),
    ("rbd", "rbd", "rbd", sources::rbd),
    ("quobyte", "quobyte", "quobyte", sources::quobyte),
    ("cephfs", "cephfs", "cephFS", sources::cephfs),
    ("iscsi", "iscsi", "iscsi", sources::iscsi),
    ("cinder", "cinder", "cinder", sources::cinder),
    ("fc", "fc", "fc", sources::fibre_channel),
    ("flexVolume", "flexVolume", "flexVolume", sources::flex),
    ("azureFile", "azureFile", "azureFile", sources::azure_file),
    ("vsphereVolume", "vsphereVolume", "vsphereVolume", sources::vsphere),
    ("photonPersistentDisk", "photonPersistentDisk", "photonPersistentDisk", sources::photon),
    ("portworxVolume", "portworxVolume", "portworxVolume", sources::portworx),
    ("azureDisk", "azureDisk", "azureDisk", sources::azure_disk),
    ("scaleIO", "scaleIO", "scaleIO", sources::scale_io),
    ("storageos", "storageos", "storageos", sources::storage_os),
    ("csi", "csi", "csi", csi),
];

fn csi(errors: &mut Errors, source: &At) {
    sources::csi_driver_name(errors, &source.child("driver"));
    source.require(errors, "volumeHandle");
    let references = [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ];
    for reference in references.iter().filter_map(|key| source.some(key)) {
        if reference.require(errors, "name") {
            checks::dns_subdomain(errors, &reference.child("name"));
        }
        if reference.require(errors, "namespace") {
            checks::dns_label(errors, &reference.child("namespace"));
        }
    }
}

fn volume_spec(errors: &mut Errors, spec: &At) {
    spec.require(errors, "accessModes");
    storage::access_modes(errors, &spec.child("accessModes"));
    let capacity = spec.child("capacity");
    if capacity.is_empty() {
        errors.push(capacity.required(""));
    }
    if !capacity.has("storage") || spec.len_of("capacity") > 1 {
        let shown = if capacity.value.is_null() { json!({}) } else { capacity.value.clone() };
        errors.push(At::new(&shown, capacity.path.clone()).not_supported(&["storage"]));
    }
    for (_, at) in spec.entries("capacity") {
        let amount = Quantity::of(Some(at.value));
        if amount.value() < 0 {
            errors.push(at.invalid_as(amount.value(), "must be a valid resource quantity"));
        }
        if amount.sign() <= 0 {
            errors.push(at.invalid(checks::NOT_POSITIVE));
        }
    }
    let policy = spec.child("persistentVolumeReclaimPolicy");
    if !policy.text().is_empty() {
        policy.one_of(errors, &["Delete", "Recycle", "Retain"]);
    }
    let affinity = spec.child("nodeAffinity");
    if !affinity.value.is_null() {
        match affinity.some("required") {
            Some(required) => node_selector(errors, &required),
            None => {
                errors.push(affinity.child("required").required("must specify required node constraints"))
            }
        }
    }
    volume_source(errors, spec);
    let root = spec.child("hostPath").str("path");
    if !root.is_empty() && root.chars().all(|letter| letter == '/') && policy.text() == "Recycle" {
        errors.push(policy.forbidden("may not be 'recycle' for a hostPath mount of '/'"));
    }
    let class = spec.child("storageClassName");
    if !class.text().is_empty() {
        class.complain(errors, names::dns_subdomain(class.text()));
    }
    if let Some(mode) = spec.some("volumeMode") {
        mode.one_of(errors, &["Block", "Filesystem"]);
    }
}

fn volume_source(errors: &mut Errors, spec: &At) {
    let mut count = 0;
    let more = "may not specify more than 1 volume type";
    for (key, path, other_path, check) in SOURCES {
        let Some(found) = spec.some(key) else { continue };
        count += 1;
        if count > 1 {
            errors.push(FieldError::forbidden(&spec.child(other_path).path, more));
        } else {
            check(errors, &At::new(found.value, spec.child(path).path));
        }
    }
    if let Some(local) = spec.some("local") {
        count += 1;
        if count > 1 {
            errors.push(local.forbidden(more));
        } else {
            sources::local(errors, &local);
            if !spec.has("nodeAffinity") {
                errors.push(spec.child("nodeAffinity").required("Local volume requires node affinity"));
            }
        }
    }
    if count == 0 {
        errors.push(spec.required("must specify a volume type"));
    }
}

fn volume_changes(errors: &mut Errors, new: &At, old: &At) {
    let keys = SOURCES.iter().map(|(key, ..)| *key).chain(["local"]);
    let differs = |key: &str| {
        let (mut left, mut right) = (new.child(key).value.clone(), old.child(key).value.clone());
        if key == "csi" && right.at(&["controllerExpandSecretRef"]).is_none() {
            [&mut left, &mut right]
                .into_iter()
                .for_each(|source| drop(source.unset(&["controllerExpandSecretRef"])));
        }
        !same(Some(&left), Some(&right))
    };
    if keys.into_iter().any(differs) {
        let path = Path::new("spec.persistentvolumesource");
        errors
            .push(FieldError::forbidden(&path, "spec.persistentvolumesource is immutable after creation\n"));
    }
    let mode = At::new(new.child("volumeMode").value, Path::new("volumeMode"));
    checks::immutable(errors, &mode, old.value.get("volumeMode"));
}

/// The old and the new form of a claim's source follow each other where they mean the same.
fn data_sources(object: &mut Value) {
    let Some(spec) = fill::some(object, "spec") else { return };
    let snapshot = |source: &Value| {
        let group = source.text(&["apiGroup"]);
        let kind = source.text(&["kind"]);
        (group.is_empty() && kind == "PersistentVolumeClaim")
            || (group == "snapshot.storage.k8s.io" && kind == "VolumeSnapshot")
    };
    if spec.at(&["dataSource"]).is_some_and(|source| !snapshot(source))
        && spec.at(&["dataSourceRef"]).is_none()
    {
        // Sources that only the new field may name are dropped from the old one.
        spec.unset(&["dataSource"]);
        return;
    }
    match (spec.at(&["dataSource"]).cloned(), spec.at(&["dataSourceRef"]).cloned()) {
        (Some(source), None) => spec.set(&["dataSourceRef"], source),
        (None, Some(reference)) if reference.text(&["namespace"]).is_empty() && snapshot(&reference) => {
            spec.set(&["dataSource"], reference);
        }
        _ => {}
    }
}

fn claim_changes(errors: &mut Errors, new: &At, old: &At) {
    let mut munged = new.child("spec").value.clone();
    let before = old.child("spec");
    let mut keep = |path: &[&str]| match before.value.at(path) {
        Some(value) => munged.set(path, value.clone()),
        None => drop(munged.unset(path)),
    };
    if before.str("volumeName").is_empty() {
        keep(&["volumeName"]);
    }
    if !before.has("storageClassName") && new.child("spec").has("storageClassName") {
        keep(&["storageClassName"]);
    }
    if new.child("status").str("phase") == "Bound" {
        keep(&["resources", "requests", "storage"]);
        keep(&["volumeAttributesClassName"]);
    }
    let size = |spec: &At| Quantity::of(spec.value.at(&["resources", "requests", "storage"]));
    if !same(Some(&munged), Some(before.value)) {
        let words = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                     bound claims\n";
        errors.push(new.child("spec").forbidden(words));
    }
    let reserved = Quantity::of(old.value.at(&["status", "capacity", "storage"]));
    let now = size(&new.child("spec"));
    if now < size(&before) && now <= reserved {
        let path = Path::new("spec.resources.requests.storage");
        errors.push(FieldError::forbidden(&path, "field can not be less than status.capacity"));
    }
    let mode = At::new(new.child("spec").child("volumeMode").value, Path::new("volumeMode"));
    checks::immutable(errors, &mode, before.value.get("volumeMode"));
}

fn storage_class(errors: &mut Errors, class: &At) {
    let provisioner = class.child("provisioner");
    if provisioner.text().is_empty() {
        errors.push(provisioner.required(""));
    } else {
        provisioner.complain(errors, names::qualified_name(&provisioner.text().to_lowercase()));
    }
    let parameters = class.child("parameters");
    let entries = class.entries("parameters");
    if entries.len() > 512 {
        errors.push(FieldError::too_long(&parameters.path, 512));
    } else {
        let bytes: usize = entries.iter().map(|(key, at)| key.len() + at.text().len()).sum();
        for (key, _) in entries.iter().filter(|(key, _)| key.is_empty()) {
            errors.push(parameters.invalid_as(*key, "field can not be empty."));
        }
        if bytes > 256 * 1024 {
            errors.push(FieldError::too_long(&parameters.path, 256 * 1024));
        }
    }
    let policy = class.child("reclaimPolicy");
    if !policy.text().is_empty() {
        policy.one_of(errors, &["Delete", "Retain"]);
    }
    let mode = class.child("volumeBindingMode");
    if mode.value.is_null() {
        errors.push(mode.required(""));
    } else {
        mode.one_of(errors, &["Immediate", "WaitForFirstConsumer"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;

    #[test]
    fn volumes() {
        let mut object = json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}});
        PERSISTENT_VOLUME.default(&mut object);
        assert_eq!(object["spec"]["persistentVolumeReclaimPolicy"], "Retain");
        assert!(PERSISTENT_VOLUME.validate(&object).is_empty());
        let errors = PERSISTENT_VOLUME.validate(&json!({"spec": {}}));
        let paths: Vec<String> = errors.iter().map(|error| error.path.to_string()).collect();
        assert_eq!(paths, ["spec.accessModes", "spec.capacity", "spec.capacity", "spec"]);
    }

    #[test]
    fn claims_hardly_change() {
        let old = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "volumeMode": "Filesystem"}, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
        let mut grown = old.clone();
        grown["spec"]["resources"]["requests"]["storage"] = json!("2Gi");
        assert!(CLAIM.validate_update(&grown, &old, None).is_empty());
        let mut other = old.clone();
        other["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
        assert_eq!(CLAIM.validate_update(&other, &old, None).len(), 1);
        let mut bound = old.clone();
        bound["spec"]["volumeName"] = json!("v");
        assert!(CLAIM.validate_update(&bound, &old, None).is_empty());
    }
}
