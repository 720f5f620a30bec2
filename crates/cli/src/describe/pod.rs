//! Pods.

use model::tree::TreeExt;
use serde_json::Value;

use super::writer::{or_none, plain};
use super::{Described, Writer, container, volume};
use crate::text::{rfc1123, since};

/// A Pod.
pub fn describe(described: &Described<'_>, writer: &mut Writer) {
    let pod = described.object;
    head(described, writer);
    for (title, list, statuses) in [
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
        ("Ephemeral Containers", "ephemeralContainers", "ephemeralContainerStatuses"),
    ] {
        let containers = pod.items(&["spec", list]);
        if list == "containers" || !containers.is_empty() {
            container::list(title, containers, pod.items(&["status", statuses]), pod, writer);
        }
    }
    conditions(pod, writer);
    volume::list(pod.items(&["spec", "volumes"]), "", writer);
    writer.field(0, "QoS Class", pod.text(&["status", "qosClass"]));
    writer.labels("Node-Selectors", pod.at(&["spec", "nodeSelector"]));
    writer.several("Tolerations", &tolerations(pod.items(&["spec", "tolerations"])));
    spread("Topology Spread Constraints", &pod["spec"], writer);
}

fn spread(title: &str, spec: &Value, writer: &mut Writer) {
    let mut spread: Vec<&Value> = spec.items(&["topologySpreadConstraints"]).iter().collect();
    if !spread.is_empty() {
        spread.sort_by_key(|one| one.text(&["topologyKey"]));
        writer.several(title, &spread.into_iter().map(constraint).collect::<Vec<_>>());
    }
}

/// A Pod template of a workload.
pub fn template(template: &Value, writer: &mut Writer) {
    let spec = &template["spec"];
    writer.line(0, "Pod Template:");
    if template.is_null() {
        writer.line(1, "<unset>");
        return;
    }
    writer.labels("  Labels", template.at(&["metadata", "labels"]));
    if template.at(&["metadata", "annotations"]).and_then(Value::as_object).is_some_and(|map| !map.is_empty())
    {
        writer.annotations("  Annotations", template.at(&["metadata", "annotations"]));
    }
    writer.optional(1, "Service Account", spec.text(&["serviceAccountName"]));
    for (title, list) in [("  Init Containers", "initContainers"), ("  Containers", "containers")] {
        let containers = spec.items(&[list]);
        if list == "containers" || !containers.is_empty() {
            container::list(title, containers, &[], &Value::Null, writer);
        }
    }
    volume::list(spec.items(&["volumes"]), "  ", writer);
    spread("  Topology Spread Constraints", spec, writer);
    writer.optional(1, "Priority Class Name", spec.text(&["priorityClassName"]));
    writer.labels("  Node-Selectors", spec.at(&["nodeSelector"]));
    writer.several("  Tolerations", &tolerations(spec.items(&["tolerations"])));
}

fn head(described: &Described<'_>, writer: &mut Writer) {
    let pod = described.object;
    let (spec, status) = (&pod["spec"], &pod["status"]);
    writer.field(0, "Name", pod.name());
    writer.field(0, "Namespace", pod.namespace());
    if let Some(priority) = spec.integer(&["priority"]) {
        writer.field(0, "Priority", priority);
    }
    writer.optional(0, "Priority Class Name", spec.text(&["priorityClassName"]));
    writer.optional(0, "Runtime Class Name", spec.text(&["runtimeClassName"]));
    writer.optional(0, "Service Account", spec.text(&["serviceAccountName"]));
    match spec.text(&["nodeName"]) {
        "" => writer.field(0, "Node", "<none>"),
        node => writer.field(0, "Node", format!("{node}/{}", status.text(&["hostIP"]))),
    }
    if let Some(start) = status.at(&["startTime"]) {
        writer.field(0, "Start Time", rfc1123(&plain(Some(start))));
    }
    writer.labels("Labels", pod.at(&["metadata", "labels"]));
    writer.annotations("Annotations", pod.at(&["metadata", "annotations"]));
    let phase = status.text(&["phase"]);
    match pod.text(&["metadata", "deletionTimestamp"]) {
        deletion if !deletion.is_empty() && !matches!(phase, "Failed" | "Succeeded") => {
            writer.field(0, "Status", format!("Terminating (lasts {})", since(deletion, described.now)));
            let grace_s = pod.integer(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
            writer.field(0, "Termination Grace Period", format!("{grace_s}s"));
        }
        _ => writer.field(0, "Status", phase),
    }
    writer.optional(0, "Reason", status.text(&["reason"]));
    writer.optional(0, "Message", status.text(&["message"]));
    if let Some(profile) = spec.at(&["securityContext", "seccompProfile"]) {
        writer.field(0, "SeccompProfile", profile.text(&["type"]));
        if profile.text(&["type"]) == "Localhost" {
            writer.field(0, "LocalhostProfile", profile.text(&["localhostProfile"]));
        }
    }
    writer.field(0, "IP", status.text(&["podIP"]));
    let ips = status.items(&["podIPs"]);
    if ips.is_empty() {
        writer.field(0, "IPs", "<none>");
    } else {
        writer.line(0, "IPs:");
        ips.iter().for_each(|ip| writer.field(1, "IP", ip.text(&["ip"])));
    }
    let owner = pod.items(&["metadata", "ownerReferences"]).iter().find(|owner| owner["controller"] == true);
    if let Some(owner) = owner {
        writer.field(0, "Controlled By", format!("{}/{}", owner.text(&["kind"]), owner.text(&["name"])));
    }
    writer.optional(0, "NominatedNodeName", status.text(&["nominatedNodeName"]));
    if spec.at(&["resources"]).is_some() {
        writer.line(0, "Resources:");
        container::resources(&spec["resources"], 1, writer);
    }
}

fn conditions(pod: &Value, writer: &mut Writer) {
    let conditions = pod.items(&["status", "conditions"]);
    let gates = pod.items(&["spec", "readinessGates"]);
    if !gates.is_empty() {
        writer.line(0, "Readiness Gates:");
        writer.line(1, "Type\tStatus");
        for gate in gates {
            let kind = gate.text(&["conditionType"]);
            let found = conditions.iter().find(|condition| condition.text(&["type"]) == kind);
            let status = found.map(|condition| condition.text(&["status"])).unwrap_or_default();
            writer.line(1, format!("{kind} \t{} ", or_none(status)));
        }
    }
    if !conditions.is_empty() {
        writer.line(0, "Conditions:");
        writer.line(1, "Type\tStatus");
        for condition in conditions {
            writer.line(1, format!("{} \t{} ", condition.text(&["type"]), condition.text(&["status"])));
        }
    }
}

/// `key=value:Effect op=Exists for 300s`.
pub fn tolerations(list: &[Value]) -> Vec<String> {
    let mut sorted: Vec<&Value> = list.iter().collect();
    sorted.sort_by_key(|one| one.text(&["key"]));
    let text = |one: &Value| {
        let mut text = one.text(&["key"]).to_owned();
        let (value, effect) = (one.text(&["value"]), one.text(&["effect"]));
        if !value.is_empty() {
            text.push_str(&format!("={value}"));
        }
        if !effect.is_empty() {
            text.push_str(&format!(":{effect}"));
        }
        if one.text(&["operator"]) == "Exists" && value.is_empty() {
            text.push_str(if text.is_empty() { "op=Exists" } else { " op=Exists" });
        }
        if let Some(seconds) = one.integer(&["tolerationSeconds"]) {
            text.push_str(&format!(" for {seconds}s"));
        }
        text
    };
    sorted.into_iter().map(text).collect()
}

fn constraint(one: &Value) -> String {
    let mut text = format!(
        "{}:{} when max skew {} is exceeded",
        one.text(&["topologyKey"]),
        one.text(&["whenUnsatisfiable"]),
        one.integer(&["maxSkew"]).unwrap_or(0)
    );
    if let Some(selector) = one.at(&["labelSelector"]) {
        let holder = serde_json::json!({"spec": {"selector": selector}});
        text.push_str(&format!(
            " for selector {}",
            crate::commands::pods::selector(&holder).unwrap_or_default()
        ));
    }
    text
}
