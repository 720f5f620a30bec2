//! Ends containers: event, `preStop`, stop signal, grace; and whole Pods, sidecars last.

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use podlogic::actions::KillReason;
use podlogic::termination::{self, GRACE_MIN_S};
use podlogic::{Observed, labels, pod};
use tokio::time::{Duration, Instant};

use crate::api::reference_by_name;
use crate::hooks;
use crate::shared::Shared;

/// A container to end.
#[derive(Debug, Clone, Copy)]
pub struct KillRequest<'a> {
    /// Runtime id.
    pub container_id: &'a str,
    /// Name.
    pub name: &'a str,
    /// The event's message; `None`: `Stopping container NAME`.
    pub message: Option<&'a str>,
    /// Why.
    pub reason: KillReason,
    /// Grace in seconds instead of the Pod's own.
    pub grace_s: Option<i64>,
}

fn whole_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Runs `preStop` within the grace period.
async fn pre_stop(shared: &Shared, pod: &Pod, request: &KillRequest<'_>, grace_s: i64, pod_ip: Option<&str>) {
    let Some((_, container)) = pod::find_container(pod, request.name) else { return };
    let Some(handler) = container.lifecycle.as_ref().and_then(|own| own.pre_stop.as_ref()) else { return };
    let hook = hooks::run(shared, pod, &container, request.container_id, handler, pod_ip);
    let grace = Duration::from_secs(u64::try_from(grace_s).unwrap_or(0));
    match tokio::time::timeout(grace, hook).await {
        Ok(Ok(())) => {}
        Ok(Err(message)) => {
            tracing::warn!(container = request.name, message, "preStop hook failed");
            let object = reference_by_name(pod, request.name);
            shared.recorder.warning(object, "FailedPreStopHook", "PreStopHook failed");
        }
        Err(_) => {
            tracing::warn!(container = request.name, grace_s, "preStop hook did not complete in grace period")
        }
    }
}

/// Ends one container; returns when it has ended.
///
/// # Errors
/// When it cannot be ended: it may run on, so no other may be started in its place.
pub async fn kill_container(
    shared: &Shared,
    pod: &Pod,
    request: &KillRequest<'_>,
    pod_ip: Option<&str>,
) -> Result<(), cri::Error> {
    let container = pod::find_container(pod, request.name).map(|(_, container)| container);
    let grace_s =
        request.grace_s.unwrap_or_else(|| termination::grace_s(pod, container.as_ref(), request.reason));
    let message = match request.message {
        Some(message) if !message.is_empty() => message.to_owned(),
        _ => format!("Stopping container {}", request.name),
    };
    shared.recorder.normal(reference_by_name(pod, request.name), "Killing", message);
    let begun = Instant::now();
    if grace_s > 0 {
        pre_stop(shared, pod, request, grace_s, pod_ip).await;
    }
    let left_s = grace_s - whole_seconds(begun.elapsed());
    stop(shared, request.container_id, left_s.max(GRACE_MIN_S)).await
}

async fn stop(shared: &Shared, id: &str, grace_s: i64) -> Result<(), cri::Error> {
    match shared.runtime().stop_container(id, grace_s).await {
        Err(error) if error.kind == cri::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Ends everything of a Pod, then stops its sandboxes.
///
/// # Errors
/// When a sandbox could not be stopped; it has to be tried again.
pub async fn kill_pod(
    shared: &Shared,
    pod: &Pod,
    observed: &Observed,
    grace_s: Option<i64>,
) -> Result<(), cri::Error> {
    let begun = Instant::now();
    let ips = observed.ips();
    let total_s = grace_s.unwrap_or_else(|| termination::grace_s(pod, None, KillReason::Other));
    let order = termination::order(pod);
    let running: Vec<_> =
        observed.containers.iter().filter(|own| podlogic::observed::is_active(own.state)).collect();
    for (turn, names) in order.iter().enumerate() {
        // Those whose definition is lost end with the first group.
        let lost = |name: &str| turn == 0 && !order.iter().flatten().any(|known| known == name);
        let group = running.iter().filter(|own| {
            let name = &own.metadata.name;
            names.contains(name) || lost(name)
        });
        let left_s =
            if turn == 0 { grace_s } else { Some((total_s - whole_seconds(begun.elapsed())).max(0)) };
        let kills = group.map(|own| {
            let ip = ips.first().map(String::as_str);
            async move {
                let request = KillRequest {
                    container_id: &own.id,
                    name: own.labels.get(labels::CONTAINER_NAME).unwrap_or(&own.metadata.name),
                    message: None,
                    reason: KillReason::Other,
                    grace_s: left_s,
                };
                if let Err(error) = kill_container(shared, pod, &request, ip).await {
                    // It ends with its sandbox.
                    tracing::warn!(container = own.id, %error, "stopping a container");
                }
            }
        });
        join_all(kills).await;
    }
    for sandbox in &observed.sandboxes {
        match shared.runtime().stop_pod_sandbox(&sandbox.id).await {
            Ok(()) => {}
            Err(error) if error.kind == cri::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
