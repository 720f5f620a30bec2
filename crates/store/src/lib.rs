//! The store: opaque bytes under string keys, one revision for all of them, every write a transaction.
//!
//! [`Store`] is the trait (etcd's model: revisions may have gaps, others may write, history may be compacted at any
//! time); [`memory`] and [`embedded`] are its back ends; [`cache`] sits above any of them and serves reads and watches
//! from memory. "Acknowledged" means on disk: [`Store::transact`] returns after the data was synchronised.

pub mod cache;
pub mod datadir;
pub mod embedded;
mod error;
mod limits;
pub mod maintenance;
pub mod memory;
mod record;
#[cfg(feature = "testing")]
pub mod suite;
pub mod watch;

use async_trait::async_trait;

pub use error::{Error, Result};
pub use limits::{OPERATIONS_MAX, REQUEST_BYTES_MAX};
pub use record::{
    Condition, Event, EventKind, Expect, Listing, Operation, Outcome, Record, Transaction, prefix_end,
};
pub use watch::{Batch, Sink, WatchStream};

/// A revisioned key-value store.
///
/// Revisions only grow; a fresh store is at revision 1, its first write makes 2 (so that an empty list has a version
/// that is not the special 0). All operations of one transaction share one revision.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The revision of the newest acknowledged write.
    async fn revision(&self) -> Result<u64>;

    /// The current record of a key.
    async fn get(&self, key: &str) -> Result<Option<Record>>;

    /// Records whose key starts with `prefix` and is greater than `start_after`, in key order, at most `limit`
    /// (0: all), as they were at revision `at` (none: now).
    ///
    /// # Errors
    /// [`Error::Compacted`] when that revision is gone, [`Error::Future`] when it is not there yet.
    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        at: Option<u64>,
    ) -> Result<Listing>;

    /// Performs all operations if all conditions hold, else none. Returns once the result is durable and every
    /// attached [`Sink`] has seen it. Deleting an absent key does nothing; a transaction that changes nothing makes
    /// no revision.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::TooManyOperations`], [`Error::DuplicateKey`]; [`Error::Full`] when the disk is.
    async fn transact(&self, transaction: Transaction) -> Result<Outcome>;

    /// Every change under `prefix` after `after` (a revision already seen), in order. The stream is bounded: a reader
    /// that does not keep up gets an error, never a gap.
    ///
    /// # Errors
    /// [`Error::Compacted`] when changes after `after` are gone.
    async fn watch(&self, prefix: &str, after: u64) -> Result<WatchStream>;

    /// Forgets history up to and including `revision`: lists and watches from before it fail.
    ///
    /// # Errors
    /// [`Error::Compacted`] when it already is, [`Error::Future`] when it is ahead.
    async fn compact(&self, revision: u64) -> Result<()>;

    /// The revision up to which every sink and watch stream has been given everything.
    fn progress(&self) -> u64;

    /// Waits until [`Store::progress`] reaches a revision.
    async fn wait_progress(&self, revision: u64);

    /// Deletes keys whose lease ended at or before `now_s` (seconds of Unix time); gives their number.
    async fn expire(&self, now_s: u64) -> Result<usize>;

    /// Calls `sink` synchronously for each later change under `prefix`, in commit order and before the writer's
    /// [`Store::transact`] returns. `false`: this back end cannot (its writers may be elsewhere); use
    /// [`Store::watch`].
    fn attach(&self, prefix: &str, sink: std::sync::Weak<dyn Sink>) -> bool {
        let _ = (prefix, sink);
        false
    }
}
