//! Prints how many Pods per second are placed on simulated nodes:
//! `cargo run --release -p scheduler --example scheduler-bench [NODES] [PODS]`.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use scheduler::{Decision, Options, PodKey, Scheduler};
use serde_json::{Value, json};
use stdx::entropy::Entropy;

fn node(index: usize) -> Node {
    let name = format!("node-{index:05}");
    let labels =
        json!({"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", index % 3)});
    let allocatable = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
    let node = json!({"metadata": {"name": name, "labels": labels}, "status": {"allocatable": allocatable}});
    serde_json::from_value(node).expect("a node")
}

fn pod(index: usize, extra: &Value) -> Pod {
    let requests = json!({"cpu": "100m", "memory": "500Mi"});
    let containers =
        json!([{"name": "c", "image": "registry.k8s.io/pause:3.10", "resources": {"requests": requests}}]);
    let mut spec = json!({"schedulerName": "default-scheduler", "containers": containers});
    for (name, value) in extra.as_object().into_iter().flatten() {
        spec[name] = value.clone();
    }
    let metadata = json!({"namespace": "default", "name": format!("pod-{index:06}"), "uid": format!("{index}"), "labels": {"app": "a"}});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod")
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let (nodes, pods) = (numbers.first().copied().unwrap_or(5000), numbers.get(1).copied().unwrap_or(10_000));
    let selector = json!({"matchLabels": {"app": "a"}});
    let term = |key: &str| json!([{"labelSelector": selector, "topologyKey": key}]);
    let cases = [
        ("plain", json!({})),
        (
            "spread over zones",
            json!({"topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector}]}),
        ),
        (
            "near each other",
            json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term("topology.kubernetes.io/zone")}}}),
        ),
    ];
    for (name, extra) in cases {
        let options = Options { name: "default-scheduler".into(), entropy: Entropy::seeded(7) };
        let mut scheduler = Scheduler::new(options);
        (0..nodes).for_each(|index| scheduler.upsert_node(&node(index)));
        let objects: Vec<Pod> = (0..pods).map(|index| pod(index, &extra)).collect();
        let now = Timestamp::UNIX_EPOCH;
        let started = Instant::now();
        objects.iter().for_each(|pod| scheduler.upsert_pod(pod));
        let mut placed = 0;
        while let Some(key) = scheduler.next(now) {
            if let Decision::Bind { node } = scheduler.place(&key, now) {
                scheduler.assume(&key, &node);
                bound(&mut scheduler, &objects, &key, &node);
                placed += 1;
            }
        }
        let elapsed = started.elapsed();
        println!(
            "{name}: {placed} of {pods} pods on {nodes} nodes: {:.0}/s",
            placed as f64 / elapsed.as_secs_f64()
        );
    }
}

/// The binding comes back by watch.
fn bound(scheduler: &mut Scheduler, objects: &[Pod], key: &PodKey, node: &str) {
    let index: usize = key.name.trim_start_matches("pod-").parse().expect("a number");
    let mut pod = objects[index].clone();
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(node.to_owned());
    }
    scheduler.upsert_pod(&pod);
}
