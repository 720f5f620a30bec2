//! One cache per resource, opened when it is first asked for.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::OnceCell;

use super::{Cache, Decode, Options};
use crate::{Result, Store};

/// A cache, or one being opened.
type Slot<D> = Arc<OnceCell<Arc<Cache<D>>>>;

/// The caches of a store, by prefix.
pub struct Caches<D: Decode> {
    store: Arc<dyn Store>,
    options: Options,
    slots: RwLock<HashMap<String, Slot<D>>>,
}

impl<D: Decode> Caches<D> {
    /// No caches yet.
    pub fn new(store: Arc<dyn Store>, options: Options) -> Self {
        Self { store, options, slots: RwLock::default() }
    }

    /// The store beneath.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The cache of a prefix, if it is open.
    pub fn get(&self, prefix: &str) -> Option<Arc<Cache<D>>> {
        self.slots.read().get(prefix).and_then(|slot| slot.get().cloned())
    }

    /// The cache of a prefix; opened with `decoder` by the first who asks, others wait for it.
    ///
    /// # Errors
    /// When the store cannot be read; the next call tries again.
    pub async fn open(&self, prefix: &str, decoder: impl FnOnce() -> D) -> Result<Arc<Cache<D>>> {
        if let Some(cache) = self.get(prefix) {
            return Ok(cache);
        }
        let slot = Arc::clone(self.slots.write().entry(prefix.to_owned()).or_default());
        let open = || Cache::new(Arc::clone(&self.store), decoder(), prefix, self.options.clone());
        slot.get_or_try_init(open).await.cloned()
    }

    /// Forgets a cache (its resource is gone or is decoded differently now) and ends its watches.
    pub fn close(&self, prefix: &str) {
        let removed = self.slots.write().remove(prefix);
        if let Some(cache) = removed.as_ref().and_then(|slot| slot.get()) {
            cache.close_watchers();
        }
    }
}
