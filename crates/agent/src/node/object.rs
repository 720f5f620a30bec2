//! Makes the Node object and its status. Pure: facts go in.

use std::collections::BTreeMap;

use cri::image::Image;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::quantity::Quantity;
use podlogic::status::seconds;

use crate::machine::{Machine, Pressure, architecture};

/// Images listed in the status, at most.
const IMAGES_MAX: usize = 50;
/// Names per image in the status, at most.
const IMAGE_NAMES_MAX: usize = 5;

/// What a Node is made from.
#[derive(Debug, Clone)]
pub struct NodeFacts<'a> {
    /// Name.
    pub name: &'a str,
    /// Addresses, the primary one first.
    pub ips: &'a [String],
    /// Labels besides those that every node has.
    pub labels: &'a BTreeMap<String, String>,
    /// The machine.
    pub machine: &'a Machine,
    /// Capacity.
    pub capacity: &'a BTreeMap<String, Quantity>,
    /// Capacity less what is reserved.
    pub allocatable: &'a BTreeMap<String, Quantity>,
    /// Images.
    pub images: &'a [Image],
    /// What presses.
    pub pressure: Pressure,
    /// Why the node cannot run Pods; empty if it can.
    pub problem: &'a str,
    /// `carob://0.1.0`.
    pub runtime: &'a str,
    /// `v1.36.2+…`.
    pub version: &'a str,
    /// Port of the node's API.
    pub port: u16,
    /// Now.
    pub now: Timestamp,
}

/// Labels that every node has, and the given ones.
pub fn labels(facts: &NodeFacts<'_>) -> BTreeMap<String, String> {
    let mut labels = facts.labels.clone();
    for (key, value) in [
        ("beta.kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("kubernetes.io/hostname", facts.name),
        ("kubernetes.io/os", "linux"),
    ] {
        labels.insert(key.into(), value.into());
    }
    labels
}

fn texts(amounts: &BTreeMap<String, Quantity>) -> BTreeMap<String, Text> {
    amounts.iter().map(|(name, amount)| (name.clone(), Text(amount.to_string()))).collect()
}

/// Type, whether it holds, (reason, message) if it does and if it does not.
type ConditionRow<'a> = (&'a str, bool, (&'a str, &'a str), (&'a str, &'a str));

fn conditions(facts: &NodeFacts<'_>, before: &[NodeCondition]) -> Vec<NodeCondition> {
    let problem = facts.problem;
    let table: [ConditionRow<'_>; 4] = [
        (
            "MemoryPressure",
            facts.pressure.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        (
            "DiskPressure",
            facts.pressure.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        (
            "PIDPressure",
            facts.pressure.pid,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        (
            "Ready",
            problem.is_empty(),
            ("KubeletReady", "kubelet is posting ready status"),
            ("KubeletNotReady", problem),
        ),
    ];
    table
        .into_iter()
        .map(|(kind, holds, yes, no)| {
            let status = if holds { "True" } else { "False" };
            let (reason, message) = if holds { yes } else { no };
            let old = before.iter().find(|old| old.type_ == kind && old.status == status);
            let since = old.and_then(|old| old.last_transition_time.clone());
            NodeCondition {
                type_: kind.into(),
                status: status.into(),
                reason: Some(reason.into()),
                message: Some(message.into()),
                last_heartbeat_time: Some(seconds(facts.now)),
                last_transition_time: Some(since.unwrap_or_else(|| seconds(facts.now))),
            }
        })
        .collect()
}

fn images(images: &[Image]) -> Vec<ContainerImage> {
    let mut sorted: Vec<&Image> = images.iter().collect();
    sorted.sort_by(|left, right| right.size_bytes.cmp(&left.size_bytes).then_with(|| left.id.cmp(&right.id)));
    let convert = |image: &&Image| {
        let names =
            image.repo_digests.iter().chain(&image.repo_tags).take(IMAGE_NAMES_MAX).cloned().collect();
        ContainerImage { names: Some(names), size_bytes: i64::try_from(image.size_bytes).ok() }
    };
    sorted.iter().take(IMAGES_MAX).map(convert).collect()
}

/// Makes `status`. `before`: conditions so far, whose times are kept.
pub fn status(facts: &NodeFacts<'_>, before: &[NodeCondition]) -> NodeStatus {
    let machine = facts.machine;
    let address = |kind: &str, address: &str| NodeAddress { type_: kind.into(), address: address.into() };
    let mut addresses: Vec<NodeAddress> = facts.ips.iter().map(|ip| address("InternalIP", ip)).collect();
    addresses.push(address("Hostname", facts.name));
    // Conditions of others (the network, for one) are theirs to write.
    let own = conditions(facts, before);
    let others = before.iter().filter(|old| !own.iter().any(|own| own.type_ == old.type_)).cloned();
    let conditions = others.chain(own.iter().cloned()).collect();
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(texts(facts.capacity)),
        allocatable: Some(texts(facts.allocatable)),
        conditions: Some(conditions),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(facts.port) }),
        }),
        features: Some(NodeFeatures { supplemental_groups_policy: Some(true) }),
        images: Some(images(facts.images)),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().into(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: facts.runtime.into(),
            kernel_version: machine.kernel_version.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: facts.version.into(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".into(),
            os_image: machine.os_image.clone(),
            swap: None,
            system_uuid: machine.system_uuid.clone(),
        }),
        runtime_handlers: Some(vec![NodeRuntimeHandler {
            name: Some(String::new()),
            features: Some(NodeRuntimeHandlerFeatures {
                recursive_read_only_mounts: Some(true),
                user_namespaces: Some(false),
            }),
        }]),
        ..NodeStatus::default()
    }
}

/// Makes the Node to register.
pub fn node(facts: &NodeFacts<'_>) -> Node {
    let annotation = ("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned());
    Node {
        metadata: ObjectMeta {
            name: Some(facts.name.into()),
            labels: Some(labels(facts)),
            annotations: Some([annotation].into()),
            ..ObjectMeta::default()
        },
        spec: None,
        status: Some(status(facts, &[])),
    }
}
