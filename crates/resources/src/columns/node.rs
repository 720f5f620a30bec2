//! Nodes.

use std::collections::BTreeSet;

use model::tree::TreeExt;
use serde_json::Value;

use super::cells::{Row, row};
use super::{AGE, NAME, Printer, text, wide};

pub(super) const PRINTERS: &[Printer] = &[Printer {
    group: "",
    kind: "Node",
    columns: &[
        NAME,
        text("Status"),
        text("Roles"),
        AGE,
        text("Version"),
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ],
    cells: node,
}];

fn node(node: &Row<'_>) -> Vec<Value> {
    let info = |field: &'static str| node.text_or(&["status", "nodeInfo", field], "<unknown>");
    let mut kernel = info("kernelVersion").to_owned();
    let architecture = node.text(&["status", "nodeInfo", "architecture"]);
    if !architecture.is_empty() {
        kernel.push_str(&format!(" ({architecture})"));
    }
    row![
        node.name(),
        status(node),
        roles(node),
        node.age(),
        node.text(&["status", "nodeInfo", "kubeletVersion"]),
        address(node, "InternalIP"),
        address(node, "ExternalIP"),
        info("osImage"),
        kernel,
        info("containerRuntimeVersion"),
    ]
}

fn status(node: &Row<'_>) -> String {
    let mut status = match node.condition("Ready").map(|ready| ready.text(&["status"])) {
        None => "Unknown",
        Some("True") => "Ready",
        Some(_) => "NotReady",
    }
    .to_owned();
    if node.flag(&["spec", "unschedulable"], false) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Row<'_>) -> String {
    let labels = node.object.at(&["metadata", "labels"]).and_then(Value::as_object);
    let roles: BTreeSet<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".into() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address<'a>(node: &Row<'a>, kind: &str) -> &'a str {
    let found = node.items(&["status", "addresses"]).iter().find(|address| address.text(&["type"]) == kind);
    found.map_or("<none>", |address| address.text(&["address"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_show_state_and_roles() {
        let object = json!({
            "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "x"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "addresses": [
                {"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "kernelVersion": "6.1", "architecture": "amd64"}},
        });
        let now = model::time::parse("2026-01-02T03:04:05Z").unwrap();
        let cells = node(&Row { object: &object, now });
        let want = json!([
            "n",
            "Ready,SchedulingDisabled",
            "control-plane,x",
            "<unknown>",
            "v1.36.0",
            "10.0.0.1",
            "<none>",
            "<unknown>",
            "6.1 (amd64)",
            "<unknown>"
        ]);
        assert_eq!(Value::from(cells), want);
    }
}
