//! Why a Pod has no node: what the scheduler says, taken apart.

use model::tree::TreeExt;
use serde_json::Value;

use super::{Diagnosis, Facts};

/// Words of `FailedScheduling`, what they mean, and what helps.
const SIGNS: [(&str, &str, &str); 14] = [
    (
        "Insufficient cpu",
        "no node has as much CPU free as it requests",
        "lower resources.requests.cpu, delete Pods that are not needed, or add nodes; `carob describe nodes` shows what is taken",
    ),
    (
        "Insufficient memory",
        "no node has as much memory free as it requests",
        "lower resources.requests.memory, delete Pods that are not needed, or add nodes; `carob describe nodes` shows what is taken",
    ),
    (
        "Insufficient ephemeral-storage",
        "no node has as much disk free as it requests",
        "lower resources.requests.ephemeral-storage",
    ),
    (
        "Too many pods",
        "the nodes run as many Pods as they may",
        "delete Pods that are not needed, or add nodes",
    ),
    (
        "Insufficient",
        "no node has as much free as it requests",
        "lower resources.requests; `carob describe nodes` shows what nodes have",
    ),
    ("node.kubernetes.io/not-ready", "the nodes are not ready", "`carob why nodes`"),
    ("node.kubernetes.io/unreachable", "the nodes do not answer", "`carob why nodes`"),
    (
        "untolerated taint",
        "the nodes have taints that it does not tolerate",
        "add the toleration under spec.tolerations, or take the taint off the node; `carob describe nodes` shows them",
    ),
    (
        "node affinity/selector",
        "no node has the labels that it wants",
        "correct spec.nodeSelector or spec.affinity, or label a node: `carob label node NAME KEY=VALUE`; `carob get nodes --show-labels`",
    ),
    (
        "requested node name",
        "no node is called as spec.nodeName says",
        "correct spec.nodeName, or leave it out; `carob get nodes`",
    ),
    (
        "free ports",
        "its hostPort is taken on every node",
        "choose another hostPort, or leave it out and use `carob port-forward`",
    ),
    ("were unschedulable", "the nodes are cordoned", "`carob uncordon NODE`"),
    (
        "topology spread constraints",
        "its topologySpreadConstraints leave no node",
        "loosen spec.topologySpreadConstraints",
    ),
    (
        "affinity rules",
        "its rules about other Pods leave no node",
        "loosen podAffinity or podAntiAffinity, or add nodes",
    ),
];

/// About a Pod without a node.
pub fn decide(facts: &Facts<'_>, condition: Option<&Value>) -> Diagnosis {
    let pod = facts.object;
    let event = facts.event(&["FailedScheduling"]);
    let words = condition.map(|own| own.text(&["message"])).filter(|words| !words.is_empty());
    let words = words.or(event.map(|event| event.text(&["message"]))).unwrap_or_default();
    if condition.is_some_and(|own| own.text(&["reason"]) == "SchedulingGated") {
        let gates: Vec<&str> =
            pod.items(&["spec", "schedulingGates"]).iter().map(|gate| gate.text(&["name"])).collect();
        return Diagnosis::wrong(format!(
            "Pending: its scheduling gates hold it back ({})",
            gates.join(", ")
        ))
        .seen(words)
        .mend("who set spec.schedulingGates takes them away when the Pod may start");
    }
    if words.contains("no nodes available") || words.starts_with("0/0 nodes") {
        return Diagnosis::wrong("Pending: there is no node at all")
            .seen(format!("scheduler: {words}"))
            .mend("`carob status` shows whether the node agent runs; `carob get nodes`");
    }
    if words.contains("persistentvolumeclaim")
        || words.contains("PersistentVolumeClaims")
        || words.contains("volume node affinity")
    {
        return Diagnosis::wrong("Pending: a PersistentVolumeClaim that it uses is not there or not bound to a volume")
            .seen(format!("scheduler: {words}"))
            .seen_all(claims(pod))
            .mend("`carob get pvc`, `carob why pvc/NAME`; make the claim, or a volume that fits it; emptyDir needs neither");
    }
    let found: Vec<_> = SIGNS.iter().filter(|(sign, _, _)| words.contains(sign)).collect();
    // The general sign stands only where no exact one does.
    let found: Vec<_> = found
        .iter()
        .filter(|(sign, _, _)| !(is_general(sign) && found.iter().any(|(other, _, _)| is_exact(sign, other))))
        .collect();
    if found.is_empty() && words.is_empty() {
        let scheduler = pod.text(&["spec", "schedulerName"]);
        let diagnosis = Diagnosis::wrong("Pending: no scheduler has looked at it yet");
        return match scheduler {
            "" | "default-scheduler" => {
                diagnosis.mend("if this lasts: `carob status` shows whether the scheduler runs")
            }
            other => diagnosis
                .seen(format!("spec.schedulerName is {other:?}"))
                .mend("leave spec.schedulerName out unless a scheduler of this name runs"),
        };
    }
    let meanings: Vec<&str> = found.iter().map(|(_, meaning, _)| *meaning).collect();
    let cause =
        if meanings.is_empty() { "the scheduler finds no node".to_owned() } else { meanings.join("; ") };
    let mut diagnosis = Diagnosis::wrong(format!("Pending: {cause}"))
        .seen(format!("scheduler: {words}"))
        .seen_all(wishes(pod, words));
    for (_, _, remedy) in found {
        diagnosis = diagnosis.mend(*remedy);
    }
    diagnosis
}

fn is_general(sign: &str) -> bool {
    matches!(sign, "Insufficient" | "untolerated taint" | "affinity rules")
}

fn is_exact(general: &str, other: &str) -> bool {
    match general {
        "Insufficient" => other.starts_with("Insufficient ") || other == "Too many pods",
        "untolerated taint" => other.starts_with("node.kubernetes.io/"),
        _ => false,
    }
}

fn claims(pod: &Value) -> Vec<String> {
    let volumes = pod.items(&["spec", "volumes"]).iter();
    volumes
        .filter(|volume| volume.at(&["persistentVolumeClaim"]).is_some())
        .map(|volume| {
            let claim = volume.text(&["persistentVolumeClaim", "claimName"]);
            format!("volume {:?} uses the claim {claim:?}", volume.text(&["name"]))
        })
        .collect()
}

/// What the Pod asks for, as far as the scheduler complains of it.
fn wishes(pod: &Value, words: &str) -> Vec<String> {
    let mut wishes = Vec::new();
    if words.contains("Insufficient") {
        for container in pod.items(&["spec", "containers"]) {
            if let Some(requests) = container.at(&["resources", "requests"]).and_then(Value::as_object) {
                let list: Vec<String> =
                    requests.iter().map(|(name, value)| format!("{name}: {}", plain(value))).collect();
                wishes.push(format!(
                    "container {:?} requests {}",
                    container.text(&["name"]),
                    list.join(", ")
                ));
            }
        }
    }
    if words.contains("affinity/selector")
        && let Some(selector) = pod.at(&["spec", "nodeSelector"]).and_then(Value::as_object)
    {
        let list: Vec<String> =
            selector.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
        wishes.push(format!("spec.nodeSelector wants {}", list.join(",")));
    }
    wishes
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
