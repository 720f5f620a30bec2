//! The one writer: takes waiting requests, performs them in one database transaction, synchronises the journal or the
//! database once, tells the readers, then the callers.

use std::sync::Arc;

use redb::{Database, Durability, ReadableTable, Table, WriteTransaction};
use stdx::clock::Clock;
use tokio::sync::oneshot;

use super::journal::{Change, Content, Frame};
use super::queue::Queue;
use super::tables::{self, COMPACTED, LATEST, LEASES, LOG, Latest, META};
use super::{Failure, Opened, Shared};
use crate::{Condition, Error, Event, EventKind, Operation, Outcome, Record, Result, Transaction};

/// Work for the writer.
pub(super) enum Request {
    Transact(Transaction),
    Compact(u64),
    Expire(u64),
}

/// What became of it.
pub(super) enum Answer {
    Outcome(Outcome),
    Compacted,
    Expired(usize),
}

/// A request and who waits for it.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) reply: oneshot::Sender<Result<Answer>>,
}

impl Job {
    /// The bytes of its values.
    pub(super) fn bytes(&self) -> usize {
        let Request::Transact(transaction) = &self.request else { return 0 };
        let value = |operation: &Operation| match operation {
            Operation::Put { value, .. } => value.len(),
            Operation::Delete { .. } => 0,
        };
        transaction.operations.iter().map(value).sum()
    }
}

/// Runs until the queue is closed.
pub(super) fn run(shared: &Shared, queue: &Queue) {
    let mut last = 1;
    while let Some(group) = queue.take(last) {
        last = group.len();
        perform(shared, group);
    }
}

/// Performs a group of requests and answers them.
pub(super) fn perform(shared: &Shared, group: Vec<Job>) {
    let (requests, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|job| (job.request, job.reply)).unzip();
    match shared.with(|opened| commit(shared, opened, requests)) {
        Ok((answers, events, revision)) => {
            if !events.is_empty() {
                shared.hub.publish(&events, revision);
            }
            for (reply, answer) in replies.into_iter().zip(answers) {
                // Whoever gave up waiting finds the result by reading.
                let _ = reply.send(answer);
            }
        }
        Err(error) => {
            tracing::error!(%error, "store: {} requests failed", replies.len());
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

type Committed = (Vec<Result<Answer>>, Vec<Event>, u64);

fn commit(shared: &Shared, opened: &Opened, requests: Vec<Request>) -> Attempt<Committed> {
    let write = opened.database.begin_write()?;
    let mut answers = Vec::with_capacity(requests.len());
    let mut group = Group::open(&shared.clock, &write)?;
    let first = (group.revision, group.compacted);
    for request in requests {
        answers.push(match request {
            Request::Transact(transaction) => group.transact(transaction)?.map(Answer::Outcome),
            Request::Compact(revision) => group.compact(revision)?.map(|()| Answer::Compacted),
            Request::Expire(now_s) => Ok(Answer::Expired(group.expire(now_s)?)),
        });
    }
    let (revision, compacted) = (group.revision, group.compacted);
    let (events, frame) = group.finish();
    if (revision, compacted) == first {
        // Only conflicts: nothing to write down.
        write.abort()?;
        return Ok((answers, events, revision));
    }
    let mut journal = opened.journal.lock();
    // A compaction is no change of a key, so no frame tells of it.
    if compacted == first.1 && journal.takes(&frame) {
        match journal.append(frame) {
            Ok(()) => {
                commit_in_memory(write)?;
                return Ok((answers, events, revision));
            }
            // The database needs no journal.
            Err(error) => tracing::warn!(%error, "store: writing the journal"),
        }
    }
    commit_to_disk(write)?;
    journal.clear();
    Ok((answers, events, revision))
}

/// Makes a transaction seen. It and those before it are in the journal.
fn commit_in_memory(mut write: WriteTransaction) -> Attempt<()> {
    write.set_durability(Durability::None).map_err(redb::Error::from)?;
    Ok(write.commit()?)
}

/// Writes a transaction, and all that were made in memory only, to the disk.
pub(super) fn commit_to_disk(mut write: WriteTransaction) -> Attempt<()> {
    // Saves the allocator's state, too, so that opening after a crash takes no walk over the file.
    write.set_quick_repair(true);
    Ok(write.commit()?)
}

/// Writes what is in memory only, the system's included, to the disk.
pub(super) fn synchronise(opened: &Opened) -> Attempt<()> {
    let mut journal = opened.journal.lock();
    commit_to_disk(opened.database.begin_write()?)?;
    journal.clear();
    Ok(())
}

/// Performs the changes of a journal again, in memory.
pub(super) fn replay(database: &Database, clock: &Clock, changes: Vec<(u64, Change)>) -> Attempt<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let write = database.begin_write()?;
    let mut group = Group::open(clock, &write)?;
    let mut changes = changes.into_iter().peekable();
    while let Some((revision, change)) = changes.next() {
        let mut together = vec![change];
        while let Some((_, change)) = changes.next_if(|(next, _)| *next == revision) {
            together.push(change);
        }
        let mut found = Vec::with_capacity(together.len());
        for change in together {
            let latest = group.find(&change.key)?;
            found.push((change, latest));
        }
        group.apply(found.into_iter())?;
        if group.revision != revision {
            let message = format!("the journal makes revision {revision}, the database {}", group.revision);
            return Err(Failure(redb::Error::Corrupted(message)));
        }
    }
    drop(group);
    commit_in_memory(write)
}

/// The tables during one database transaction.
struct Group<'write> {
    write: &'write WriteTransaction,
    latest: Table<'write, &'static [u8], &'static [u8]>,
    log: Table<'write, (u64, u32), &'static [u8]>,
    now_s: u64,
    revision: u64,
    compacted: u64,
    events: Vec<Event>,
    /// The same for the journal.
    frame: Frame,
}

type Attempt<T> = std::result::Result<T, Failure>;

impl<'write> Group<'write> {
    fn open(clock: &Clock, write: &'write WriteTransaction) -> Attempt<Self> {
        let log = write.open_table(LOG)?;
        let compacted = write.open_table(META)?.get(COMPACTED)?.map_or(0, |row| row.value());
        let revision = tables::revision(&log, compacted)?;
        Ok(Self {
            write,
            latest: write.open_table(LATEST)?,
            now_s: crate::memory::now_s(clock),
            revision,
            compacted,
            events: Vec::new(),
            frame: Frame::after(revision),
            log,
        })
    }

    /// Closes the tables; gives what was done.
    fn finish(self) -> (Vec<Event>, Frame) {
        (self.events, self.frame)
    }

    fn find(&self, key: &str) -> Attempt<Option<Latest>> {
        let row = self.latest.get(key.as_bytes())?;
        Ok(row.map(|row| tables::decode_latest(key.into(), row.value())).transpose()?)
    }

    fn transact(&mut self, transaction: Transaction) -> Attempt<Result<Outcome>> {
        let Transaction { conditions, operations } = transaction;
        let mut found = Vec::with_capacity(conditions.len());
        for condition in &conditions {
            found.push(self.find(&condition.key)?);
        }
        let holds = |(condition, found): (&Condition, &Option<Latest>)| {
            condition.expect.holds(found.as_ref().map(|latest| latest.record.modified))
        };
        if !conditions.iter().zip(&found).all(holds) {
            let observed = found.into_iter().map(|found| found.map(|latest| latest.record)).collect();
            return Ok(Ok(Outcome::Conflict { observed }));
        }
        // What a condition has looked up need not be looked up again (nor does an operation repeat a key).
        let mut found: Vec<_> =
            conditions.iter().map(|condition| condition.key.as_str()).zip(found).collect();
        let mut present = Vec::with_capacity(operations.len());
        for operation in &operations {
            let known = found.iter().position(|(key, _)| *key == operation.key());
            present.push(match known {
                Some(known) => found.swap_remove(known).1,
                None => self.find(operation.key())?,
            });
        }
        let now_s = self.now_s;
        let change = |operation| match operation {
            Operation::Put { key, value, lease_ttl_s } => {
                let expires_s = lease_ttl_s.map(|ttl_s: u64| now_s.saturating_add(ttl_s).max(1));
                Change { key, to: Some(Content { value, expires_s }) }
            }
            Operation::Delete { key } => Change { key, to: None },
        };
        self.apply(operations.into_iter().map(change).zip(present))?;
        Ok(Ok(Outcome::Committed { revision: self.revision }))
    }

    /// Makes changes, each with what its key holds, at the next revision, if there is anything to change.
    fn apply(&mut self, changes: impl Iterator<Item = (Change, Option<Latest>)>) -> Attempt<()> {
        let revision = self.revision + 1;
        let mut ordinal = 0;
        for (change, found) in changes {
            if change.to.is_none() && found.is_none() {
                continue;
            }
            self.frame.push(revision, &change);
            let event = self.change(revision, change, found)?;
            self.log.insert((revision, ordinal), tables::encode_undo(&event).as_slice())?;
            self.events.push(event);
            ordinal += 1;
        }
        if ordinal > 0 {
            self.revision = revision;
        }
        Ok(())
    }

    fn change(&mut self, revision: u64, change: Change, found: Option<Latest>) -> Attempt<Event> {
        let Change { key, to } = change;
        if let Some(at_s) = found.as_ref().and_then(|latest| latest.expires_s) {
            self.write.open_table(LEASES)?.remove((at_s, key.as_bytes()))?;
        }
        let previous = found.map(|latest| latest.record);
        let Some(Content { value, expires_s }) = to else {
            self.latest.remove(key.as_bytes())?;
            return Ok(Event { revision, key: key.into(), kind: EventKind::Delete { previous } });
        };
        let created = previous.as_ref().map_or(revision, |record| record.created);
        if let Some(at_s) = expires_s {
            self.write.open_table(LEASES)?.insert((at_s, key.as_bytes()), ())?;
        }
        let row = tables::encode_latest(created, revision, expires_s, &value);
        self.latest.insert(key.as_bytes(), row.as_slice())?;
        let key: Arc<str> = key.into();
        let record = Record { key: Arc::clone(&key), value, created, modified: revision };
        Ok(Event { revision, key, kind: EventKind::Put { record, previous } })
    }

    fn compact(&mut self, revision: u64) -> Attempt<Result<()>> {
        if revision > self.revision {
            return Ok(Err(Error::Future { requested: revision, current: self.revision }));
        }
        if revision <= self.compacted {
            return Ok(Err(Error::Compacted { requested: revision, compacted: self.compacted }));
        }
        self.write.open_table(META)?.insert(COMPACTED, revision)?;
        self.compacted = revision;
        self.log.retain_in(..(revision + 1, 0), |_, _| false)?;
        Ok(Ok(()))
    }

    fn expire(&mut self, now_s: u64) -> Attempt<usize> {
        let mut count = 0;
        loop {
            let mut due = Vec::new();
            let end: (u64, &[u8]) = (now_s.saturating_add(1), &[]);
            for row in self.write.open_table(LEASES)?.range(..end)?.take(crate::OPERATIONS_MAX) {
                let row = row?.0;
                let key = tables::text(row.value().1)?;
                due.push((Change { key: key.to_owned(), to: None }, self.find(key)?));
            }
            if due.is_empty() {
                return Ok(count);
            }
            count += due.len();
            self.apply(due.into_iter())?;
        }
    }
}
