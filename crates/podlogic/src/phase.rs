//! The Pod's phase, from its containers' statuses.

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus, Pod};

use crate::pod;
use crate::restart::restarts_after;

/// What a status counts as.
enum Seen {
    Running {
        started: bool,
    },
    Ended {
        exit_code: i32,
    },
    /// Waiting to be started again.
    Again {
        exit_code: i32,
    },
    Waiting,
    Unknown,
}

fn seen(statuses: &[ContainerStatus], container: &Container) -> Seen {
    let Some(status) = statuses.iter().find(|status| status.name == container.name) else {
        return Seen::Unknown;
    };
    let empty = ContainerState::default();
    let state = status.state.as_ref().unwrap_or(&empty);
    let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    match (state, last) {
        (ContainerState { running: Some(_), .. }, _) => {
            Seen::Running { started: status.started == Some(true) }
        }
        (ContainerState { terminated: Some(ended), .. }, _) => Seen::Ended { exit_code: ended.exit_code },
        (ContainerState { waiting: Some(_), .. }, Some(last)) => Seen::Again { exit_code: last.exit_code },
        (ContainerState { waiting: Some(_), .. }, None) => Seen::Waiting,
        _ => Seen::Unknown,
    }
}

/// Decides the phase. `statuses`: init and main together. `is_terminal`: nothing will be started any more.
/// `was_initialized`: a main container of the present sandbox was started.
pub fn phase(
    pod: &Pod,
    statuses: &[ContainerStatus],
    is_terminal: bool,
    was_initialized: bool,
) -> &'static str {
    let (sidecars, inits): (Vec<_>, Vec<_>) =
        pod::init_containers(pod).iter().partition(|container| pod::is_sidecar(container));
    let mut pending_inits = 0;
    for container in inits {
        match seen(statuses, container) {
            Seen::Ended { exit_code } | Seen::Again { exit_code } => {
                if exit_code != 0 && !restarts_after(container, pod, exit_code) {
                    return "Failed";
                }
            }
            Seen::Running { .. } | Seen::Waiting | Seen::Unknown => pending_inits += 1,
        }
    }
    let (mut unknown, mut running, mut waiting, mut pending_sidecars) = (0, 0, 0, 0);
    for container in sidecars {
        match seen(statuses, container) {
            Seen::Running { started } => {
                pending_sidecars += usize::from(!started);
                running += 1;
            }
            Seen::Waiting => {
                pending_sidecars += 1;
                waiting += 1;
            }
            Seen::Unknown => unknown += 1,
            Seen::Ended { .. } | Seen::Again { .. } => {}
        }
    }
    let (mut stopped, mut final_stops, mut succeeded) = (0, 0, 0);
    for container in &pod::spec(pod).containers {
        match seen(statuses, container) {
            Seen::Running { .. } => running += 1,
            Seen::Ended { exit_code } => {
                stopped += 1;
                succeeded += usize::from(exit_code == 0);
                final_stops += usize::from(!restarts_after(container, pod, exit_code));
            }
            Seen::Again { exit_code } => {
                stopped += 1;
                final_stops += usize::from(!restarts_after(container, pod, exit_code));
            }
            Seen::Waiting => waiting += 1,
            Seen::Unknown => unknown += 1,
        }
    }
    if pending_inits > 0 || (pending_sidecars > 0 && !was_initialized) || waiting > 0 {
        return "Pending";
    }
    if running > 0 && unknown == 0 {
        return "Running";
    }
    if running > 0 || stopped == 0 || unknown > 0 {
        return "Pending";
    }
    let ended = if stopped == succeeded { "Succeeded" } else { "Failed" };
    if is_terminal && !pod::is_static(pod) {
        return ended;
    }
    if stopped == final_stops { ended } else { "Running" }
}
