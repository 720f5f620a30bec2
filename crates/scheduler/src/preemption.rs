//! Making room for a Pod by removing Pods of lower priority (upstream's DefaultPreemption plugin).

use std::collections::BTreeMap;
use std::sync::Arc;

use stdx::entropy::Entropy;

use crate::filters::{Cycle, Reason, Refusal, check};
use crate::node::{NodeIndex, NodeInfo};
use crate::pod::{PodInfo, PodKey};
use crate::world::World;

/// At least so many nodes are looked at, or a tenth of them.
const CANDIDATES_MIN: usize = 100;

/// Pods to delete and the node that then has room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preemption {
    /// The node to nominate.
    pub node: Arc<str>,
    /// The Pods to delete, the most important first.
    pub victims: Vec<PodKey>,
}

/// What came of an attempt.
pub(crate) enum Attempt {
    Found(Preemption),
    /// Why not, for the message.
    Refused(String),
}

/// Looks for the node on which the least important Pods have to go.
pub(crate) fn preempt(
    world: &mut World,
    pod: &PodInfo,
    nominated: Option<&str>,
    cycle: &Cycle,
    refused: &[(NodeIndex, Refusal)],
    entropy: &Entropy,
) -> Attempt {
    if !pod.preempts {
        return Attempt::Refused("not eligible due to preemptionPolicy=Never.".into());
    }
    if is_making_room(world, pod, nominated, refused) {
        return Attempt::Refused("not eligible due to a terminating pod on the nominated node.".into());
    }
    let node_count = world.node_count();
    let potential: Vec<NodeIndex> =
        refused.iter().filter(|(_, refusal)| refusal.resolvable).map(|(node, _)| *node).collect();
    let wanted = (potential.len() / 10).max(CANDIDATES_MIN);
    let offset = if potential.is_empty() { 0 } else { entropy.below(potential.len() as u64) as usize };
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let mut looked_at = 0;
    let mut best: Option<(Cost, NodeIndex, Vec<Arc<PodInfo>>)> = None;
    let mut found = 0;
    for turn in 0..potential.len() {
        if found >= wanted {
            break;
        }
        let node = potential[(offset + turn) % potential.len()];
        looked_at += 1;
        match victims(world, pod, node, cycle) {
            Ok(victims) => {
                found += 1;
                let cost = Cost::of(&victims);
                if best.as_ref().is_none_or(|(least, _, _)| cost < *least) {
                    best = Some((cost, node, victims));
                }
            }
            Err(own) => own.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1),
        }
    }
    match best {
        Some((_, node, victims)) => {
            let victims = victims.iter().map(|victim| victim.key.clone()).collect();
            Attempt::Found(Preemption { node: Arc::clone(&world.nodes[node].name), victims })
        }
        None => {
            let hopeless = node_count.saturating_sub(looked_at);
            if hopeless > 0 {
                *reasons.entry(Reason::Text("Preemption is not helpful for scheduling")).or_default() +=
                    hopeless;
            }
            Attempt::Refused(crate::explain::nodes(node_count, &reasons))
        }
    }
}

/// Whether Pods are already being removed for this one.
fn is_making_room(
    world: &World,
    pod: &PodInfo,
    nominated: Option<&str>,
    refused: &[(NodeIndex, Refusal)],
) -> bool {
    let Some(index) = nominated.and_then(|name| world.node_index(name)) else { return false };
    let hopeless = refused.iter().any(|(node, refusal)| *node == index && !refusal.resolvable);
    let leaving = |victim: &Arc<PodInfo>| victim.priority < pod.priority && victim.preempted;
    !hopeless && world.nodes[index].pods.iter().any(leaving)
}

/// The Pods that have to go from a node: all of lower priority are taken away, then the most important ones put back
/// as long as the Pod still fits.
fn victims(
    world: &World,
    pod: &PodInfo,
    index: NodeIndex,
    cycle: &Cycle,
) -> Result<Vec<Arc<PodInfo>>, Vec<Reason>> {
    let mut node: NodeInfo = world.nodes[index].clone();
    let mut cycle = cycle.clone();
    let mut lower: Vec<Arc<PodInfo>> =
        node.pods.iter().filter(|other| other.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(vec![Reason::Text("No preemption victims found for incoming pod")]);
    }
    for victim in &lower {
        node.remove(&victim.key);
        shift(world, &mut cycle, pod, victim, index, -1);
    }
    check(pod, &node, &cycle).map_err(|refusal| refusal.reasons)?;
    // More important: higher priority, then running for longer.
    lower.sort_by(|left, right| {
        let running = |pod: &PodInfo| (pod.started.is_none(), pod.started);
        right.priority.cmp(&left.priority).then_with(|| running(left).cmp(&running(right)))
    });
    let mut gone = Vec::new();
    for victim in lower {
        node.add(Arc::clone(&victim));
        shift(world, &mut cycle, pod, &victim, index, 1);
        if check(pod, &node, &cycle).is_err() {
            node.remove(&victim.key);
            shift(world, &mut cycle, pod, &victim, index, -1);
            gone.push(victim);
        }
    }
    Ok(gone)
}

fn shift(world: &World, cycle: &mut Cycle, pod: &PodInfo, moved: &PodInfo, node: NodeIndex, sign: i64) {
    if let Some(affinity) = &mut cycle.affinity {
        affinity.shift(world, pod, moved, node, sign);
    }
    if let Some(spreading) = &mut cycle.spreading {
        spreading.shift(world, pod, moved, node, sign);
    }
}

/// The price of removing some Pods; the order of the fields is that of their weight.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    highest_priority: i32,
    priorities: i64,
    count: usize,
    /// The later the most important one started, the better.
    earliest_start: std::cmp::Reverse<Option<jiff::Timestamp>>,
}

impl Cost {
    fn of(victims: &[Arc<PodInfo>]) -> Self {
        let highest_priority = victims.iter().map(|pod| pod.priority).max().unwrap_or(i32::MIN);
        let most_important = victims.iter().filter(|pod| pod.priority == highest_priority);
        Self {
            highest_priority,
            priorities: victims.iter().map(|pod| i64::from(pod.priority) + i64::from(i32::MAX) + 1).sum(),
            count: victims.len(),
            earliest_start: std::cmp::Reverse(most_important.filter_map(|pod| pod.started).min()),
        }
    }
}
