//! Nodes.

use std::collections::BTreeMap;

use model::quantity::Quantity;
use model::tree::TreeExt;
use serde_json::Value;

use super::writer::plain;
use super::{Described, Writer};
use crate::text::{rfc1123, since};

/// Its lease, and the Pods on it that have not ended.
pub fn related(object: &Value) -> Vec<(&'static str, String)> {
    let lease = client::Path::collection("coordination.k8s.io", "v1", "leases", Some("kube-node-lease"));
    let selector = format!("spec.nodeName={},status.phase!=Succeeded,status.phase!=Failed", object.name());
    let pods = client::Path::collection("", "v1", "pods", None);
    let query = client::options::query(&[("fieldSelector", Some(selector))]);
    vec![
        ("lease", lease.join(object.name()).as_str().to_owned()),
        ("pods", crate::builder::with_query(pods.as_str(), &query)),
    ]
}

/// A node.
pub fn describe(described: &Described<'_>, out: &mut Writer) {
    let node = described.object;
    let (spec, status) = (&node["spec"], &node["status"]);
    out.field(0, "Name", node.name());
    out.field(0, "Roles", roles(node));
    out.labels("Labels", node.at(&["metadata", "labels"]));
    out.annotations("Annotations", node.at(&["metadata", "annotations"]));
    out.field(0, "CreationTimestamp", rfc1123(node.text(&["metadata", "creationTimestamp"])));
    out.several("Taints", &taints(spec.items(&["taints"])));
    out.field(0, "Unschedulable", spec["unschedulable"] == true);
    lease(described, out);
    let conditions = status.items(&["conditions"]);
    if !conditions.is_empty() {
        out.line(0, "Conditions:");
        out.line(1, "Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
        out.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
        for one in conditions {
            out.line(
                1,
                format!(
                    "{} \t{} \t{} \t{} \t{} \t{}",
                    one.text(&["type"]),
                    one.text(&["status"]),
                    rfc1123(one.text(&["lastHeartbeatTime"])),
                    rfc1123(one.text(&["lastTransitionTime"])),
                    one.text(&["reason"]),
                    one.text(&["message"]),
                ),
            );
        }
    }
    out.line(0, "Addresses:");
    status
        .items(&["addresses"])
        .iter()
        .for_each(|one| out.field(1, one.text(&["type"]), one.text(&["address"])));
    for (title, field) in [("Capacity:", "capacity"), ("Allocatable:", "allocatable")] {
        if let Some(map) = status.at(&[field]).and_then(Value::as_object).filter(|map| !map.is_empty()) {
            out.line(0, title);
            map.iter().for_each(|(name, quantity)| out.field(1, name, plain(Some(quantity))));
        }
    }
    info(status, out);
    out.optional(0, "PodCIDR", spec.text(&["podCIDR"]));
    let cidrs: Vec<&str> = spec.items(&["podCIDRs"]).iter().filter_map(Value::as_str).collect();
    out.optional(0, "PodCIDRs", &cidrs.join(","));
    out.optional(0, "ProviderID", spec.text(&["providerID"]));
    match described.related("pods") {
        Some(Ok(_)) => pods(described, out),
        _ => out.field(0, "Pods", "not authorized"),
    }
}

fn roles(node: &Value) -> String {
    let labels = node.at(&["metadata", "labels"]).and_then(Value::as_object);
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { "<none>".into() } else { roles.join(",") }
}

fn taints(list: &[Value]) -> Vec<String> {
    let mut sorted: Vec<&Value> = list.iter().collect();
    sorted.sort_by_key(|one| format!("{},{}", one.text(&["effect"]), one.text(&["key"])));
    let text = |one: &Value| {
        let (key, value, effect) = (one.text(&["key"]), one.text(&["value"]), one.text(&["effect"]));
        match (effect, value) {
            ("", "") => key.to_owned(),
            ("", value) => format!("{key}={value}:"),
            (effect, "") => format!("{key}:{effect}"),
            (effect, value) => format!("{key}={value}:{effect}"),
        }
    };
    sorted.into_iter().map(text).collect()
}

fn lease(described: &Described<'_>, out: &mut Writer) {
    let lease = match described.related("lease") {
        Some(Ok(lease)) => lease,
        Some(Err(error)) => return out.field(0, "Lease", format!("Failed to get lease: {error}")),
        None => return,
    };
    let unset = "<unset>".to_owned();
    let time =
        |field: &str| lease.at(&["spec", field]).map_or(unset.clone(), |time| rfc1123(&plain(Some(time))));
    out.line(0, "Lease:");
    out.field(
        1,
        "HolderIdentity",
        lease.at(&["spec", "holderIdentity"]).map_or(unset.clone(), |name| plain(Some(name))),
    );
    out.field(1, "AcquireTime", time("acquireTime"));
    out.field(1, "RenewTime", time("renewTime"));
}

fn info(status: &Value, out: &mut Writer) {
    out.line(0, "System Info:");
    for (title, field) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
    ] {
        out.field(1, title, status.text(&["nodeInfo", field]));
    }
}

type Totals = BTreeMap<String, Quantity>;

fn add(to: &mut Totals, from: &Totals) {
    for (name, quantity) in from {
        match to.get_mut(name) {
            Some(sum) => sum.add(quantity),
            None => {
                to.insert(name.clone(), quantity.clone());
            }
        }
    }
}

fn raise(to: &mut Totals, from: &Totals) {
    for (name, quantity) in from {
        match to.get(name) {
            Some(known) if known.nanos() >= quantity.nanos() => {}
            _ => {
                to.insert(name.clone(), quantity.clone());
            }
        }
    }
}

fn quantities(map: &Value) -> Totals {
    let map = map.as_object();
    map.into_iter().flatten().map(|(name, value)| (name.clone(), Quantity::of(Some(value)))).collect()
}

/// What a Pod asks for (`requests`) or may use at most (`limits`): the sum of its containers, or its largest init
/// container beside the sidecars started before it, and the overhead.
fn of_pod(pod: &Value, field: &str) -> Totals {
    let mut sum = Totals::new();
    for container in pod.items(&["spec", "containers"]) {
        add(&mut sum, &quantities(&container["resources"][field]));
    }
    let (mut sidecars, mut init) = (Totals::new(), Totals::new());
    for container in pod.items(&["spec", "initContainers"]) {
        let own = quantities(&container["resources"][field]);
        if container.text(&["restartPolicy"]) == "Always" {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            raise(&mut init, &sidecars);
        } else {
            let mut with = own.clone();
            add(&mut with, &sidecars);
            raise(&mut init, &with);
        }
    }
    raise(&mut sum, &init);
    sum.extend(quantities(&pod["spec"]["resources"][field]));
    let overhead = quantities(&pod["spec"]["overhead"]);
    if field == "requests" || !sum.is_empty() {
        add(&mut sum, &overhead);
    }
    sum
}

/// `100m (5%)`.
fn share(totals: &Totals, name: &str, allocatable: &Totals) -> String {
    let zero = Quantity::of(None);
    let (used, whole) = (totals.get(name).unwrap_or(&zero), allocatable.get(name).unwrap_or(&zero));
    let percent =
        if whole.is_zero() { 0 } else { (used.nanos() as f64 / whole.nanos() as f64 * 100.0) as i64 };
    format!("{used} ({percent}%)")
}

fn pods(described: &Described<'_>, out: &mut Writer) {
    let node = described.object;
    let list = described.items("pods");
    let field = if node.at(&["status", "allocatable"]).is_some() { "allocatable" } else { "capacity" };
    let allocatable = quantities(&node["status"][field]);
    out.field(0, "Non-terminated Pods", format!("({} in total)", list.len()));
    out.line(1, "Namespace\tName\t\tCPU Requests\tCPU Limits\tMemory Requests\tMemory Limits\tAge");
    out.line(1, "---------\t----\t\t------------\t----------\t---------------\t-------------\t---");
    let (mut requests, mut limits) = (Totals::new(), Totals::new());
    for pod in &list {
        let (own_requests, own_limits) = (of_pod(pod, "requests"), of_pod(pod, "limits"));
        let mut cells = vec![pod.namespace().to_owned(), pod.name().to_owned(), String::new()];
        for name in ["cpu", "memory"] {
            cells.push(share(&own_requests, name, &allocatable));
            cells.push(share(&own_limits, name, &allocatable));
        }
        cells.push(since(pod.text(&["metadata", "creationTimestamp"]), described.now));
        out.line(1, cells.join("\t"));
        add(&mut requests, &own_requests);
        add(&mut limits, &own_limits);
    }
    out.line(0, "Allocated resources:");
    out.line(1, "(Total limits may be over 100 percent, i.e., overcommitted.)");
    out.line(1, "Resource\tRequests\tLimits");
    out.line(1, "--------\t--------\t------");
    let standard = ["cpu", "memory", "ephemeral-storage"];
    let huge = allocatable.keys().map(String::as_str).filter(|name| name.starts_with("hugepages-"));
    for name in standard.into_iter().chain(huge) {
        out.line(
            1,
            format!(
                "{name}\t{}\t{}",
                share(&requests, name, &allocatable),
                share(&limits, name, &allocatable)
            ),
        );
    }
    let zero = Quantity::of(None);
    for name in allocatable.keys() {
        if !standard.contains(&name.as_str()) && !name.starts_with("hugepages-") && name != "pods" {
            let (asked, most) = (requests.get(name).unwrap_or(&zero), limits.get(name).unwrap_or(&zero));
            out.line(1, format!("{name}\t{asked}\t{most}"));
        }
    }
}
