//! The life of nodes (upstream's node-lifecycle and taint-eviction controllers): a node whose lease is not renewed is
//! Unknown, what is not ready is tainted, Pods that do not tolerate the taint go when their time is over.

use jiff::Timestamp;
use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::action::{Action, PatchKind, Target};

/// After how many seconds without a sign of life a node is Unknown (`--node-monitor-grace-period`).
pub const GRACE_S: i64 = 50;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Conditions that a silent node loses: (type, status when it never reported, reason, message).
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Conditions that become NoSchedule taints: (type, status, taint).
const SCHEDULING_TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

fn condition<'a>(node: &'a Value, kind: &str) -> Option<&'a Value> {
    node.items(&["status", "conditions"]).iter().find(|own| own["type"] == kind)
}

fn status<'a>(node: &'a Value, kind: &str) -> &'a str {
    condition(node, kind).map_or("", |own| own.text(&["status"]))
}

/// Decides for a node. `last_seen`: when its lease or status last changed, by this controller's own clock.
pub fn decide_node(node: &Value, last_seen: Timestamp, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut judged = node.clone();
    let silent = now.as_second() - last_seen.as_second() > GRACE_S;
    if silent && let Some(conditions) = unknown_conditions(node, now) {
        judged.set(&["status", "conditions"], conditions.clone());
        actions.push(Action::Patch {
            target: Target::of("nodes", node),
            subresource: Some("status".into()),
            kind: PatchKind::Strategic,
            patch: json!({"status": {"conditions": conditions}}),
        });
    }
    let taints = wanted_taints(&judged, now);
    if taints != node.items(&["spec", "taints"]) {
        let version = node.resource_version();
        let mut patch = json!([{"op": "add", "path": "/spec/taints", "value": taints}]);
        // Together with a status change the version would be stale; the next round does the taints then.
        if actions.is_empty() {
            patch = json!([
                {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                {"op": "add", "path": "/spec/taints", "value": taints},
            ]);
        }
        actions.push(Action::Patch {
            target: Target::of("nodes", node),
            subresource: None,
            kind: PatchKind::Json,
            patch,
        });
    }
    actions
}

/// The conditions of a node that went silent, or `None` if they are so already.
fn unknown_conditions(node: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let stamp = model::time::format_seconds(now);
    let mut changed = false;
    let mut all = node.items(&["status", "conditions"]).to_vec();
    for kind in CONDITIONS {
        match all.iter_mut().find(|own| own["type"] == kind) {
            Some(own) if own["status"] == "Unknown" => {}
            Some(own) => {
                own["status"] = json!("Unknown");
                own["reason"] = json!("NodeStatusUnknown");
                own["message"] = json!("Kubelet stopped posting node status.");
                own["lastTransitionTime"] = json!(stamp);
                changed = true;
            }
            None => {
                all.push(json!({
                    "type": kind, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": node["metadata"]["creationTimestamp"], "lastTransitionTime": stamp,
                }));
                changed = true;
            }
        }
    }
    changed.then_some(all)
}

/// The taints a node should have: its own, and those that its conditions make.
fn wanted_taints(node: &Value, now: Timestamp) -> Vec<Value> {
    let present = node.items(&["spec", "taints"]);
    let managed = |taint: &Value| {
        let (key, effect) = (taint.text(&["key"]), taint.text(&["effect"]));
        match effect {
            "NoSchedule" => key == UNSCHEDULABLE || SCHEDULING_TAINTS.iter().any(|(_, _, own)| *own == key),
            "NoExecute" => key == NOT_READY || key == UNREACHABLE,
            _ => false,
        }
    };
    let mut wanted: Vec<(&str, &str)> = SCHEDULING_TAINTS
        .iter()
        .filter(|(kind, value, _)| status(node, kind) == *value)
        .map(|(_, _, taint)| (*taint, "NoSchedule"))
        .collect();
    if condition(node, "Ready").is_none() {
        wanted.push((NOT_READY, "NoSchedule"));
    }
    if node["spec"]["unschedulable"] == true {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    match status(node, "Ready") {
        "False" => wanted.push((NOT_READY, "NoExecute")),
        "Unknown" => wanted.push((UNREACHABLE, "NoExecute")),
        _ => {}
    }
    let keep =
        |taint: &&Value| !managed(taint) || wanted.contains(&(taint.text(&["key"]), taint.text(&["effect"])));
    let mut taints: Vec<Value> = present.iter().filter(keep).cloned().collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|own| own["key"] == key && own["effect"] == effect) {
            let mut taint = json!({"key": key, "effect": effect});
            if effect == "NoExecute" || key == UNSCHEDULABLE {
                taint["timeAdded"] = json!(model::time::format_seconds(now));
            }
            taints.push(taint);
        }
    }
    taints
}

/// When a Pod has to leave a node for its `NoExecute` taints: `None` is never.
pub fn leaves_at(pod: &Value, node: &Value) -> Option<Timestamp> {
    let mut leaves: Option<Timestamp> = None;
    for taint in node.items(&["spec", "taints"]).iter().filter(|taint| taint["effect"] == "NoExecute") {
        let tolerations: Vec<&Value> =
            pod.items(&["spec", "tolerations"]).iter().filter(|own| tolerates(own, taint)).collect();
        let added = model::time::parse(taint.text(&["timeAdded"])).unwrap_or(Timestamp::UNIX_EPOCH);
        if tolerations.is_empty() {
            return Some(added);
        }
        // The shortest of the times given counts; one without a time tolerates for ever.
        let seconds = tolerations.iter().filter_map(|own| own.integer(&["tolerationSeconds"])).min();
        if let Some(seconds) = seconds {
            let at = Timestamp::from_second(added.as_second() + seconds.max(0)).unwrap_or(added);
            leaves = Some(leaves.map_or(at, |other| other.min(at)));
        }
    }
    leaves
}

fn tolerates(toleration: &Value, taint: &Value) -> bool {
    let (key, effect) = (toleration.text(&["key"]), toleration.text(&["effect"]));
    let same_effect = effect.is_empty() || effect == taint.text(&["effect"]);
    let same_key = key.is_empty() || key == taint.text(&["key"]);
    let same_value = match toleration.text(&["operator"]) {
        "Exists" => true,
        _ => toleration.text(&["value"]) == taint.text(&["value"]),
    };
    same_effect && same_key && same_value
}

/// Decides for a Pod on a node whose taints tell it to leave: delete it if its time is over.
pub fn decide_pod(pod: &Value, node: &Value, now: Timestamp) -> Vec<Action> {
    let deleted = pod.at(&["metadata", "deletionTimestamp"]).is_some();
    match leaves_at(pod, node) {
        Some(at) if at <= now && !deleted => {
            let condition = json!({"status": {"conditions": [{
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
                "message": "Taint manager: deleting due to NoExecute taint",
                "lastTransitionTime": model::time::format_seconds(now),
            }]}});
            let target = Target::of("pods", pod);
            vec![
                Action::Patch {
                    target: target.clone(),
                    subresource: Some("status".into()),
                    kind: PatchKind::Strategic,
                    patch: condition,
                },
                Action::Delete { target, uid: Some(pod.uid().to_owned()), grace_s: None, propagation: None },
            ]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    #[test]
    fn silent_nodes_become_unknown_and_tainted() {
        let ready = json!({"metadata": {"name": "n", "resourceVersion": "5"}, "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        assert!(decide_node(&ready, at(0), at(50)).is_empty());
        let actions = decide_node(&ready, at(0), at(51));
        assert_eq!(actions.len(), 2, "{actions:?}");
        let Action::Patch { patch, .. } = &actions[1] else { panic!() };
        let taints = patch[0]["value"].as_array().unwrap();
        assert_eq!(taints.len(), 2);
        assert_eq!(taints[0]["key"], UNREACHABLE);
        let mut tainted = ready.clone();
        tainted.set(
            &["spec", "taints"],
            json!([{"key": NOT_READY, "effect": "NoSchedule"}, {"key": "own", "effect": "NoSchedule"}]),
        );
        let [Action::Patch { patch, .. }] = &decide_node(&tainted, at(0), at(1))[..] else { panic!() };
        assert_eq!(patch[1]["value"], json!([{"key": "own", "effect": "NoSchedule"}]), "ready again");
    }

    #[test]
    fn pods_leave_when_their_time_is_over() {
        let node = json!({"spec": {"taints": [{"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z"}]}});
        let pod =
            |tolerations: Value| json!({"metadata": {"name": "p"}, "spec": {"tolerations": tolerations}});
        assert_eq!(leaves_at(&pod(json!([])), &node), Some(at(100)));
        let five = pod(
            json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]),
        );
        assert_eq!(leaves_at(&five, &node), Some(at(400)));
        assert_eq!(leaves_at(&pod(json!([{"operator": "Exists"}])), &node), None);
        assert!(decide_pod(&five, &node, at(399)).is_empty());
        assert_eq!(decide_pod(&five, &node, at(400)).len(), 2);
    }
}
