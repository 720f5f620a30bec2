//! Sums of resources as the scheduler counts them (k8s.io/component-helpers/resource and the scheduler's `Resource`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What a container without a CPU request counts as when nodes are scored.
const DEFAULT_MILLI_CPU: i64 = 100;
/// What a container without a memory request counts as when nodes are scored, bytes.
const DEFAULT_MEMORY_BYTES: i64 = 200 << 20;

/// An amount of each resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes of local ephemeral storage.
    pub ephemeral: i64,
    /// Extended resources, huge pages and attachable volumes, in units.
    pub scalars: BTreeMap<Arc<str>, i64>,
}

/// A list of resources in the API's form.
type List = BTreeMap<String, Quantity>;

impl Resources {
    /// From a list; the number of Pods is not among it (see [`pods_in`]).
    pub fn from_list(list: Option<&List>) -> Self {
        let mut sum = Self::default();
        for (name, quantity) in list.into_iter().flatten() {
            let Ok(quantity) = model::quantity::Quantity::parse(&quantity.0) else { continue };
            match name.as_str() {
                "cpu" => sum.milli_cpu = quantity.milli_value(),
                "memory" => sum.memory = quantity.value(),
                "ephemeral-storage" => sum.ephemeral = quantity.value(),
                scalar if is_scalar(scalar) => drop(sum.scalars.insert(scalar.into(), quantity.value())),
                _ => {}
            }
        }
        sum
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.milli_cpu == 0 && self.memory == 0 && self.ephemeral == 0 && self.scalars.is_empty()
    }

    /// Adds (or with -1 subtracts) another amount.
    pub fn add(&mut self, other: &Self, sign: i64) {
        self.milli_cpu = self.milli_cpu.saturating_add(sign * other.milli_cpu);
        self.memory = self.memory.saturating_add(sign * other.memory);
        self.ephemeral = self.ephemeral.saturating_add(sign * other.ephemeral);
        for (name, amount) in &other.scalars {
            let sum = self.scalars.entry(Arc::clone(name)).or_default();
            *sum = sum.saturating_add(sign * amount);
        }
    }

    /// Of each resource the larger amount.
    fn raise(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory = self.memory.max(other.memory);
        self.ephemeral = self.ephemeral.max(other.ephemeral);
        for (name, amount) in &other.scalars {
            let largest = self.scalars.entry(Arc::clone(name)).or_default();
            *largest = (*largest).max(*amount);
        }
    }
}

fn is_scalar(name: &str) -> bool {
    name.contains('/') || name.starts_with("hugepages-") || name.starts_with("attachable-volumes-")
}

/// The number of Pods a node's allocatable list allows.
pub fn pods_in(list: Option<&List>) -> i64 {
    let quantity = list.and_then(|list| list.get("pods"));
    quantity.and_then(|text| model::quantity::Quantity::parse(&text.0).ok()).map_or(0, |pods| pods.value())
}

/// What a Pod asks for, and what it counts as when nodes are scored (CPU and memory of containers that ask for none
/// are taken to be small, not nothing).
pub fn of_pod(pod: &Pod) -> (Resources, Resources) {
    let requests = sum(pod, false);
    let spec = pod.spec.as_ref();
    let level =
        spec.and_then(|spec| spec.resources.as_ref()).and_then(|resources| resources.requests.as_ref());
    if level.is_some_and(|level| level.contains_key("cpu") && level.contains_key("memory")) {
        return (requests.clone(), requests);
    }
    let scored = sum(pod, true);
    (requests, scored)
}

fn sum(pod: &Pod, fill: bool) -> Resources {
    let Some(spec) = &pod.spec else { return Resources::default() };
    let status = pod.status.as_ref();
    let statuses = |list: fn(&k8s_openapi::api::core::v1::PodStatus) -> &Option<Vec<ContainerStatus>>| {
        status.and_then(|status| list(status).as_deref()).unwrap_or_default()
    };
    let running = statuses(|status| &status.container_statuses);
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of_container(container, running, fill), 1);
    }
    // Sidecars run beside everything after them; other init containers run alone with the sidecars before them.
    let (mut sidecars, mut peak) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        let own = if sidecar {
            of_container(container, statuses(|status| &status.init_container_statuses), fill)
        } else {
            of_container(container, &[], fill)
        };
        if sidecar {
            total.add(&own, 1);
            sidecars.add(&own, 1);
            peak.raise(&sidecars);
        } else {
            let mut alone = own;
            alone.add(&sidecars, 1);
            peak.raise(&alone);
        }
    }
    total.raise(&peak);
    let level = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let level_sum = Resources::from_list(level);
    for name in level.into_iter().flat_map(BTreeMap::keys) {
        match name.as_str() {
            "cpu" => total.milli_cpu = level_sum.milli_cpu,
            "memory" => total.memory = level_sum.memory,
            pages if pages.starts_with("hugepages-") => {
                let amount = level_sum.scalars.get(pages).copied().unwrap_or(0);
                total.scalars.insert(pages.into(), amount);
            }
            _ => {}
        }
    }
    total.add(&Resources::from_list(spec.overhead.as_ref()), 1);
    total
}

/// A container's requests; while it is resized in place, the largest of what is wanted, allocated and in effect.
fn of_container(container: &Container, statuses: &[ContainerStatus], fill: bool) -> Resources {
    let list = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let mut requests = Resources::from_list(list);
    if let Some(status) = statuses.iter().find(|status| status.name == container.name)
        && let Some(actual) = &status.resources
    {
        requests.raise(&Resources::from_list(actual.requests.as_ref()));
        requests.raise(&Resources::from_list(status.allocated_resources.as_ref()));
    }
    let absent = |name: &str| !list.is_some_and(|list| list.contains_key(name));
    if fill && absent("cpu") {
        requests.milli_cpu += DEFAULT_MILLI_CPU;
    }
    if fill && absent("memory") {
        requests.memory += DEFAULT_MEMORY_BYTES;
    }
    requests
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: serde_json::Value, milli_cpu: i64, memory: i64, scored: (i64, i64)) {
        let pod: Pod = serde_json::from_value(json!({"spec": spec})).unwrap();
        let (requests, filled) = of_pod(&pod);
        assert_eq!((requests.milli_cpu, requests.memory), (milli_cpu, memory), "{pod:?}");
        assert_eq!((filled.milli_cpu, filled.memory), scored, "{pod:?}");
    }

    #[test]
    fn pods_add_up() {
        let asks = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}});
        check(json!({"containers": [{"name": "a"}]}), 0, 0, (100, 200 << 20));
        let two = json!([{"name": "a", "resources": asks("1", "1Gi")}, {"name": "b", "resources": asks("500m", "1Gi")}]);
        check(json!({"containers": two}), 1500, 2 << 30, (1500, 2 << 30));
        let init = json!([
            {"name": "s", "restartPolicy": "Always", "resources": asks("1", "1Gi")},
            {"name": "i", "resources": asks("3", "1Gi")},
        ]);
        check(json!({"containers": two, "initContainers": init}), 4000, 3 << 30, (4000, 3 << 30));
        let level = json!({"requests": {"cpu": "7", "memory": "7Gi"}});
        let overhead = json!({"cpu": "250m"});
        check(
            json!({"containers": two, "resources": level, "overhead": overhead}),
            7250,
            7 << 30,
            (7250, 7 << 30),
        );
    }
}
