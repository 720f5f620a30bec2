//! Pod conditions that the node owns.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};

use crate::Observed;
use crate::pod;

/// Conditions that the node writes; others are left as they are.
pub const OWNED: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

fn condition(kind: &str, verdict: &Verdict, generation: Option<i64>) -> PodCondition {
    PodCondition {
        type_: kind.into(),
        status: if verdict.holds { "True" } else { "False" }.into(),
        reason: (!verdict.reason.is_empty()).then(|| verdict.reason.into()),
        message: (!verdict.message.is_empty()).then(|| verdict.message.clone()),
        observed_generation: generation,
        ..PodCondition::default()
    }
}

#[derive(Debug, Clone, Default)]
struct Verdict {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes(reason: &'static str) -> Self {
        Self { holds: true, reason, message: String::new() }
    }

    fn no(reason: &'static str, message: String) -> Self {
        Self { holds: false, reason, message }
    }
}

/// Names as Go prints a list: `[a b]`.
fn list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

/// `containers with unknown status: [a], containers with <what> status: [b]`; empty if there are none.
fn complaint(unknown: &[&str], lacking: &[&str], what: &str) -> String {
    let mut parts = Vec::new();
    if !unknown.is_empty() {
        parts.push(format!("containers with unknown status: {}", list(unknown)));
    }
    if !lacking.is_empty() {
        parts.push(format!("containers with {what} status: {}", list(lacking)));
    }
    parts.join(", ")
}

fn find<'a>(statuses: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    statuses.iter().find(|status| status.name == name)
}

fn containers_ready(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> Verdict {
    let sidecars = pod::init_containers(pod).iter().filter(|container| pod::is_sidecar(container));
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for container in sidecars.chain(&pod::spec(pod).containers) {
        match find(statuses, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Verdict::no("PodCompleted", String::new());
    }
    if phase == "Failed" {
        return Verdict::no("PodFailed", String::new());
    }
    let message = complaint(&unknown, &unready, "unready");
    if message.is_empty() { Verdict::yes("") } else { Verdict::no("ContainersNotReady", message) }
}

fn ready(pod: &Pod, containers: &Verdict, others: &[PodCondition]) -> Verdict {
    if !containers.holds {
        return containers.clone();
    }
    let mut messages = Vec::new();
    for gate in pod::spec(pod).readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match others.iter().find(|other| other.type_ == *kind) {
            None => messages
                .push(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(other) if other.status != "True" => messages.push(format!(
                "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                other.status
            )),
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        Verdict::yes("")
    } else {
        Verdict::no("ReadinessGatesNotReady", messages.join(", "))
    }
}

fn initialized(pod: &Pod, statuses: &[ContainerStatus], phase: &str) -> Verdict {
    let (mut unknown, mut incomplete) = (Vec::new(), Vec::new());
    for container in pod::init_containers(pod) {
        let done = |status: &ContainerStatus| {
            if pod::is_sidecar(container) { status.started == Some(true) } else { status.ready }
        };
        match find(statuses, &container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !done(status) => incomplete.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    if phase == "Succeeded" && unknown.is_empty() {
        return Verdict::yes("PodCompleted");
    }
    let started = pod::spec(pod).containers.iter().any(|container| {
        let state = find(statuses, &container.name).and_then(|status| status.state.as_ref());
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    });
    if started {
        return Verdict::yes("");
    }
    let message = complaint(&unknown, &incomplete, "incomplete");
    if message.is_empty() { Verdict::yes("") } else { Verdict::no("ContainersNotInitialized", message) }
}

/// The conditions the node owns, in upstream's order. `statuses`: init and main containers; `others`: conditions that
/// other parties wrote.
pub fn conditions(
    pod: &Pod,
    observed: &Observed,
    statuses: &[ContainerStatus],
    phase: &str,
    others: &[PodCondition],
) -> Vec<PodCondition> {
    let containers = containers_ready(pod, statuses, phase);
    let has_sandbox = Verdict { holds: !observed.sandbox_verdict(pod).changed, ..Verdict::default() };
    let verdicts = [
        has_sandbox,
        initialized(pod, statuses, phase),
        ready(pod, &containers, others),
        containers,
        Verdict::yes(""),
    ];
    let generation = pod.metadata.generation;
    OWNED.iter().zip(verdicts).map(|(kind, verdict)| condition(kind, &verdict, generation)).collect()
}
