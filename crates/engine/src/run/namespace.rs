//! Runs the decider of `controllers::namespace`: empties namespaces that are being deleted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::{DeleteOptions, List, Path, typed};
use controllers::namespace::{Remains, decide, must_empty};
use http::Method;
use model::tree::TreeExt;
use model::{Reason, Status};
use parking_lot::Mutex;
use serde_json::Value;

use super::{Context, by_name, enqueue};
use crate::discovery::{self, Served};
use crate::executor::Executor;
use crate::queue::Queue;

const WORKERS: usize = 4;
/// Something is still ending: look again, as nothing tells when the last of it is gone.
const AGAIN: Duration = Duration::from_millis(500);
/// The pause doubles so often: up to 8 seconds.
const AGAIN_DOUBLINGS: u32 = 4;

/// Empties namespaces. Never returns.
pub async fn run(context: Context) {
    let queue: Queue<String> = Queue::new("namespace");
    let namespaces = context.informer("", "v1", "namespaces", enqueue(&queue, by_name));
    namespaces.synced().await;
    let executor = Executor::new(context.client.clone());
    let (again, context) = (queue.clone(), Arc::new(context));
    let waited: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    queue
        .run(WORKERS, move |name: String| {
            let (namespace, executor, again) = (namespaces.get(&name), executor.clone(), again.clone());
            let (context, waited) = (context.clone(), waited.clone());
            async move {
                let Some(namespace) = namespace.filter(|own| must_empty(own)) else {
                    waited.lock().remove(&name);
                    return Ok(());
                };
                let remains = empty(&context, &name).await?;
                let waits = !remains.resources.is_empty() || !remains.failures.is_empty();
                let done = executor.perform(&decide(&namespace, &remains, context.clock.now())).await;
                if waits {
                    again.add_after(name.clone(), pause(&mut waited.lock(), name));
                }
                // A newer version of the namespace comes by itself.
                match done {
                    Err(status) if status.is(Reason::Conflict) => Ok(()),
                    other => other,
                }
            }
        })
        .await;
}

/// How long to wait for what is left: longer each time. All resources are asked each time, and what is held by a
/// finalizer or on a silent node may take days.
fn pause(waited: &mut HashMap<String, u32>, name: String) -> Duration {
    let times = waited.entry(name).or_insert(0);
    let wait = AGAIN.saturating_mul(1 << (*times).min(AGAIN_DOUBLINGS));
    *times += 1;
    wait
}

/// Asks everything in a namespace to go, and counts what is left.
async fn empty(context: &Context, name: &str) -> Result<Remains, Status> {
    let mut remains = Remains::default();
    let served = discovery::resources(&context.client).await?;
    let mut served: Vec<Served> = served
        .into_iter()
        .filter(|own| own.namespaced && own.allows("deletecollection") && own.allows("list"))
        .collect();
    // Pods last: what owns them must not make new ones.
    served.sort_by_key(|own| own.plural == "pods");
    for resource in served {
        let path = Path::collection(&resource.group, &resource.version, &resource.plural, Some(name));
        if let Err(status) = empty_one(context, &resource, &path, &mut remains).await
            && !status.is(Reason::NotFound)
            && !status.is(Reason::MethodNotAllowed)
        {
            remains.failures.push(format!(
                "unexpected items still remain in namespace: {name} for gvr: {}: {status}",
                path.as_str()
            ));
        }
    }
    Ok(remains)
}

async fn empty_one(
    context: &Context,
    resource: &Served,
    path: &Path,
    remains: &mut Remains,
) -> Result<(), Status> {
    let first: List<Value> = context.client.call(Method::GET, path.as_str(), None).await?;
    if first.items.is_empty() {
        return Ok(());
    }
    let body =
        DeleteOptions { propagation_policy: Some("Background".into()), ..DeleteOptions::default() }.body();
    let bytes = serde_json::to_vec(&body).map_err(Status::internal)?;
    let answer =
        context.client.request(Method::DELETE, path.as_str(), Some("application/json"), bytes.into()).await?;
    typed::read_bytes(answer.into_body()).await?;
    let left: List<Value> = context.client.call(Method::GET, path.as_str(), None).await?;
    if left.items.is_empty() {
        return Ok(());
    }
    let kind = format!("{}.{}", resource.plural, resource.group);
    remains.resources.insert(kind, left.items.len());
    for finalizer in left.items.iter().flat_map(|own| own.items(&["metadata", "finalizers"])) {
        *remains.finalizers.entry(finalizer.as_str().unwrap_or_default().to_owned()).or_insert(0) += 1;
    }
    Ok(())
}
