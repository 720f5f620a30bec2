//! What is kept up to date as objects come and go equals what is counted from scratch.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use scheduler::{Decision, Options, PodKey, Scheduler};
use serde_json::{Value, json};
use stdx::entropy::Entropy;

const NODES: u64 = 6;

fn fresh() -> Scheduler {
    Scheduler::new(Options { name: "default-scheduler".into(), entropy: Entropy::seeded(3) })
}

fn node(index: u64, random: &Entropy) -> Node {
    let name = format!("n{index}");
    let mut labels = json!({"kubernetes.io/hostname": name});
    if random.below(5) > 0 {
        labels["zone"] = json!(format!("z{}", random.below(3)));
    }
    let allocatable = json!({"cpu": "1", "memory": "4Gi", "pods": "6"});
    let taints = if random.below(6) == 0 { json!([{"key": "k", "effect": "NoSchedule"}]) } else { json!([]) };
    let value = json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints},
        "status": {"allocatable": allocatable}});
    serde_json::from_value(value).unwrap()
}

/// Constraints between Pods with label `app` 0, 1 or 2.
fn constraints(random: &Entropy) -> Value {
    let term = || {
        let selector = json!({"matchLabels": {"app": random.below(3).to_string()}});
        let key = ["zone", "kubernetes.io/hostname"][random.below(2) as usize];
        json!({"labelSelector": selector, "topologyKey": key})
    };
    let required = |kind: &str| {
        let terms: Vec<Value> = (0..=random.below(2)).map(|_| term()).collect();
        json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
    };
    match random.below(6) {
        0 => required("podAffinity"),
        1 | 2 => required("podAntiAffinity"),
        3 => {
            let mut constraint = term();
            constraint["maxSkew"] = json!(1 + random.below(2));
            constraint["whenUnsatisfiable"] = json!("DoNotSchedule");
            constraint["nodeTaintsPolicy"] = json!(["Honor", "Ignore"][random.below(2) as usize]);
            json!({"topologySpreadConstraints": [constraint]})
        }
        _ => json!({}),
    }
}

fn pod(name: &str, spec: Value, random: &Entropy) -> Pod {
    let cpu = format!("{}m", 50 * random.below(8));
    let mut all = spec;
    all["schedulerName"] = json!("default-scheduler");
    all["containers"] = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
    let metadata = json!({"namespace": "default", "name": name, "uid": name,
        "labels": {"app": random.below(3).to_string()}});
    serde_json::from_value(json!({"metadata": metadata, "spec": all})).unwrap()
}

/// Whether a probe may go to each node, and what it is told if it may go to none.
fn answers(scheduler: &mut Scheduler, probe: &Pod) -> Vec<String> {
    let mut found = Vec::new();
    for index in 0..=NODES {
        let mut probe = probe.clone();
        if index < NODES {
            let selector = [("kubernetes.io/hostname".to_owned(), format!("n{index}"))];
            probe.spec.as_mut().unwrap().node_selector = Some(selector.into());
        }
        scheduler.upsert_pod(&probe);
        let key = PodKey::of(&probe);
        while scheduler.next(Timestamp::MAX).is_some_and(|next| next != key) {}
        found.push(match scheduler.place(&key, Timestamp::UNIX_EPOCH) {
            Decision::Bind { node } if index < NODES => node.to_string(),
            Decision::Bind { .. } => "bound".into(),
            Decision::Unschedulable { message, .. } => message,
            other => format!("{other:?}"),
        });
        scheduler.remove_pod(&key);
    }
    found
}

#[test]
fn kept_counts_equal_fresh_ones() {
    for seed in 0..6 {
        let random = Entropy::seeded(seed);
        let mut kept = fresh();
        let mut nodes: BTreeMap<u64, Node> = BTreeMap::new();
        let mut pods: BTreeMap<String, Pod> = BTreeMap::new();
        let probes: Vec<Pod> = (0..6).map(|_| pod("probe", constraints(&random), &random)).collect();
        for step in 0..120 {
            match random.below(10) {
                0 | 1 => {
                    let index = random.below(NODES);
                    nodes.insert(index, node(index, &random));
                    kept.upsert_node(&nodes[&index]);
                }
                2 if random.below(3) == 0 => {
                    let index = random.below(NODES);
                    nodes.remove(&index);
                    kept.remove_node(&format!("n{index}"));
                }
                3 | 4 => {
                    if let Some(name) =
                        pods.keys().nth(random.below(pods.len().max(1) as u64) as usize).cloned()
                    {
                        pods.remove(&name);
                        kept.remove_pod(&PodKey::new("default", &name));
                    }
                }
                _ => {
                    let name = format!("p{}", random.below(20));
                    let mut placed = pod(&name, constraints(&random), &random);
                    // A Pod stays on its node.
                    let before = pods.get(&name).and_then(|pod| pod.spec.as_ref()?.node_name.clone());
                    let place = before.unwrap_or_else(|| format!("n{}", random.below(NODES)));
                    placed.spec.as_mut().unwrap().node_name = Some(place);
                    kept.upsert_pod(&placed);
                    pods.insert(name, placed);
                }
            }
            let mut anew = fresh();
            nodes.values().for_each(|node| anew.upsert_node(node));
            pods.values().for_each(|pod| anew.upsert_pod(pod));
            for probe in &probes {
                assert_eq!(
                    answers(&mut kept, probe),
                    answers(&mut anew, probe),
                    "seed {seed} step {step} {probe:?}"
                );
            }
        }
    }
}
