//! The watch cache: the current objects of one resource and a bounded ring of their latest changes, decoded once and
//! shared by every reader. Works above any [`Store`]; reads and watches of the present never touch it.
//!
//! Embedded stores call the cache while they commit, so whoever made a write finds it here at once. For other stores a
//! task follows the watch stream, and [`Cache::wait_until`] bridges the delay.

mod caches;
mod history;
mod sorted;
mod state;
mod watcher;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::Notify;

pub use caches::Caches;
pub use watcher::{Delivery, WatchEnd, Watcher};

use crate::{Error, Event, Record, Result, Sink, Store, WatchStream};
use state::State;

/// Makes what the cache holds from what the store holds.
pub trait Decode: Send + Sync + 'static {
    /// The decoded form: whatever readers need again and again (wire bytes, labels, …).
    type Object: Send + Sync + 'static;

    /// Decodes one stored value, last written at `revision`. For a deletion `stored` is the last value and `revision`
    /// that of the deletion.
    ///
    /// # Errors
    /// When the bytes are not such an object; the cache reports the key.
    fn decode(&self, key: &str, stored: &Bytes, revision: u64) -> Result<Self::Object, DecodeError>;
}

/// Why stored bytes could not be decoded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// What is wrong with the bytes.
    pub message: String,
}

impl DecodeError {
    /// With a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

/// An object in the cache.
#[derive(Debug)]
pub struct Entry<O> {
    /// Its key.
    pub key: Arc<str>,
    /// The revision that created it.
    pub created: u64,
    /// The revision that last wrote it: its `resourceVersion`.
    pub modified: u64,
    /// What the decoder made.
    pub object: O,
}

/// What a [`Change`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// The object is new.
    Added,
    /// The object was written again.
    Modified,
    /// The object is gone.
    Deleted,
}

/// One change of one object, shared by all watchers.
#[derive(Debug)]
pub struct Change<O> {
    /// The revision that made it.
    pub revision: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// The object after the change; for a deletion its last state, decoded at the deletion's revision.
    pub current: Arc<Entry<O>>,
    /// The object before the change (always there for `Modified` and `Deleted`).
    pub previous: Option<Arc<Entry<O>>>,
}

/// A stored object that the decoder refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecodable {
    /// Its key.
    pub key: Arc<str>,
    /// The revision that wrote it.
    pub modified: u64,
    /// The decoder's words.
    pub message: String,
}

/// A page of entries.
#[derive(Debug)]
pub struct Page<O> {
    /// In key order.
    pub entries: Vec<Arc<Entry<O>>>,
    /// The revision the page shows.
    pub revision: u64,
    /// Whether further entries follow the last one.
    pub more: bool,
    /// How many follow.
    pub remaining: u64,
    /// Objects under the prefix that cannot be decoded (they are not among the entries).
    pub undecodable: Vec<Undecodable>,
}

/// Bounds of a cache.
#[derive(Debug, Clone)]
pub struct Options {
    /// Changes kept for watches that resume and lists that continue. Older ones come from the store's log.
    pub ring_events_max: usize,
    /// Stored bytes those changes may hold in memory.
    pub ring_bytes_max: usize,
    /// Changes that may wait for one watcher before it is closed.
    pub watcher_events_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { ring_events_max: 1024, ring_bytes_max: 4 << 20, watcher_events_max: 1024 }
    }
}

/// The watch cache of one key prefix.
pub struct Cache<D: Decode> {
    store: Arc<dyn Store>,
    decoder: D,
    prefix: String,
    options: Options,
    state: RwLock<State<D::Object>>,
    /// How far the followed watch stream is; unused (and unset) when the store calls this cache itself.
    followed: OnceLock<Followed>,
}

#[derive(Default)]
struct Followed {
    revision: AtomicU64,
    advanced: Notify,
}

impl<D: Decode> Cache<D> {
    /// Opens the cache of all keys under `prefix` and fills it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(store: Arc<dyn Store>, decoder: D, prefix: &str, options: Options) -> Result<Arc<Self>> {
        let prefix = prefix.to_owned();
        let state = RwLock::default();
        let cache = Arc::new(Self { store, decoder, prefix, options, state, followed: OnceLock::new() });
        // Only once it is there whole: a commit that finds a sink gone drops it for good.
        let weak: Weak<Self> = Arc::downgrade(&cache);
        if !cache.store.attach(&cache.prefix, weak) {
            cache.followed.get_or_init(Followed::default);
        }
        if cache.followed.get().is_none() {
            let listing = cache.store.list(&cache.prefix, None, 0, None).await?;
            cache.fill(&listing.records, listing.revision);
        } else {
            let stream = cache.reload().await?;
            tokio::spawn(follow(Arc::downgrade(&cache), stream));
        }
        Ok(cache)
    }

    /// The prefix of its keys.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The store beneath.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The revision that the cache is at: every change up to it is in.
    pub fn current_revision(&self) -> u64 {
        let progress = self.progress();
        self.state.read().last.max(progress)
    }

    /// The revision of the newest change under the prefix: what was computed from its entries holds while this stays.
    pub fn last_change(&self) -> u64 {
        self.state.read().last
    }

    /// The current entry of a key.
    pub fn get(&self, key: &str) -> Option<Arc<Entry<D::Object>>> {
        self.state.read().objects.get(key).cloned()
    }

    /// Why a key that is in the store cannot be read.
    pub fn undecodable(&self, key: &str) -> Option<Undecodable> {
        self.state.read().undecodable.get(key).cloned()
    }

    /// The number of entries under a prefix.
    pub fn count(&self, prefix: &str) -> usize {
        self.state.read().count(prefix)
    }

    /// The current entries under `prefix` with keys greater than `start_after`, at most `limit` (0: all).
    pub fn range(&self, prefix: &str, start_after: Option<&str>, limit: usize) -> Page<D::Object> {
        let progress = self.progress();
        let state = self.state.read();
        let revision = state.last.max(progress);
        state.page(prefix, start_after, limit, revision)
    }

    /// As [`Cache::range`] at an earlier revision: from the ring, else from the store's history.
    ///
    /// # Errors
    /// [`Error::Compacted`] when that revision is gone, [`Error::Future`] when it is not there yet.
    pub async fn range_at(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        at: u64,
    ) -> Result<Page<D::Object>> {
        {
            let progress = self.progress();
            let state = self.state.read();
            let current = state.last.max(progress);
            if at > current {
                return Err(Error::Future { requested: at, current });
            }
            if let Some(page) = state.page_at(prefix, start_after, limit, at) {
                return Ok(page);
            }
        }
        history::page(self, prefix, start_after, limit, at).await
    }

    /// Waits until every change up to `revision` is in. Returns at once for own writes to an embedded store.
    pub async fn wait_until(&self, revision: u64) {
        let Some(followed) = self.followed.get() else { return self.store.wait_progress(revision).await };
        loop {
            let advanced = followed.advanced.notified();
            if self.progress() >= revision {
                return;
            }
            advanced.await;
        }
    }

    /// Watches keys under `prefix`.
    ///
    /// `after` is the last revision the reader has seen; changes after it are delivered, from the ring or the store's
    /// history (none: changes from now on). With `initial` the present entries come first as [`Delivery::Initial`],
    /// then [`Delivery::InitialEnd`], then changes, and `after` is ignored.
    ///
    /// # Errors
    /// [`Error::Compacted`] when changes after `after` are no longer known.
    pub async fn subscribe(
        self: &Arc<Self>,
        prefix: &str,
        after: Option<u64>,
        initial: bool,
    ) -> Result<Watcher<D>> {
        if let Some(watcher) = self.join(prefix, after, initial, Vec::new()) {
            return Ok(watcher);
        }
        history::resume(self, prefix, after.unwrap_or(0)).await
    }

    /// Ends all watches, e.g. because the decoder's schema changed; their readers resume or list again.
    pub fn close_watchers(&self) {
        self.state.write().end_watchers(&WatchEnd::Reset);
    }

    /// The number of watchers.
    pub fn watcher_count(&self) -> usize {
        self.state.read().watcher_count()
    }

    /// Registers a watcher if the ring reaches back to `after`.
    fn join(
        self: &Arc<Self>,
        prefix: &str,
        after: Option<u64>,
        initial: bool,
        backlog: Vec<Arc<Change<D::Object>>>,
    ) -> Option<Watcher<D>> {
        let progress = self.progress();
        let mut state = self.state.write();
        let now = state.last.max(progress);
        let after = if initial { now } else { after.unwrap_or(now) };
        let mut deliveries = std::collections::VecDeque::with_capacity(backlog.len());
        if initial {
            let page = state.page(prefix, None, 0, now);
            deliveries.extend(page.entries.into_iter().map(Delivery::Initial));
            deliveries.push_back(Delivery::InitialEnd { revision: now });
        }
        deliveries.extend(backlog.into_iter().map(Delivery::Change));
        deliveries.extend(state.after(prefix, after)?.map(Delivery::Change));
        let (receiver, end) = state.add_watcher(prefix, self.options.watcher_events_max);
        drop(state);
        Some(Watcher::new(Arc::clone(self), deliveries, receiver, end, after))
    }

    fn progress(&self) -> u64 {
        match self.followed.get() {
            None => self.store.progress(),
            Some(followed) => followed.revision.load(Ordering::Acquire),
        }
    }

    fn entry(&self, record: &Record, revision: u64) -> Result<Arc<Entry<D::Object>>, Undecodable> {
        let Record { key, value, created, .. } = record;
        match self.decoder.decode(key, value, revision) {
            Ok(object) => {
                Ok(Arc::new(Entry { key: Arc::clone(key), created: *created, modified: revision, object }))
            }
            Err(error) => {
                tracing::error!(%key, revision, %error, "stored object cannot be decoded");
                Err(Undecodable { key: Arc::clone(key), modified: revision, message: error.message })
            }
        }
    }

    /// Takes the listed records and whatever was applied meanwhile.
    fn fill(&self, records: &[Record], revision: u64) {
        let entries: Vec<_> = records.iter().map(|record| self.entry(record, record.modified)).collect();
        let mut state = self.state.write();
        let backlog = state.fill(entries, revision);
        for event in backlog.into_iter().filter(|event| event.revision > revision) {
            state.apply(self.decoded(&event), &self.options);
        }
    }

    /// Lists again after the followed stream broke, and opens a new one.
    async fn reload(&self) -> Result<WatchStream> {
        let listing = self.store.list(&self.prefix, None, 0, None).await?;
        let stream = self.store.watch(&self.prefix, listing.revision).await?;
        self.fill(&listing.records, listing.revision);
        self.advance(listing.revision);
        Ok(stream)
    }

    fn advance(&self, revision: u64) {
        if let Some(followed) = self.followed.get() {
            followed.revision.fetch_max(revision, Ordering::AcqRel);
            followed.advanced.notify_waiters();
        }
    }

    /// Decodes what an event brings, outside the lock.
    fn decoded(&self, event: &Event) -> state::Decoded<D::Object> {
        let current = match &event.kind {
            crate::EventKind::Put { record, .. } => Some(self.entry(record, event.revision)),
            crate::EventKind::Delete { previous } => {
                previous.as_ref().map(|record| self.entry(record, event.revision))
            }
        };
        let bytes = event.previous().map_or(0, |record| record.value.len())
            + if let crate::EventKind::Put { record, .. } = &event.kind { record.value.len() } else { 0 };
        let deleted = matches!(event.kind, crate::EventKind::Delete { .. });
        state::Decoded { key: Arc::clone(&event.key), revision: event.revision, deleted, current, bytes }
    }
}

impl<D: Decode> Sink for Cache<D> {
    fn apply(&self, events: &[Event]) {
        if self.state.write().defer(events) {
            return;
        }
        // Commits come one at a time, so decoding needs no lock and readers are not held up.
        let decoded: Vec<_> = events.iter().map(|event| self.decoded(event)).collect();
        let mut state = self.state.write();
        for change in decoded {
            state.apply(change, &self.options);
        }
    }
}

/// Follows the stream of a store that cannot call the cache itself; lists anew when it breaks.
async fn follow<D: Decode>(cache: Weak<Cache<D>>, mut stream: WatchStream) {
    loop {
        let batch = stream.next().await;
        let Some(cache) = cache.upgrade() else { return };
        match batch {
            Ok(batch) => {
                cache.apply(&batch.events);
                cache.advance(batch.revision);
            }
            Err(Error::Closed) => return,
            Err(error) => {
                tracing::warn!(prefix = cache.prefix, %error, "watch cache lists again");
                match cache.reload().await {
                    Ok(fresh) => stream = fresh,
                    Err(error) => {
                        tracing::error!(prefix = cache.prefix, %error, "watch cache cannot follow the store");
                        cache.close_watchers();
                        return;
                    }
                }
            }
        }
    }
}
