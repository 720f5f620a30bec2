//! `containerStatuses`, `initContainerStatuses` and `ephemeralContainerStatuses`, from what the runtime says, what was
//! reported before and why starts failed.

use std::collections::BTreeMap;

use cri::reference::Reference;
use cri::runtime::{ContainerState as Running, ContainerStatus as Seen};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, LinuxContainerUser, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pod::{self, ContainerKind, ProbeKind};
use crate::status::StatusInput;
use crate::{labels, restart};

/// Why a container could not be started: shown as its waiting state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartFailure {
    /// `CrashLoopBackOff`, `ErrImagePull`, `CreateContainerConfigError` …
    pub reason: String,
    /// Details.
    pub message: String,
}

/// How many instances of a container are shown: the present one and the last.
const INSTANCES_SHOWN: usize = 2;

fn time(ns: i64) -> Option<Time> {
    if ns <= 0 {
        return Timestamp::from_second(0).ok().map(Time);
    }
    Timestamp::from_second(ns.div_euclid(1_000_000_000)).ok().map(Time)
}

/// The prefix of `containerID`, `carob://`.
pub fn container_id(runtime_name: &str, id: &str) -> String {
    format!("{runtime_name}://{id}")
}

/// The image's name as a runtime reports it: normalised, with its tag.
fn image_name(seen: &Seen) -> String {
    if seen.image.starts_with("sha256:") {
        return seen.image.clone();
    }
    Reference::parse_for_pull(&seen.image)
        .map_or_else(|_| seen.image.clone(), |reference| reference.to_string())
}

fn waiting(reason: &str) -> ContainerState {
    let reason = (!reason.is_empty()).then(|| reason.to_owned());
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason, message: None }),
        ..ContainerState::default()
    }
}

fn terminated(ended: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(ended), ..ContainerState::default() }
}

fn mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    let convert = |mount: &k8s_openapi::api::core::v1::VolumeMount| {
        let read_only = mount.read_only.filter(|read_only| *read_only);
        let recursive = matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"));
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only,
            recursive_read_only: read_only.map(|_| if recursive { "Enabled" } else { "Disabled" }.to_owned()),
            volume_status: None,
        }
    };
    Some(mounts.iter().map(convert).collect())
}

/// A container nothing is known of but what was reported before.
fn unseen(container: &Container, old: Option<&ContainerStatus>, input: &StatusInput<'_>) -> ContainerStatus {
    let has_inits = !pod::init_containers(input.pod).is_empty();
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(if has_inits { "PodInitializing" } else { "ContainerCreating" })),
        last_state: Some(ContainerState::default()),
        volume_mounts: mounts(container),
        ..ContainerStatus::default()
    };
    let Some(old) = old else { return status };
    let old_state = old.state.clone().unwrap_or_default();
    if old_state.terminated.is_some() {
        return old.clone();
    }
    status.restart_count = old.restart_count;
    status.last_state = Some(old.last_state.clone().unwrap_or_default());
    let ended_before = old.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
    if old_state.running.is_some() && !ended_before {
        // It ran and is gone: say that it ended, although nobody knows how, lest the Pod fall back to Pending.
        status.last_state = Some(terminated(ContainerStateTerminated {
            reason: Some("ContainerStatusUnknown".into()),
            message: Some(
                "The container could not be located when the pod was deleted.  The container used to be Running"
                    .into(),
            ),
            exit_code: 137,
            ..ContainerStateTerminated::default()
        }));
        if !pod::is_deleted(input.pod) {
            status.restart_count += 1;
        }
    }
    status
}

fn state_of(seen: &Seen, old: Option<&ContainerStatus>, id: &str) -> ContainerState {
    let was_running = old.and_then(|old| old.state.as_ref()).is_some_and(|state| state.running.is_some());
    match seen.state {
        Running::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time(seen.started_at_ns) }),
            ..ContainerState::default()
        },
        Running::Exited => terminated(ContainerStateTerminated {
            exit_code: seen.exit_code,
            reason: (!seen.reason.is_empty()).then(|| seen.reason.clone()),
            message: (!seen.message.is_empty()).then(|| seen.message.clone()),
            started_at: time(seen.started_at_ns),
            finished_at: time(seen.finished_at_ns),
            container_id: Some(id.to_owned()),
            signal: None,
        }),
        Running::Unknown if was_running => terminated(ContainerStateTerminated {
            reason: Some("ContainerStatusUnknown".into()),
            message: Some("The container could not be located when the pod was terminated".into()),
            exit_code: 137,
            ..ContainerStateTerminated::default()
        }),
        Running::Created | Running::Unknown => waiting(""),
    }
}

fn converted(
    container: &Container,
    seen: &Seen,
    old: Option<&ContainerStatus>,
    input: &StatusInput<'_>,
) -> ContainerStatus {
    let id = container_id(input.runtime_name, &seen.id);
    let state = state_of(seen, old, &id);
    let mut restart_count = labels::restart_count(seen);
    if seen.state == Running::Unknown && state.terminated.is_some() {
        restart_count = old.map_or(restart_count, |old| old.restart_count + 1);
    }
    let resources = container.resources.clone().unwrap_or_default();
    let user = seen.user.as_ref().map(|(uid, gid, groups)| ContainerUser {
        linux: Some(LinuxContainerUser { uid: *uid, gid: *gid, supplemental_groups: Some(groups.clone()) }),
    });
    let last = old.and_then(|old| old.last_state.clone()).unwrap_or_default();
    ContainerStatus {
        name: container.name.clone(),
        container_id: Some(id),
        image: image_name(seen),
        image_id: seen.image_ref.clone(),
        restart_count,
        state: Some(state),
        last_state: Some(last),
        allocated_resources: resources.requests.clone().filter(|requests| !requests.is_empty()),
        resources: Some(resources),
        user,
        volume_mounts: mounts(container),
        stop_signal: container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.stop_signal.clone()),
        ..ContainerStatus::default()
    }
}

/// A container that has to be started and could not be: waiting, with the reason.
fn apply_failure(
    kind: ContainerKind,
    container: &Container,
    status: &mut ContainerStatus,
    input: &StatusInput<'_>,
) {
    let latest = input.observed.latest(&container.name);
    if kind == ContainerKind::Init {
        if latest.is_some_and(|seen| seen.state == Running::Exited && seen.exit_code == 0) {
            return;
        }
        let is_waiting = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
        if latest.is_none()
            && is_waiting
            && !pod::is_sidecar(container)
            && input.observed.has_main_container(input.pod)
        {
            status.state = Some(terminated(ContainerStateTerminated {
                reason: Some("Completed".into()),
                message: Some(
                    "Unable to get init container status from container runtime and pod has been initialized, treat \
                     it as exited normally"
                        .into(),
                ),
                ..ContainerStateTerminated::default()
            }));
            return;
        }
    }
    if !restart::should_start(container, input.pod, input.observed) {
        return;
    }
    let Some(failure) = input.failures.get(&container.name) else { return };
    let state = status.state.take().unwrap_or_default();
    if state.terminated.is_some() {
        status.last_state = Some(state);
    }
    status.state = Some(ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(failure.reason.clone()),
            message: (!failure.message.is_empty()).then(|| failure.message.clone()),
        }),
        ..ContainerState::default()
    });
}

/// Sets `started` and `ready`.
fn apply_probes(
    kind: ContainerKind,
    container: &Container,
    old: Option<&ContainerStatus>,
    status: &mut ContainerStatus,
    input: &StatusInput<'_>,
) {
    if kind == ContainerKind::Ephemeral {
        return;
    }
    let state = status.state.as_ref();
    let running = state.is_some_and(|state| state.running.is_some());
    let done = state.and_then(|state| state.terminated.as_ref()).is_some_and(|ended| ended.exit_code == 0);
    let id = status.container_id.as_deref().and_then(|id| id.split_once("://")).map_or("", |(_, id)| id);
    let verdict = |kind: ProbeKind| input.verdicts.get(&(id.to_owned(), kind)).copied();
    let same = old.filter(|old| old.container_id == status.container_id);
    let kept = |verdict: Option<bool>, before: Option<bool>| verdict.or(before).unwrap_or(false);
    let started = running
        && (container.startup_probe.is_none()
            || kept(verdict(ProbeKind::Startup), same.and_then(|old| old.started)));
    status.started = Some(started);
    status.ready = if kind == ContainerKind::Init && !pod::is_sidecar(container) {
        done
    } else {
        started
            && (container.readiness_probe.is_none()
                || kept(verdict(ProbeKind::Readiness), same.map(|old| old.ready)))
    };
}

/// The statuses of one list of containers. Main and ephemeral ones are ordered by name, init ones as they run.
pub fn container_statuses(
    kind: ContainerKind,
    before: &[ContainerStatus],
    input: &StatusInput<'_>,
) -> Vec<ContainerStatus> {
    let old: BTreeMap<&str, &ContainerStatus> =
        before.iter().map(|status| (status.name.as_str(), status)).collect();
    let mut statuses = Vec::new();
    for container in pod::containers_of(input.pod, kind) {
        let old = old.get(container.name.as_str()).copied();
        let instances = input.observed.containers.iter().filter(|seen| seen.metadata.name == container.name);
        let mut status = unseen(&container, old, input);
        for (age, seen) in instances.take(INSTANCES_SHOWN).enumerate() {
            let converted = converted(&container, seen, old, input);
            if age == 0 {
                status = converted;
            } else {
                status.last_state = converted.state;
            }
        }
        apply_failure(kind, &container, &mut status, input);
        apply_probes(kind, &container, old, &mut status, input);
        statuses.push(status);
    }
    if kind != ContainerKind::Init {
        statuses.sort_by(|left, right| left.name.cmp(&right.name));
    }
    statuses
}
