//! Pods that nobody will clean up (upstream's pod garbage collector): ended ones beyond a bound, those of nodes that
//! are gone, and those that were deleted before they were bound.

use std::collections::HashSet;

use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::action::{Action, PatchKind, Target};

/// How many ended Pods are kept (`--terminated-pod-gc-threshold`).
pub const TERMINATED_MAX: usize = 12_500;

fn ended(pod: &Value) -> bool {
    matches!(pod.text(&["status", "phase"]), "Succeeded" | "Failed")
}

fn delete(pod: &Value) -> Action {
    Action::Delete {
        target: Target::of("pods", pod),
        uid: Some(pod.uid().to_owned()),
        grace_s: Some(0),
        propagation: None,
    }
}

/// Decides over all Pods. `nodes`: names of all nodes; a Pod's node that is missing there has been looked for by the
/// caller and is really gone if `gone` holds it.
pub fn decide(pods: &[&Value], gone: &HashSet<String>, terminated_max: usize) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut finished: Vec<&Value> = Vec::new();
    for pod in pods {
        let node = pod.text(&["spec", "nodeName"]);
        let deleted = pod.at(&["metadata", "deletionTimestamp"]).is_some();
        if !node.is_empty() && gone.contains(node) {
            if !ended(pod) {
                actions.push(fail(pod));
            }
            actions.push(delete(pod));
        } else if node.is_empty() && deleted {
            actions.push(delete(pod));
        } else if ended(pod) && !deleted {
            finished.push(pod);
        }
    }
    if finished.len() > terminated_max {
        finished.sort_by_key(|pod| {
            (pod.text(&["metadata", "creationTimestamp"]).to_owned(), pod.name().to_owned())
        });
        actions.extend(finished.iter().take(finished.len() - terminated_max).map(|pod| delete(pod)));
    }
    actions
}

/// A Pod of a node that is gone has failed; its owner learns why.
fn fail(pod: &Value) -> Action {
    let patch = json!({"status": {"phase": "Failed", "conditions": [{
        "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
    }]}});
    let target = Target::of("pods", pod);
    Action::Patch { target, subresource: Some("status".into()), kind: PatchKind::Strategic, patch }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_cleans_up_goes() {
        let pod = |name: &str, node: &str, phase: &str| json!({"metadata": {"name": name, "namespace": "a", "uid": name}, "spec": {"nodeName": node}, "status": {"phase": phase}});
        let mut unbound = pod("u", "", "Pending");
        unbound.set(&["metadata", "deletionTimestamp"], "2026-01-01T00:00:00Z");
        let pods = [
            pod("a", "n1", "Running"),
            pod("b", "n2", "Running"),
            pod("c", "n1", "Succeeded"),
            pod("d", "n1", "Failed"),
            unbound,
        ];
        let pods: Vec<&Value> = pods.iter().collect();
        let names = |actions: &[Action]| -> Vec<String> {
            let name = |action: &Action| match action {
                Action::Delete { target, .. } => Some(target.name.clone()),
                _ => None,
            };
            actions.iter().filter_map(name).collect()
        };
        assert_eq!(names(&decide(&pods, &HashSet::new(), 10)), ["u"]);
        assert_eq!(names(&decide(&pods, &HashSet::from(["n2".to_owned()]), 1)), ["b", "u", "c"]);
    }
}
