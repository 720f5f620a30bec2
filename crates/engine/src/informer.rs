//! A local copy of a collection, kept by list and watch (client-go's reflector and informer in one). Whoever wants to
//! know of changes registers a handler before the start; handlers only put keys into queues.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::typed::with_query;
use client::{Client, List, ListOptions, Path, WatchEvent, WatchOptions};
use futures::StreamExt;
use http::Method;
use model::Status;
use model::tree::TreeExt;
use parking_lot::RwLock;
use serde_json::Value;
use stdx::entropy::Entropy;
use tokio::sync::watch;

/// First and longest wait after a failure; they double in between.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A watch that ends sooner counts as failed.
const WATCH_MIN: Duration = Duration::from_secs(1);

/// What happened to an object.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// It is new here, or changed; the state before, if known.
    Put(&'a Arc<Value>, Option<&'a Arc<Value>>),
    /// It is gone; its last known state.
    Gone(&'a Arc<Value>),
}

impl<'a> Change<'a> {
    /// The object: as it is, or as it was last.
    pub fn object(&self) -> &'a Arc<Value> {
        match self {
            Change::Put(object, _) | Change::Gone(object) => object,
        }
    }
}

/// Called for each change, in order, from the informer's task: must be quick and must not wait.
pub type Handler = Box<dyn Fn(Change<'_>) + Send + Sync>;

/// `namespace/name`, or `name` for objects of the cluster.
pub fn key_of(object: &Value) -> String {
    match object.namespace() {
        "" => object.name().to_owned(),
        namespace => format!("{namespace}/{}", object.name()),
    }
}

/// A local copy of a collection.
pub struct Informer {
    path: Path,
    selectors: ListOptions,
    objects: RwLock<BTreeMap<String, Arc<Value>>>,
    synced: watch::Sender<bool>,
    metadata_only: bool,
}

/// Asks for `PartialObjectMetadata`.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// Asks for the list of it.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

impl Informer {
    /// A copy of all objects at `path` that match the selectors of `options`; empty until [`Informer::run`].
    pub fn new(path: Path, selectors: ListOptions) -> Arc<Self> {
        Arc::new(Self {
            path,
            selectors,
            objects: RwLock::default(),
            synced: watch::Sender::new(false),
            metadata_only: false,
        })
    }

    /// Keeps metadata only, for those who need no more. To be called before the start.
    #[must_use]
    pub fn metadata_only(self: Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            path: self.path.clone(),
            selectors: self.selectors.clone(),
            objects: RwLock::default(),
            synced: watch::Sender::new(false),
            metadata_only: true,
        })
    }

    /// One object.
    pub fn get(&self, key: &str) -> Option<Arc<Value>> {
        self.objects.read().get(key).cloned()
    }

    /// All objects, by key.
    pub fn list(&self) -> Vec<Arc<Value>> {
        self.objects.read().values().cloned().collect()
    }

    /// Objects of a namespace.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<Value>> {
        let prefix = format!("{namespace}/");
        let objects = self.objects.read();
        let found = objects.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
        found.map(|(_, object)| object.clone()).collect()
    }

    /// Returns once the first list is in.
    pub async fn synced(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the first list is in.
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Keeps the copy for ever; ends only by being dropped.
    pub async fn run(self: Arc<Self>, client: Client, entropy: Entropy, handlers: Vec<Handler>) {
        let mut retry = RETRY_MIN;
        loop {
            match self.list_and_watch(&client, &handlers, &mut retry).await {
                Ok(()) => {}
                Err(status) => {
                    tracing::warn!(path = self.path.as_str(), error = %status, "watching failed, listing again")
                }
            }
            let jitter = Duration::from_millis(entropy.below(1 + retry.as_millis() as u64 / 2));
            tokio::time::sleep(retry + jitter).await;
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    async fn list_and_watch(
        &self,
        client: &Client,
        handlers: &[Handler],
        retry: &mut Duration,
    ) -> Result<(), Status> {
        let path = with_query(&self.path, &self.selectors.query());
        let list: List<Value> = if self.metadata_only {
            client.call_as(METADATA_LIST, &path).await?
        } else {
            client.call(Method::GET, &path, None).await?
        };
        let mut revision = list.metadata.resource_version.clone().unwrap_or_default();
        self.replace(list.items, handlers);
        self.synced.send_replace(true);
        *retry = RETRY_MIN;
        loop {
            let options = WatchOptions {
                label_selector: self.selectors.label_selector.clone(),
                field_selector: self.selectors.field_selector.clone(),
                resource_version: Some(revision.clone()),
                bookmarks: true,
                ..WatchOptions::default()
            };
            let accept = if self.metadata_only { METADATA } else { "application/json" };
            let mut events = client.watch_as::<Value>(accept, &self.path, &options).await?;
            let begun = tokio::time::Instant::now();
            while let Some(event) = events.next().await {
                match event? {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                        revision = object.resource_version().to_owned();
                        self.put(object, handlers);
                    }
                    WatchEvent::Deleted(object) => {
                        revision = object.resource_version().to_owned();
                        self.remove(&key_of(&object), Some(object), handlers);
                    }
                    WatchEvent::Bookmark { resource_version, .. } => revision = resource_version,
                }
            }
            // A server that is going down ends watches as soon as they begin: asking again at once would spin.
            if begun.elapsed() < WATCH_MIN {
                tokio::time::sleep(*retry).await;
                *retry = (*retry * 2).min(RETRY_MAX);
            } else {
                *retry = RETRY_MIN;
            }
        }
    }

    fn put(&self, object: Value, handlers: &[Handler]) {
        let object = Arc::new(object);
        let before = self.objects.write().insert(key_of(&object), object.clone());
        for handler in handlers {
            handler(Change::Put(&object, before.as_ref()));
        }
    }

    fn remove(&self, key: &str, last: Option<Value>, handlers: &[Handler]) {
        let known = self.objects.write().remove(key);
        let Some(object) = last.map(Arc::new).or(known) else { return };
        for handler in handlers {
            handler(Change::Gone(&object));
        }
    }

    /// Takes a whole list: what is not in it is gone. An object made anew under its old name is gone and new.
    fn replace(&self, items: Vec<Value>, handlers: &[Handler]) {
        let kept: std::collections::HashMap<String, String> =
            items.iter().map(|item| (key_of(item), item.uid().to_owned())).collect();
        let gone: Vec<String> = {
            let objects = self.objects.read();
            let gone =
                objects.iter().filter(|(key, object)| kept.get(*key).is_none_or(|uid| uid != object.uid()));
            gone.map(|(key, _)| key.clone()).collect()
        };
        for key in gone {
            self.remove(&key, None, handlers);
        }
        for item in items {
            let same =
                self.get(&key_of(&item)).is_some_and(|own| own.resource_version() == item.resource_version());
            if !same {
                self.put(item, handlers);
            }
        }
    }
}
