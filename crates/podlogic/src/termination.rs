//! Grace periods and the order in which a Pod's containers end.

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::actions::KillReason;
use crate::pod;

/// Least grace that a container gets, lest it be killed in the middle of its start.
pub const GRACE_MIN_S: i64 = 2;
/// Grace of Pods that say nothing.
const GRACE_DEFAULT_S: i64 = 30;

/// The grace period of one container in seconds. `container` is `None` where its definition is lost.
pub fn grace_s(pod: &Pod, container: Option<&Container>, reason: KillReason) -> i64 {
    if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
        return grace;
    }
    let probe = match reason {
        KillReason::StartupProbe => container.and_then(|container| container.startup_probe.as_ref()),
        KillReason::LivenessProbe => container.and_then(|container| container.liveness_probe.as_ref()),
        _ => None,
    };
    let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
    own.or(pod::spec(pod).termination_grace_period_seconds).unwrap_or(GRACE_DEFAULT_S)
}

/// The groups in which containers end, one after the other: everything but sidecars at once, then the sidecars, the
/// last of the list first.
pub fn order(pod: &Pod) -> Vec<Vec<String>> {
    let names = |containers: &[Container]| {
        containers.iter().map(|container| container.name.clone()).collect::<Vec<_>>()
    };
    let mut first = names(&pod::spec(pod).containers);
    first.extend(pod::ephemeral_containers(pod).iter().map(|container| container.name.clone()));
    let inits = pod::init_containers(pod);
    first.extend(inits.iter().filter(|own| !pod::is_sidecar(own)).map(|own| own.name.clone()));
    let sidecars = inits.iter().filter(|own| pod::is_sidecar(own));
    let mut groups = vec![first];
    groups.extend(sidecars.rev().map(|own| vec![own.name.clone()]));
    groups
}
