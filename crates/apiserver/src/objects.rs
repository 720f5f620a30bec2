//! The caches of all resources, decoded once per change: wire bytes that every reader shares, and the few facts that
//! selectors ask for.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use model::{GroupResource, Status, wire};
use parking_lot::{Mutex, RwLock};
use resources::{Registry, Resource};
use serde_json::Value;
use stdx::generations::Generations;
use store::Store;
use store::cache::{Cache, Caches, Decode, DecodeError, Entry};

use crate::routes::Routes;
use crate::seams::{ObjectReader, Visitor};

/// A cache of one resource.
pub type ResourceCache = Cache<ObjectDecoder>;
/// An object in a cache.
pub type Stored = Entry<Held>;

/// An object as the cache holds it.
#[derive(Debug)]
pub struct Held {
    /// JSON in the storage version, `metadata.resourceVersion` in place, `kind` and `apiVersion` first.
    pub wire: Bytes,
    /// Where `"metadata":{` begins: list items leave out what is before.
    metadata_at: usize,
    facts: OnceLock<Box<Facts>>,
}

/// What selectors ask for.
#[derive(Debug, Default)]
pub struct Facts {
    /// `metadata.labels`.
    pub labels: Option<Value>,
    /// Selectable fields besides name and namespace.
    pub fields: Vec<(&'static str, String)>,
}

impl Held {
    /// From stored bytes and the revision that wrote them.
    fn new(stored: &Bytes, revision: u64) -> Result<Self, DecodeError> {
        const MARK: &[u8] = b"\"metadata\":{";
        let find =
            |bytes: &[u8]| bytes[..bytes.len().min(1024)].windows(MARK.len()).position(|part| part == MARK);
        let (wire, at) = match find(stored) {
            Some(at) if stored.starts_with(b"{\"kind\"") => (wire::splice(stored, revision), Some(at)),
            _ => {
                // Written by someone else: put the fields into our order first.
                let tree: Value =
                    serde_json::from_slice(stored).map_err(|error| DecodeError::new(error.to_string()))?;
                let encoded = wire::encode(&tree);
                (wire::splice(&encoded, revision), find(&encoded))
            }
        };
        let metadata_at = at.ok_or_else(|| DecodeError::new("the object has no metadata"))?;
        Ok(Self { wire: wire.into(), metadata_at, facts: OnceLock::new() })
    }

    /// The object as a tree.
    pub fn tree(&self) -> Value {
        serde_json::from_slice(&self.wire).unwrap_or_default()
    }

    /// `"metadata":{…}`, as it stands in the object.
    pub fn metadata(&self) -> &[u8] {
        const NAME: usize = "\"metadata\":".len();
        let begin = self.metadata_at + NAME;
        &self.wire[self.metadata_at..begin + wire::object_length(&self.wire[begin..])]
    }

    /// The bytes of a list's item after its opening brace: the object without `kind` and `apiVersion`.
    pub fn item(&self) -> &[u8] {
        &self.wire[self.metadata_at..]
    }

    /// What selectors ask for; computed once.
    pub fn facts(&self, row: &Resource) -> &Facts {
        self.facts.get_or_init(|| {
            let tree = self.tree();
            let fields = row.rules.selectable_fields(&tree);
            let labels = tree.get("metadata").and_then(|metadata| metadata.get("labels")).cloned();
            Box::new(Facts { labels, fields })
        })
    }
}

/// Splits a key into namespace (empty for cluster-wide resources) and name.
pub fn split_key<'k>(prefix: &str, key: &'k str) -> (&'k str, &'k str) {
    let rest = key.get(prefix.len()..).unwrap_or(key);
    rest.split_once('/').unwrap_or(("", rest))
}

/// Makes [`Held`] of stored bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct ObjectDecoder;

impl Decode for ObjectDecoder {
    type Object = Held;

    fn decode(&self, _key: &str, stored: &Bytes, revision: u64) -> Result<Held, DecodeError> {
        Held::new(stored, revision)
    }
}

/// Everything that is stored, through its caches. A cache is opened when its resource is first asked for.
pub struct Objects {
    routes: RwLock<Arc<Routes>>,
    caches: Caches<ObjectDecoder>,
    /// Trees by key, with the revision that wrote them: each request looks at its namespace and its user's account.
    trees: Mutex<Generations<String, (u64, Arc<Value>)>>,
}

/// Trees of one generation that are kept at hand.
const TREES_MAX: usize = 64;

impl Objects {
    /// Above a store.
    pub fn new(store: Arc<dyn Store>, registry: Arc<Registry>) -> Arc<Self> {
        let options = store::cache::Options {
            ring_events_max: 4096,
            ring_bytes_max: 4 << 20,
            watcher_events_max: 4096,
        };
        let routes = RwLock::new(Arc::new(Routes::new(registry)));
        let trees = Mutex::new(Generations::new(TREES_MAX));
        Arc::new(Self { routes, caches: Caches::new(store, options), trees })
    }

    /// What is served now.
    pub fn routes(&self) -> Arc<Routes> {
        Arc::clone(&self.routes.read())
    }

    /// Serves another table from now on (custom resources come and go); caches of resources that went are closed.
    pub fn replace_registry(&self, registry: Arc<Registry>) {
        let new = Arc::new(Routes::new(registry));
        let old = std::mem::replace(&mut *self.routes.write(), Arc::clone(&new));
        for served in old.all().filter(|served| new.by_prefix(&served.prefix).is_none()) {
            self.caches.close(&served.prefix);
        }
    }

    /// The store beneath.
    pub fn store(&self) -> &Arc<dyn Store> {
        self.caches.store()
    }

    /// The cache under a prefix.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn cache(&self, prefix: &str) -> Result<Arc<ResourceCache>, Status> {
        match self.caches.get(prefix) {
            Some(cache) => Ok(cache),
            None => self.caches.open(prefix, || ObjectDecoder).await.map_err(|error| store_failed(&error)),
        }
    }

    /// The cache under a prefix, if it is open.
    pub fn open_cache(&self, prefix: &str) -> Option<Arc<ResourceCache>> {
        self.caches.get(prefix)
    }

    fn tree(&self, key: String, entry: &Stored) -> Arc<Value> {
        if let Some((revision, tree)) = self.trees.lock().get(&key)
            && revision == entry.modified
        {
            return tree;
        }
        let tree = Arc::new(entry.object.tree());
        self.trees.lock().insert(key, (entry.modified, Arc::clone(&tree)));
        tree
    }

    /// Forgets a cache and ends its watches: its resource is gone.
    pub fn close(&self, prefix: &str) {
        self.caches.close(prefix);
    }
}

#[async_trait]
impl ObjectReader for Objects {
    async fn get(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Status> {
        let prefix = storage_prefix(&resource.group, &resource.resource);
        let cache = self.cache(&prefix).await?;
        let key = object_key(&prefix, namespace, name);
        Ok(cache.get(&key).map(|entry| self.tree(key, &entry)))
    }

    async fn list(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
    ) -> Result<Vec<Arc<Value>>, Status> {
        let prefix = storage_prefix(&resource.group, &resource.resource);
        let cache = self.cache(&prefix).await?;
        let under = namespace.map_or_else(|| prefix.clone(), |namespace| format!("{prefix}{namespace}/"));
        let page = cache.range(&under, None, 0);
        Ok(page.entries.iter().map(|entry| Arc::new(entry.object.tree())).collect())
    }

    async fn visit(&self, resource: &GroupResource, visitor: Visitor<'_>) -> Result<(), Status> {
        let prefix = storage_prefix(&resource.group, &resource.resource);
        for entry in &self.cache(&prefix).await?.range(&prefix, None, 0).entries {
            visitor(&entry.key, entry.modified, &|| entry.object.tree());
        }
        Ok(())
    }

    fn generation(&self, resource: &GroupResource) -> u64 {
        let prefix = storage_prefix(&resource.group, &resource.resource);
        self.caches.get(&prefix).map_or(0, |cache| cache.last_change())
    }
}

/// Where objects of a resource are stored. `events` of both groups are one and the same.
pub fn storage_prefix(group: &str, plural: &str) -> String {
    match (group, plural) {
        ("", plural) | ("events.k8s.io", plural @ "events") => format!("/registry/{plural}/"),
        (group, plural) => format!("/registry/{group}/{plural}/"),
    }
}

/// The key of an object; `namespace` is empty for cluster-wide resources.
pub fn object_key(prefix: &str, namespace: &str, name: &str) -> String {
    let mut key = String::with_capacity(prefix.len() + namespace.len() + name.len() + 1);
    key.push_str(prefix);
    if !namespace.is_empty() {
        key.push_str(namespace);
        key.push('/');
    }
    key.push_str(name);
    key
}

/// The API's error for a failed store operation.
pub fn store_failed(error: &store::Error) -> Status {
    match error {
        store::Error::Compacted { .. } => {
            Status::expired("The resourceVersion for the provided list is too old.")
        }
        store::Error::Full { .. } => Status::new(507, model::Reason::Unknown, error.to_string()),
        store::Error::Closed => {
            Status::new(503, model::Reason::ServiceUnavailable, "apiserver is shutting down")
        }
        _ => Status::new(500, model::Reason::Unknown, error.to_string()),
    }
}
