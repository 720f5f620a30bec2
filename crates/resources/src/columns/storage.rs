//! Volumes, claims and what provides them.

use model::tree::TreeExt;
use serde_json::Value;

use super::cells::{Row, access_modes, plain, row};
use super::{AGE, NAME, Printer, column, flag, number, text, wide};

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "",
        kind: "PersistentVolume",
        columns: &[
            NAME,
            text("Capacity"),
            text("Access Modes"),
            text("Reclaim Policy"),
            text("Status"),
            text("Claim"),
            text("StorageClass"),
            text("VolumeAttributesClass"),
            text("Reason"),
            AGE,
            wide("VolumeMode"),
        ],
        cells: volume,
    },
    Printer {
        group: "",
        kind: "PersistentVolumeClaim",
        columns: &[
            NAME,
            text("Status"),
            text("Volume"),
            text("Capacity"),
            text("Access Modes"),
            text("StorageClass"),
            text("VolumeAttributesClass"),
            AGE,
            wide("VolumeMode"),
        ],
        cells: claim,
    },
    Printer {
        group: "storage.k8s.io",
        kind: "StorageClass",
        columns: &[
            NAME,
            text("Provisioner"),
            text("ReclaimPolicy"),
            text("VolumeBindingMode"),
            text("AllowVolumeExpansion"),
            AGE,
        ],
        cells: storage_class,
    },
    Printer {
        group: "storage.k8s.io",
        kind: "VolumeAttributesClass",
        columns: &[NAME, text("DriverName"), AGE],
        cells: |class| row![class.name(), class.text(&["driverName"]), class.age()],
    },
    Printer {
        group: "storage.k8s.io",
        kind: "VolumeAttachment",
        columns: &[
            NAME,
            column("Attacher", "string", "name", 0),
            text("PV"),
            text("Node"),
            flag("Attached"),
            AGE,
        ],
        cells: |attachment| {
            row![
                attachment.name(),
                attachment.text(&["spec", "attacher"]),
                attachment.text(&["spec", "source", "persistentVolumeName"]),
                attachment.text(&["spec", "nodeName"]),
                attachment.flag(&["status", "attached"], false),
                attachment.age(),
            ]
        },
    },
    Printer {
        group: "storage.k8s.io",
        kind: "CSINode",
        columns: &[NAME, number("Drivers"), AGE],
        cells: |node| row![node.name(), node.count(&["spec", "drivers"]), node.age()],
    },
    Printer {
        group: "storage.k8s.io",
        kind: "CSIDriver",
        columns: &[
            NAME,
            flag("AttachRequired"),
            flag("PodInfoOnMount"),
            flag("StorageCapacity"),
            text("TokenRequests"),
            flag("RequiresRepublish"),
            text("Modes"),
            AGE,
        ],
        cells: driver,
    },
];

/// The class of a volume or claim: the old annotation wins over the field.
fn class<'a>(object: &Row<'a>) -> &'a str {
    const ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
    match object.object.at(&["metadata", "annotations", ANNOTATION]).and_then(Value::as_str) {
        Some(class) => class,
        None => object.text(&["spec", "storageClassName"]),
    }
}

fn text_or_unset<'a>(object: &Row<'a>, field: &str) -> &'a str {
    object.object.at(&["spec", field]).and_then(Value::as_str).unwrap_or("<unset>")
}

fn phase<'a>(object: &Row<'a>) -> &'a str {
    if object.deleting() { "Terminating" } else { object.text(&["status", "phase"]) }
}

fn volume(volume: &Row<'_>) -> Vec<Value> {
    let claim = volume.object.at(&["spec", "claimRef"]);
    let claim = claim.map(|claim| format!("{}/{}", claim.text(&["namespace"]), claim.text(&["name"])));
    let capacity = volume.object.at(&["spec", "capacity", "storage"]);
    row![
        volume.name(),
        capacity.map_or("0".into(), |capacity| plain(Some(capacity))),
        access_modes(volume.items(&["spec", "accessModes"])),
        volume.text(&["spec", "persistentVolumeReclaimPolicy"]),
        phase(volume),
        claim.unwrap_or_default(),
        class(volume),
        text_or_unset(volume, "volumeAttributesClassName"),
        volume.text(&["status", "reason"]),
        volume.age(),
        text_or_unset(volume, "volumeMode"),
    ]
}

fn claim(claim: &Row<'_>) -> Vec<Value> {
    let bound = !claim.text(&["spec", "volumeName"]).is_empty();
    let (capacity, modes) = if bound {
        let capacity = claim.object.at(&["status", "capacity", "storage"]);
        let modes = access_modes(claim.items(&["status", "accessModes"]));
        (capacity.map_or("0".into(), |capacity| plain(Some(capacity))), modes)
    } else {
        (String::new(), String::new())
    };
    row![
        claim.name(),
        phase(claim),
        claim.text(&["spec", "volumeName"]),
        capacity,
        modes,
        class(claim),
        text_or_unset(claim, "volumeAttributesClassName"),
        claim.age(),
        text_or_unset(claim, "volumeMode"),
    ]
}

fn storage_class(class: &Row<'_>) -> Vec<Value> {
    let marked = |name: &str| class.text(&["metadata", "annotations", name]) == "true";
    let default = marked("storageclass.kubernetes.io/is-default-class")
        || marked("storageclass.beta.kubernetes.io/is-default-class");
    row![
        if default { format!("{} (default)", class.name()) } else { class.name().to_owned() },
        class.text(&["provisioner"]),
        class.text_or(&["reclaimPolicy"], "Delete"),
        class.text_or(&["volumeBindingMode"], "Immediate"),
        class.flag(&["allowVolumeExpansion"], false),
        class.age(),
    ]
}

fn driver(driver: &Row<'_>) -> Vec<Value> {
    let join = |list: Vec<&str>| list.join(",");
    let tokens = match driver.has(&["spec", "tokenRequests"]) {
        true => join(
            driver.items(&["spec", "tokenRequests"]).iter().map(|token| token.text(&["audience"])).collect(),
        ),
        false => "<unset>".into(),
    };
    let modes =
        join(driver.items(&["spec", "volumeLifecycleModes"]).iter().filter_map(Value::as_str).collect());
    row![
        driver.name(),
        driver.flag(&["spec", "attachRequired"], true),
        driver.flag(&["spec", "podInfoOnMount"], false),
        driver.flag(&["spec", "storageCapacity"], false),
        tokens,
        driver.flag(&["spec", "requiresRepublish"], false),
        if modes.is_empty() { "<none>".into() } else { modes },
        driver.age(),
    ]
}
