//! The scheduler: objects in, decisions out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use stdx::entropy::Entropy;

use crate::affinity::Affinity;
use crate::explain;
use crate::filters::{Cycle, Plugin, Reason, Refusal, check, fits_itself};
use crate::node::NodeIndex;
use crate::pod::{PodInfo, PodKey, is_terminal};
use crate::preemption::{self, Attempt, Preemption};
use crate::queue::Queue;
use crate::scores;
use crate::spread::Spreading;
use crate::terms::compile;
use crate::world::World;

/// In a cluster of fewer nodes all are looked at.
const FEASIBLE_MIN: usize = 100;

/// Choices of a scheduler.
#[derive(Debug, Clone)]
pub struct Options {
    /// Pods with this `spec.schedulerName` are placed.
    pub name: String,
    /// Breaks ties.
    pub entropy: Entropy,
}

/// What to do with a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Bind it to this node.
    Bind {
        /// The node's name.
        node: Arc<str>,
    },
    /// No node can take it; it waits until something changes.
    Unschedulable {
        /// The message of its `FailedScheduling` event and of its `PodScheduled` condition.
        message: String,
        /// Pods to remove for it.
        preemption: Option<Preemption>,
    },
    /// It waits for its scheduling gates to be removed.
    Gated {
        /// The message of its `PodScheduled` condition.
        message: String,
    },
    /// There is nothing to place (it is gone, bound, being deleted, or another scheduler's).
    Nothing,
}

/// Pods that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLengths {
    /// To be placed now.
    pub active: usize,
    /// After a failure, until their time is over.
    pub backoff: usize,
    /// Until something happens that may help them.
    pub unschedulable: usize,
    /// Until their gates are removed.
    pub gated: usize,
}

/// A known Pod.
struct Known {
    info: Arc<PodInfo>,
    /// Where it is counted: bound there, or assumed to be.
    node: Option<Arc<str>>,
    /// Its `status.nominatedNodeName`: room is being made for it there.
    nominated: Option<Arc<str>>,
}

/// Decides where Pods go.
pub struct Scheduler {
    options: Options,
    world: World,
    pods: HashMap<PodKey, Known>,
    gated: BTreeSet<PodKey>,
    queue: Queue,
    nominated: HashMap<Arc<str>, BTreeSet<PodKey>>,
    /// Where the search for nodes goes on with the next Pod.
    start: usize,
}

impl Scheduler {
    /// Knows nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            world: World::default(),
            pods: HashMap::new(),
            gated: BTreeSet::new(),
            queue: Queue::default(),
            nominated: HashMap::new(),
            start: 0,
        }
    }

    /// A node is new or has changed. Pods it may help are tried again.
    pub fn upsert_node(&mut self, node: &Node) {
        let Some(name) = node.metadata.name.as_deref() else { return };
        let before = self.world.node_index(name).map(|index| self.world.nodes[index].clone());
        let before = before.filter(|before| before.present);
        let index = self.world.upsert_node(name, node);
        let after = &self.world.nodes[index];
        // Heartbeats and images change nothing for those that wait.
        let changed = before.is_none_or(|before| {
            before.labels != after.labels
                || before.taints != after.taints
                || before.unschedulable != after.unschedulable
                || before.allocatable != after.allocatable
                || before.pods_max != after.pods_max
        });
        if changed {
            self.wake(|world, pod, _| fits_itself(pod, &world.nodes[index]).is_ok());
        }
    }

    /// A node is gone.
    pub fn remove_node(&mut self, name: &str) {
        self.world.remove_node(name);
        // Fewer domains can allow what too few Pods in one forbade.
        self.wake(|_, _, refused_by| refused_by.contains(&Plugin::PodTopologySpread));
    }

    /// A Pod is new or has changed.
    pub fn upsert_pod(&mut self, pod: &Pod) {
        let key = PodKey::of(pod);
        if is_terminal(pod) {
            return self.remove_pod(&key);
        }
        let info = Arc::new(PodInfo::compile(pod));
        let nominated = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
        let nominated = nominated.filter(|name| !name.is_empty()).map(Arc::from);
        if self.pods.get(&key).is_some_and(|known| known.info.uid != info.uid) {
            self.remove_pod(&key);
        }
        let before = self.pods.remove(&key);
        if let Some(node) = before.as_ref().and_then(|before| before.node.clone()) {
            self.world.displace(&key, &node);
        }
        // Until its binding is seen, an assumed Pod stays where it is assumed.
        let node = info.node.clone().or_else(|| before.as_ref().and_then(|before| before.node.clone()));
        if let Some(node) = &node {
            self.world.place(&info, node);
        }
        self.nominate(&key, before.as_ref().and_then(|before| before.nominated.clone()), None);
        let waits_for = nominated.filter(|_| node.is_none());
        self.nominate(&key, None, waits_for.clone());
        let known = Known { info: Arc::clone(&info), node, nominated: waits_for };
        self.pods.insert(key.clone(), known);
        self.file(&key, &info, before);
    }

    /// Puts a Pod where it belongs in the queue, and wakes those that its arrival may help.
    fn file(&mut self, key: &PodKey, info: &PodInfo, before: Option<Known>) {
        if info.node.is_some() {
            self.queue.remove(key);
            self.gated.remove(key);
            let news = before.is_none_or(|before| {
                let before = &before.info;
                before.labels != info.labels || before.node != info.node || before.requests != info.requests
            });
            if news {
                self.wake_for_pod(info);
            }
            return;
        }
        if info.deleting || info.scheduler != self.options.name {
            self.queue.remove(key);
            self.gated.remove(key);
            return;
        }
        let unchanged = before.as_ref().is_some_and(|before| *before.info == *info);
        let assumed = before.is_some_and(|before| before.node.is_some());
        if assumed || unchanged && self.queue.contains(key) {
            return;
        }
        // Gated Pods are handed out once, to be told so.
        self.gated.remove(key);
        self.queue.push(key, info.priority);
    }

    /// A Pod is gone (or has ended): others may have its room.
    pub fn remove_pod(&mut self, key: &PodKey) {
        self.queue.remove(key);
        self.gated.remove(key);
        let Some(known) = self.pods.remove(key) else { return };
        self.nominate(key, known.nominated.clone(), None);
        let Some(node) = known.node else { return };
        let index = self.world.node_index(&node);
        self.world.displace(key, &node);
        let Some(index) = index.filter(|index| self.world.nodes[*index].present) else { return };
        let gone = known.info;
        self.wake(|world, pod, refused_by| {
            let node = &world.nodes[index];
            let pods = refused_by.contains(&Plugin::InterPodAffinity) && touches(pod, &gone, world)
                || refused_by.contains(&Plugin::PodTopologySpread) && gone.key.namespace == pod.key.namespace;
            let own =
                refused_by.contains(&Plugin::NodeResourcesFit) || refused_by.contains(&Plugin::NodePorts);
            pods || own && fits_itself(pod, node).is_ok()
        });
    }

    /// A namespace is new or has changed: its labels matter to affinity terms.
    pub fn upsert_namespace(&mut self, namespace: &Namespace) {
        let Some(name) = namespace.metadata.name.as_deref() else { return };
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        self.world.set_namespace(name, Some(labels));
        self.wake(|_, _, refused_by| refused_by.contains(&Plugin::InterPodAffinity));
    }

    /// A namespace is gone.
    pub fn remove_namespace(&mut self, name: &str) {
        self.world.set_namespace(name, None);
    }

    /// A service is new or has changed: its Pods are spread.
    pub fn upsert_service(&mut self, service: &Service) {
        let (Some(namespace), Some(name)) = (&service.metadata.namespace, &service.metadata.name) else {
            return;
        };
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone());
        self.world.set_service(namespace, name, selector);
    }

    /// A service is gone.
    pub fn remove_service(&mut self, namespace: &str, name: &str) {
        self.world.set_service(namespace, name, None);
    }

    /// A ReplicationController, ReplicaSet or StatefulSet has this selector (none: it is gone): its Pods are spread.
    pub fn set_workload(&mut self, kind: &str, key: &PodKey, selector: Option<&LabelSelector>) {
        self.world.set_workload(kind, key, selector.map(|selector| compile(Some(selector))));
    }

    /// The next Pod to place. It must be given to [`Scheduler::place`].
    pub fn next(&mut self, now: Timestamp) -> Option<PodKey> {
        self.queue.pop(now)
    }

    /// When [`Scheduler::next`] should be asked again, if nothing happens before.
    pub fn wakeup(&self) -> Option<Timestamp> {
        self.queue.wakeup()
    }

    /// How many Pods wait.
    pub fn lengths(&self) -> QueueLengths {
        let (active, backoff, unschedulable) = self.queue.lengths();
        QueueLengths { active, backoff, unschedulable, gated: self.gated.len() }
    }

    /// Decides about a Pod. One that cannot be placed waits for an event that may help.
    pub fn place(&mut self, key: &PodKey, now: Timestamp) -> Decision {
        let Some(known) = self.pods.get(key).filter(|known| known.node.is_none() && !known.info.deleting)
        else {
            self.queue.remove(key);
            return Decision::Nothing;
        };
        let (pod, nominated) = (Arc::clone(&known.info), known.nominated.clone());
        if !pod.gates.is_empty() {
            self.gated.insert(key.clone());
            self.queue.set_aside(key, pod.priority);
            return Decision::Gated {
                message: format!("waiting for scheduling gates: [{}]", pod.gates.join(" ")),
            };
        }
        let node_count = self.world.node_count();
        if node_count == 0 {
            self.queue.refuse(key, BTreeSet::new(), now);
            let message = "no nodes available to schedule pods".to_owned();
            return Decision::Unschedulable { message, preemption: None };
        }
        if pod.rule.names.as_ref().is_some_and(BTreeSet::is_empty) {
            let message = format!("0/{node_count} nodes are available: pod affinity terms conflict.");
            return self.refuse(key, BTreeSet::from([Plugin::NodeAffinity]), message, Vec::new(), now);
        }
        let cycle = Cycle {
            affinity: Affinity::prepare(&mut self.world, &pod),
            spreading: Spreading::prepare(&mut self.world, &pod),
        };
        let (feasible, refused) = self.find(&pod, nominated.as_deref(), &cycle);
        if !feasible.is_empty() {
            let node = self.choose(&pod, &feasible);
            return Decision::Bind { node: Arc::clone(&self.world.nodes[node].name) };
        }
        let (message, mut refused_by) = summary(&pod, node_count, &refused);
        if refused.len() < node_count {
            refused_by.insert(Plugin::NodeAffinity);
        }
        let attempt = preemption::preempt(
            &mut self.world,
            &pod,
            nominated.as_deref(),
            &cycle,
            &refused,
            &self.options.entropy,
        );
        match attempt {
            Attempt::Found(preemption) => {
                self.queue.refuse(key, refused_by, now);
                Decision::Unschedulable { message, preemption: Some(preemption) }
            }
            Attempt::Refused(why) => self.refuse(key, refused_by, message, vec![why], now),
        }
    }

    /// Counts a Pod as bound to a node from now on.
    pub fn assume(&mut self, key: &PodKey, node: &str) {
        let Some(known) = self.pods.get_mut(key).filter(|known| known.node.is_none()) else { return };
        known.node = Some(node.into());
        let info = Arc::clone(&known.info);
        let nominated = known.nominated.take();
        self.world.place(&info, node);
        self.nominate(key, nominated, None);
        // Kept aside, so that its attempts count should binding fail.
        self.wake_for_pod(&info);
    }

    /// Binding failed: the Pod is not on its node and is tried again after its back-off.
    pub fn forget(&mut self, key: &PodKey, now: Timestamp) {
        let Some(known) = self.pods.get_mut(key).filter(|known| known.info.node.is_none()) else { return };
        let Some(node) = known.node.take() else { return };
        self.world.displace(key, &node);
        self.queue.retry(key, now);
    }

    fn refuse(
        &mut self,
        key: &PodKey,
        refused_by: BTreeSet<Plugin>,
        mut message: String,
        preemption: Vec<String>,
        now: Timestamp,
    ) -> Decision {
        self.queue.refuse(key, refused_by, now);
        let why = preemption.into_iter().next();
        let why = why.unwrap_or_else(|| {
            let node_count = self.world.node_count();
            let hopeless =
                BTreeMap::from([(Reason::Text("Preemption is not helpful for scheduling"), node_count)]);
            explain::nodes(node_count, &hopeless)
        });
        message.push_str(" no new claims to deallocate, preemption: ");
        message.push_str(&why);
        Decision::Unschedulable { message, preemption: None }
    }

    /// The nodes that can take a Pod (as many as are worth comparing), and why the others cannot.
    fn find(
        &mut self,
        pod: &PodInfo,
        nominated: Option<&str>,
        cycle: &Cycle,
    ) -> (Vec<NodeIndex>, Vec<(NodeIndex, Refusal)>) {
        let (mut feasible, mut refused) = (Vec::new(), Vec::new());
        // Room made for it is taken if it is there.
        let reserved = nominated.and_then(|name| self.world.node_index(name));
        if let Some(index) = reserved.filter(|index| self.world.nodes[*index].present)
            && self.admits(pod, index, cycle).is_ok()
        {
            return (vec![index], refused);
        }
        if let Some(names) = &pod.rule.names {
            let named = names.iter().filter_map(|name| self.world.node_index(name));
            for index in named.filter(|index| self.world.nodes[*index].present) {
                match self.admits(pod, index, cycle) {
                    Ok(()) => feasible.push(index),
                    Err(refusal) => refused.push((index, refusal)),
                }
            }
            return (feasible, refused);
        }
        let count = self.world.node_count();
        let wanted = feasible_wanted(count);
        let mut looked_at = 0;
        while looked_at < count && feasible.len() < wanted {
            let index = self.world.order()[(self.start + looked_at) % count];
            match self.admits(pod, index, cycle) {
                Ok(()) => feasible.push(index),
                Err(refusal) => refused.push((index, refusal)),
            }
            looked_at += 1;
        }
        self.start = (self.start + looked_at) % count;
        (feasible, refused)
    }

    /// Whether a node can take a Pod, also once the Pods are there for which room is being made on it.
    fn admits(&self, pod: &PodInfo, index: NodeIndex, cycle: &Cycle) -> Result<(), Refusal> {
        let node = &self.world.nodes[index];
        if let Some(coming) = self.nominated.get(&node.name) {
            let others = coming.iter().filter(|key| **key != pod.key).filter_map(|key| self.pods.get(key));
            let before = others.filter(|known| known.info.priority >= pod.priority);
            let mut then = None;
            for known in before {
                then.get_or_insert_with(|| node.clone()).add(Arc::clone(&known.info));
            }
            if let Some(then) = then {
                check(pod, &then, cycle)?;
            }
        }
        check(pod, node, cycle)
    }

    /// The best of some nodes; among equals any.
    fn choose(&mut self, pod: &PodInfo, feasible: &[NodeIndex]) -> NodeIndex {
        if let [only] = feasible {
            return *only;
        }
        let scores = scores::score(&mut self.world, pod, feasible);
        let most = scores.iter().copied().max().unwrap_or(0);
        let best: Vec<NodeIndex> = feasible
            .iter()
            .zip(&scores)
            .filter(|(_, score)| **score == most)
            .map(|(node, _)| *node)
            .collect();
        let pick = self.options.entropy.below(best.len() as u64);
        best[usize::try_from(pick).unwrap_or(0)]
    }

    fn nominate(&mut self, key: &PodKey, from: Option<Arc<str>>, to: Option<Arc<str>>) {
        if let Some(from) = from
            && let Some(coming) = self.nominated.get_mut(&from)
        {
            coming.remove(key);
            if coming.is_empty() {
                self.nominated.remove(&from);
            }
        }
        if let Some(to) = to {
            self.nominated.entry(to).or_default().insert(key.clone());
        }
    }

    /// A placed Pod can help those that must be near Pods like it, or that are spread among Pods like it.
    fn wake_for_pod(&mut self, placed: &PodInfo) {
        self.wake(|world, pod, refused_by| {
            refused_by.contains(&Plugin::InterPodAffinity) && touches(pod, placed, world)
                || refused_by.contains(&Plugin::PodTopologySpread)
                    && pod.key.namespace == placed.key.namespace
        });
    }

    /// Tries Pods again for which an event is of use.
    fn wake(&mut self, helps: impl Fn(&World, &PodInfo, &BTreeSet<Plugin>) -> bool) {
        let of_use = self.queue.refused().filter(|(key, refused_by)| {
            // Without nodes nobody was asked: anything helps.
            let pod = self.pods.get(key).map(|known| &*known.info);
            pod.is_some_and(|pod| refused_by.is_empty() || helps(&self.world, pod, refused_by))
        });
        let keys: Vec<PodKey> = of_use.map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.queue.wake(&key);
        }
    }
}

/// Whether a Pod's coming or going can matter to another's affinity.
fn touches(waiting: &PodInfo, other: &PodInfo, world: &World) -> bool {
    let meant = |pod: &PodInfo, by: &PodInfo| {
        let mut terms = by.affinity.iter().chain(&by.anti_affinity);
        terms.any(|term| term.matches(&pod.key.namespace, &pod.labels, &world.namespaces))
    };
    meant(other, waiting) || meant(waiting, other)
}

/// How many feasible nodes are worth finding: upstream's adaptive percentage.
fn feasible_wanted(node_count: usize) -> usize {
    if node_count < FEASIBLE_MIN {
        return node_count;
    }
    let percent = 50_usize.saturating_sub(node_count / 125).max(5);
    (node_count * percent / 100).max(FEASIBLE_MIN)
}

/// Why no node was found, and which plugins said so.
fn summary(pod: &PodInfo, node_count: usize, refused: &[(NodeIndex, Refusal)]) -> (String, BTreeSet<Plugin>) {
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let mut refused_by = BTreeSet::new();
    for (_, refusal) in refused {
        refused_by.insert(refusal.plugin);
        for reason in &refusal.reasons {
            *reasons.entry(reason.clone()).or_default() += 1;
        }
    }
    if pod.rule.names.is_some() && refused.len() < node_count {
        // The nodes that it does not name were not asked.
        let text = Reason::Text("node(s) didn't satisfy plugin(s) [NodeAffinity]");
        *reasons.entry(text).or_default() += node_count - refused.len();
    }
    (explain::nodes(node_count, &reasons), refused_by)
}
