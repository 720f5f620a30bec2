//! The one writer: takes waiting requests, performs them in one database transaction, synchronises once, tells the
//! readers, then the callers.

use std::sync::Arc;

use redb::{ReadableTable, Table, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::tables::{self, COMPACTED, LATEST, LEASES, LOG, META};
use super::{Failure, Shared};
use crate::{Error, Event, EventKind, Operation, Outcome, Record, Result, Transaction};

/// Requests that may be committed together.
const GROUP_MAX: usize = 512;

/// Bytes of requests that may be committed together.
const GROUP_BYTES_MAX: usize = 8 << 20;

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
    fn bytes(&self) -> usize {
        let Request::Transact(transaction) = &self.request else { return 0 };
        let value = |operation: &Operation| match operation {
            Operation::Put { value, .. } => value.len(),
            Operation::Delete { .. } => 0,
        };
        transaction.operations.iter().map(value).sum()
    }
}

/// Runs until the store is dropped.
pub(super) fn run(shared: &Shared, mut queue: mpsc::Receiver<Job>) {
    while let Some(job) = queue.blocking_recv() {
        let mut bytes = job.bytes();
        let mut group = vec![job];
        while group.len() < GROUP_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(job) = queue.try_recv() else { break };
            bytes += job.bytes();
            group.push(job);
        }
        perform(shared, group);
    }
}

/// Performs a group of requests and answers them.
pub(super) fn perform(shared: &Shared, group: Vec<Job>) {
    let (requests, replies): (Vec<_>, Vec<_>) = group.into_iter().map(|job| (job.request, job.reply)).unzip();
    match shared.with(|database| commit(shared, database.begin_write()?, requests)) {
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

fn commit(
    shared: &Shared,
    mut write: WriteTransaction,
    requests: Vec<Request>,
) -> std::result::Result<Committed, Failure> {
    // Saves the allocator's state with each commit, so that opening after a crash takes no walk over the file.
    write.set_quick_repair(true);
    let mut answers = Vec::with_capacity(requests.len());
    let mut group = Group::open(shared, &write)?;
    let first = (group.revision, group.compacted);
    for request in requests {
        answers.push(match request {
            Request::Transact(transaction) => group.transact(transaction)?.map(Answer::Outcome),
            Request::Compact(revision) => group.compact(revision)?.map(|()| Answer::Compacted),
            Request::Expire(now_s) => Ok(Answer::Expired(group.expire(now_s)?)),
        });
    }
    let (revision, compacted) = (group.revision, group.compacted);
    let events = std::mem::take(&mut group.events);
    drop(group);
    if (revision, compacted) == first {
        // Only conflicts: nothing to write down.
        write.abort()?;
    } else {
        write.commit()?;
    }
    Ok((answers, events, revision))
}

/// The tables during one database transaction.
struct Group<'write> {
    latest: Table<'write, &'static str, &'static [u8]>,
    log: Table<'write, (u64, u32), &'static [u8]>,
    leases: Table<'write, (u64, &'static str), ()>,
    meta: Table<'write, &'static str, u64>,
    now_s: u64,
    revision: u64,
    compacted: u64,
    events: Vec<Event>,
}

impl<'write> Group<'write> {
    fn open(shared: &Shared, write: &'write WriteTransaction) -> std::result::Result<Self, Failure> {
        let (log, meta) = (write.open_table(LOG)?, write.open_table(META)?);
        let compacted = meta.get(COMPACTED)?.map_or(0, |row| row.value());
        Ok(Self {
            latest: write.open_table(LATEST)?,
            leases: write.open_table(LEASES)?,
            now_s: crate::memory::now_s(&shared.clock),
            revision: tables::revision(&log, compacted)?,
            compacted,
            events: Vec::new(),
            log,
            meta,
        })
    }

    fn record(&self, key: &str) -> std::result::Result<Option<tables::Latest>, Failure> {
        let row = self.latest.get(key)?;
        Ok(row.map(|row| tables::decode_latest(key, row.value())).transpose()?)
    }

    fn transact(&mut self, transaction: Transaction) -> std::result::Result<Result<Outcome>, Failure> {
        for condition in &transaction.conditions {
            let row = self.latest.get(condition.key.as_str())?;
            let modified = row.map(|row| tables::modified(row.value())).transpose()?;
            if !condition.expect.holds(modified) {
                let observed = transaction.conditions.iter().map(|condition| self.record(&condition.key));
                let observed = observed.map(|found| Ok(found?.map(|latest| latest.record)));
                let observed = observed.collect::<std::result::Result<_, Failure>>()?;
                return Ok(Ok(Outcome::Conflict { observed }));
            }
        }
        self.apply(transaction.operations)?;
        Ok(Ok(Outcome::Committed { revision: self.revision }))
    }

    /// Performs operations at the next revision, if they change anything.
    fn apply(&mut self, operations: Vec<Operation>) -> std::result::Result<(), Failure> {
        let revision = self.revision + 1;
        let mut ordinal = 0;
        for operation in operations {
            if let Some(event) = self.operate(revision, operation)? {
                self.log.insert((revision, ordinal), tables::encode_undo(&event).as_slice())?;
                self.events.push(event);
                ordinal += 1;
            }
        }
        if ordinal > 0 {
            self.revision = revision;
        }
        Ok(())
    }

    fn operate(
        &mut self,
        revision: u64,
        operation: Operation,
    ) -> std::result::Result<Option<Event>, Failure> {
        let found = self.record(operation.key())?;
        if let Some(at_s) = found.as_ref().and_then(|latest| latest.expires_s) {
            self.leases.remove((at_s, operation.key()))?;
        }
        let previous = found.map(|latest| latest.record);
        match operation {
            Operation::Put { key, value, lease_ttl_s } => {
                let created = previous.as_ref().map_or(revision, |record| record.created);
                let expires_s = lease_ttl_s.map(|ttl_s| self.now_s.saturating_add(ttl_s).max(1));
                if let Some(at_s) = expires_s {
                    self.leases.insert((at_s, key.as_str()), ())?;
                }
                let row = tables::encode_latest(created, revision, expires_s, &value);
                self.latest.insert(key.as_str(), row.as_slice())?;
                let key: Arc<str> = key.into();
                let record = Record { key: Arc::clone(&key), value, created, modified: revision };
                Ok(Some(Event { revision, key, kind: EventKind::Put { record, previous } }))
            }
            Operation::Delete { key } => {
                let Some(previous) = previous else { return Ok(None) };
                self.latest.remove(key.as_str())?;
                let kind = EventKind::Delete { previous: Some(previous) };
                Ok(Some(Event { revision, key: key.into(), kind }))
            }
        }
    }

    fn compact(&mut self, revision: u64) -> std::result::Result<Result<()>, Failure> {
        if revision > self.revision {
            return Ok(Err(Error::Future { requested: revision, current: self.revision }));
        }
        if revision <= self.compacted {
            return Ok(Err(Error::Compacted { requested: revision, compacted: self.compacted }));
        }
        self.meta.insert(COMPACTED, revision)?;
        self.compacted = revision;
        self.log.retain_in(..(revision + 1, 0), |_, _| false)?;
        Ok(Ok(()))
    }

    fn expire(&mut self, now_s: u64) -> std::result::Result<usize, Failure> {
        let mut count = 0;
        loop {
            let mut due = Vec::new();
            for row in self.leases.range(..(now_s.saturating_add(1), ""))?.take(crate::OPERATIONS_MAX) {
                due.push(Operation::Delete { key: row?.0.value().1.to_owned() });
            }
            if due.is_empty() {
                return Ok(count);
            }
            count += due.len();
            self.apply(due)?;
        }
    }
}
