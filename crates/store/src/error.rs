//! What can go wrong in a store. Where etcd has words for it, they are etcd's: clients see them.

use std::path::PathBuf;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed store operation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// History at or after the wanted revision is gone.
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted {
        /// What was asked for.
        requested: u64,
        /// The newest revision that is gone.
        compacted: u64,
    },
    /// The wanted revision has not happened yet.
    #[error("etcdserver: mvcc: required revision is a future revision")]
    Future {
        /// What was asked for.
        requested: u64,
        /// The newest revision.
        current: u64,
    },
    /// More than [`crate::REQUEST_BYTES_MAX`] bytes in one transaction.
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// More than [`crate::OPERATIONS_MAX`] operations or conditions in one transaction.
    #[error("etcdserver: too many operations in txn request")]
    TooManyOperations,
    /// Two operations on one key in one transaction.
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    /// The disk has no room; reads go on, writes resume when there is some.
    #[error("no space left for the store in {}: free some space, writing then resumes by itself", path.display())]
    Full {
        /// The store's directory or file.
        path: PathBuf,
    },
    /// Another process uses the data directory.
    #[error("data directory {} is in use by process {}", path.display(), holder.as_deref().unwrap_or("(unknown)"))]
    DataDirLocked {
        /// The directory.
        path: PathBuf,
        /// The holder's process id.
        holder: Option<String>,
    },
    /// A newer release wrote the data directory.
    #[error(
        "data directory {} has format {found}, this release knows up to {known}: use the newer release",
        path.display()
    )]
    DataDirNewer {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The newest version this release reads.
        known: u32,
    },
    /// A watcher did not take its events in time.
    #[error(
        "watch closed: the reader did not keep up with {queued_max} queued batches, resume from the last revision"
    )]
    Lagged {
        /// The bound of its queue.
        queued_max: usize,
    },
    /// The store was shut down.
    #[error("the store is closed")]
    Closed,
    /// What is on disk cannot be right.
    #[error("store {}: {message}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The disk or file system failed.
    #[error("store {}: {message}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        message: String,
    },
}
