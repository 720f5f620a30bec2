//! The reader's end of a watch on a cache.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Cache, Change, Decode, Entry, Undecodable};

/// What a watcher receives.
#[derive(Debug)]
pub enum Delivery<O> {
    /// An object that was there when the watch began.
    Initial(Arc<Entry<O>>),
    /// All objects that were there have been delivered.
    InitialEnd {
        /// The revision they show.
        revision: u64,
    },
    /// A change.
    Change(Arc<Change<O>>),
}

/// Why a watch ended. The reader may resume after the last revision it saw.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The reader did not take its changes in time.
    #[error("watch closed: the reader did not keep up")]
    Lagged,
    /// The cache started over.
    #[error("watch closed: the cache was reset")]
    Reset,
    /// An object became unreadable.
    #[error("stored object {} cannot be decoded: {}", .0.key, .0.message)]
    Undecodable(Undecodable),
}

/// A watch. Dropping it ends it.
pub struct Watcher<D: Decode> {
    cache: Arc<Cache<D>>,
    backlog: VecDeque<Delivery<D::Object>>,
    queue: mpsc::Receiver<Arc<Change<D::Object>>>,
    end: Arc<Mutex<Option<WatchEnd>>>,
    /// The reader has everything up to here; changes not after it are not delivered again.
    seen: u64,
    /// The same for changes that were given out.
    delivered: u64,
}

impl<D: Decode> Watcher<D> {
    pub(super) fn new(
        cache: Arc<Cache<D>>,
        backlog: VecDeque<Delivery<D::Object>>,
        queue: mpsc::Receiver<Arc<Change<D::Object>>>,
        end: Arc<Mutex<Option<WatchEnd>>>,
        seen: u64,
    ) -> Self {
        Self { cache, backlog, queue, end, seen, delivered: seen }
    }

    /// The backlog begins after this revision.
    pub(super) fn started_at(&mut self, revision: u64) {
        self.delivered = revision;
    }

    /// The next delivery. Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// Why the watch is over; what had been queued before comes first.
    pub async fn next(&mut self) -> Result<Delivery<D::Object>, WatchEnd> {
        if let Some(delivery) = self.backlog.pop_front() {
            return Ok(self.note(delivery));
        }
        loop {
            let Some(change) = self.queue.recv().await else { return Err(self.reason()) };
            if change.revision > self.seen {
                return Ok(self.note(Delivery::Change(change)));
            }
        }
    }

    /// The next delivery if there is one now.
    ///
    /// # Errors
    /// Why the watch is over.
    pub fn try_next(&mut self) -> Result<Option<Delivery<D::Object>>, WatchEnd> {
        if let Some(delivery) = self.backlog.pop_front() {
            return Ok(Some(self.note(delivery)));
        }
        loop {
            match self.queue.try_recv() {
                Ok(change) if change.revision > self.seen => {
                    return Ok(Some(self.note(Delivery::Change(change))));
                }
                Ok(_) => {}
                Err(mpsc::error::TryRecvError::Empty) => return Ok(None),
                Err(mpsc::error::TryRecvError::Disconnected) => return Err(self.reason()),
            }
        }
    }

    /// The revision for a bookmark: the reader has been given every change up to it. Without waiting changes that is
    /// the cache's revision, else that of the last delivery.
    pub fn bookmark(&self) -> u64 {
        // Read before the queue is looked at: whatever is queued later is newer than this.
        let current = self.cache.current_revision();
        let idle = self.backlog.is_empty() && self.queue.is_empty() && self.end.lock().is_none();
        if idle { current.max(self.delivered) } else { self.delivered }
    }

    /// The cache watched.
    pub fn cache(&self) -> &Arc<Cache<D>> {
        &self.cache
    }

    fn note(&mut self, delivery: Delivery<D::Object>) -> Delivery<D::Object> {
        match &delivery {
            Delivery::Change(change) => {
                // Further changes of the same revision may follow: only the ones before it are complete.
                let more = match self.backlog.front() {
                    Some(Delivery::Change(next)) => next.revision == change.revision,
                    _ => !self.queue.is_empty(),
                };
                self.delivered = self.delivered.max(if more { change.revision - 1 } else { change.revision });
            }
            Delivery::InitialEnd { revision } => self.delivered = *revision,
            Delivery::Initial(_) => {}
        }
        delivery
    }

    fn reason(&self) -> WatchEnd {
        self.end.lock().clone().unwrap_or(WatchEnd::Reset)
    }
}
