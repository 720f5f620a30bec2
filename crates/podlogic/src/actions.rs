//! What to do next with a Pod: sandbox, init containers in order, sidecars, main and ephemeral containers.

use std::collections::BTreeMap;

use cri::runtime::{ContainerState, ContainerStatus};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::pod::{self, ContainerKind, ProbeKind};
use crate::{Observed, labels, restart};

/// Why a container is killed; decides about its grace period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillReason {
    /// Startup probe failed.
    StartupProbe,
    /// Liveness probe failed.
    LivenessProbe,
    /// `postStart` failed.
    FailedPostStart,
    /// The runtime does not know its state.
    Unknown,
    /// Anything else.
    Other,
}

/// A container to kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kill {
    /// Container id.
    pub container_id: String,
    /// Name.
    pub name: String,
    /// The event's message.
    pub message: String,
    /// Why.
    pub reason: KillReason,
}

/// A container to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// List it stands in.
    pub kind: ContainerKind,
    /// Index in that list.
    pub index: usize,
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Actions {
    /// Stop the sandbox and everything in it first.
    pub kill_pod: bool,
    /// Make a new sandbox.
    pub create_sandbox: bool,
    /// Newest sandbox so far.
    pub sandbox_id: Option<String>,
    /// Attempt number of the sandbox to use.
    pub attempt: u32,
    /// Containers to kill.
    pub kill: Vec<Kill>,
    /// Containers to start, in this order.
    pub start: Vec<Start>,
}

impl Actions {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        !self.kill_pod && !self.create_sandbox && self.kill.is_empty() && self.start.is_empty()
    }
}

/// Results of probes by (container id, probe): `true` is success; no entry means not probed yet.
pub type Verdicts = BTreeMap<(String, ProbeKind), bool>;

fn verdict(verdicts: &Verdicts, container_id: &str, kind: ProbeKind) -> Option<bool> {
    verdicts.get(&(container_id.to_owned(), kind)).copied()
}

/// Decides what to do next.
pub fn compute_actions(pod: &Pod, observed: &Observed, verdicts: &Verdicts) -> Actions {
    let sandbox = observed.sandbox_verdict(pod);
    let mut actions = Actions {
        kill_pod: sandbox.changed,
        create_sandbox: sandbox.changed,
        sandbox_id: sandbox.id,
        attempt: sandbox.attempt,
        ..Actions::default()
    };
    if sandbox.changed {
        decide_new_sandbox(pod, observed, &mut actions);
        return actions;
    }
    for (index, container) in pod::ephemeral_containers(pod).iter().enumerate() {
        if observed.latest(&container.name).is_none() {
            actions.start.push(Start { kind: ContainerKind::Ephemeral, index });
        }
    }
    let mut inits = Vec::new();
    let initialized = decide_inits(pod, observed, verdicts, &mut actions, &mut inits);
    let start_inits = |actions: &mut Actions, inits: Vec<usize>| {
        let starts = inits.into_iter().map(|index| Start { kind: ContainerKind::Init, index });
        actions.start.extend(starts);
    };
    if actions.kill_pod || !initialized {
        start_inits(&mut actions, inits);
        return actions;
    }
    let mut mains = Vec::new();
    let kept = decide_mains(pod, observed, verdicts, &mut actions, &mut mains);
    if kept == 0 && mains.is_empty() {
        actions.kill_pod = true;
        actions.start.retain(|start| start.kind != ContainerKind::Ephemeral);
        return actions;
    }
    start_inits(&mut actions, inits);
    actions.start.extend(mains.into_iter().map(|index| Start { kind: ContainerKind::Main, index }));
    actions
}

/// Whether a container of this name ran to success.
fn succeeded(observed: &Observed, name: &str) -> bool {
    observed
        .latest(name)
        .is_some_and(|status| status.state == ContainerState::Exited && status.exit_code == 0)
}

fn decide_new_sandbox(pod: &Pod, observed: &Observed, actions: &mut Actions) {
    let spec = pod::spec(pod);
    let restarts = spec.containers.iter().any(|container| restart::restarts_on_failure(container, pod))
        || pod::restart_policy(pod) != "Never";
    if !restarts && actions.attempt != 0 && !observed.containers.is_empty() {
        actions.create_sandbox = false;
        return;
    }
    let starts: Vec<usize> = (0..spec.containers.len())
        .filter(|index| {
            let container = &spec.containers[*index];
            let policy = container.restart_policy.as_deref().unwrap_or_else(|| pod::restart_policy(pod));
            policy != "OnFailure" || !succeeded(observed, &container.name)
        })
        .collect();
    if starts.is_empty() && observed.has_main_container(pod) {
        actions.create_sandbox = false;
        return;
    }
    if !pod::init_containers(pod).is_empty() {
        actions.start.push(Start { kind: ContainerKind::Init, index: 0 });
        return;
    }
    actions.start.extend(starts.into_iter().map(|index| Start { kind: ContainerKind::Main, index }));
}

/// An init container's next step.
enum Init {
    /// It has done its part for those after it.
    Done,
    /// Wait for it.
    Wait,
    /// Start it (again).
    Start,
    /// Kill it, then start it again.
    Restart(String, KillReason),
    /// The Pod failed.
    Fail,
}

fn next_init(pod: &Pod, container: &Container, status: &ContainerStatus, verdicts: &Verdicts) -> Init {
    let sidecar = pod::is_sidecar(container);
    match status.state {
        ContainerState::Created => Init::Start,
        ContainerState::Running if !sidecar => Init::Wait,
        ContainerState::Running => match container.startup_probe {
            None => Init::Done,
            Some(_) => match verdict(verdicts, &status.id, ProbeKind::Startup) {
                None => Init::Wait,
                Some(true) => Init::Done,
                Some(false) => {
                    let message = format!("Init container {} failed startup probe", container.name);
                    Init::Restart(message, KillReason::StartupProbe)
                }
            },
        },
        ContainerState::Exited if sidecar => Init::Start,
        ContainerState::Exited if status.exit_code == 0 => Init::Done,
        ContainerState::Exited if restart::restarts_after(container, pod, status.exit_code) => Init::Start,
        ContainerState::Exited => Init::Fail,
        ContainerState::Unknown if sidecar || restart::restarts_on_failure(container, pod) => {
            let message = "Init container is in \"unknown\" state, try killing it before restart".to_owned();
            Init::Restart(message, KillReason::Unknown)
        }
        ContainerState::Unknown => Init::Fail,
    }
}

/// A running sidecar that is done for those after it may still have to be restarted.
fn sidecar_kill(container: &Container, status: &ContainerStatus, verdicts: &Verdicts) -> Option<Kill> {
    if status.state != ContainerState::Running || !pod::is_sidecar(container) {
        return None;
    }
    let (message, reason) = if labels::changed(container, status) {
        (format!("Init container {} definition changed", container.name), KillReason::Other)
    } else if verdict(verdicts, &status.id, ProbeKind::Liveness) == Some(false) {
        (format!("Init container {} failed liveness probe", container.name), KillReason::LivenessProbe)
    } else {
        return None;
    };
    Some(Kill { container_id: status.id.clone(), name: container.name.clone(), message, reason })
}

/// Decides about init containers; answers whether all of them have done their part. Walks backwards, because those
/// that completed long ago may be gone from the runtime.
fn decide_inits(
    pod: &Pod,
    observed: &Observed,
    verdicts: &Verdicts,
    actions: &mut Actions,
    starts: &mut Vec<usize>,
) -> bool {
    let inits = pod::init_containers(pod);
    if inits.is_empty() {
        return true;
    }
    let mut initialized = pod::spec(pod).containers.iter().any(|container| {
        observed.latest(&container.name).is_some_and(|status| crate::observed::is_active(status.state))
    });
    let mut earlier_done = initialized;
    for (index, container) in inits.iter().enumerate().rev() {
        let Some(status) = observed.latest(&container.name) else {
            if earlier_done && pod::is_sidecar(container) {
                starts.push(index);
            }
            continue;
        };
        if earlier_done && !pod::is_sidecar(container) {
            continue;
        }
        match next_init(pod, container, status, verdicts) {
            Init::Wait => {}
            Init::Start => starts.push(index),
            Init::Restart(message, reason) => {
                let (container_id, name) = (status.id.clone(), container.name.clone());
                actions.kill.push(Kill { container_id, name, message, reason });
                starts.push(index);
            }
            Init::Fail => {
                actions.kill_pod = true;
                starts.clear();
                return false;
            }
            Init::Done => {
                if index == inits.len() - 1 {
                    initialized = true;
                } else if !earlier_done {
                    starts.push(index + 1);
                }
                if let Some(kill) = sidecar_kill(container, status, verdicts) {
                    actions.kill.push(kill);
                    starts.push(index);
                }
            }
        }
        earlier_done = true;
    }
    if !earlier_done {
        starts.push(0);
    }
    starts.reverse();
    initialized
}

/// Decides about main containers; answers how many running ones are kept.
fn decide_mains(
    pod: &Pod,
    observed: &Observed,
    verdicts: &Verdicts,
    actions: &mut Actions,
    starts: &mut Vec<usize>,
) -> usize {
    let mut kept = 0;
    for (index, container) in pod::spec(pod).containers.iter().enumerate() {
        let status = observed.latest(&container.name);
        let Some(status) = status.filter(|status| status.state == ContainerState::Running) else {
            if !restart::should_start(container, pod, observed) {
                continue;
            }
            starts.push(index);
            if let Some(lost) = status.filter(|status| status.state == ContainerState::Unknown) {
                actions.kill.push(Kill {
                    container_id: lost.id.clone(),
                    name: container.name.clone(),
                    message: "Container is in \"unknown\" state, try killing it before restart".into(),
                    reason: KillReason::Unknown,
                });
            }
            continue;
        };
        let mut restart = restart::restarts_on_failure(container, pod);
        let (mut message, reason) = if labels::changed(container, status) {
            restart = true;
            (format!("Container {} definition changed", container.name), KillReason::Other)
        } else if verdict(verdicts, &status.id, ProbeKind::Liveness) == Some(false) {
            (format!("Container {} failed liveness probe", container.name), KillReason::LivenessProbe)
        } else if verdict(verdicts, &status.id, ProbeKind::Startup) == Some(false) {
            (format!("Container {} failed startup probe", container.name), KillReason::StartupProbe)
        } else {
            kept += 1;
            continue;
        };
        if restart {
            message.push_str(", will be restarted");
            starts.push(index);
        }
        actions.kill.push(Kill {
            container_id: status.id.clone(),
            name: container.name.clone(),
            message,
            reason,
        });
    }
    kept
}
