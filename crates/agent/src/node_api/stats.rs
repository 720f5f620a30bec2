//! `/stats/summary` (k8s.io/kubelet/pkg/apis/stats/v1alpha1): usage of the node, its Pods and their containers.

use std::collections::{BTreeMap, HashMap};

use cri::runtime::{ContainerState, ContainerStats, ContainerStatus};
use http::StatusCode;
use jiff::Timestamp;
use parking_lot::Mutex;
use podlogic::labels;
use serde_json::{Map, Value, json};

use super::answer::{Answer, json as json_answer, text};
use super::serve::Server;

/// Shortest time over which a rate means something.
const RATE_NS_MIN: i64 = 100_000_000;
/// `USER_HZ`: in this unit the kernel tells CPU time.
const TICK_NS: u64 = 10_000_000;

/// CPU time used, as it was when last asked: rates come from two of them.
#[derive(Default)]
pub struct LastUsage(Mutex<HashMap<String, Seen>>);

#[derive(Clone, Copy)]
struct Seen {
    at_ns: i64,
    usage_ns: u64,
    /// The rate up to then.
    nano_cores: Option<u64>,
}

impl LastUsage {
    /// Takes what is used now and gives the rate since the time before, in billionths of a processor.
    fn rate(&self, key: &str, at_ns: i64, usage_ns: u64) -> Option<u64> {
        let mut seen = self.0.lock();
        let last = seen.get(key).copied();
        if let Some(last) = last.filter(|last| at_ns - last.at_ns < RATE_NS_MIN) {
            return last.nano_cores;
        }
        let nano_cores = last.and_then(|last| {
            let passed = u128::try_from(at_ns - last.at_ns).ok()?;
            let used = u128::from(usage_ns.checked_sub(last.usage_ns)?);
            u64::try_from(used * 1_000_000_000 / passed.max(1)).ok()
        });
        seen.insert(key.to_owned(), Seen { at_ns, usage_ns, nano_cores });
        nano_cores
    }

    /// Forgets containers that are gone.
    fn retain(&self, wanted: impl Fn(&str) -> bool) {
        self.0.lock().retain(|key, _| wanted(key));
    }
}

/// A running container with what it uses.
pub struct Used {
    /// Namespace, name and UID of its Pod.
    pub pod: (String, String, String),
    /// Container name.
    pub name: String,
    /// Start, ns since the epoch.
    pub started_at_ns: i64,
    /// What it uses.
    pub stats: ContainerStats,
}

/// What the node uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeUsage {
    /// CPU time since boot, ns.
    pub cpu_ns: u64,
    /// Memory of the machine, bytes.
    pub memory_total: u64,
    /// Memory used, bytes.
    pub memory_usage: u64,
    /// Memory used that cannot be given back at once, bytes.
    pub working_set: u64,
    /// Boot, seconds since the epoch.
    pub booted_at_s: i64,
}

/// Reads `/proc/stat` and `/proc/meminfo`.
fn node_usage(stat: &str, meminfo: &str) -> NodeUsage {
    let kib = |field: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        number.unwrap_or(0) * 1024
    };
    let ticks = stat.lines().find_map(|line| line.strip_prefix("cpu "));
    let ticks: Vec<u64> =
        ticks.unwrap_or_default().split_whitespace().filter_map(|number| number.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are within user.
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|at| ticks.get(*at)).sum();
    let booted = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    let memory_total = kib("MemTotal");
    let memory_usage = memory_total.saturating_sub(kib("MemFree"));
    NodeUsage {
        cpu_ns: busy * TICK_NS,
        memory_total,
        memory_usage,
        working_set: memory_usage.saturating_sub(kib("Inactive(file)")),
        booted_at_s: booted.unwrap_or(0),
    }
}

/// What the node uses now.
pub fn read_node() -> NodeUsage {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    node_usage(&read("/proc/stat"), &read("/proc/meminfo"))
}

/// Joins usage with the containers it belongs to.
fn join(stats: Vec<ContainerStats>, containers: Vec<ContainerStatus>) -> Vec<Used> {
    let mut stats: HashMap<String, ContainerStats> =
        stats.into_iter().map(|stats| (stats.id.clone(), stats)).collect();
    let running = containers.into_iter().filter(|own| own.state == ContainerState::Running);
    let mut used: Vec<Used> = running
        .filter_map(|own| {
            let label = |name: &str| own.labels.get(name).cloned().unwrap_or_default();
            Some(Used {
                stats: stats.remove(&own.id)?,
                pod: (label(labels::POD_NAMESPACE), label(labels::POD_NAME), label(labels::POD_UID)),
                started_at_ns: own.started_at_ns,
                name: own.metadata.name,
            })
        })
        .collect();
    used.sort_by(|one, other| (&one.pod, &one.name).cmp(&(&other.pod, &other.name)));
    used
}

/// Running containers with what they use.
///
/// # Errors
/// What the runtime says.
pub async fn containers(server: &Server) -> Result<Vec<Used>, String> {
    let runtime = server.backend.runtime();
    let (stats, containers) = tokio::join!(runtime.list_container_stats(None), runtime.list_containers(None));
    Ok(join(stats.map_err(|error| error.message)?, containers.map_err(|error| error.message)?))
}

fn time(at_ns: i64) -> String {
    let at = Timestamp::from_second(at_ns / 1_000_000_000).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_string()
}

fn cpu(at_ns: i64, usage_ns: u64, nano_cores: Option<u64>) -> Value {
    let mut cpu = Map::from_iter([("time".into(), json!(time(at_ns)))]);
    if let Some(nano_cores) = nano_cores {
        cpu.insert("usageNanoCores".into(), json!(nano_cores));
    }
    cpu.insert("usageCoreNanoSeconds".into(), json!(usage_ns));
    Value::Object(cpu)
}

fn memory(at_ns: i64, usage: u64, working_set: u64) -> Value {
    json!({"time": time(at_ns), "usageBytes": usage, "workingSetBytes": working_set})
}

fn pod_entry(key: &(String, String, String), containers: &[&Used], usage: &LastUsage) -> Value {
    let at = containers.iter().map(|own| own.stats.timestamp_ns).max().unwrap_or(0);
    let (mut cpu_ns, mut bytes, mut working_set) = (0, 0, 0);
    let mut entries = Vec::new();
    for Used { name, started_at_ns, stats, .. } in containers {
        cpu_ns += stats.cpu_usage_ns;
        bytes += stats.memory_usage_bytes;
        working_set += stats.memory_working_set_bytes;
        let rate = usage.rate(&stats.id, stats.timestamp_ns, stats.cpu_usage_ns);
        entries.push(json!({"name": name, "startTime": time(*started_at_ns),
            "cpu": cpu(stats.timestamp_ns, stats.cpu_usage_ns, rate),
            "memory": memory(stats.timestamp_ns, stats.memory_usage_bytes, stats.memory_working_set_bytes)}));
    }
    let (namespace, name, uid) = key;
    let started = containers.iter().map(|own| own.started_at_ns).min().unwrap_or(0);
    json!({"podRef": {"name": name, "namespace": namespace, "uid": uid}, "startTime": time(started),
        "containers": entries, "cpu": cpu(at, cpu_ns, usage.rate(uid, at, cpu_ns)),
        "memory": memory(at, bytes, working_set)})
}

/// `/stats/summary`.
pub async fn summary(server: &Server) -> Answer {
    let used = match containers(server).await {
        Ok(used) => used,
        Err(message) => return text(StatusCode::INTERNAL_SERVER_ERROR, message),
    };
    let mut pods: BTreeMap<&(String, String, String), Vec<&Used>> = BTreeMap::new();
    for own in &used {
        pods.entry(&own.pod).or_default().push(own);
    }
    let usage = &server.usage;
    usage.retain(|key| key.is_empty() || used.iter().any(|own| own.stats.id == key || own.pod.2 == key));
    let pods: Vec<Value> = pods.iter().map(|(key, containers)| pod_entry(key, containers, usage)).collect();
    let now = i64::try_from(server.clock.now().as_nanosecond()).unwrap_or(i64::MAX);
    let node = read_node();
    let mut memory = memory(now, node.memory_usage, node.working_set);
    memory["availableBytes"] = json!(node.memory_total.saturating_sub(node.working_set));
    let rate = usage.rate("", now, node.cpu_ns);
    let summary = json!({
        "node": {"nodeName": server.backend.node_name(), "startTime": time(node.booted_at_s * 1_000_000_000),
            "cpu": cpu(now, node.cpu_ns, rate), "memory": memory},
        "pods": pods,
    });
    json_answer(summary.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_what_the_node_uses() {
        let stat = "cpu  100 10 50 9000 5 1 2 3 0 0\ncpu0 1 1 1 1\nbtime 1700000000\n";
        let memory = "MemTotal:       1000 kB\nMemFree:         300 kB\nInactive(file):  100 kB\n";
        let expected = NodeUsage {
            cpu_ns: 166 * TICK_NS,
            memory_total: 1000 << 10,
            memory_usage: 700 << 10,
            working_set: 600 << 10,
            booted_at_s: 1_700_000_000,
        };
        assert_eq!(node_usage(stat, memory), expected);
        assert_eq!(node_usage("", "nonsense"), NodeUsage::default());
    }

    #[test]
    fn rates_need_two_looks() {
        let usage = LastUsage::default();
        let second = 1_000_000_000;
        assert_eq!(usage.rate("a", 0, 0), None);
        assert_eq!(usage.rate("a", second, 250_000_000), Some(250_000_000));
        assert_eq!(usage.rate("a", second + 1, 250_000_001), Some(250_000_000), "too soon for another");
        assert_eq!(usage.rate("a", 2 * second, 0), None, "a counter that went back says nothing");
        usage.retain(|key| key != "a");
        assert_eq!(usage.rate("a", 9 * second, 1), None);
    }
}
