//! What must never be so, checked with every commit and after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use agent::testing::FakeRuntime;
use cri::runtime::ContainerState;
use k8s_openapi::api::core::v1::Pod;
use model::quantity::Quantity;
use model::tree::TreeExt;
use parking_lot::Mutex;
use podlogic::labels;
use serde_json::Value;
use store::{Event, EventKind, Sink};

use crate::trace::Trace;

const PODS: &str = "/registry/pods/";
const NODES: &str = "/registry/nodes/";

/// CPU in thousandths, memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    cpu_milli: i64,
    memory_bytes: i64,
}

impl Amount {
    fn plus(self, other: Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli + other.cpu_milli,
            memory_bytes: self.memory_bytes + other.memory_bytes,
        }
    }

    fn fits(self, room: Self) -> bool {
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
    state: Mutex<State>,
    runtimes: Mutex<Vec<(String, FakeRuntime)>>,
}

fn tree(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

fn requests(pod: &Value) -> Amount {
    let Ok(pod) = serde_json::from_value::<Pod>(pod.clone()) else { return Amount::default() };
    let requests = podlogic::limits::pod_requests(&pod);
    Amount {
        cpu_milli: podlogic::limits::quantity(Some(&requests), "cpu").milli_value(),
        memory_bytes: podlogic::limits::quantity(Some(&requests), "memory").value(),
    }
}

fn is_final(pod: &Value) -> bool {
    matches!(pod.text(&["status", "phase"]), "Succeeded" | "Failed")
}

fn node_of(pod: &Value) -> &str {
    pod.text(&["spec", "nodeName"])
}

fn describe(key: &str, object: &Value) -> String {
    format!("{key} ({})", object.uid())
}

impl Audit {
    /// Nothing seen yet.
    pub fn new(trace: Arc<Trace>) -> Arc<Self> {
        Arc::new(Self { trace, state: Mutex::default(), runtimes: Mutex::default() })
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
            owner.at(&["metadata", "deletionTimestamp"]).is_some()
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

    fn check_pod(state: &State, key: &str, before: Option<&Value>, pod: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let name = describe(key, pod);
        if let Some(before) = before {
            if before.uid() != pod.uid() {
                found.push(format!("{name} took the place of {} without a deletion", before.uid()));
            }
            if !node_of(before).is_empty() && node_of(before) != node_of(pod) {
                found.push(format!("{name} was bound to {} and then to {}", node_of(before), node_of(pod)));
            }
            if before.at(&["metadata", "deletionTimestamp"]).is_some()
                && pod.at(&["metadata", "deletionTimestamp"]).is_none()
            {
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
        let others = state.pods.iter().filter(|(own, _)| *own != key).map(|(_, pod)| pod);
        let others = others.filter(|own| node_of(own) == node && !is_final(own));
        let used = others.fold(requests(pod), |sum, own| sum.plus(requests(own)));
        match state.rooms.get(node) {
            Some(room) if !used.fits(*room) => {
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
                    state.live.remove(before.uid());
                }
                state.live.insert(object.uid().to_owned(), object.clone());
                if key.starts_with(PODS) {
                    found.extend(Self::check_pod(&state, key, before.as_ref(), &object));
                    state.requests.insert(object.uid().to_owned(), requests(&object));
                    let first = |so: &dyn Fn(&Value) -> bool| so(&object) && !before.as_ref().is_some_and(so);
                    state.counts.bound += u64::from(first(&|pod| !node_of(pod).is_empty()));
                    state.counts.ran += u64::from(first(&|pod| pod.text(&["status", "phase"]) == "Running"));
                    state.pods.insert(key.to_owned(), object);
                } else if key.starts_with(NODES) {
                    let amount =
                        |name: &str| Quantity::parse(object.text(&["status", "allocatable", name])).ok();
                    let room = Amount {
                        cpu_milli: amount("cpu").map_or(0, |own| own.milli_value()),
                        memory_bytes: amount("memory").map_or(0, |own| own.value()),
                    };
                    state.rooms.insert(object.name().to_owned(), room);
                }
                "put"
            }
            EventKind::Delete { .. } => {
                if let Some(before) = &before {
                    state.live.remove(before.uid());
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

impl Sink for Audit {
    fn apply(&self, events: &[Event]) {
        events.iter().for_each(|event| self.note(event));
    }
}
