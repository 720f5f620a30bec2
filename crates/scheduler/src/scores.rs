//! How well nodes suit a Pod: upstream's score plugins with their default weights.

use k8s_openapi::api::core::v1::Toleration;

use crate::affinity;
use crate::node::{NodeIndex, NodeInfo, tolerates};
use crate::pod::PodInfo;
use crate::spread;
use crate::world::World;

const SCORE_MAX: i64 = 100;
const TAINT_WEIGHT: i64 = 3;
const NODE_AFFINITY_WEIGHT: i64 = 2;
const SPREAD_WEIGHT: i64 = 2;
const POD_AFFINITY_WEIGHT: i64 = 2;

/// Images smaller than this do not matter, bytes.
const IMAGE_BYTES_MIN: i64 = 23 << 20;
/// Per container, images larger than this matter no more, bytes.
const IMAGE_BYTES_MAX: i64 = 1000 << 20;

/// The weighted sum of all scores of each node.
pub(crate) fn score(world: &mut World, pod: &PodInfo, nodes: &[NodeIndex]) -> Vec<i64> {
    let mut totals = vec![0; nodes.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += weight * score;
        }
    };
    let drawn = affinity::preferences(world, pod);
    let spread = spread::scores(world, pod, nodes);
    let node_count = world.node_count();
    let of = |score: &dyn Fn(&NodeInfo) -> i64| -> Vec<i64> {
        nodes.iter().map(|index| score(&world.nodes[*index])).collect()
    };
    let soft = |toleration: &&Toleration| {
        matches!(toleration.effect.as_deref(), None | Some("" | "PreferNoSchedule"))
    };
    let tolerations: Vec<&Toleration> = pod.tolerations.iter().filter(soft).collect();
    add(TAINT_WEIGHT, normalize(of(&|node| intolerable(&tolerations, node)), true));
    if !pod.preferred_nodes.is_empty() {
        let preferred = |node: &NodeInfo| {
            let terms = pod.preferred_nodes.iter();
            terms.filter(|(_, term)| term.matches(&node.name, &node.labels)).map(|(weight, _)| weight).sum()
        };
        add(NODE_AFFINITY_WEIGHT, normalize(of(&preferred), false));
    }
    add(1, of(&|node| least_allocated(pod, node)));
    if pod.requests.milli_cpu != 0 || pod.requests.memory != 0 {
        add(1, of(&|node| balanced(pod, node)));
    }
    if let Some(scores) = spread {
        add(SPREAD_WEIGHT, scores);
    }
    if !drawn.is_empty() {
        add(POD_AFFINITY_WEIGHT, between(of(&|node| affinity::preference(&drawn, node))));
    }
    if !world.image_nodes.is_empty() {
        add(1, of(&|node| image_locality(world, pod, node, node_count)));
    }
    totals
}

/// Scales scores to 0..100 by the largest.
fn normalize(mut scores: Vec<i64>, reverse: bool) -> Vec<i64> {
    let most = scores.iter().copied().max().unwrap_or(0);
    for score in &mut scores {
        let scaled = if most == 0 { 0 } else { SCORE_MAX * *score / most };
        *score = if reverse { SCORE_MAX - scaled } else { scaled };
    }
    scores
}

/// Scales scores to 0..100 between the smallest and the largest.
fn between(mut scores: Vec<i64>) -> Vec<i64> {
    let (least, most) =
        (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
    for score in &mut scores {
        let share = if most > least { (*score - least) as f64 / (most - least) as f64 } else { 0.0 };
        *score = (SCORE_MAX as f64 * share) as i64;
    }
    scores
}

/// The number of preferences against the Pod that it does not tolerate.
fn intolerable(tolerations: &[&Toleration], node: &NodeInfo) -> i64 {
    let taints = node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    let intolerable =
        taints.filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)));
    i64::try_from(intolerable.count()).unwrap_or(i64::MAX)
}

/// The emptier, the better.
fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let free = |wanted: i64, used: i64, all: i64| match all {
        0 => None,
        _ if used + wanted > all => Some(0),
        _ => Some((i128::from(all - used - wanted) * i128::from(SCORE_MAX) / i128::from(all)) as i64),
    };
    let cpu = free(pod.scored.milli_cpu, node.scored.milli_cpu, node.allocatable.milli_cpu);
    let memory = free(pod.scored.memory, node.scored.memory, node.allocatable.memory);
    let known = [cpu, memory].into_iter().flatten();
    let count = i64::try_from(known.clone().count()).unwrap_or(1);
    if count == 0 { 0 } else { known.sum::<i64>() / count }
}

/// The more the Pod evens out the use of CPU and memory, the better.
fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let share = |used: i64, all: i64| (used as f64 / all as f64).min(1.0);
    let balance = |cpu: i64, memory: i64| {
        let (all_cpu, all_memory) = (node.allocatable.milli_cpu, node.allocatable.memory);
        let deviation = if all_cpu == 0 || all_memory == 0 {
            0.0
        } else {
            ((share(cpu, all_cpu) - share(memory, all_memory)) / 2.0).abs()
        };
        ((1.0 - deviation) * SCORE_MAX as f64) as i64
    };
    let (cpu, memory) = (node.requested.milli_cpu, node.requested.memory);
    let with = balance(cpu + pod.requests.milli_cpu, memory + pod.requests.memory);
    SCORE_MAX / 2 + (SCORE_MAX / 2 + with - balance(cpu, memory)) / 2
}

/// The more of the Pod's image bytes are there, the better; images that few nodes have count less, so that these few
/// do not get every Pod.
fn image_locality(world: &World, pod: &PodInfo, node: &NodeInfo, node_count: usize) -> i64 {
    let scaled = |name: &String| {
        let size = node.images.get(name)?;
        let nodes = world.image_nodes.get(name).copied().unwrap_or(0);
        Some((*size as f64 * (nodes as f64 / node_count.max(1) as f64)) as i64)
    };
    let sum: i64 = pod.images.iter().filter_map(scaled).sum();
    let most = IMAGE_BYTES_MAX * pod.container_count.max(1);
    SCORE_MAX * (sum.clamp(IMAGE_BYTES_MIN, most) - IMAGE_BYTES_MIN) / (most - IMAGE_BYTES_MIN)
}
