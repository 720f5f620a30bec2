//! Resources: QoS class, requests of the whole Pod, cgroup values and `oom_score_adj`, as upstream computes them.

use std::collections::BTreeMap;

use cri::sandbox::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use model::quantity::Quantity;

use crate::pod;

type Amounts = BTreeMap<String, Text>;

/// Shares of a container that asks for no CPU.
pub const SHARES_MIN: i64 = 2;
const SHARES_MAX: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1024;
const QUOTA_MIN_US: i64 = 1000;
const GUARANTEED_OOM_SCORE_ADJ: i64 = -997;
const BEST_EFFORT_OOM_SCORE_ADJ: i64 = 1000;

/// Node facts that limits depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLimits {
    /// Memory of the node, bytes.
    pub memory_bytes: i64,
    /// Enforce CPU limits by CFS quota.
    pub cfs_quota: bool,
    /// CFS period in microseconds.
    pub cfs_period_us: i64,
    /// Processes per Pod; 0 is no limit.
    pub pod_pids_max: i64,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self { memory_bytes: 1 << 30, cfs_quota: true, cfs_period_us: 100_000, pod_pids_max: 0 }
    }
}

/// Reads an amount; what cannot be read (the API refuses such) counts as zero.
pub fn quantity(amounts: Option<&Amounts>, name: &str) -> Quantity {
    let text = amounts.and_then(|amounts| amounts.get(name));
    text.and_then(|text| Quantity::parse(&text.0).ok()).unwrap_or(Quantity::ZERO)
}

fn requests(container: &Container) -> Option<&Amounts> {
    container.resources.as_ref()?.requests.as_ref()
}

fn limits(container: &Container) -> Option<&Amounts> {
    container.resources.as_ref()?.limits.as_ref()
}

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(pod: &Pod) -> &'static str {
    if let Some(resources) = pod::spec(pod).resources.as_ref().filter(|own| is_set(own)) {
        return class_of(&[resources]);
    }
    let containers = pod::spec(pod).containers.iter().chain(pod::init_containers(pod));
    let empty = ResourceRequirements::default();
    let resources: Vec<_> =
        containers.map(|container| container.resources.as_ref().unwrap_or(&empty)).collect();
    class_of(&resources)
}

fn is_set(resources: &ResourceRequirements) -> bool {
    resources.requests.as_ref().is_some_and(|own| !own.is_empty())
        || resources.limits.as_ref().is_some_and(|own| !own.is_empty())
}

fn class_of(all: &[&ResourceRequirements]) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for resources in all {
        for name in ["cpu", "memory"] {
            let request = quantity(resources.requests.as_ref(), name);
            let limit = quantity(resources.limits.as_ref(), name);
            any |= !request.is_zero() || !limit.is_zero();
            // A missing request is the limit's.
            let request = if request.is_zero() { limit.clone() } else { request };
            guaranteed &= !limit.is_zero() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn add(total: &mut BTreeMap<String, Quantity>, amounts: Option<&Amounts>) {
    for name in amounts.into_iter().flat_map(BTreeMap::keys) {
        let amount = quantity(amounts, name);
        total.entry(name.clone()).and_modify(|sum| sum.add(&amount)).or_insert(amount);
    }
}

fn raise(total: &mut BTreeMap<String, Quantity>, other: BTreeMap<String, Quantity>) {
    for (name, amount) in other {
        let entry = total.entry(name).or_insert(Quantity::ZERO);
        if amount > *entry {
            *entry = amount;
        }
    }
}

/// What a Pod asks for: the sum over main containers and sidecars, or the most any init container needs while the
/// sidecars before it run, plus overhead; amounts of the Pod itself win.
fn total(pod: &Pod, of: fn(&Container) -> Option<&Amounts>, of_pod: Option<&Amounts>) -> Amounts {
    let mut sum = BTreeMap::new();
    for container in &pod::spec(pod).containers {
        add(&mut sum, of(container));
    }
    let (mut sidecars, mut peak) = (BTreeMap::new(), BTreeMap::new());
    for container in pod::init_containers(pod) {
        if pod::is_sidecar(container) {
            add(&mut sum, of(container));
            add(&mut sidecars, of(container));
            raise(&mut peak, sidecars.clone());
        } else {
            let mut during = sidecars.clone();
            add(&mut during, of(container));
            raise(&mut peak, during);
        }
    }
    raise(&mut sum, peak);
    for name in of_pod.into_iter().flat_map(BTreeMap::keys) {
        sum.insert(name.clone(), quantity(of_pod, name));
    }
    add(&mut sum, pod::spec(pod).overhead.as_ref());
    sum.into_iter().map(|(name, amount)| (name, Text(amount.to_string()))).collect()
}

/// Requests of the whole Pod.
pub fn pod_requests(pod: &Pod) -> Amounts {
    let own = pod::spec(pod).resources.as_ref().and_then(|own| own.requests.as_ref());
    total(pod, requests, own)
}

/// Limits of the whole Pod (only those of containers that have some).
pub fn pod_limits(pod: &Pod) -> Amounts {
    let own = pod::spec(pod).resources.as_ref().and_then(|own| own.limits.as_ref());
    total(pod, limits, own)
}

/// CPU weight on the v1 scale.
pub fn shares(milli_cpu: i64) -> i64 {
    if milli_cpu == 0 {
        return SHARES_MIN;
    }
    (milli_cpu.saturating_mul(SHARES_PER_CPU) / 1000).clamp(SHARES_MIN, SHARES_MAX)
}

/// CFS quota in microseconds; 0 is none.
pub fn quota_us(milli_cpu: i64, period_us: i64) -> i64 {
    if milli_cpu == 0 {
        return 0;
    }
    (milli_cpu.saturating_mul(period_us) / 1000).max(QUOTA_MIN_US)
}

fn amount(amounts: Option<&Amounts>, name: &str) -> Option<Quantity> {
    amounts?.contains_key(name).then(|| quantity(amounts, name))
}

/// The limit of a container, or the Pod's where the container has none.
fn limit(pod: &Pod, container: &Container, name: &str) -> Quantity {
    let of_pod = pod::spec(pod).resources.as_ref().and_then(|own| own.limits.as_ref());
    amount(limits(container), name).or_else(|| amount(of_pod, name)).unwrap_or(Quantity::ZERO)
}

/// cgroup values of a container.
pub fn container_resources(pod: &Pod, container: &Container, node: &NodeLimits) -> LinuxContainerResources {
    let cpu_limit = limit(pod, container, "cpu").milli_value();
    let cpu_request = amount(requests(container), "cpu").map_or(cpu_limit, |request| request.milli_value());
    let mut resources = LinuxContainerResources {
        cpu_shares: shares(cpu_request),
        memory_limit_bytes: limit(pod, container, "memory").value(),
        oom_score_adj: oom_score_adj(pod, container, node.memory_bytes),
        hugepage_limits: hugepages(container),
        ..LinuxContainerResources::default()
    };
    // Without swap for Pods (`NoSwap`): memory and swap together may not exceed the memory limit.
    resources.memory_swap_limit_bytes = resources.memory_limit_bytes;
    if node.cfs_quota {
        resources.cpu_period_us = node.cfs_period_us;
        resources.cpu_quota_us = quota_us(cpu_limit, node.cfs_period_us);
    }
    resources
}

/// Limits of huge pages: page sizes as cgroup files name them (`2MB`, `1GB`).
fn hugepages(container: &Container) -> Vec<(String, u64)> {
    let Some(limits) = limits(container) else { return Vec::new() };
    let sizes = limits.keys().filter_map(|name| Some((name, name.strip_prefix("hugepages-")?)));
    sizes
        .filter_map(|(name, size)| {
            let bytes = Quantity::parse(size).ok()?.value();
            let size = match bytes {
                bytes if bytes >= 1 << 30 => format!("{}GB", bytes >> 30),
                bytes if bytes >= 1 << 20 => format!("{}MB", bytes >> 20),
                bytes => format!("{}KB", bytes >> 10),
            };
            Some((size, u64::try_from(quantity(Some(limits), name).value()).ok()?))
        })
        .collect()
}

/// How willingly the kernel kills a container's processes when memory runs out.
pub fn oom_score_adj(pod: &Pod, container: &Container, memory_bytes: i64) -> i64 {
    const NODE_CRITICAL: i32 = 2_000_001_000;
    if pod::spec(pod).priority == Some(NODE_CRITICAL) {
        return GUARANTEED_OOM_SCORE_ADJ;
    }
    match qos_class(pod) {
        "Guaranteed" => return GUARANTEED_OOM_SCORE_ADJ,
        "BestEffort" => return BEST_EFFORT_OOM_SCORE_ADJ,
        _ => {}
    }
    let memory_bytes = memory_bytes.max(1);
    let score = |request: i64| 1000 - 1000i64.saturating_mul(request) / memory_bytes;
    let request_of = |container: &Container| quantity(requests(container), "memory").value();
    let mut adjust = score(request_of(container));
    let is_sidecar =
        pod::init_containers(pod).iter().any(|own| own.name == container.name && pod::is_sidecar(own));
    if is_sidecar {
        let least = pod::spec(pod).containers.iter().map(request_of).min().unwrap_or(0);
        adjust = adjust.min(score(least));
    }
    match adjust {
        adjust if adjust < 1000 + GUARANTEED_OOM_SCORE_ADJ => 1000 + GUARANTEED_OOM_SCORE_ADJ,
        BEST_EFFORT_OOM_SCORE_ADJ => BEST_EFFORT_OOM_SCORE_ADJ - 1,
        adjust => adjust,
    }
}

/// cgroup values of the Pod as a whole: limits only where every container has one.
pub fn pod_resources(pod: &Pod, node: &NodeLimits) -> LinuxContainerResources {
    let mut resources =
        LinuxContainerResources { pids_limit: node.pod_pids_max, ..LinuxContainerResources::default() };
    let requests = pod_requests(pod);
    let limits_sum = pod_limits(pod);
    let own = pod::spec(pod).resources.as_ref().and_then(|own| own.limits.as_ref());
    let bounded = |name: &str| {
        let mut containers = pod::spec(pod).containers.iter().chain(pod::init_containers(pod));
        own.is_some_and(|own| own.contains_key(name))
            || containers.all(|container| !quantity(limits(container), name).is_zero())
    };
    let cpu = quantity(Some(&requests), "cpu").milli_value();
    resources.cpu_shares = shares(cpu);
    if node.cfs_quota && bounded("cpu") {
        resources.cpu_period_us = node.cfs_period_us;
        resources.cpu_quota_us =
            quota_us(quantity(Some(&limits_sum), "cpu").milli_value(), node.cfs_period_us);
    }
    if bounded("memory") {
        resources.memory_limit_bytes = quantity(Some(&limits_sum), "memory").value();
    }
    resources
}
