//! Pods: the status column is a summary of phase, reasons and container states.

use jiff::Timestamp;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::cells::{Row, row};
use super::{AGE, NAME, Printer, age, text, wide};

pub(super) const PRINTERS: &[Printer] = &[Printer {
    group: "",
    kind: "Pod",
    columns: &[
        NAME,
        text("Ready"),
        text("Status"),
        text("Restarts"),
        AGE,
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ],
    cells: pod,
}];

/// What is counted over the containers of a Pod.
#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

fn pod(pod: &Row<'_>) -> Vec<Value> {
    let summary = summarise(pod);
    let restarts = match summary.last_restart {
        Some(time) if summary.restarts != 0 => {
            format!("{} ({} ago)", summary.restarts, age::human(age::seconds_between(time, pod.now)))
        }
        _ => summary.restarts.to_string(),
    };
    let first_ip = pod.items(&["status", "podIPs"]).first().map_or("", |ip| ip.text(&["ip"]));
    row![
        pod.name(),
        format!("{}/{}", summary.ready, summary.total),
        summary.reason,
        restarts,
        pod.age(),
        if first_ip.is_empty() { "<none>" } else { first_ip },
        pod.text_or(&["spec", "nodeName"], "<none>"),
        pod.text_or(&["status", "nominatedNodeName"], "<none>"),
        readiness_gates(pod),
    ]
}

/// The status column: `Running`, `Init:0/1`, `CrashLoopBackOff`, `Terminating` …
pub fn status(object: &Value, now: Timestamp) -> String {
    summarise(&Row { object, now }).reason
}

fn summarise(pod: &Row<'_>) -> Summary {
    let phase = pod.text(&["status", "phase"]);
    let mut summary = Summary {
        reason: pod.text_or(&["status", "reason"], phase).to_owned(),
        total: pod.items(&["spec", "containers"]).len(),
        ..Summary::default()
    };
    let gated = |condition: &&Value| {
        condition.text(&["type"]) == "PodScheduled" && condition.text(&["reason"]) == "SchedulingGated"
    };
    if pod.items(&["status", "conditions"]).iter().find(gated).is_some() {
        summary.reason = "SchedulingGated".into();
    }
    summary.total +=
        pod.items(&["spec", "initContainers"]).iter().filter(|container| restartable(container)).count();
    let (initializing, sidecars) = init_containers(pod, &mut summary);
    if !initializing || pod.condition_true("Initialized") {
        (summary.restarts, summary.last_restart) = sidecars;
        main_containers(pod, &mut summary);
    }
    if pod.deleting() {
        if pod.text(&["status", "reason"]) == "NodeLost" {
            summary.reason = "Unknown".into();
        } else if !matches!(phase, "Failed" | "Succeeded") {
            summary.reason = "Terminating".into();
        }
    }
    summary
}

fn restartable(container: &Value) -> bool {
    container.text(&["restartPolicy"]) == "Always"
}

fn restarts(status: &Value) -> i64 {
    status.integer(&["restartCount"]).unwrap_or(0)
}

fn last_end(status: &Value) -> Option<Timestamp> {
    model::time::parse(status.text(&["lastState", "terminated", "finishedAt"]))
}

/// Looks at the init containers in order. Whether the Pod is still initializing, and restarts with the last end of
/// those that keep running.
fn init_containers(pod: &Row<'_>, summary: &mut Summary) -> (bool, (i64, Option<Timestamp>)) {
    let specs = pod.items(&["spec", "initContainers"]);
    let mut sidecars = (0, None);
    for (at, status) in pod.items(&["status", "initContainerStatuses"]).iter().enumerate() {
        summary.restarts += restarts(status);
        summary.last_restart = summary.last_restart.max(last_end(status));
        let name = status.text(&["name"]);
        let sidecar = specs.iter().any(|spec| spec.text(&["name"]) == name && restartable(spec));
        if sidecar {
            sidecars = (sidecars.0 + restarts(status), sidecars.1.max(last_end(status)));
        }
        let terminated = status.at(&["state", "terminated"]);
        let waiting = status.text(&["state", "waiting", "reason"]);
        let exit_code = terminated.map(|terminated| terminated.integer(&["exitCode"]).unwrap_or(0));
        if exit_code == Some(0) {
            continue;
        }
        if sidecar && status.at(&["started"]) == Some(&Value::Bool(true)) {
            summary.ready += usize::from(status.at(&["ready"]) == Some(&Value::Bool(true)));
            continue;
        }
        summary.reason = match terminated {
            Some(terminated) => format!("Init:{}", end(terminated)),
            None if !waiting.is_empty() && waiting != "PodInitializing" => format!("Init:{waiting}"),
            None => format!("Init:{at}/{}", specs.len()),
        };
        return (true, sidecars);
    }
    (false, sidecars)
}

/// Why a container ended.
fn end(terminated: &Value) -> String {
    let (reason, signal) = (terminated.text(&["reason"]), terminated.integer(&["signal"]).unwrap_or(0));
    if !reason.is_empty() {
        reason.to_owned()
    } else if signal != 0 {
        format!("Signal:{signal}")
    } else {
        format!("ExitCode:{}", terminated.integer(&["exitCode"]).unwrap_or(0))
    }
}

fn main_containers(pod: &Row<'_>, summary: &mut Summary) {
    let mut running = false;
    let mut failure = String::new();
    for status in pod.items(&["status", "containerStatuses"]).iter().rev() {
        summary.restarts += restarts(status);
        summary.last_restart = summary.last_restart.max(last_end(status));
        let waiting = status.text(&["state", "waiting", "reason"]);
        let ready = status.at(&["ready"]) == Some(&Value::Bool(true));
        if !waiting.is_empty() {
            summary.reason = waiting.to_owned();
        } else if let Some(terminated) = status.at(&["state", "terminated"]) {
            summary.reason = end(terminated);
            if terminated.integer(&["exitCode"]).unwrap_or(0) != 0 {
                failure = summary.reason.clone();
            }
        } else if ready && status.at(&["state", "running"]).is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    // One container has ended well, but that is not all there is to say.
    if summary.reason == "Completed" {
        if running && pod.condition_true("Ready") {
            summary.reason = "Running".into();
        } else if !failure.is_empty() {
            summary.reason = failure;
        } else if running {
            summary.reason = "NotReady".into();
        }
    }
}

fn readiness_gates(pod: &Row<'_>) -> String {
    let gates = pod.items(&["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".into();
    }
    let met = gates.iter().filter(|gate| pod.condition_true(gate.text(&["conditionType"]))).count();
    format!("{met}/{}", gates.len())
}

/// Row conditions: ended Pods are complete.
pub(super) fn row_conditions(pod: &Row<'_>) -> Vec<Value> {
    let message = match pod.text(&["status", "phase"]) {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return Vec::new(),
    };
    let reason = pod.text(&["status", "phase"]);
    vec![json!({"type": "Completed", "status": "True", "reason": reason, "message": message})]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: Value, status: Value, want: &str) {
        let object = json!({"metadata": {"name": "p"}, "spec": spec, "status": status});
        let now = model::time::parse("2026-01-02T03:04:05Z").unwrap();
        let cells = pod(&Row { object: &object, now });
        let got: Vec<&str> = cells[1..4].iter().map(|cell| cell.as_str().unwrap()).collect();
        assert_eq!(got.join(" "), want, "{status}");
    }

    fn main(states: Value) -> Value {
        json!({"phase": "Running", "containerStatuses": states})
    }

    #[test]
    fn the_status_column_is_upstreams() {
        let one = || json!({"containers": [{"name": "a"}]});
        let two = || json!({"containers": [{"name": "a"}, {"name": "b"}]});
        let ended = |code: i64, reason: &str| json!({"state": {"terminated": {"exitCode": code, "reason": reason}}, "ready": false});
        let running = || json!({"state": {"running": {}}, "ready": true});
        check(one(), json!({"phase": "Pending"}), "0/1 Pending 0");
        check(one(), main(json!([running()])), "1/1 Running 0");
        check(one(), main(json!([{"state": {"waiting": {"reason": "ErrImagePull"}}}])), "0/1 ErrImagePull 0");
        check(one(), main(json!([ended(137, "")])), "0/1 ExitCode:137 0");
        check(
            one(),
            main(json!([{"state": {"terminated": {"exitCode": 1, "signal": 9}}}])),
            "0/1 Signal:9 0",
        );
        check(two(), main(json!([ended(0, "Completed"), running()])), "1/2 NotReady 0");
        check(two(), main(json!([ended(0, "Completed"), ended(2, "Error")])), "0/2 Error 0");
        let mut ready = main(json!([ended(0, "Completed"), running()]));
        ready["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        check(two(), ready, "1/2 Running 0");
        let restarted = json!([{"state": {"running": {}}, "ready": true, "restartCount": 3,
            "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-02T03:03:01Z"}}}]);
        check(one(), main(restarted), "1/1 Running 3 (64s ago)");
        let gated = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]});
        check(one(), gated, "0/1 SchedulingGated 0");
    }

    #[test]
    fn init_containers_come_first() {
        let spec = || json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]});
        let init = |list: Value| json!({"phase": "Pending", "initContainerStatuses": list});
        check(spec(), init(json!([{"name": "i", "state": {"running": {}}}])), "0/2 Init:0/2 0");
        check(
            spec(),
            init(
                json!([{"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}]),
            ),
            "0/2 Init:Error 2",
        );
        let sidecar = json!([
            {"name": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
            {"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}]);
        check(spec(), init(sidecar), "1/2 Pending 1");
        check(
            spec(),
            init(json!([{"name": "i", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}])),
            "0/2 Init:CrashLoopBackOff 0",
        );
    }
}
