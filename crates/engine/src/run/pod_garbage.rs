//! Runs the decider of `controllers::pod_garbage`. Upstream looks every 20 seconds; here a change wakes it, and what is
//! found missing is looked at again before anything is deleted.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use controllers::pod_garbage::{TERMINATED_MAX, decide};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use model::tree::TreeExt;
use model::{Reason, Status};
use serde_json::Value;

use super::{Context, enqueue};
use crate::executor::Executor;
use crate::informer::Informer;
use crate::queue::Queue;

/// How often it looks without being woken.
const ROUND: Duration = Duration::from_secs(20);
/// A node that is missing is believed gone after so long (upstream's quarantine).
const QUARANTINE_S: i64 = 40;
/// The only key: each round looks at everything.
const ALL: &str = "all";

/// Cleans up Pods that nobody else will. Never returns.
pub async fn run(context: Context) {
    let queue: Queue<String> = Queue::new("pod-garbage");
    // A deletion of a Pod without a node must not wait for the next round.
    let pods = context.informer(
        "",
        "v1",
        "pods",
        enqueue(&queue, |pod| {
            let unbound = pod.text(&["spec", "nodeName"]).is_empty();
            (unbound && pod.at(&["metadata", "deletionTimestamp"]).is_some()).then(|| ALL.to_owned())
        }),
    );
    let nodes = context.informer("", "v1", "nodes", Vec::new());
    futures::future::join(pods.synced(), nodes.synced()).await;
    queue.add(ALL.to_owned());
    let executor = Executor::new(context.client.clone());
    let missing = std::sync::Arc::new(tokio::sync::Mutex::new(HashMap::new()));
    let later = queue.clone();
    queue
        .run(1, move |_| {
            let (context, executor, missing) = (context.clone(), executor.clone(), missing.clone());
            let (pods, nodes, later) = (pods.clone(), nodes.clone(), later.clone());
            async move {
                let gone = gone_nodes(&context, &pods, &nodes, &mut *missing.lock().await).await?;
                let pods = pods.list();
                let pods: Vec<&Value> = pods.iter().map(AsRef::as_ref).collect();
                let done = executor.perform(&decide(&pods, &gone, TERMINATED_MAX)).await;
                later.add_after(ALL.to_owned(), ROUND);
                done
            }
        })
        .await;
}

/// Nodes that Pods are bound to and that have been missing for long enough, asked for once more.
async fn gone_nodes(
    context: &Context,
    pods: &Informer,
    nodes: &Informer,
    missing: &mut HashMap<String, Timestamp>,
) -> Result<HashSet<String>, Status> {
    let bound: BTreeSet<String> = pods
        .list()
        .iter()
        .map(|pod| pod.text(&["spec", "nodeName"]).to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    missing.retain(|name, _| bound.contains(name) && nodes.get(name).is_none());
    let now = context.clock.now();
    let mut gone = HashSet::new();
    for name in bound.into_iter().filter(|name| nodes.get(name).is_none()) {
        let since = *missing.entry(name.clone()).or_insert(now);
        if now.as_second() - since.as_second() < QUARANTINE_S {
            continue;
        }
        match context.client.get::<Node>(None, &name).await {
            Err(status) if status.is(Reason::NotFound) => drop(gone.insert(name)),
            Err(status) => return Err(status),
            Ok(_) => drop(missing.remove(&name)),
        }
    }
    Ok(gone)
}
