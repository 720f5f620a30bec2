//! Metrics: `/metrics/resource` for metrics-server, and the process's own.

use std::collections::BTreeMap;
use std::fmt::Write;

use prometheus::Encoder;

use super::answer::{Answer, metrics};
use super::serve::Server;
use super::stats::{self, NodeUsage, Used};

/// A family of samples.
struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
}

const fn family(name: &'static str, kind: &'static str, help: &'static str) -> Family {
    Family { name, help, kind }
}

const CONTAINER_CPU: Family = family(
    "container_cpu_usage_seconds_total",
    "counter",
    "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
);
const CONTAINER_MEMORY: Family = family(
    "container_memory_working_set_bytes",
    "gauge",
    "[STABLE] Current working set of the container in bytes",
);
const CONTAINER_START: Family = family(
    "container_start_time_seconds",
    "gauge",
    "[STABLE] Start time of the container since unix epoch in seconds",
);
const NODE_CPU: Family = family(
    "node_cpu_usage_seconds_total",
    "counter",
    "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
);
const NODE_MEMORY: Family =
    family("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes");
const POD_CPU: Family = family(
    "pod_cpu_usage_seconds_total",
    "counter",
    "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
);
const POD_MEMORY: Family =
    family("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes");
const SCRAPE_ERROR: Family = family(
    "resource_scrape_error",
    "gauge",
    "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
);

/// CPU time in ns, memory in bytes, and when, in ms since the epoch.
type Sum = (u64, u64, Option<i64>);

/// Adds a family; samples are (labels, value, ms since the epoch).
fn add(out: &mut String, family: &Family, samples: &[(String, f64, Option<i64>)]) {
    let Family { name, help, kind } = family;
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, value, at_ms) in samples {
        let _ = match at_ms {
            Some(at_ms) => writeln!(out, "{name}{labels} {value} {at_ms}"),
            None => writeln!(out, "{name}{labels} {value}"),
        };
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn resource_text(containers: &[Used], node: &NodeUsage, now_ms: i64, failed: bool) -> String {
    let labels = |own: &Used| {
        let (namespace, pod, _) = &own.pod;
        format!("{{container=\"{}\",namespace=\"{namespace}\",pod=\"{pod}\"}}", own.name)
    };
    let at = |own: &Used| Some(own.stats.timestamp_ns / 1_000_000);
    let each = |value: &dyn Fn(&Used) -> f64| -> Vec<_> {
        containers.iter().map(|own| (labels(own), value(own), at(own))).collect()
    };
    let mut pods: BTreeMap<(&str, &str), Sum> = BTreeMap::new();
    for own in containers {
        let sum = pods.entry((&own.pod.0, &own.pod.1)).or_default();
        *sum =
            (sum.0 + own.stats.cpu_usage_ns, sum.1 + own.stats.memory_working_set_bytes, sum.2.max(at(own)));
    }
    let pod_samples = |value: &dyn Fn(&Sum) -> f64| -> Vec<_> {
        let label = |(namespace, pod): &(&str, &str)| format!("{{namespace=\"{namespace}\",pod=\"{pod}\"}}");
        pods.iter().map(|(key, sum)| (label(key), value(sum), sum.2)).collect()
    };
    let one = |value: f64| vec![(String::new(), value, Some(now_ms))];
    let mut out = String::new();
    add(&mut out, &CONTAINER_CPU, &each(&|own| seconds(own.stats.cpu_usage_ns)));
    add(&mut out, &CONTAINER_MEMORY, &each(&|own| own.stats.memory_working_set_bytes as f64));
    let started = containers.iter().map(|own| (labels(own), own.started_at_ns as f64 / 1e9, None));
    add(&mut out, &CONTAINER_START, &started.collect::<Vec<_>>());
    add(&mut out, &NODE_CPU, &one(seconds(node.cpu_ns)));
    add(&mut out, &NODE_MEMORY, &one(node.working_set as f64));
    add(&mut out, &POD_CPU, &pod_samples(&|sum| seconds(sum.0)));
    add(&mut out, &POD_MEMORY, &pod_samples(&|sum| sum.1 as f64));
    add(&mut out, &SCRAPE_ERROR, &[(String::new(), f64::from(u8::from(failed)), None)]);
    out
}

/// `/metrics/resource`.
pub async fn resource(server: &Server) -> Answer {
    let used = stats::containers(server).await;
    if let Err(error) = &used {
        tracing::warn!(error, "the runtime does not tell what containers use");
    }
    let failed = used.is_err();
    let now_ms = server.clock.now().as_millisecond();
    metrics(resource_text(&used.unwrap_or_default(), &stats::read_node(), now_ms, failed))
}

/// `/metrics` and its like: what this process counts, and what runs on the node.
pub async fn process(server: &Server) -> Answer {
    let mut bytes = Vec::new();
    if let Err(error) = prometheus::TextEncoder::new().encode(&prometheus::gather(), &mut bytes) {
        tracing::warn!(%error, "metrics cannot be encoded");
    }
    let mut out = String::from_utf8_lossy(&bytes).into_owned();
    let running = stats::containers(server).await.unwrap_or_default();
    let pods: std::collections::BTreeSet<&str> = running.iter().map(|own| own.pod.2.as_str()).collect();
    let pods_family =
        family("kubelet_running_pods", "gauge", "[BETA] Number of pods that have a running pod sandbox");
    add(&mut out, &pods_family, &[(String::new(), pods.len() as f64, None)]);
    let containers_family =
        family("kubelet_running_containers", "gauge", "[BETA] Number of containers currently running");
    add(
        &mut out,
        &containers_family,
        &[("{container_state=\"running\"}".into(), running.len() as f64, None)],
    );
    let name_family = family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.");
    let node = server.backend.node_name();
    add(&mut out, &name_family, &[(format!("{{node=\"{node}\"}}"), 1.0, None)]);
    metrics(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cri::runtime::ContainerStats;

    #[test]
    fn usage_is_told_by_container_pod_and_node() {
        let used = |name: &str, cpu_usage_ns: u64| Used {
            pod: ("n".into(), "p".into(), "u".into()),
            name: name.into(),
            started_at_ns: 5_000_000_000,
            stats: ContainerStats {
                timestamp_ns: 7_000_000,
                cpu_usage_ns,
                memory_working_set_bytes: 10,
                ..ContainerStats::default()
            },
        };
        let text = resource_text(
            &[used("a", 500_000_000), used("b", 2_000_000_000)],
            &NodeUsage::default(),
            9,
            false,
        );
        for line in [
            "container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"p\"} 0.5 7",
            "container_memory_working_set_bytes{container=\"b\",namespace=\"n\",pod=\"p\"} 10 7",
            "container_start_time_seconds{container=\"a\",namespace=\"n\",pod=\"p\"} 5",
            "pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 2.5 7",
            "pod_memory_working_set_bytes{namespace=\"n\",pod=\"p\"} 20 7",
            "node_cpu_usage_seconds_total 0 9",
            "resource_scrape_error 0",
            "# TYPE pod_cpu_usage_seconds_total counter",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} in\n{text}");
        }
    }
}
