//! The back end on disk: redb behind a journal, one writer with group commit.
//!
//! Requests wait in a bounded queue; the writer performs all that wait in one database transaction and one frame of the
//! journal, so that many callers share one synchronisation. Nothing is acknowledged or shown to watchers before it is on
//! disk. When the disk fails or is full, redb refuses everything until it is opened anew; that happens with the next
//! request, so reads go on and writes resume by themselves.

mod journal;
mod queue;
mod storage;
mod tables;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, StorageError};
use stdx::clock::Clock;
use tokio::sync::oneshot;

pub use storage::{FileStorage, Part};

use crate::datadir::{DataDir, from_io};
use crate::watch::Hub;
use crate::{
    Batch, Error, Listing, Outcome, Record, Result, Sink, Store, Transaction, WatchStream, limits, prefix_end,
};
use journal::Journal;
use queue::Queue;
use tables::{COMPACTED, LATEST, LEASES, LOG, META};
use writer::{Answer, Job, Request};

/// Choices of an embedded store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of pages kept in memory. The watch caches serve reads, so few are needed.
    pub page_cache_bytes: usize,
    /// Bytes of changes after which the database itself is synchronised. All of them are pages that the page cache holds
    /// several times over.
    pub journal_bytes: u64,
    /// Requests that may wait for the writer.
    pub queue_max: usize,
    /// Whether a thread writes (else each caller does, so that a simulator sees one thread).
    pub writer_thread: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { page_cache_bytes: 8 << 20, journal_bytes: 1 << 20, queue_max: 4096, writer_thread: true }
    }
}

/// A store in a file.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    writing: Writing,
}

enum Writing {
    Thread { queue: Arc<Queue>, thread: Option<JoinHandle<()>> },
    Caller(Mutex<()>),
}

/// The database and the journal before it.
struct Opened {
    database: Database,
    /// Locked by the one who writes.
    journal: Mutex<Journal>,
}

/// Opens both, at first and after a failure of the disk.
type Open = Box<dyn Fn() -> std::result::Result<Opened, Failure> + Send + Sync>;

pub(crate) struct Shared {
    clock: Clock,
    path: PathBuf,
    hub: Hub,
    /// None: it failed and is opened again with the next use. Nobody holds it longer than one operation.
    opened: RwLock<Option<Opened>>,
    open: Open,
    _directory: Option<DataDir>,
}

/// A failure of the database.
#[derive(Debug)]
pub(crate) struct Failure(redb::Error);

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl Failure {
    fn into_error(self, path: &Path) -> Error {
        let path_buf = path.to_owned();
        match self.0 {
            redb::Error::Io(error) => from_io(path, &error),
            redb::Error::Corrupted(message) => Error::Corrupt { path: path_buf, message },
            other => Error::Io { path: path_buf, message: other.to_string() },
        }
    }
}

impl Shared {
    /// Runs one operation on the database; opens it first if it failed before.
    fn with<T>(&self, action: impl FnOnce(&Opened) -> std::result::Result<T, Failure>) -> Result<T> {
        self.reopen()?;
        let result = match &*self.opened.read() {
            Some(opened) => action(opened),
            None => Err(Failure(StorageError::PreviousIo.into())),
        };
        result.map_err(|failure| {
            // After a failure of the disk redb answers nothing more; what is on disk is consistent.
            *self.opened.write() = None;
            failure.into_error(&self.path)
        })
    }

    fn reopen(&self) -> Result<()> {
        if self.opened.read().is_some() {
            return Ok(());
        }
        let mut place = self.opened.write();
        if place.is_none() {
            let opened = (self.open)().map_err(|failure| failure.into_error(&self.path))?;
            self.catch_up(&opened.database).map_err(|failure| failure.into_error(&self.path))?;
            *place = Some(opened);
        }
        Ok(())
    }

    /// Shows readers what a commit left on disk whose failure was reported: it may have happened all the same.
    fn catch_up(&self, database: &Database) -> std::result::Result<(), Failure> {
        let read = database.begin_read()?;
        let (_, current) = bounds(&read)?;
        let shown = self.hub.progress();
        if current < shown {
            let message = format!("revision {shown} was acknowledged, but the file ends at {current}");
            return Err(Failure(redb::Error::Corrupted(message)));
        }
        if current > shown {
            let (latest, log) = (read.open_table(LATEST)?, read.open_table(LOG)?);
            self.hub.publish(&tables::replay(&latest, &log, "", shown, current)?, current);
        }
        Ok(())
    }

    fn read<T>(&self, action: impl FnOnce(ReadTransaction) -> std::result::Result<T, Failure>) -> Result<T> {
        self.with(|opened| action(opened.database.begin_read()?))
    }
}

impl EmbeddedStore {
    /// Opens the store in a directory, which is created if need be and locked.
    ///
    /// # Errors
    /// [`Error::DataDirLocked`], [`Error::DataDirNewer`], or what the disk says.
    pub fn open(directory: &Path, clock: Clock, options: &Options) -> Result<Self> {
        let locked = DataDir::open(directory)?;
        let path = directory.join(Part::Database.file_name());
        create(directory)?;
        let storage = {
            let directory = directory.to_owned();
            move |part: Part| FileStorage::open(&directory.join(part.file_name()))
        };
        Self::build(path, storage, Some(locked), clock, options)
    }

    /// Opens a store above any storage, whose parts `storage` opens (again, after one failed). `path` is for messages only;
    /// keeping others away is up to the caller.
    ///
    /// # Errors
    /// What the storage says.
    pub fn open_on<S: StorageBackend>(
        path: &Path,
        storage: impl Fn(Part) -> std::io::Result<S> + Send + Sync + 'static,
        clock: Clock,
        options: &Options,
    ) -> Result<Self> {
        Self::build(path.to_owned(), storage, None, clock, options)
    }

    fn build<S: StorageBackend>(
        path: PathBuf,
        storage: impl Fn(Part) -> std::io::Result<S> + Send + Sync + 'static,
        directory: Option<DataDir>,
        clock: Clock,
        options: &Options,
    ) -> Result<Self> {
        let Options { page_cache_bytes, journal_bytes, .. } = *options;
        let opening = clock.clone();
        let open: Open = Box::new(move || {
            let mut builder = Database::builder();
            builder.set_cache_size(page_cache_bytes);
            let database = builder.create_with_backend(storage(Part::Database)?)?;
            let revision = prepare(&database)?;
            let journal = Box::new(storage(Part::Journal)?);
            let (journal, changes) = Journal::open(journal, journal_bytes, revision)?;
            writer::replay(&database, &opening, changes)?;
            Ok(Opened { database, journal: Mutex::new(journal) })
        });
        let begin = || -> std::result::Result<_, Failure> {
            let opened = open()?;
            // Who was killed had not waited for all that is found. Nothing of it is shown before it is on disk.
            writer::synchronise(&opened)?;
            let (_, revision) = bounds(&opened.database.begin_read()?)?;
            Ok((opened, revision))
        };
        let (opened, revision) = begin().map_err(|failure| failure.into_error(&path))?;
        let shared = Arc::new(Shared {
            clock,
            path,
            hub: Hub::new(revision),
            opened: RwLock::new(Some(opened)),
            open,
            _directory: directory,
        });
        let writing = if options.writer_thread {
            let queue = Arc::new(Queue::new(options.queue_max));
            let run = {
                let (shared, queue) = (Arc::clone(&shared), Arc::clone(&queue));
                move || writer::run(&shared, &queue)
            };
            let thread = std::thread::Builder::new().name("store-writer".into()).spawn(run);
            let thread = thread.map_err(|error| from_io(&shared.path, &error))?;
            Writing::Thread { queue, thread: Some(thread) }
        } else {
            Writing::Caller(Mutex::new(()))
        };
        Ok(Self { shared, writing })
    }

    async fn ask(&self, request: Request) -> Result<Answer> {
        let (reply, answer) = oneshot::channel();
        let job = Job { request, reply };
        match &self.writing {
            Writing::Thread { queue, .. } => {
                if !queue.push(job).await {
                    return Err(Error::Closed);
                }
            }
            Writing::Caller(turn) => {
                let _turn = turn.lock();
                writer::perform(&self.shared, vec![job]);
            }
        }
        answer.await.map_err(|_| Error::Closed)?
    }
}

/// Makes the files that are not there. The database of a new store gets another name first: half of one, left by a failure
/// of the power, could not be opened ever after.
fn create(directory: &Path) -> Result<()> {
    let [path, journal] = [Part::Database, Part::Journal].map(|part| directory.join(part.file_name()));
    if path.exists() && journal.exists() {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    let make = || -> std::result::Result<(), Failure> {
        FileStorage::open(&journal)?;
        if !path.exists() {
            // Not written over but made anew: only its owner may read it.
            match std::fs::remove_file(&fresh) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            let database = Database::builder().create_with_backend(FileStorage::open(&fresh)?)?;
            prepare(&database)?;
            drop(database);
            std::fs::rename(&fresh, &path)?;
        }
        // The names, too, must last.
        std::fs::File::open(directory)?.sync_all()?;
        Ok(())
    };
    make().map_err(|failure| failure.into_error(&path))
}

/// Makes the tables if they are not there; gives the current revision.
fn prepare(database: &Database) -> std::result::Result<u64, Failure> {
    match database.begin_read()?.open_table(META) {
        Ok(_) => {}
        Err(redb::TableError::TableDoesNotExist(_)) => {
            let write = database.begin_write()?;
            write.open_table(LATEST)?;
            write.open_table(LEASES)?;
            write.open_table(LOG)?;
            write.open_table(META)?;
            writer::commit_to_disk(write)?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(bounds(&database.begin_read()?)?.1)
}

/// The bounds of history in a snapshot: compacted and newest revision.
fn bounds(read: &ReadTransaction) -> std::result::Result<(u64, u64), Failure> {
    let compacted = read.open_table(META)?.get(COMPACTED)?.map_or(0, |row| row.value());
    Ok((compacted, tables::revision(&read.open_table(LOG)?, compacted)?))
}

fn list_in(
    read: &ReadTransaction,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
    at: Option<u64>,
) -> std::result::Result<Result<Listing>, Failure> {
    let (compacted, current) = bounds(read)?;
    let revision = at.unwrap_or(current);
    if revision > current {
        return Ok(Err(Error::Future { requested: revision, current }));
    }
    if revision < compacted {
        return Ok(Err(Error::Compacted { requested: revision, compacted }));
    }
    let undone = tables::undone(&read.open_table(LOG)?, prefix, revision)?;
    let skip = start_after.filter(|after| *after >= prefix);
    let behind = |key: &str| skip.is_none_or(|after| key > after);
    let latest = read.open_table(LATEST)?;
    let from = skip.unwrap_or(prefix);
    let rows = match prefix_end(prefix) {
        Some(end) if *from < *end => latest.range::<&[u8]>(from.as_bytes()..end.as_bytes())?,
        Some(_) => latest.range::<&[u8]>(from.as_bytes()..from.as_bytes())?,
        None => latest.range::<&[u8]>(from.as_bytes()..)?,
    };
    let wanted = if limit == 0 { usize::MAX } else { limit };
    let mut past = undone.values().flatten().filter(|record| behind(&record.key)).cloned().peekable();
    let (mut records, mut remaining): (Vec<Record>, u64) = (Vec::new(), 0);
    for row in rows {
        let (key, row) = row?;
        let key = tables::text(key.value())?;
        while let Some(record) = past.next_if(|record| *record.key < *key) {
            if records.len() < wanted { records.push(record) } else { remaining += 1 }
        }
        if !behind(key) || undone.contains_key(key) {
            continue;
        }
        if records.len() < wanted {
            records.push(tables::decode_latest(key.into(), row.value())?.record);
        } else {
            remaining += 1;
        }
    }
    for record in past {
        if records.len() < wanted { records.push(record) } else { remaining += 1 }
    }
    Ok(Ok(Listing { records, revision, more: remaining > 0, remaining: Some(remaining) }))
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn revision(&self) -> Result<u64> {
        Ok(self.shared.hub.progress())
    }

    async fn get(&self, key: &str) -> Result<Option<Record>> {
        self.shared.read(|read| {
            let row = read.open_table(LATEST)?.get(key.as_bytes())?;
            Ok(row
                .map(|row| tables::decode_latest(key.into(), row.value()))
                .transpose()?
                .map(|latest| latest.record))
        })
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        at: Option<u64>,
    ) -> Result<Listing> {
        self.shared.read(|read| list_in(&read, prefix, start_after, limit, at))?
    }

    async fn transact(&self, transaction: Transaction) -> Result<Outcome> {
        limits::check(&transaction)?;
        match self.ask(Request::Transact(transaction)).await? {
            Answer::Outcome(outcome) => Ok(outcome),
            Answer::Compacted | Answer::Expired(_) => Err(Error::Closed),
        }
    }

    async fn watch(&self, prefix: &str, after: u64) -> Result<WatchStream> {
        // Opened first: what is committed from here on comes through the stream, what was before is in the snapshot.
        let (mut stream, until) = self.shared.hub.open(prefix);
        let events = self.shared.read(|read| {
            let (compacted, _) = bounds(&read)?;
            if after < compacted {
                return Ok(Err(Error::Compacted { requested: after, compacted }));
            }
            let (latest, log) = (read.open_table(LATEST)?, read.open_table(LOG)?);
            Ok(Ok(tables::replay(&latest, &log, prefix, after, until)?))
        })??;
        stream.prepend(vec![Batch { revision: until, events }]);
        Ok(stream)
    }

    async fn compact(&self, revision: u64) -> Result<()> {
        self.ask(Request::Compact(revision)).await.map(drop)
    }

    fn progress(&self) -> u64 {
        self.shared.hub.progress()
    }

    async fn wait_progress(&self, revision: u64) {
        self.shared.hub.wait(revision).await;
    }

    async fn expire(&self, now_s: u64) -> Result<usize> {
        match self.ask(Request::Expire(now_s)).await? {
            Answer::Expired(count) => Ok(count),
            Answer::Outcome(_) | Answer::Compacted => Err(Error::Closed),
        }
    }

    fn attach(&self, prefix: &str, sink: Weak<dyn Sink>) -> bool {
        self.shared.hub.attach(prefix, sink);
        true
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        if let Writing::Thread { queue, thread } = &mut self.writing {
            // The writer finishes what waits, then ends. The database, dropped, writes what it holds in memory to the disk;
            // where that fails the journal has it.
            queue.close();
            if let Some(Err(_)) = thread.take().map(JoinHandle::join) {
                tracing::error!("store: the writer panicked");
            }
        }
        self.shared.hub.close();
    }
}
