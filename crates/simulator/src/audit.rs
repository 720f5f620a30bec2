//! What must never be so, checked with every commit and after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use agent::testing::FakeRuntime;
use cri::runtime::ContainerState;
use model::quantity::Quantity;
use model::tree::TreeExt;
use parking_lot::Mutex;
use podlogic::labels;
use serde_json::Value;
use store::{Event, EventKind, Sink};
use tokio::time::Instant;

use crate::trace::Trace;

const PODS: &str = "/registry/pods/";
const NODES: &str = "/registry/nodes/";
/// The collector may not know what is younger: its watch was lost, and it asks again after half of this at the latest.
const KNOWN_AFTER: Duration = Duration::from_secs(60);

/// CPU in thousandths, memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    cpu_milli: i64,
    memory_bytes: i64,
}

impl Amount {
    /// Both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli + other.cpu_milli,
            memory_bytes: self.memory_bytes + other.memory_bytes,
        }
    }

    fn most(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.max(other.cpu_milli),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
        }
    }

    /// Whether it fits into that.
    pub fn fits(self, room: Self) -> bool {
        self.cpu_milli <= room.cpu_milli && self.memory_bytes <= room.memory_bytes
    }
}

#[derive(Default)]
struct State {
    violations: Vec<String>,
    /// Pods as they are, by key.
    pods: BTreeMap<String, Arc<Value>>,
    /// What each Pod that ever was asks for, by UID.
    requests: BTreeMap<String, Amount>,
    /// What each node has to give.
    rooms: BTreeMap<String, Amount>,
    /// UIDs of everything that exists.
    live: BTreeMap<String, Arc<Value>>,
    /// Since when an object (UID) refers to an owner (UID).
    references: BTreeMap<(String, String), Instant>,
    revision: u64,
    counts: Counts,
}

/// How much happened of what is checked: a run in which nothing happens proves nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pods that were given a node.
    pub bound: u64,
    /// Pods that ran.
    pub ran: u64,
    /// Containers that were started.
    pub started: u64,
    /// Pods that went.
    pub gone: u64,
    /// Objects that the collector deleted.
    pub collected: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.bound += other.bound;
        self.ran += other.ran;
        self.started += other.started;
        self.gone += other.gone;
        self.collected += other.collected;
    }
}

/// Follows the store.
pub struct Audit {
    trace: Arc<Trace>,
    rivals: bool,
    state: Mutex<State>,
    runtimes: Mutex<Vec<(String, FakeRuntime)>>,
}

fn tree(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// CPU and memory in a map of quantities.
pub fn amount(of: Option<&Value>) -> Amount {
    let quantity = |name: &str| Quantity::parse(of?.text(&[name])).ok();
    Amount {
        cpu_milli: quantity("cpu").map_or(0, |own| own.milli_value()),
        memory_bytes: quantity("memory").map_or(0, |own| own.value()),
    }
}

/// What a Pod asks for: its containers together with its sidecars, or what is needed before they run. Reckoned here once
/// more, on purpose: what scheduler and agent reckon is under test.
pub fn requests(pod: &Value) -> Amount {
    let own = |container: &Value| amount(container.at(&["resources", "requests"]));
    let (mut sidecars, mut before) = (Amount::default(), Amount::default());
    for container in pod.items(&["spec", "initContainers"]) {
        let with = sidecars.plus(own(container));
        before = before.most(with);
        if container["restartPolicy"] == "Always" {
            sidecars = with;
        }
    }
    let containers = pod.items(&["spec", "containers"]).iter();
    containers.fold(sidecars, |sum, container| sum.plus(own(container))).most(before)
}

/// Whether a Pod has ended.
pub fn is_final(pod: &Value) -> bool {
    matches!(pod.text(&["status", "phase"]), "Succeeded" | "Failed")
}

/// A Pod's node; empty as long as it has none.
pub fn node_of(pod: &Value) -> &str {
    pod.text(&["spec", "nodeName"])
}

/// Whether an object is being deleted.
pub fn is_deleted(object: &Value) -> bool {
    object.at(&["metadata", "deletionTimestamp"]).is_some()
}

fn describe(key: &str, object: &Value) -> String {
    format!("{key} ({})", object.uid())
}

impl Audit {
    /// Nothing seen yet. `rivals`: there are schedulers that do not know what they have bound; no node runs more than it has
    /// all the same.
    pub fn new(trace: Arc<Trace>, rivals: bool) -> Arc<Self> {
        Arc::new(Self { trace, rivals, state: Mutex::default(), runtimes: Mutex::default() })
    }

    /// Notes that something is so that must not be.
    pub fn violation(&self, text: String) {
        self.trace.add(&format!("VIOLATION {text}"));
        self.state.lock().violations.push(text);
    }

    /// The first thing that must not be.
    pub fn first_violation(&self) -> Option<String> {
        self.state.lock().violations.first().cloned()
    }

    /// How much happened.
    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// Pods that are.
    pub fn pods(&self) -> Vec<Arc<Value>> {
        self.state.lock().pods.values().cloned().collect()
    }

    /// An object by UID, if it exists.
    pub fn live(&self, uid: &str) -> Option<Arc<Value>> {
        self.state.lock().live.get(uid).cloned()
    }

    /// The collector deletes an object as garbage: none of its owners may live. One that itself waits for its dependents
    /// to go counts as gone.
    pub fn check_garbage(&self, uid: &str) {
        let Some(object) = self.live(uid) else { return };
        self.state.lock().counts.collected += 1;
        let waits = |owner: &Value| {
            is_deleted(owner)
                && owner.items(&["metadata", "finalizers"]).iter().any(|own| own == "foregroundDeletion")
        };
        for reference in object.items(&["metadata", "ownerReferences"]) {
            if let Some(owner) = self.live(reference.text(&["uid"]))
                && !waits(&owner)
            {
                let (kind, name) = (object.kind(), object.name());
                let text = format!("{kind} {name} is collected, but its owner {} lives", owner.name());
                self.violation(text);
            }
        }
    }

    /// The collector lets an owner go with this patch: what is wrong about that, if it succeeds. Nothing may be left that
    /// holds an owner in foreground deletion, and nothing that refers to one whose dependents are to stay.
    pub fn check_release(&self, patch: &Value) -> Option<String> {
        let owner = self.live(patch.text(&["metadata", "uid"]))?;
        patch.at(&["metadata", "finalizers"])?;
        let drops = |name: &str| {
            let has =
                |object: &Value| object.items(&["metadata", "finalizers"]).iter().any(|own| own == name);
            has(&owner) && !has(patch)
        };
        let (foreground, orphan) = (drops("foregroundDeletion"), drops("orphan"));
        let state = self.state.lock();
        let known = state.references.iter().filter(|(_, since)| since.elapsed() > KNOWN_AFTER);
        for ((dependent, _), _) in known.filter(|((_, uid), _)| uid == owner.uid()) {
            let Some(dependent) = state.live.get(dependent) else { continue };
            let references = dependent.items(&["metadata", "ownerReferences"]).iter();
            let mut own = references.filter(|own| own["uid"] == owner.uid());
            let holds = own.any(|own| orphan || foreground && own["blockOwnerDeletion"] == true);
            if holds {
                let (name, kind) = (owner.name(), dependent.kind());
                let why = if orphan { "still refers to it" } else { "holds it" };
                return Some(format!("{name} is let go, but {kind} {} {why}", dependent.name()));
            }
        }
        None
    }

    /// From now on what runs on this node is looked at whenever a container starts there.
    pub fn watch_node(self: &Arc<Self>, node: &str, runtime: &FakeRuntime) {
        self.runtimes.lock().push((node.to_owned(), runtime.clone()));
        let (audit, node) = (Arc::downgrade(self), node.to_owned());
        runtime.on_start(move |started| {
            let Some(audit) = audit.upgrade() else { return };
            let uid = started.labels.get(labels::POD_UID).map(String::as_str).unwrap_or_default();
            audit.trace.add(&format!("start {node} {} of {uid}", started.metadata.name));
            audit.state.lock().counts.started += 1;
            audit.check_containers();
        });
    }

    /// Checks what runs where: no container beside its twin, and no node with more than it has.
    pub fn check_containers(&self) {
        let nodes = self.runtimes.lock().clone();
        let mut places: BTreeMap<(String, String), &str> = BTreeMap::new();
        let mut found = Vec::new();
        for (node, runtime) in &nodes {
            let mut running: BTreeSet<String> = BTreeSet::new();
            for own in runtime.containers().iter().filter(|own| own.state == ContainerState::Running) {
                let uid = own.labels.get(labels::POD_UID).cloned().unwrap_or_default();
                let name = own.metadata.name.clone();
                running.insert(uid.clone());
                if let Some(other) = places.insert((uid.clone(), name.clone()), node) {
                    found.push(format!("container {name} of pod {uid} runs twice: on {other} and {node}"));
                }
            }
            let state = self.state.lock();
            let used = running.iter().filter_map(|uid| state.requests.get(uid));
            let used = used.fold(Amount::default(), |sum, own| sum.plus(*own));
            if let Some(room) = state.rooms.get(node)
                && !used.fits(*room)
            {
                found.push(format!("node {node} runs pods of {used:?} and has {room:?}"));
            }
        }
        found.into_iter().for_each(|text| self.violation(text));
    }

    fn check_pod(&self, state: &State, key: &str, before: Option<&Value>, pod: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let name = describe(key, pod);
        if let Some(before) = before {
            if before.uid() != pod.uid() {
                found.push(format!("{name} took the place of {} without a deletion", before.uid()));
            }
            if !node_of(before).is_empty() && node_of(before) != node_of(pod) {
                found.push(format!("{name} was bound to {} and then to {}", node_of(before), node_of(pod)));
            }
            if is_deleted(before) && !is_deleted(pod) {
                found.push(format!("{name} was being deleted and is no more"));
            }
            if is_final(before) && before.text(&["status", "phase"]) != pod.text(&["status", "phase"]) {
                found.push(format!("{name} had ended and goes on"));
            }
        }
        let node = node_of(pod);
        if node.is_empty() || before.is_some_and(|before| node_of(before) == node) {
            return found;
        }
        if before.is_some_and(is_deleted) {
            found.push(format!("{name} is bound to {node} while it is being deleted"));
        }
        let others = state.pods.iter().filter(|(own, _)| *own != key).map(|(_, pod)| pod);
        let others = others.filter(|own| node_of(own) == node && !is_final(own));
        let used = others.fold(requests(pod), |sum, own| sum.plus(requests(own)));
        match state.rooms.get(node) {
            Some(room) if !self.rivals && !used.fits(*room) => {
                found.push(format!("{name} is bound to {node}: {used:?} of {room:?}"));
            }
            Some(_) => {}
            None => found.push(format!("{name} is bound to {node}, which does not exist")),
        }
        found
    }

    fn note(&self, event: &Event) {
        let key: &str = &event.key;
        let before = event.previous().map(|record| tree(&record.value));
        let mut found = Vec::new();
        let mut state = self.state.lock();
        if event.revision < state.revision {
            found.push(format!("revision {} comes after {}", event.revision, state.revision));
        }
        state.revision = event.revision;
        let kind = match &event.kind {
            EventKind::Put { record, .. } => {
                let object = Arc::new(tree(&record.value));
                if let Some(before) = &before
                    && before.uid() != object.uid()
                {
                    state.forget(before.uid());
                }
                state.keep(&object);
                if key.starts_with(PODS) {
                    found.extend(self.check_pod(&state, key, before.as_ref(), &object));
                    state.requests.insert(object.uid().to_owned(), requests(&object));
                    let first = |so: &dyn Fn(&Value) -> bool| so(&object) && !before.as_ref().is_some_and(so);
                    state.counts.bound += u64::from(first(&|pod| !node_of(pod).is_empty()));
                    state.counts.ran += u64::from(first(&|pod| pod.text(&["status", "phase"]) == "Running"));
                    state.pods.insert(key.to_owned(), object);
                } else if key.starts_with(NODES) {
                    let room = amount(object.at(&["status", "allocatable"]));
                    state.rooms.insert(object.name().to_owned(), room);
                }
                "put"
            }
            EventKind::Delete { .. } => {
                if let Some(before) = &before {
                    state.forget(before.uid());
                    let held = before.items(&["metadata", "finalizers"]).len();
                    // The last one goes together with the object.
                    if held > 1 {
                        found.push(format!("{} is gone with {held} finalizers", describe(key, before)));
                    }
                }
                let gone = state.pods.remove(key).is_some();
                state.counts.gone += u64::from(gone);
                "delete"
            }
        };
        drop(state);
        self.trace.add(&format!("store {kind} {} {key}", event.revision));
        found.into_iter().for_each(|text| self.violation(text));
    }
}

impl State {
    fn keep(&mut self, object: &Arc<Value>) {
        let uid = object.uid();
        let now = Instant::now();
        let references = object.items(&["metadata", "ownerReferences"]);
        let owners: BTreeMap<&str, Instant> = references
            .iter()
            .map(|own| {
                let owner = own.text(&["uid"]);
                (owner, self.references.get(&(uid.into(), owner.into())).copied().unwrap_or(now))
            })
            .collect();
        self.references.retain(|(dependent, _), _| dependent != uid);
        self.references.extend(owners.into_iter().map(|(owner, since)| ((uid.into(), owner.into()), since)));
        self.live.insert(uid.to_owned(), object.clone());
    }

    fn forget(&mut self, uid: &str) {
        self.live.remove(uid);
        self.references.retain(|(dependent, _), _| dependent != uid);
    }
}

impl Sink for Audit {
    fn apply(&self, events: &[Event]) {
        events.iter().for_each(|event| self.note(event));
    }
}
