//! Writes Pod status at once: each Pod has at most one write under way, and what changes meanwhile is written next.

use std::collections::HashMap;
use std::sync::Arc;

use client::{Client, DeleteOptions, Patch};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use model::Reason;
use parking_lot::Mutex;
use podlogic::conditions::OWNED;
use podlogic::pod;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, watch};

/// Writes under way at once.
const WRITES_MAX: usize = 64;
/// First pause after a failed write.
const RETRY_INITIAL: std::time::Duration = std::time::Duration::from_millis(100);
/// Longest pause after failed writes.
const RETRY_MAXIMUM: std::time::Duration = std::time::Duration::from_secs(10);

/// What is known of one Pod's status.
#[derive(Debug, Clone)]
struct Entry {
    pod: Arc<Pod>,
    /// What the status should be.
    desired: Arc<PodStatus>,
    /// Counts changes of `desired`.
    version: u64,
    /// What the API holds, as far as known.
    known: Arc<PodStatus>,
    /// A writer task is under way.
    writing: bool,
    /// Delete the object once the status is written: everything on the node is gone.
    finish: bool,
}

/// Pod statuses. Cheap to clone.
#[derive(Clone)]
pub struct Statuses {
    client: Option<Client>,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
    writes: Arc<Semaphore>,
    changed: Arc<watch::Sender<u64>>,
}

impl Statuses {
    /// A writer through this client; without one, statuses are only kept.
    pub fn new(client: Option<Client>) -> Self {
        Self {
            client,
            entries: Arc::default(),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
            changed: Arc::new(watch::Sender::new(0)),
        }
    }

    /// The status a Pod has here, if any was decided.
    pub fn get(&self, uid: &str) -> Option<Arc<PodStatus>> {
        self.entries.lock().get(uid).map(|entry| Arc::clone(&entry.desired))
    }

    /// Whether an object was seen that a Pod's status is written to.
    pub fn has_object(&self, uid: &str) -> bool {
        self.entries.lock().get(uid).is_some_and(|entry| entry.pod.metadata.uid.is_some())
    }

    /// Tells of every change (a counter).
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Sets the status of a Pod. `target` is the object that is written: the Pod itself, or the mirror of a static
    /// Pod; `None` while there is no such object.
    pub fn set(&self, uid: &str, target: Option<&Arc<Pod>>, status: PodStatus) {
        let mut entries = self.entries.lock();
        let Some(target) = target else {
            // Kept for those who ask; written once there is an object.
            let placeholder = Arc::new(Pod::default());
            let entry = entries.entry(uid.to_owned()).or_insert_with(|| new_entry(&placeholder));
            entry.desired = Arc::new(status);
            entry.version += 1;
            drop(entries);
            self.changed.send_modify(|count| *count += 1);
            return;
        };
        let entry = entries.entry(uid.to_owned()).or_insert_with(|| new_entry(target));
        if entry.pod.metadata.uid != target.metadata.uid {
            entry.known = Arc::new(target.status.clone().unwrap_or_default());
        }
        entry.pod = Arc::clone(target);
        let changed = *entry.desired != status;
        if !changed && *entry.known == status && !entry.finish {
            return;
        }
        entry.desired = Arc::new(status);
        entry.version += u64::from(changed);
        self.start(uid, entry);
        drop(entries);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Deletes the object for good once its last status is written. Only for Pods that are being deleted and whose
    /// containers and volumes are gone.
    pub fn finish(&self, uid: &str, target: &Arc<Pod>) {
        let mut entries = self.entries.lock();
        let entry = entries.entry(uid.to_owned()).or_insert_with(|| new_entry(target));
        entry.pod = Arc::clone(target);
        entry.finish = true;
        self.start(uid, entry);
    }

    /// Forgets a Pod.
    pub fn forget(&self, uid: &str) {
        self.entries.lock().remove(uid);
    }

    fn start(&self, uid: &str, entry: &mut Entry) {
        if entry.writing || self.client.is_none() {
            return;
        }
        entry.writing = true;
        let (own, uid) = (self.clone(), uid.to_owned());
        tokio::spawn(async move { own.write(uid).await });
    }

    /// Writes until nothing is left to write.
    async fn write(&self, uid: String) {
        let Some(client) = self.client.clone() else { return };
        let mut pause = RETRY_INITIAL;
        loop {
            let Some(entry) = self.entries.lock().get(&uid).cloned() else { return };
            let outcome = {
                let _permit = self.writes.acquire().await;
                write_once(&client, &entry).await
            };
            let retry = {
                let mut entries = self.entries.lock();
                let Some(current) = entries.get_mut(&uid) else { return };
                match outcome {
                    Outcome::Written => {
                        current.known = Arc::clone(&entry.desired);
                        if current.version == entry.version && (!current.finish || entry.finish) {
                            current.writing = false;
                            return;
                        }
                        None
                    }
                    Outcome::Gone => {
                        current.writing = false;
                        return;
                    }
                    Outcome::Failed => Some(pause),
                }
            };
            if let Some(wait) = retry {
                // Nothing tells when the API is well again, so this one waits.
                tokio::time::sleep(wait).await;
                pause = (pause * 2).min(RETRY_MAXIMUM);
            } else {
                pause = RETRY_INITIAL;
            }
        }
    }
}

fn new_entry(pod: &Arc<Pod>) -> Entry {
    let known = Arc::new(pod.status.clone().unwrap_or_default());
    Entry {
        pod: Arc::clone(pod),
        desired: Arc::clone(&known),
        version: 0,
        known,
        writing: false,
        finish: false,
    }
}

enum Outcome {
    Written,
    Gone,
    Failed,
}

/// Whether the object is gone, or its name belongs to another Pod now.
fn is_gone(status: &model::Status) -> bool {
    let conflict = status.is(Reason::Conflict) || status.is(Reason::Invalid);
    status.is(Reason::NotFound) || (conflict && status.message.contains("UID"))
}

async fn write_once(client: &Client, entry: &Entry) -> Outcome {
    let (namespace, name) = (pod::namespace(&entry.pod), pod::name(&entry.pod));
    if let Some(patch) = patch(&entry.pod, &entry.known, &entry.desired) {
        let answer =
            client.patch::<Pod>(Some(namespace), name, Some("status"), &Patch::Strategic(patch)).await;
        match answer {
            Ok(_) => {}
            Err(status) if is_gone(&status) => return Outcome::Gone,
            Err(status) => {
                tracing::warn!(pod = name, namespace, error = status.message, "pod status was not written");
                return Outcome::Failed;
            }
        }
    }
    if !entry.finish {
        return Outcome::Written;
    }
    let options = DeleteOptions { uid: entry.pod.metadata.uid.clone(), ..DeleteOptions::now() };
    match client.delete::<Pod>(Some(namespace), name, &options).await {
        Ok(_) => Outcome::Gone,
        Err(status) if is_gone(&status) => Outcome::Gone,
        Err(status) => {
            tracing::warn!(pod = name, namespace, error = status.message, "pod was not deleted for good");
            Outcome::Failed
        }
    }
}

fn tree(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(tree)) => tree,
        _ => Map::new(),
    }
}

/// The strategic merge patch from one status to another; `None` if nothing differs.
pub fn patch(pod: &Pod, known: &PodStatus, desired: &PodStatus) -> Option<Value> {
    let (old, new) = (tree(known), tree(desired));
    let mut changes = Map::new();
    for key in old.keys().chain(new.keys()) {
        let (before, after) = (old.get(key), new.get(key));
        if before == after || changes.contains_key(key) {
            continue;
        }
        let change = match (key.as_str(), after) {
            ("conditions", Some(after)) => condition_changes(before, after, &mut changes),
            ("podIPs" | "hostIPs", Some(Value::Array(after))) => {
                let mut list = after.clone();
                list.push(json!({"$patch": "replace"}));
                Value::Array(list)
            }
            (_, Some(after)) => after.clone(),
            (_, None) => Value::Null,
        };
        changes.insert(key.clone(), change);
    }
    if changes.is_empty() {
        return None;
    }
    Some(json!({"metadata": {"uid": pod.metadata.uid}, "status": changes}))
}

/// Changed conditions of the node's own; those of others are left alone.
fn condition_changes(before: Option<&Value>, after: &Value, changes: &mut Map<String, Value>) -> Value {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let (before, after) = (list(before), list(Some(after)));
    let order: Vec<Value> = after.iter().map(|condition| json!({"type": condition["type"]})).collect();
    changes.insert("$setElementOrder/conditions".into(), Value::Array(order));
    let own = |condition: &&Value| condition["type"].as_str().is_some_and(|kind| OWNED.contains(&kind));
    let mut list = Vec::new();
    for condition in after.iter().filter(own) {
        let old = before.iter().find(|old| old["type"] == condition["type"]);
        if old == Some(condition) {
            continue;
        }
        let mut change = condition.clone();
        for field in ["reason", "message"] {
            if condition.get(field).is_none() && old.is_some_and(|old| old.get(field).is_some()) {
                change[field] = Value::Null;
            }
        }
        list.push(change);
    }
    Value::Array(list)
}
