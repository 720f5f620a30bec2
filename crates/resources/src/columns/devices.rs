//! Dynamic resource allocation.

use model::tree::TreeExt;
use serde_json::Value;

use super::cells::{Row, row};
use super::{AGE, NAME, Printer, number, text};

const GROUP: &str = "resource.k8s.io";

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: GROUP,
        kind: "DeviceClass",
        columns: &[NAME, AGE],
        cells: |class| row![class.name(), class.age()],
    },
    Printer {
        group: GROUP,
        kind: "ResourceClaim",
        columns: &[NAME, text("State"), AGE],
        cells: |claim| row![claim.name(), claim_state(claim), claim.age()],
    },
    Printer {
        group: GROUP,
        kind: "ResourceClaimTemplate",
        columns: &[NAME, AGE],
        cells: |template| row![template.name(), template.age()],
    },
    Printer {
        group: GROUP,
        kind: "ResourceSlice",
        columns: &[NAME, text("Node"), text("Driver"), text("Pool"), AGE],
        cells: |slice| {
            row![
                slice.name(),
                slice.text(&["spec", "nodeName"]),
                slice.text(&["spec", "driver"]),
                slice.text(&["spec", "pool", "name"]),
                slice.age()
            ]
        },
    },
    Printer {
        group: GROUP,
        kind: "DeviceTaintRule",
        columns: &[NAME, text("Key"), text("Value"), text("Effect"), text("TimeAdded"), AGE],
        cells: |rule| {
            let taint = |field: &'static str| rule.text(&["spec", "taint", field]);
            let added = match rule.has(&["spec", "taint", "timeAdded"]) {
                true => rule.since(&["spec", "taint", "timeAdded"]),
                false => "".into(),
            };
            row![rule.name(), taint("key"), taint("value"), taint("effect"), added, rule.age()]
        },
    },
    Printer {
        group: GROUP,
        kind: "ResourcePoolStatusRequest",
        columns: &[
            NAME,
            text("Driver"),
            text("Total"),
            text("Available"),
            text("Allocated"),
            text("Unavailable"),
            text("Errors"),
            number("Pools"),
            text("Status"),
            text("Completed"),
        ],
        cells: pool_status,
    },
];

fn claim_state(claim: &Row<'_>) -> String {
    let mut states = Vec::new();
    if claim.deleting() {
        states.push("deleted");
    }
    if claim.has(&["status", "allocation"]) {
        states.push("allocated");
        if claim.count(&["status", "reservedFor"]) > 0 {
            states.push("reserved");
        }
    } else if !claim.deleting() {
        states.push("pending");
    }
    states.join(",")
}

fn pool_status(request: &Row<'_>) -> Vec<Value> {
    let ended = |condition: &&Value| {
        condition.text(&["status"]) == "True" && matches!(condition.text(&["type"]), "Complete" | "Failed")
    };
    let end = request.items(&["status", "conditions"]).iter().find(ended);
    let kind = end.map_or("Pending", |condition| condition.text(&["type"]));
    let pools = request.items(&["status", "pools"]);
    let pool_count = request.number(&["status", "poolCount"]);
    let shown = i64::try_from(pools.len()).unwrap_or(i64::MAX);
    let counted = request.has(&["status"]) && kind != "Failed";
    let sum = |field: &str| match counted {
        true => pools.iter().filter_map(|pool| pool.integer(&[field])).sum::<i64>().to_string(),
        false => "-".into(),
    };
    let errors = match counted {
        true => pools.iter().filter(|pool| pool.at(&["validationError"]).is_some()).count().to_string(),
        false => "-".into(),
    };
    let status = match kind == "Complete" && pool_count > shown {
        true => format!("Complete ({shown}/{pool_count} pools)"),
        false => kind.to_owned(),
    };
    let completed =
        end.filter(|_| kind == "Complete").map(|condition| condition.text(&["lastTransitionTime"]));
    row![
        request.name(),
        request.text(&["spec", "driver"]),
        sum("totalDevices"),
        sum("availableDevices"),
        sum("allocatedDevices"),
        sum("unavailableDevices"),
        errors,
        pool_count,
        status,
        completed.map_or("<none>".into(), |time| super::age::since(time, request.now)),
    ]
}
