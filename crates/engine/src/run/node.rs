//! Runs the deciders of `controllers::node_addresses` and `controllers::node_life`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use controllers::node_addresses::{self, Cidr};
use controllers::node_life;
use jiff::Timestamp;
use model::Status;
use model::tree::TreeExt;
use parking_lot::Mutex;
use serde_json::Value;

use super::{Context, by_name, enqueue};
use crate::executor::Executor;
use crate::informer::{Change, Handler, Informer, key_of};
use crate::queue::Queue;

const WORKERS: usize = 2;
/// How often silence is looked for: silence makes no event.
const MONITOR: Duration = Duration::from_secs(5);

/// When each node last gave a sign of life, by this machine's clock.
type Seen = Arc<Mutex<HashMap<String, (String, Timestamp)>>>;

/// Gives nodes their Pod addresses. Never returns.
pub async fn run_addresses(context: Context, cluster: Vec<Cidr>) {
    let queue: Queue<String> = Queue::new("node-addresses");
    let nodes = context.informer("", "v1", "nodes", enqueue(&queue, by_name));
    nodes.synced().await;
    let executor = Executor::new(context.client.clone());
    // One worker: two nodes decided at once would get the same addresses.
    queue
        .run(1, move |name: String| {
            let all = nodes.list();
            let others: Vec<&Value> = all.iter().map(AsRef::as_ref).collect();
            let node = nodes.get(&name);
            let actions =
                node.map(|node| node_addresses::decide(&node, &others, &cluster)).unwrap_or_default();
            let (executor, nodes) = (executor.clone(), nodes.clone());
            async move {
                executor.perform(&actions).await?;
                if !actions.is_empty() {
                    until_seen(&nodes, &name).await;
                }
                Ok::<(), Status>(())
            }
        })
        .await;
}

/// Returns when the informer has the node's addresses (or the node is gone): the next decision must see them.
async fn until_seen(nodes: &Informer, name: &str) {
    for _ in 0..100 {
        if nodes.get(name).is_none_or(|node| !node.text(&["spec", "podCIDR"]).is_empty()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Watches over nodes and moves Pods away from those that are gone. Never returns.
pub async fn run_life(context: Context) {
    let seen: Seen = Arc::default();
    let node_queue: Queue<String> = Queue::new("node-life");
    let pod_queue: Queue<String> = Queue::new("taint-eviction");
    let mut handlers = enqueue(&node_queue, by_name);
    handlers.push(notice(&seen, &context, sign_of_node));
    let nodes = context.informer("", "v1", "nodes", handlers);
    let handlers = enqueue(&pod_queue, |pod| Some(key_of(pod)));
    let pods = context.informer("", "v1", "pods", handlers);
    let leases = client::Path::collection("coordination.k8s.io", "v1", "leases", Some("kube-node-lease"));
    let leases = Informer::new(leases, client::ListOptions::default());
    let handlers = vec![notice(&seen, &context, sign_of_lease)];
    tokio::spawn(leases.clone().run(context.reader.clone(), context.entropy.clone(), handlers));
    futures::future::join3(nodes.synced(), pods.synced(), leases.synced()).await;
    let ticks = tick(nodes.clone(), node_queue.clone());
    let judged =
        judge_nodes(context.clone(), node_queue, pod_queue.clone(), nodes.clone(), pods.clone(), seen);
    let evicted = evict_pods(context, pod_queue, nodes, pods);
    futures::future::join3(ticks, judged, evicted).await;
}

fn sign_of_node(node: &Value) -> Option<String> {
    let conditions = node.items(&["status", "conditions"]);
    let ready = conditions.iter().find(|own| own["type"] == "Ready")?;
    // What this controller wrote itself is no sign of life.
    (ready["status"] != "Unknown").then(|| ready.text(&["lastHeartbeatTime"]).to_owned())
}

fn sign_of_lease(lease: &Value) -> Option<String> {
    Some(lease.text(&["spec", "renewTime"]).to_owned())
}

/// A handler that notes when a node's sign of life changed.
fn notice(seen: &Seen, context: &Context, sign: fn(&Value) -> Option<String>) -> Handler {
    let (seen, clock) = (seen.clone(), context.clock.clone());
    Box::new(move |change: Change<'_>| {
        let object = change.object();
        let mut seen = seen.lock();
        if let (Change::Gone(_), "Node") = (&change, object.kind()) {
            seen.remove(object.name());
            return;
        }
        let Some(sign) = sign(object) else { return };
        let entry = seen.entry(object.name().to_owned()).or_insert_with(|| (String::new(), clock.now()));
        if entry.0 != sign {
            *entry = (sign, clock.now());
        }
    })
}

/// Looks at all nodes now and then.
async fn tick(nodes: Arc<Informer>, queue: Queue<String>) {
    loop {
        tokio::time::sleep(MONITOR).await;
        for node in nodes.list() {
            queue.add(node.name().to_owned());
        }
    }
}

async fn judge_nodes(
    context: Context,
    queue: Queue<String>,
    pod_queue: Queue<String>,
    nodes: Arc<Informer>,
    pods: Arc<Informer>,
    seen: Seen,
) {
    let executor = Executor::new(context.client.clone());
    let work = move |name: String| {
        let now = context.clock.now();
        let last_seen = seen.lock().get(&name).map_or(now, |(_, at)| *at);
        let node = nodes.get(&name);
        let actions =
            node.as_ref().map(|node| node_life::decide_node(node, last_seen, now)).unwrap_or_default();
        let leaving = node.is_some_and(|node| {
            node.items(&["spec", "taints"]).iter().any(|taint| taint["effect"] == "NoExecute")
        });
        if leaving {
            let own = pods.list().into_iter().filter(|pod| pod.text(&["spec", "nodeName"]) == name);
            own.for_each(|pod| pod_queue.add(key_of(&pod)));
        }
        let executor = executor.clone();
        async move {
            match executor.perform(&actions).await {
                // Somebody else changed the node; its new version comes by itself.
                Err(status) if status.code == 409 || status.code == 422 => Ok(()),
                other => other,
            }
        }
    };
    queue.run(WORKERS, work).await;
}

async fn evict_pods(context: Context, queue: Queue<String>, nodes: Arc<Informer>, pods: Arc<Informer>) {
    let executor = Executor::new(context.client.clone());
    let later = queue.clone();
    let work = move |key: String| {
        let now = context.clock.now();
        let pod = pods.get(&key);
        let node = pod.as_ref().and_then(|pod| nodes.get(pod.text(&["spec", "nodeName"])));
        let mut actions = Vec::new();
        if let (Some(pod), Some(node)) = (&pod, &node) {
            actions = node_life::decide_pod(pod, node, now);
            let at = node_life::leaves_at(pod, node).filter(|at| *at > now);
            if let Some(wait) = at.and_then(|at| Duration::try_from(at.duration_since(now)).ok()) {
                later.add_after(key, wait);
            }
        }
        let executor = executor.clone();
        async move { executor.perform(&actions).await }
    };
    queue.run(WORKERS, work).await;
}
