//! Nodes: ready, cordoned, short of something, or silent.

use model::tree::TreeExt;
use serde_json::Value;

use super::{Diagnosis, Facts};

/// Conditions that are bad when true.
const PRESSURES: [(&str, &str, &str); 4] = [
    ("MemoryPressure", "memory is short on the node: Pods are evicted", "delete Pods, or give them limits"),
    (
        "DiskPressure",
        "the disk of the node is nearly full: Pods are evicted and images removed",
        "`carob image ls`, `carob image rm NAME`; delete Pods; make room on the disk",
    ),
    ("PIDPressure", "the node runs as many processes as it may", "delete Pods that make many processes"),
    ("NetworkUnavailable", "the network of the node is not set up", "`carob status`, and the daemon's log"),
];

fn condition<'a>(node: &'a Value, name: &str) -> Option<&'a Value> {
    node.items(&["status", "conditions"]).iter().find(|own| own.text(&["type"]) == name)
}

/// Whether the node is ready.
pub fn is_ready(node: &Value) -> bool {
    condition(node, "Ready").is_some_and(|own| own.text(&["status"]) == "True")
}

/// Why a node is as it is.
pub fn decide(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let node = facts.object;
    let mut found = Vec::new();
    match condition(node, "Ready") {
        Some(ready) if ready.text(&["status"]) == "True" => {}
        Some(ready) if ready.text(&["status"]) == "Unknown" => found.push(
            Diagnosis::wrong("NotReady: its agent does not report any more")
                .seen(condition_line(ready))
                .seen(format!("last heard of at {}", ready.text(&["lastHeartbeatTime"])))
                .mend("look whether the machine and its agent run: `carob status`, `carob up`"),
        ),
        Some(ready) => found.push(
            Diagnosis::wrong(format!("NotReady: {}", ready.text(&["message"])))
                .seen(condition_line(ready))
                .mend("`carob status` shows which part is not well; the daemon's log says why"),
        ),
        None => found.push(
            Diagnosis::wrong("NotReady: its agent has not reported yet")
                .mend("`carob status` on that machine"),
        ),
    }
    for (name, meaning, remedy) in PRESSURES {
        if let Some(own) = condition(node, name).filter(|own| own.text(&["status"]) == "True") {
            found.push(Diagnosis::wrong(format!("{name}: {meaning}")).seen(condition_line(own)).mend(remedy));
        }
    }
    if node.at(&["spec", "unschedulable"]) == Some(&Value::Bool(true)) {
        found.push(
            Diagnosis::wrong("it is cordoned: no new Pods come to it")
                .seen("spec.unschedulable is true")
                .mend(format!("`carob uncordon {}`", node.name())),
        );
    }
    let taints = node.items(&["spec", "taints"]).iter();
    let own: Vec<String> = taints
        .filter(|taint| !taint.text(&["key"]).starts_with("node.kubernetes.io/"))
        .map(|taint| {
            format!("taint {}={}:{}", taint.text(&["key"]), taint.text(&["value"]), taint.text(&["effect"]))
        })
        .collect();
    if !own.is_empty() {
        let remedy = format!(
            "take a taint off: `kubectl taint node {} KEY-`, or add tolerations to Pods",
            node.name()
        );
        let cause = "it has taints: only Pods that tolerate them come to it";
        found.push(Diagnosis::wrong(cause).seen_all(own).mend(remedy));
    }
    if found.is_empty() {
        let ready = condition(node, "Ready").map(condition_line).unwrap_or_default();
        found.push(Diagnosis::right("Ready: it takes Pods").seen(ready));
    }
    found
}

/// A condition as evidence.
pub fn condition_line(condition: &Value) -> String {
    let [kind, status, reason, message] =
        ["type", "status", "reason", "message"].map(|field| condition.text(&[field]));
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    format!("condition {kind} is {status}{reason}{message}")
}
