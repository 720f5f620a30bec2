//! The back end that keeps everything in memory: for tests, simulation and throw-away clusters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use parking_lot::Mutex;
use stdx::clock::Clock;

use crate::watch::Hub;
use crate::{
    Batch, Error, Event, EventKind, Listing, Operation, Outcome, Record, Result, Sink, Store, Transaction,
    WatchStream, limits,
};

/// A store in memory.
pub struct MemoryStore {
    clock: Clock,
    state: Mutex<State>,
    hub: Hub,
}

struct State {
    revision: u64,
    compacted: u64,
    records: BTreeMap<Arc<str>, Held>,
    leases: BTreeSet<(u64, Arc<str>)>,
    log: VecDeque<Event>,
}

struct Held {
    record: Record,
    expires_s: Option<u64>,
}

impl MemoryStore {
    /// An empty store at revision 1; leases count on `clock`.
    pub fn new(clock: Clock) -> Self {
        let state = State {
            revision: 1,
            compacted: 0,
            records: BTreeMap::new(),
            leases: BTreeSet::new(),
            log: VecDeque::new(),
        };
        Self { clock, state: Mutex::new(state), hub: Hub::new(1) }
    }

    fn commit(&self, state: &mut State, transaction: Transaction) -> Result<Outcome> {
        let now_s = now_s(&self.clock);
        let modified = |key: &str| state.records.get(key).map(|held| held.record.modified);
        if !transaction.conditions.iter().all(|condition| condition.expect.holds(modified(&condition.key))) {
            let observe = |key: &str| state.records.get(key).map(|held| held.record.clone());
            let observed = transaction.conditions.iter().map(|condition| observe(&condition.key)).collect();
            return Ok(Outcome::Conflict { observed });
        }
        let revision = state.revision + 1;
        let apply = |operation| state.apply(revision, operation, now_s);
        let events: Vec<Event> = transaction.operations.into_iter().filter_map(apply).collect();
        if events.is_empty() {
            return Ok(Outcome::Committed { revision: state.revision });
        }
        state.revision = revision;
        state.log.extend(events.iter().cloned());
        // Published under the lock, so that readers see commits in their order.
        self.hub.publish(&events, revision);
        Ok(Outcome::Committed { revision })
    }
}

/// Seconds of Unix time.
pub(crate) fn now_s(clock: &Clock) -> u64 {
    u64::try_from(clock.now().as_second()).unwrap_or(0)
}

impl State {
    fn apply(&mut self, revision: u64, operation: Operation, now_s: u64) -> Option<Event> {
        match operation {
            Operation::Put { key, value, lease_ttl_s } => {
                let previous = self.remove(&key);
                let key: Arc<str> =
                    previous.as_ref().map_or_else(|| key.into(), |record| Arc::clone(&record.key));
                let created = previous.as_ref().map_or(revision, |record| record.created);
                let record = Record { key: Arc::clone(&key), value, created, modified: revision };
                let expires_s = lease_ttl_s.map(|ttl_s| now_s.saturating_add(ttl_s));
                self.leases.extend(expires_s.map(|at_s| (at_s, Arc::clone(&key))));
                self.records.insert(Arc::clone(&key), Held { record: record.clone(), expires_s });
                Some(Event { revision, key, kind: EventKind::Put { record, previous } })
            }
            Operation::Delete { key } => {
                let previous = self.remove(&key)?;
                let key = Arc::clone(&previous.key);
                Some(Event { revision, key, kind: EventKind::Delete { previous: Some(previous) } })
            }
        }
    }

    fn remove(&mut self, key: &str) -> Option<Record> {
        let held = self.records.remove(key)?;
        if let Some(at_s) = held.expires_s {
            self.leases.remove(&(at_s, Arc::clone(&held.record.key)));
        }
        Some(held.record)
    }

    fn check_at(&self, at: u64) -> Result<()> {
        if at > self.revision {
            return Err(Error::Future { requested: at, current: self.revision });
        }
        if at < self.compacted {
            return Err(Error::Compacted { requested: at, compacted: self.compacted });
        }
        Ok(())
    }

    /// The events after a revision, oldest first.
    fn after(&self, revision: u64) -> impl DoubleEndedIterator<Item = &Event> {
        self.log.range(self.log.partition_point(|event| event.revision <= revision)..)
    }

    /// What differs from now at revision `at`: keys with the record they had.
    fn undone(&self, prefix: &str, at: u64) -> BTreeMap<Arc<str>, Option<Record>> {
        let wanted = self.after(at).rev().filter(|event| event.key.starts_with(prefix));
        wanted.map(|event| (Arc::clone(&event.key), event.previous().cloned())).collect()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn revision(&self) -> Result<u64> {
        Ok(self.state.lock().revision)
    }

    async fn get(&self, key: &str) -> Result<Option<Record>> {
        Ok(self.state.lock().records.get(key).map(|held| held.record.clone()))
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        at: Option<u64>,
    ) -> Result<Listing> {
        let state = self.state.lock();
        let revision = at.unwrap_or(state.revision);
        state.check_at(revision)?;
        let undone = state.undone(prefix, revision);
        let from = match start_after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let current = state.records.range::<str, _>((from, Bound::Unbounded));
        let current = current.take_while(|(key, _)| key.starts_with(prefix));
        let current =
            current.filter(|(key, _)| !undone.contains_key(*key)).map(|(_, held)| held.record.clone());
        let gone = undone.range::<str, _>((from, Bound::Unbounded)).filter_map(|(_, record)| record.clone());
        let mut records: Vec<Record> = current.chain(gone).collect();
        records.sort_by(|left, right| left.key.cmp(&right.key));
        let limit = if limit == 0 { usize::MAX } else { limit };
        let remaining = records.len().saturating_sub(limit);
        records.truncate(limit);
        Ok(Listing { records, revision, more: remaining > 0, remaining: Some(remaining as u64) })
    }

    async fn transact(&self, transaction: Transaction) -> Result<Outcome> {
        limits::check(&transaction)?;
        self.commit(&mut self.state.lock(), transaction)
    }

    async fn watch(&self, prefix: &str, after: u64) -> Result<WatchStream> {
        let state = self.state.lock();
        if after < state.compacted {
            return Err(Error::Compacted { requested: after, compacted: state.compacted });
        }
        let (mut stream, revision) = self.hub.open(prefix);
        let events = state.after(after).filter(|event| event.key.starts_with(prefix)).cloned().collect();
        stream.prepend(vec![Batch { revision, events }]);
        Ok(stream)
    }

    async fn compact(&self, revision: u64) -> Result<()> {
        let mut state = self.state.lock();
        if revision > state.revision {
            return Err(Error::Future { requested: revision, current: state.revision });
        }
        if revision <= state.compacted {
            return Err(Error::Compacted { requested: revision, compacted: state.compacted });
        }
        state.compacted = revision;
        let keep = state.log.partition_point(|event| event.revision <= revision);
        state.log.drain(..keep);
        Ok(())
    }

    fn progress(&self) -> u64 {
        self.hub.progress()
    }

    async fn wait_progress(&self, revision: u64) {
        self.hub.wait(revision).await;
    }

    async fn expire(&self, now_s: u64) -> Result<usize> {
        let mut state = self.state.lock();
        let mut count = 0;
        loop {
            let due = state.leases.iter().take_while(|(at_s, _)| *at_s <= now_s).take(limits::OPERATIONS_MAX);
            let due: Vec<_> = due.map(|(_, key)| key.to_string()).collect();
            if due.is_empty() {
                return Ok(count);
            }
            count += due.len();
            self.commit(&mut state, due.into_iter().fold(Transaction::default(), Transaction::remove))?;
        }
    }

    fn attach(&self, prefix: &str, sink: Weak<dyn Sink>) -> bool {
        self.hub.attach(prefix, sink);
        true
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.hub.close();
    }
}
