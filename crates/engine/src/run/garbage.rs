//! Runs the deciders of `controllers::garbage` over all resources: a graph of who owns whom, kept by one watch per
//! resource. The graph only says where to look; before anything is deleted the owner itself is asked for.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use client::{ListOptions, Path};
use controllers::action::Target;
use controllers::garbage::{FOREGROUND, ORPHAN, Owner, decide_dependent, decide_owner};
use http::Method;
use model::tree::TreeExt;
use model::{Reason, Status};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use super::Context;
use crate::discovery::{self, Served};
use crate::executor::{Executor, path};
use crate::informer::{Change, Handler, Informer};
use crate::queue::Queue;

const WORKERS: usize = 8;
/// How often new resources (custom ones) are looked for.
const DISCOVERY: Duration = Duration::from_secs(30);
/// Kinds that own nothing and are owned by nothing that matters, and that are many.
const IGNORED: [&str; 1] = ["events"];

/// Who owns whom. Only identities and references: the objects themselves are read when one is acted upon.
#[derive(Default)]
struct Graph {
    /// Uid → where the object is.
    objects: HashMap<String, Target>,
    /// Uid of an owner → uids of its dependents.
    dependents: HashMap<String, BTreeSet<String>>,
    /// Uid → uids of its owners, and whether it holds them while they wait for their dependents to go.
    owners: HashMap<String, Vec<(String, bool)>>,
}

impl Graph {
    /// Notes an object; returns the owners that it held and holds no longer.
    fn put(&mut self, target: Target, object: &Value) -> Vec<String> {
        let uid = object.uid().to_owned();
        let before = self.unlink(&uid);
        let owners: Vec<(String, bool)> = object
            .items(&["metadata", "ownerReferences"])
            .iter()
            .map(|own| (own.text(&["uid"]).to_owned(), own["blockOwnerDeletion"] == true))
            .collect();
        for (owner, _) in &owners {
            self.dependents.entry(owner.clone()).or_default().insert(uid.clone());
        }
        let released = before.into_iter().filter(|own| own.1 && !owners.contains(own));
        let released = released.map(|(owner, _)| owner).collect();
        if !owners.is_empty() {
            self.owners.insert(uid.clone(), owners);
        }
        self.objects.insert(uid, target);
        released
    }

    /// Takes an object off its owners; returns them.
    fn unlink(&mut self, uid: &str) -> Vec<(String, bool)> {
        let owners = self.owners.remove(uid).unwrap_or_default();
        for (owner, _) in &owners {
            if let Some(set) = self.dependents.get_mut(owner) {
                set.remove(uid);
                if set.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        owners
    }

    /// Forgets an object; returns whom that concerns: its dependents and its owners.
    fn remove(&mut self, uid: &str) -> Vec<String> {
        let mut concerned: Vec<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        concerned.extend(self.unlink(uid).into_iter().map(|(owner, _)| owner));
        self.objects.remove(uid);
        concerned
    }
}

/// The collector.
struct Collector {
    context: Context,
    graph: Mutex<Graph>,
    queue: Queue<String>,
    served: Mutex<Vec<Served>>,
    /// Watches of which the graph does not have everything yet.
    unsynced: Mutex<Vec<Arc<Informer>>>,
    /// Whether all that is served has been found out once.
    discovered: watch::Sender<bool>,
    executor: Executor,
}

/// Collects. Never returns.
pub async fn run(context: Context) {
    let collector = Arc::new(Collector::new(context));
    let queue = collector.queue.clone();
    let watching = tokio::spawn(collector.clone().watch_all());
    let work = collector.clone();
    queue
        .run(WORKERS, move |uid: String| {
            let collector = work.clone();
            async move { collector.look(&uid).await }
        })
        .await;
    watching.abort();
}

impl Collector {
    fn new(context: Context) -> Self {
        Self {
            executor: Executor::new(context.client.clone()),
            context,
            graph: Mutex::default(),
            queue: Queue::new("garbage"),
            served: Mutex::default(),
            unsynced: Mutex::default(),
            discovered: watch::Sender::new(false),
        }
    }

    /// Waits until the graph has all that is there. Half a graph lacks dependents: their owner would be let go too early, and
    /// those that it was to leave behind would be deleted after it.
    async fn synced(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.discovered.subscribe().wait_for(|discovered| *discovered).await;
        let waiting = {
            let mut unsynced = self.unsynced.lock();
            unsynced.retain(|own| !own.is_synced());
            unsynced.clone()
        };
        futures::future::join_all(waiting.iter().map(|own| own.synced())).await;
    }

    /// Watches every resource that can be watched, new ones too.
    async fn watch_all(self: Arc<Self>) {
        let mut watched: HashSet<(String, String)> = HashSet::new();
        loop {
            match discovery::resources(&self.context.client).await {
                Ok(served) => {
                    for resource in &served {
                        let wanted = ["list", "watch", "delete"].iter().all(|verb| resource.allows(verb));
                        let known = (resource.group.clone(), resource.plural.clone());
                        if wanted && !IGNORED.contains(&resource.plural.as_str()) && watched.insert(known) {
                            self.clone().watch_one(resource);
                        }
                    }
                    *self.served.lock() = served;
                    self.discovered.send_replace(true);
                }
                Err(status) => {
                    tracing::warn!(error = %status, "discovery failed, owners are not looked at meanwhile")
                }
            }
            tokio::time::sleep(DISCOVERY).await;
        }
    }

    fn watch_one(self: Arc<Self>, resource: &Served) {
        let collection = Path::collection(&resource.group, &resource.version, &resource.plural, None);
        let informer = Informer::new(collection, ListOptions::default()).metadata_only();
        self.unsynced.lock().push(informer.clone());
        let context = self.context.clone();
        let base = Target {
            group: resource.group.clone(),
            version: resource.version.clone(),
            plural: resource.plural.clone(),
            ..Target::default()
        };
        let handler: Handler = Box::new(move |change: Change<'_>| self.noticed(&base, change));
        tokio::spawn(informer.run(context.client, context.entropy, vec![handler]));
    }

    fn noticed(&self, base: &Target, change: Change<'_>) {
        let object = change.object();
        let uid = object.uid().to_owned();
        let concerned = match change {
            Change::Put(..) => {
                let target = Target {
                    namespace: object.namespace().into(),
                    name: object.name().into(),
                    ..base.clone()
                };
                // An owner may have waited for nothing but this reference.
                let mut concerned = self.graph.lock().put(target, object);
                let finalizers = object.items(&["metadata", "finalizers"]);
                let ours = finalizers.iter().any(|own| own == FOREGROUND || own == ORPHAN);
                let owned = !object.items(&["metadata", "ownerReferences"]).is_empty();
                if owned || ours {
                    concerned.push(uid.clone());
                }
                // An owner that waits for its dependents: they have to be looked at.
                if ours && object.at(&["metadata", "deletionTimestamp"]).is_some() {
                    concerned.extend(self.graph.lock().dependents.get(&uid).into_iter().flatten().cloned());
                }
                concerned
            }
            Change::Gone(_) => self.graph.lock().remove(&uid),
        };
        concerned.into_iter().for_each(|uid| self.queue.add(uid));
    }

    /// Looks at one object, live, as a dependent and as an owner.
    async fn look(&self, uid: &str) -> Result<(), Status> {
        self.synced().await;
        let Some(target) = self.graph.lock().objects.get(uid).cloned() else { return Ok(()) };
        let Some(object) = self.read(&target).await?.filter(|object| object.uid() == uid) else {
            return Ok(());
        };
        let dependents = self.dependents_of(uid).await?;
        let mut actions = decide_owner(&target, &object, &dependents);
        let mut owners = Vec::new();
        for reference in object.items(&["metadata", "ownerReferences"]) {
            owners.push(self.owner(&target, reference).await?);
        }
        actions.extend(decide_dependent(&target, &object, &owners));
        match self.executor.perform(&actions).await {
            Err(status) if status.is(Reason::Conflict) => {
                // The object changed meanwhile; look again at what it is now.
                self.queue.add(uid.to_owned());
                Ok(())
            }
            other => other,
        }
    }

    async fn dependents_of(&self, uid: &str) -> Result<Vec<(Target, Value)>, Status> {
        let targets: Vec<Target> = {
            let graph = self.graph.lock();
            let uids = graph.dependents.get(uid).into_iter().flatten();
            uids.filter_map(|own| graph.objects.get(own).cloned()).collect()
        };
        let mut dependents = Vec::new();
        for target in targets {
            if let Some(object) = self.read(&target).await? {
                dependents.push((target, object));
            }
        }
        Ok(dependents)
    }

    /// Asks for an owner itself. A kind that is not served (yet) counts as live: better too much left than too little.
    async fn owner(&self, dependent: &Target, reference: &Value) -> Result<Owner, Status> {
        let (group, version) = model::gvk::split_api_version(reference.api_version());
        let served =
            self.served.lock().iter().find(|own| own.group == group && own.kind == reference.kind()).cloned();
        let Some(served) = served else { return Ok(Owner::Live) };
        let target = Target {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: served.plural,
            namespace: if served.namespaced { dependent.namespace.clone() } else { String::new() },
            name: reference.text(&["name"]).to_owned(),
        };
        let found = self.read(&target).await?.filter(|object| object.uid() == reference.text(&["uid"]));
        Ok(match found {
            None => Owner::Gone,
            Some(object) => {
                let finalizers = object.items(&["metadata", "finalizers"]);
                let waits = object.at(&["metadata", "deletionTimestamp"]).is_some()
                    && finalizers.iter().any(|own| own == FOREGROUND);
                if waits { Owner::Waiting } else { Owner::Live }
            }
        })
    }

    async fn read(&self, target: &Target) -> Result<Option<Value>, Status> {
        match self.context.client.call::<Value>(Method::GET, path(target).as_str(), None).await {
            Ok(object) => Ok(Some(object)),
            Err(status) if status.is(Reason::NotFound) => Ok(None),
            Err(status) => Err(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use client::{Body, Client, Error, Transport, Upgraded};
    use http::{Request, Response};
    use serde_json::json;
    use stdx::clock::Clock;
    use stdx::entropy::Entropy;

    use super::*;

    /// A server that does not answer.
    struct Silent;

    #[async_trait]
    impl Transport for Silent {
        async fn send(&self, _: Request<Bytes>) -> Result<Response<Body>, Error> {
            std::future::pending().await
        }

        async fn upgrade(&self, _: Request<Bytes>) -> Result<Result<Upgraded, Response<Body>>, Error> {
            std::future::pending().await
        }

        fn server(&self) -> String {
            "silent".into()
        }
    }

    /// After a start, one watch may be ahead of another: an owner is known then, and its dependents are not.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_decided_on_half_a_graph() {
        let client = Client::new(Arc::new(Silent));
        let (clock, entropy) = (Clock::system(), Entropy::seeded(1));
        let collector = Collector::new(Context { reader: client.clone(), client, clock, entropy });
        let looks = async || {
            let look = collector.look("of nothing known");
            tokio::time::timeout(Duration::from_secs(3600), look).await.is_ok()
        };
        assert!(!looks().await, "it is not even known what there is");
        collector.discovered.send_replace(true);
        assert!(looks().await);
        let pods = Informer::new(Path::collection("", "v1", "pods", None), ListOptions::default());
        collector.unsynced.lock().push(pods);
        assert!(!looks().await, "pods are not listed yet");
    }

    /// Otherwise an owner that waits for its dependents would wait for ever: nothing else tells of it.
    #[test]
    fn an_owner_that_is_let_go_is_looked_at() {
        let dependent = |references: &[(&str, bool)]| {
            let references: Vec<Value> = references
                .iter()
                .map(|(uid, holds)| json!({"uid": uid, "blockOwnerDeletion": holds}))
                .collect();
            json!({"metadata": {"uid": "d", "ownerReferences": references}})
        };
        let mut graph = Graph::default();
        let mut put = |references: &[(&str, bool)]| graph.put(Target::default(), &dependent(references));
        assert!(put(&[("x", true), ("y", true), ("z", false)]).is_empty());
        assert!(put(&[("x", true), ("y", true), ("z", false)]).is_empty(), "nothing changed");
        assert_eq!(put(&[("y", true)]), ["x"], "the reference is gone; z was never held");
        assert_eq!(put(&[("y", false)]), ["y"], "the reference stays, and does not hold any more");
        assert!(put(&[]).is_empty());
        assert!(graph.remove("d").is_empty());
    }
}
