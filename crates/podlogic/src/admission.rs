//! Whether a Pod that was assigned to the node may run on it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use model::quantity::Quantity;

use crate::{limits, pod, sysctls};

/// Why a Pod is turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// `OutOfcpu`, `NodeAffinity`, `NodePorts`, `TaintToleration` …: `status.reason`, also of the event.
    pub reason: String,
    /// `status.message`.
    pub message: String,
}

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

fn requests(pod: &Pod) -> Amounts {
    let requests = limits::pod_requests(pod);
    requests.keys().map(|name| (name.clone(), limits::quantity(Some(&requests), name))).collect()
}

/// The unit in which messages and comparisons count: milli for CPU, whole for all else.
fn units(name: &str, amount: &Quantity) -> i64 {
    if name == "cpu" { amount.milli_value() } else { amount.value() }
}

fn check_resources(pod: &Pod, others: &[&Pod], allocatable: &Amounts) -> Option<Rejection> {
    let capacity = |name: &str| allocatable.get(name).map_or(0, |amount| units(name, amount));
    let out_of = |name: &str, requested: i64, used: i64, capacity: i64| Rejection {
        reason: format!("OutOf{name}"),
        message: format!(
            "Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    };
    let pods = i64::try_from(others.len()).unwrap_or(i64::MAX);
    let room = capacity("pods");
    if allocatable.contains_key("pods") && pods + 1 > room {
        return Some(out_of("pods", 1, pods, room));
    }
    for (name, amount) in requests(pod) {
        let requested = units(&name, &amount);
        if requested == 0 || !allocatable.contains_key(&name) {
            continue;
        }
        let used =
            others.iter().filter_map(|other| requests(other).remove(&name)).map(|own| units(&name, &own));
        let used = used.fold(0i64, i64::saturating_add);
        if requested.saturating_add(used) > capacity(&name) {
            return Some(out_of(&name, requested, used, capacity(&name)));
        }
    }
    None
}

type HostPort = (String, i32, String);

fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let containers = &pod::spec(pod).containers;
    let ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host_port = port.host_port.filter(|port| *port != 0)?;
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            let ip = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into());
            Some((protocol, host_port, ip))
        })
        .collect()
}

fn check_ports(pod: &Pod, others: &[&Pod]) -> bool {
    let everywhere = |ip: &str| ip == "0.0.0.0" || ip == "::";
    let taken: Vec<HostPort> = others.iter().flat_map(|other| host_ports(other)).collect();
    host_ports(pod).iter().all(|(protocol, port, ip)| {
        taken.iter().all(|(other_protocol, other_port, other_ip)| {
            protocol != other_protocol
                || port != other_port
                || !(ip == other_ip || everywhere(ip) || everywhere(other_ip))
        })
    })
}

fn matches_selector(pod: &Pod, node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    let wanted = pod::spec(pod).node_selector.iter().flatten();
    wanted.into_iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

fn tolerates_no_execute(pod: &Pod, node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let tolerations = pod::spec(pod).tolerations.as_deref().unwrap_or_default();
    taints.iter().filter(|taint| taint.effect == "NoExecute").all(|taint| {
        tolerations.iter().any(|toleration| {
            let key = toleration.key.as_deref().unwrap_or_default();
            let exists = toleration.operator.as_deref() == Some("Exists");
            toleration.effect.as_deref().is_none_or(|effect| effect.is_empty() || effect == taint.effect)
                && (key == taint.key || (key.is_empty() && exists))
                && (exists
                    || toleration.value.as_deref().unwrap_or_default()
                        == taint.value.as_deref().unwrap_or_default())
        })
    })
}

/// Decides. `others`: the Pods that already run here and have not ended.
pub fn admit(
    pod: &Pod,
    others: &[&Pod],
    allocatable: &Amounts,
    node: Option<&Node>,
) -> Result<(), Rejection> {
    let reject =
        |reason: &str, message: &str| Err(Rejection { reason: reason.into(), message: message.into() });
    if let Some(rejection) = sysctls::forbidden(pod) {
        return Err(rejection);
    }
    if let Some(os) = pod::spec(pod).os.as_ref().filter(|os| os.name != "linux") {
        let message = format!(
            "Failed to admit pod as the OS field doesn't match node OS: pod os {:?}, node os \"linux\"",
            os.name
        );
        return reject("PodOSNotSupported", &message);
    }
    if let Some(node) = node.filter(|_| !pod::is_static(pod)) {
        if !matches_selector(pod, node) {
            return reject(
                "NodeAffinity",
                "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
            );
        }
        if !tolerates_no_execute(pod, node) {
            return reject("TaintToleration", "Predicate TaintToleration failed");
        }
    }
    if !check_ports(pod, others) {
        return reject(
            "NodePorts",
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        );
    }
    if pod::is_critical(pod) {
        return Ok(());
    }
    match check_resources(pod, others, allocatable) {
        Some(rejection) => Err(rejection),
        None => Ok(()),
    }
}
