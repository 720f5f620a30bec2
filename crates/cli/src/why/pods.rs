//! Pods: from the most final to the least: being deleted, ended, without a node, without its containers, not ready, ready.

use model::tree::TreeExt;
use serde_json::Value;

use super::containers::{self, Container};
use super::{Diagnosis, Facts, nodes, placing};

/// Why a Pod is as it is.
pub fn decide(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let pod = facts.object;
    if pod.at(&["metadata", "deletionTimestamp"]).is_some() {
        return vec![deleting(facts)];
    }
    match pod.text(&["status", "phase"]) {
        "Failed" => return failed(facts),
        "Succeeded" => return vec![succeeded(facts)],
        _ => {}
    }
    let scheduled = condition(pod, "PodScheduled");
    if pod.text(&["spec", "nodeName"]).is_empty() {
        return vec![placing::decide(facts, scheduled)];
    }
    if let Some(diagnosis) = lost_node(facts) {
        return vec![diagnosis];
    }
    let found = containers::decide(facts);
    if !found.is_empty() {
        return found;
    }
    match readiness(facts) {
        Some(diagnosis) => vec![diagnosis],
        None => vec![healthy(facts)],
    }
}

/// A condition of the Pod.
pub fn condition<'a>(pod: &'a Value, name: &str) -> Option<&'a Value> {
    pod.items(&["status", "conditions"]).iter().find(|own| own.text(&["type"]) == name)
}

/// Its node is gone or silent.
fn lost_node(facts: &Facts<'_>) -> Option<Diagnosis> {
    let name = facts.object.text(&["spec", "nodeName"]);
    match facts.node {
        Some(node) if nodes::is_ready(node) => None,
        Some(_) => Some(
            Diagnosis::wrong(format!("its node {name:?} is not ready: nobody knows how it is now"))
                .mend(format!("`carob why node/{name}`")),
        ),
        None => Some(
            Diagnosis::wrong(format!("its node {name:?} is not there"))
                .mend("correct or leave out spec.nodeName, start the node again, or delete the Pod"),
        ),
    }
}

fn deleting(facts: &Facts<'_>) -> Diagnosis {
    let pod = facts.object;
    let name = facts.pod();
    let since = pod.text(&["metadata", "deletionTimestamp"]);
    let finalizers: Vec<&str> =
        pod.items(&["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect();
    let asked = format!("metadata.deletionTimestamp is {since}");
    let node = pod.text(&["spec", "nodeName"]);
    if !node.is_empty() && facts.node.is_none_or(|node| !nodes::is_ready(node)) {
        let state = if facts.node.is_some() { "not ready" } else { "not there" };
        return Diagnosis::wrong(format!(
            "Terminating: its node {node:?} is {state}, so nobody can confirm that its containers have ended"
        ))
        .seen(asked)
        .mend(format!("bring the node back: `carob why node/{node}`"))
        .mend(format!("or, if it never comes back: `carob delete pod {name} --force --grace-period=0`"));
    }
    let running = Container::all(pod).into_iter().filter(|own| own.state("running").is_some()).count();
    if !finalizers.is_empty() && running == 0 {
        return Diagnosis::wrong(format!(
            "Terminating: it waits for its finalizers: {}",
            finalizers.join(", ")
        ))
        .seen(asked)
        .seen(format!("metadata.finalizers: {}", finalizers.join(", ")))
        .mend("who put a finalizer there takes it away when its work is done")
        .mend(format!(
            "if nobody does: `carob patch pod {name} -p '{{\"metadata\":{{\"finalizers\":null}}}}'`"
        ));
    }
    let grace_s = pod.integer(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
    let late = model::time::parse(since).is_some_and(|end| facts.now > end);
    let diagnosis = Diagnosis::wrong(if late {
        "Terminating: its containers did not end in the time they were given".to_owned()
    } else {
        format!("Terminating: its containers were told to end and have {grace_s} s for it")
    });
    let diagnosis = diagnosis.seen(asked).seen(format!("{running} containers are running still"));
    diagnosis
        .mend("a program ends at once if it handles SIGTERM; as process 1 it has no default for it")
        .mend(format!("not to wait: `carob delete pod {name} --now`"))
}

fn failed(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let pod = facts.object;
    let (reason, message) = (pod.text(&["status", "reason"]), pod.text(&["status", "message"]));
    let about = |cause: &str, remedy: &str| {
        vec![Diagnosis::wrong(cause).seen(format!("status: {reason}: {message}")).mend(remedy)]
    };
    match reason {
        "Evicted" => about(
            "Evicted: the node ran short of something and ended it to save the others",
            "free what was short (see `carob describe nodes`), set requests as high as what it really uses, and create it again",
        ),
        "DeadlineExceeded" => about(
            "it ran longer than spec.activeDeadlineSeconds allows",
            "raise spec.activeDeadlineSeconds, and create it again",
        ),
        "NodeAffinity" | "NodeName" | "NodeShutdown" | "Terminated" | "NodeLost" | "Shutdown" => {
            about("its node could not keep it", "create it again: another place will be found")
        }
        "UnexpectedAdmissionError" | "Preempting" => {
            about("its node refused it", "create it again, with smaller requests if they were too large")
        }
        other if other.starts_with("OutOf") => about(
            "its node had not as much free as it requests",
            "lower resources.requests, or delete other Pods, and create it again",
        ),
        "" => {
            let found = containers::decide(facts);
            if found.is_empty() { vec![Diagnosis::wrong("Failed").seen(message)] } else { found }
        }
        _ => about("it failed", "see the message, and create it again"),
    }
}

fn succeeded(facts: &Facts<'_>) -> Diagnosis {
    let pod = facts.object;
    let policy = pod.text(&["spec", "restartPolicy"]);
    let mut diagnosis = Diagnosis::right("Completed: all containers did their work and ended with 0")
        .seen(format!("spec.restartPolicy is {policy}: they are not started again"));
    for container in Container::all(pod).iter().filter(|own| !own.init) {
        if let Some(ended) = container.state("terminated") {
            let (name, at) = (container.name(), ended.text(&["finishedAt"]));
            diagnosis = diagnosis.seen(format!("container {name:?} ended with 0 at {at}"));
        }
    }
    diagnosis
}

/// Containers run, but the Pod takes no requests.
fn readiness(facts: &Facts<'_>) -> Option<Diagnosis> {
    let pod = facts.object;
    let ready = condition(pod, "Ready")?;
    if ready.text(&["status"]) == "True" {
        return None;
    }
    let waiting: Vec<Container<'_>> =
        Container::all(pod).into_iter().filter(|own| !own.init && !own.is_ready()).collect();
    let names: Vec<String> = waiting.iter().map(|own| format!("{:?}", own.name())).collect();
    let Some(first) = waiting.first() else {
        let gates: Vec<&str> =
            pod.items(&["spec", "readinessGates"]).iter().map(|gate| gate.text(&["conditionType"])).collect();
        return Some(
            Diagnosis::wrong(format!("not ready: it waits for its readiness gates ({})", gates.join(", ")))
                .seen(nodes::condition_line(ready))
                .mend("whoever is to set these conditions has not done so"),
        );
    };
    for (kind, field, field_words) in [
        ("Startup", "startupProbe", "its startup probe has not succeeded yet"),
        (
            "Readiness",
            "readinessProbe",
            "its readiness probe fails, so it gets no requests; it is not restarted for that",
        ),
    ] {
        let Some(probe) = first.spec.at(&[field]) else { continue };
        let started = first.status.is_some_and(|own| own.at(&["started"]) == Some(&Value::Bool(true)));
        if field == "startupProbe" && started {
            continue;
        }
        let event = facts.event_with("Unhealthy", &format!("{kind} probe"));
        return Some(
            Diagnosis::wrong(format!("container {} runs, but is not ready: {field_words}", names.join(", ")))
                .seen(format!("{field}: {}", containers::probe(probe)))
                .seen(event.map(|event| facts.said(event)).unwrap_or_default())
                .mend("correct the probe's path, port or command, or give the program more time (initialDelaySeconds, failureThreshold)")
                .mend(format!("try it from inside: `carob exec {} -c {} -- …`", facts.pod(), first.name())),
        );
    }
    Some(
        Diagnosis::wrong(format!("not ready yet: container {}", names.join(", ")))
            .seen(nodes::condition_line(ready))
            .mend(format!("`carob get pod {} -w` shows when this changes", facts.pod())),
    )
}

fn healthy(facts: &Facts<'_>) -> Diagnosis {
    let pod = facts.object;
    let all = Container::all(pod);
    let count = all.iter().filter(|own| !own.init).count();
    let restarted: Vec<String> = all
        .iter()
        .filter(|own| own.restarts() > 0)
        .map(|own| {
            format!(
                "container {:?} was restarted {} times, the last time because {}",
                own.name(),
                own.restarts(),
                own.last_end()
            )
        })
        .collect();
    let cause = if count == 1 {
        "it is well: its container runs and is ready".to_owned()
    } else {
        format!("it is well: its {count} containers run and are ready")
    };
    let diagnosis = Diagnosis::right(cause).seen(format!(
        "node {}, address {}",
        pod.text(&["spec", "nodeName"]),
        pod.text(&["status", "podIP"])
    ));
    diagnosis.seen_all(restarted)
}
