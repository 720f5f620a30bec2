//! `status` of a Pod, whole.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::actions::Verdicts;
use crate::conditions::{self, OWNED};
use crate::container_status::{StartFailure, container_statuses};
use crate::pod::{self, ContainerKind};
use crate::{Observed, limits, phase};

/// What a status is made from.
#[derive(Debug, Clone, Copy)]
pub struct StatusInput<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// What the runtime says.
    pub observed: &'a Observed,
    /// The status reported last (or the API's, after a restart of the node agent).
    pub old: &'a PodStatus,
    /// Why containers could not be started, by name.
    pub failures: &'a BTreeMap<String, StartFailure>,
    /// Results of probes.
    pub verdicts: &'a Verdicts,
    /// The node's addresses, the primary one first.
    pub host_ips: &'a [String],
    /// `carob`.
    pub runtime_name: &'a str,
    /// Nothing will be started any more.
    pub is_terminal: bool,
    /// The Pod failed for a reason outside its containers: (reason, message), as `DeadlineExceeded`, `Evicted`.
    pub failed: Option<&'a (String, String)>,
    /// Now.
    pub now: Timestamp,
}

fn is_final(phase: Option<&str>) -> bool {
    matches!(phase, Some("Failed" | "Succeeded"))
}

/// Seconds only, as the API keeps times.
pub fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// Keeps `lastTransitionTime` of conditions whose status did not change.
pub fn settle_transitions(conditions: &mut [PodCondition], old: &[PodCondition], now: Timestamp) {
    for condition in conditions {
        let before = old.iter().find(|before| before.type_ == condition.type_);
        let kept = before.filter(|before| before.status == condition.status);
        let time = kept.and_then(|before| before.last_transition_time.clone());
        condition.last_transition_time = Some(time.unwrap_or_else(|| seconds(now)));
    }
}

/// Decides the phase, what is final staying final: (phase, reason, message).
fn settle_phase(
    input: &StatusInput<'_>,
    statuses: &[ContainerStatus],
) -> (String, Option<String>, Option<String>) {
    let api = input.pod.status.as_ref();
    let api_phase = api.and_then(|status| status.phase.as_deref());
    let old_phase = input.old.phase.as_deref();
    if let (Some((reason, message)), false) = (input.failed, is_final(api_phase)) {
        return ("Failed".into(), Some(reason.clone()), Some(message.clone()));
    }
    let main_started = |name: &str| pod::spec(input.pod).containers.iter().any(|own| own.name == name);
    let initialized = input.observed.active().any(|status| main_started(&status.metadata.name));
    let mut phase = phase::phase(input.pod, statuses, input.is_terminal, initialized);
    if !is_final(Some(phase)) {
        phase = match (old_phase, api_phase) {
            (Some(old), _) if is_final(Some(old)) => old,
            (_, Some(api)) if is_final(Some(api)) => api,
            _ => phase,
        };
    }
    if let Some(api_phase) = api_phase.filter(|phase| is_final(Some(phase))) {
        phase = api_phase;
    }
    let (mut reason, mut message) = (None, None);
    if old_phase == Some(phase) {
        reason = input.old.reason.clone().or_else(|| api.and_then(|api| api.reason.clone()));
        message = input.old.message.clone().or_else(|| api.and_then(|api| api.message.clone()));
    }
    (phase.to_owned(), reason, message)
}

/// The Pod's addresses: the sandbox's, the node's with the host's network, or those known before.
fn pod_ips(input: &StatusInput<'_>) -> Vec<String> {
    if pod::is_host_network(input.pod) {
        return input.host_ips.to_vec();
    }
    let ips = input.observed.ips();
    if !ips.is_empty() {
        return ips;
    }
    // An ended Pod keeps showing the addresses it had.
    let known = input.old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    if input.observed.sandboxes.is_empty() && !input.is_terminal { Vec::new() } else { known }
}

fn non_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Makes the whole status.
pub fn generate_status(input: &StatusInput<'_>) -> PodStatus {
    let old = input.old;
    let of = |kind, before: &Option<Vec<ContainerStatus>>| {
        container_statuses(kind, before.as_deref().unwrap_or_default(), input)
    };
    let mains = of(ContainerKind::Main, &old.container_statuses);
    let inits = of(ContainerKind::Init, &old.init_container_statuses);
    let ephemerals = of(ContainerKind::Ephemeral, &old.ephemeral_container_statuses);
    let all: Vec<ContainerStatus> = inits.iter().chain(&mains).cloned().collect();
    let (phase, reason, message) = settle_phase(input, &all);

    let api_conditions = input.pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    let api_conditions = api_conditions.unwrap_or_default();
    let others: Vec<PodCondition> =
        api_conditions.iter().filter(|other| !OWNED.contains(&other.type_.as_str())).cloned().collect();
    let mut owned = conditions::conditions(input.pod, input.observed, &all, &phase, &others);
    let mut before = old.conditions.clone().unwrap_or_default();
    before.extend_from_slice(api_conditions);
    settle_transitions(&mut owned, &before, input.now);
    let mut conditions = others;
    conditions.extend(owned);

    let ips = pod_ips(input);
    let start_time = old
        .start_time
        .clone()
        .or_else(|| input.pod.status.as_ref().and_then(|status| status.start_time.clone()));
    let requests = limits::pod_requests(input.pod);
    PodStatus {
        phase: Some(phase),
        reason,
        message,
        conditions: Some(conditions),
        container_statuses: non_empty(mains),
        init_container_statuses: non_empty(inits),
        ephemeral_container_statuses: non_empty(ephemerals),
        host_ip: input.host_ips.first().cloned(),
        host_ips: non_empty(input.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: ips.first().cloned(),
        pod_ips: non_empty(ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: Some(start_time.unwrap_or_else(|| seconds(input.now))),
        qos_class: Some(limits::qos_class(input.pod).to_owned()),
        observed_generation: input.pod.metadata.generation,
        allocated_resources: (!requests.is_empty()).then_some(requests),
        resources: Some(pod::spec(input.pod).resources.clone().unwrap_or_default()),
        nominated_node_name: input.pod.status.as_ref().and_then(|status| status.nominated_node_name.clone()),
        resource_claim_statuses: input
            .pod
            .status
            .as_ref()
            .and_then(|status| status.resource_claim_statuses.clone()),
        ..PodStatus::default()
    }
}
