//! The scheduler at work: informers feed `scheduler::Scheduler`, one task asks it for decisions, and each decision is
//! carried out by a task of its own, so that no binding waits for another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Client, Patch, Path};
use http::Method;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use model::tree::TreeExt;
use model::{Reason, Status};
use parking_lot::Mutex;
use scheduler::{Decision, PodKey, Preemption, Scheduler};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use tokio::sync::{Notify, Semaphore};

use super::Context;
use crate::informer::{Change, Handler};
use crate::run::scheduling_events::Recorder;

const NAME: &str = "default-scheduler";
/// Decisions that are carried out at once.
const IN_FLIGHT_MAX: usize = 64;

struct Work {
    scheduler: Mutex<Scheduler>,
    woken: Notify,
    client: Client,
    clock: Clock,
    events: Recorder,
    turns: Arc<Semaphore>,
    uids: Mutex<HashMap<PodKey, String>>,
}

/// Places Pods. Never returns.
pub async fn run(client: Client, clock: Clock, entropy: Entropy) {
    let options = scheduler::Options { name: NAME.into(), entropy: entropy.clone() };
    let work = Arc::new(Work {
        scheduler: Mutex::new(Scheduler::new(options)),
        woken: Notify::new(),
        events: Recorder::new(client.clone(), clock.clone(), NAME),
        client: client.clone(),
        clock: clock.clone(),
        turns: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        uids: Mutex::default(),
    });
    let context = Context { reader: client.clone(), client, clock, entropy };
    let namespaces = context.informer("", "v1", "namespaces", feed(&work, feed_namespace));
    let services = context.informer("", "v1", "services", feed(&work, feed_service));
    let nodes = context.informer("", "v1", "nodes", feed(&work, feed_node));
    let pods = context.informer("", "v1", "pods", feed(&work, feed_pod));
    let workloads =
        [("", "v1", "replicationcontrollers"), ("apps", "v1", "replicasets"), ("apps", "v1", "statefulsets")]
            .map(|(group, version, plural)| {
                context.informer(group, version, plural, feed(&work, feed_workload))
            });
    let others = futures::future::join_all(workloads.iter().map(|own| own.synced()));
    // A decision on half of the Pods would put two on one place.
    futures::future::join5(namespaces.synced(), services.synced(), nodes.synced(), pods.synced(), others)
        .await;
    work.decide_for_ever().await;
}

type Feed = fn(&Work, &mut Scheduler, Change<'_>);

fn feed(work: &Arc<Work>, feed: Feed) -> Vec<Handler> {
    let work = work.clone();
    vec![Box::new(move |change: Change<'_>| {
        feed(&work, &mut work.scheduler.lock(), change);
        work.woken.notify_one();
    })]
}

/// A typed view; what cannot be read is reported by name and left out.
fn typed<T: DeserializeOwned>(object: &Value) -> Option<T> {
    match T::deserialize(object) {
        Ok(typed) => Some(typed),
        Err(error) => {
            let (kind, namespace, name) = (object.kind(), object.namespace(), object.name());
            tracing::warn!(kind, namespace, name, %error, "the scheduler cannot read an object");
            None
        }
    }
}

fn feed_node(_work: &Work, scheduler: &mut Scheduler, change: Change<'_>) {
    match change {
        Change::Put(object, _) => {
            if let Some(node) = typed::<Node>(object) {
                scheduler.upsert_node(&node);
            }
        }
        Change::Gone(object) => scheduler.remove_node(object.name()),
    }
}

fn feed_pod(work: &Work, scheduler: &mut Scheduler, change: Change<'_>) {
    let key = PodKey::new(change.object().namespace(), change.object().name());
    match change {
        Change::Put(object, _) => {
            if let Some(pod) = typed::<Pod>(object) {
                work.uids.lock().insert(key, object.uid().to_owned());
                scheduler.upsert_pod(&pod);
            }
        }
        Change::Gone(_) => {
            work.uids.lock().remove(&key);
            scheduler.remove_pod(&key);
        }
    }
}

fn feed_namespace(_work: &Work, scheduler: &mut Scheduler, change: Change<'_>) {
    match change {
        Change::Put(object, _) => {
            if let Some(namespace) = typed::<Namespace>(object) {
                scheduler.upsert_namespace(&namespace);
            }
        }
        Change::Gone(object) => scheduler.remove_namespace(object.name()),
    }
}

fn feed_service(_work: &Work, scheduler: &mut Scheduler, change: Change<'_>) {
    match change {
        Change::Put(object, _) => {
            if let Some(service) = typed::<Service>(object) {
                scheduler.upsert_service(&service);
            }
        }
        Change::Gone(object) => scheduler.remove_service(object.namespace(), object.name()),
    }
}

fn feed_workload(_work: &Work, scheduler: &mut Scheduler, change: Change<'_>) {
    let object = change.object();
    let key = PodKey::new(object.namespace(), object.name());
    let selector = match change {
        Change::Gone(_) => None,
        // A replication controller's selector is a plain map of labels.
        Change::Put(object, _) if object.kind() == "ReplicationController" => {
            typed(&json!({"matchLabels": object["spec"]["selector"]}))
        }
        Change::Put(object, _) => typed(&object["spec"]["selector"]),
    };
    scheduler.set_workload(object.kind(), &key, selector.as_ref());
}

impl Work {
    async fn decide_for_ever(self: Arc<Self>) {
        loop {
            let woken = self.woken.notified();
            let now = self.clock.now();
            let next = {
                let mut scheduler = self.scheduler.lock();
                scheduler.next(now).map(|key| {
                    let decision = scheduler.place(&key, now);
                    if let Decision::Bind { node } = &decision {
                        scheduler.assume(&key, node);
                    }
                    (key, decision)
                })
            };
            match next {
                Some((key, decision)) => self.clone().carry_out(key, decision).await,
                None => self.wait(woken).await,
            }
        }
    }

    /// Waits for an event, or for the next back-off to end.
    async fn wait(&self, woken: impl Future<Output = ()>) {
        let wakeup = self.scheduler.lock().wakeup();
        match wakeup.map(|at| Duration::try_from(at.duration_since(self.clock.now())).unwrap_or_default()) {
            Some(wait) => drop(tokio::time::timeout(wait.max(Duration::from_millis(1)), woken).await),
            None => woken.await,
        }
    }

    async fn carry_out(self: Arc<Self>, key: PodKey, decision: Decision) {
        let Ok(turn) = self.turns.clone().acquire_owned().await else { return };
        let uid = self.uids.lock().get(&key).cloned().unwrap_or_default();
        tokio::spawn(async move {
            match decision {
                Decision::Bind { node } => self.bind(&key, &uid, &node).await,
                Decision::Unschedulable { message, preemption } => {
                    self.events
                        .record(&key, &uid, "Warning", "FailedScheduling", "Scheduling", &message)
                        .await;
                    let nominated = preemption.as_ref().map(|own| own.node.to_string());
                    self.report(&key, "Unschedulable", &message, nominated).await;
                    if let Some(preemption) = preemption {
                        self.preempt(&uid, &preemption).await;
                    }
                }
                Decision::Gated { message } => self.report(&key, "SchedulingGated", &message, None).await,
                Decision::Nothing => {}
            }
            drop(turn);
        });
    }

    async fn bind(&self, key: &PodKey, uid: &str, node: &str) {
        let path = pods(key).join("binding");
        let body = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": &*key.name, "namespace": &*key.namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        match self.client.call::<Value>(Method::POST, path.as_str(), Some(&body)).await {
            Ok(_) => {
                let message = format!("Successfully assigned {key} to {node}");
                self.events.record(key, uid, "Normal", "Scheduled", "Binding", &message).await;
            }
            Err(status) => {
                self.scheduler.lock().forget(key, self.clock.now());
                self.woken.notify_one();
                if !status.is(Reason::NotFound) && !status.is(Reason::Conflict) {
                    tracing::warn!(pod = %key, node, error = %status, "binding failed, trying again");
                }
            }
        }
    }

    /// Sets the Pod's `PodScheduled` condition, where it says something else, and the nominated node.
    async fn report(&self, key: &PodKey, reason: &str, message: &str, nominated: Option<String>) {
        let Ok(pod) = self.client.call::<Value>(Method::GET, pods(key).as_str(), None).await else { return };
        if !pod.text(&["spec", "nodeName"]).is_empty() {
            return;
        }
        let conditions = pod.items(&["status", "conditions"]);
        let old = conditions.iter().find(|own| own["type"] == "PodScheduled");
        let same = old.is_some_and(|own| {
            own["status"] == "False" && own["reason"] == reason && own["message"] == message
        });
        if same && nominated.is_none() {
            return;
        }
        let turned = old.is_none_or(|own| own["status"] != "False");
        let now = json!(model::time::format_seconds(self.clock.now()));
        let mut condition = json!({
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
            "observedGeneration": pod["metadata"]["generation"],
        });
        condition["lastTransitionTime"] = match old {
            Some(old) if !turned => old["lastTransitionTime"].clone(),
            _ => now,
        };
        let mut patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
        if let Some(node) = nominated {
            patch["status"]["nominatedNodeName"] = json!(node);
        }
        self.patch(&pods(key).join("status"), patch).await;
    }

    /// Removes the victims of a preemption.
    async fn preempt(&self, preemptor: &str, preemption: &Preemption) {
        for victim in &preemption.victims {
            let condition = json!({"status": {"conditions": [{
                "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
                "message": format!("{NAME}: preempting to accommodate a higher priority pod"),
                "lastTransitionTime": model::time::format_seconds(self.clock.now()),
            }]}});
            self.patch(&pods(victim).join("status"), condition).await;
            let answer = self.client.call::<Value>(Method::DELETE, pods(victim).as_str(), None).await;
            if let Err(status) = answer
                && !status.is(Reason::NotFound)
            {
                tracing::warn!(pod = %victim, error = %status, "a pod that has to make room cannot be deleted");
                continue;
            }
            let uid = self.uids.lock().get(victim).cloned().unwrap_or_default();
            let message = format!("Preempted by pod {preemptor} on node {}", preemption.node);
            self.events.record(victim, &uid, "Normal", "Preempted", "Preempting", &message).await;
        }
    }

    async fn patch(&self, path: &Path, patch: Value) {
        let patch = Patch::Strategic(patch);
        let sent: Result<(), Status> = async {
            let body = serde_json::to_vec(patch.body()).map_err(Status::internal)?;
            let answer = self
                .client
                .request(Method::PATCH, path.as_str(), Some(patch.content_type()), body.into())
                .await?;
            client::typed::read_bytes(answer.into_body()).await.map(drop)
        }
        .await;
        match sent {
            Err(status) if !status.is(Reason::NotFound) && !status.is(Reason::Conflict) => {
                tracing::warn!(path = path.as_str(), error = %status, "a pod's status cannot be patched");
            }
            _ => {}
        }
    }
}

fn pods(key: &PodKey) -> Path {
    Path::collection("", "v1", "pods", Some(&key.namespace)).join(&key.name)
}
