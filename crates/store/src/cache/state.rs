//! What a cache holds, under one lock: current entries, the ring of changes, undecodable keys, watchers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::sorted::{Position, Sorted};
use super::{Change, ChangeKind, Entry, Options, Page, Undecodable, WatchEnd};
use crate::{Event, prefix_end};

/// The outcome of decoding an event.
pub(super) struct Decoded<O> {
    pub(super) key: Arc<str>,
    pub(super) revision: u64,
    pub(super) deleted: bool,
    /// None: a deletion whose last state the store did not know.
    pub(super) current: Option<Result<Arc<Entry<O>>, Undecodable>>,
    pub(super) bytes: usize,
}

pub(super) struct State<O> {
    pub(super) objects: Sorted<O>,
    pub(super) undecodable: BTreeMap<Arc<str>, Undecodable>,
    /// The revision of the newest applied change (or of the first listing).
    pub(super) last: u64,
    /// The revision of the newest listing: changes up to it are in already.
    filled: u64,
    /// Changes after `ring_start`, oldest first, with the bytes each holds.
    ring: VecDeque<(Arc<Change<O>>, usize)>,
    ring_bytes: usize,
    ring_start: u64,
    watchers: Vec<Slot<O>>,
    /// Events that came before the first listing; none afterwards.
    backlog: Option<Vec<Event>>,
}

struct Slot<O> {
    prefix: Box<str>,
    queue: mpsc::Sender<Arc<Change<O>>>,
    end: Arc<Mutex<Option<WatchEnd>>>,
}

/// What a watcher reads from: its queue and the reason for which it will end.
type Reader<O> = (mpsc::Receiver<Arc<Change<O>>>, Arc<Mutex<Option<WatchEnd>>>);

impl<O> Default for State<O> {
    fn default() -> Self {
        Self {
            objects: Sorted::default(),
            undecodable: BTreeMap::new(),
            last: 0,
            filled: 0,
            ring: VecDeque::new(),
            ring_bytes: 0,
            ring_start: 0,
            watchers: Vec::new(),
            backlog: Some(Vec::new()),
        }
    }
}

impl<O> State<O> {
    /// Keeps events for later while the first listing is under way.
    pub(super) fn defer(&mut self, events: &[Event]) -> bool {
        match &mut self.backlog {
            Some(backlog) => {
                backlog.extend_from_slice(events);
                true
            }
            None => false,
        }
    }

    /// Replaces everything by a listing; watchers end, since what happened in between is not known.
    pub(super) fn fill(
        &mut self,
        entries: Vec<Result<Arc<Entry<O>>, Undecodable>>,
        revision: u64,
    ) -> Vec<Event> {
        self.end_watchers(&WatchEnd::Reset);
        self.objects = Sorted::default();
        self.undecodable.clear();
        for entry in entries {
            match entry {
                Ok(entry) => drop(self.objects.insert(entry)),
                Err(bad) => drop(self.undecodable.insert(Arc::clone(&bad.key), bad)),
            }
        }
        self.forget_ring(revision);
        (self.last, self.filled) = (revision, revision);
        self.backlog.take().unwrap_or_default()
    }

    /// Applies one change and hands it to the watchers.
    pub(super) fn apply(&mut self, decoded: Decoded<O>, options: &Options) {
        let Decoded { key, revision, deleted, current, bytes } = decoded;
        if revision <= self.filled {
            return;
        }
        self.last = revision;
        let was_undecodable = self.undecodable.remove(&key).is_some();
        let current = match current {
            Some(Err(bad)) if !deleted => return self.spoil(bad),
            Some(Ok(entry)) => Some(entry),
            Some(Err(_)) | None => None,
        };
        let previous = match &current {
            Some(entry) if !deleted => self.objects.insert(Arc::clone(entry)),
            _ => self.objects.remove(&key),
        };
        let kind = match (deleted, &previous) {
            (true, _) => ChangeKind::Deleted,
            (false, None) => ChangeKind::Added,
            (false, Some(_)) => ChangeKind::Modified,
        };
        let Some(current) = current.or_else(|| previous.clone()) else { return };
        if was_undecodable || deleted && previous.is_none() {
            // Watchers were ended when the object became unreadable; to new ones it comes back as if it were new.
            self.forget_ring(revision - 1);
            if deleted {
                return self.forget_ring(revision);
            }
        }
        let change = Arc::new(Change { revision, kind, current, previous });
        self.deliver(&change);
        self.remember(change, bytes, options);
    }

    /// An object became unreadable: nobody may pass over it, so readers start again and find it reported.
    fn spoil(&mut self, bad: Undecodable) {
        self.objects.remove(&bad.key);
        self.forget_ring(bad.modified);
        let end = WatchEnd::Undecodable(bad.clone());
        self.undecodable.insert(Arc::clone(&bad.key), bad);
        self.end_watchers(&end);
    }

    fn deliver(&mut self, change: &Arc<Change<O>>) {
        let key = &*change.current.key;
        self.watchers.retain(|slot| {
            if !key.starts_with(&*slot.prefix) {
                return true;
            }
            let sent = slot.queue.try_send(Arc::clone(change));
            if matches!(sent, Err(mpsc::error::TrySendError::Full(_))) {
                slot.end.lock().get_or_insert(WatchEnd::Lagged);
            }
            sent.is_ok()
        });
    }

    fn remember(&mut self, change: Arc<Change<O>>, bytes: usize, options: &Options) {
        self.ring.push_back((change, bytes));
        self.ring_bytes += bytes;
        while self.ring.len() > options.ring_events_max || self.ring_bytes > options.ring_bytes_max {
            let Some((oldest, bytes)) = self.ring.pop_front() else { break };
            self.ring_bytes -= bytes;
            self.ring_start = oldest.revision;
        }
        // A revision is in the ring as a whole or not at all.
        while self.ring.front().is_some_and(|(change, _)| change.revision <= self.ring_start) {
            self.ring_bytes -= self.ring.pop_front().map_or(0, |(_, bytes)| bytes);
        }
    }

    fn forget_ring(&mut self, revision: u64) {
        self.ring = VecDeque::new();
        self.ring_bytes = 0;
        self.ring_start = revision;
    }

    pub(super) fn end_watchers(&mut self, reason: &WatchEnd) {
        for slot in self.watchers.drain(..) {
            slot.end.lock().get_or_insert_with(|| reason.clone());
        }
    }

    pub(super) fn watcher_count(&self) -> usize {
        self.watchers.iter().filter(|slot| !slot.queue.is_closed()).count()
    }

    pub(super) fn add_watcher(&mut self, prefix: &str, events_max: usize) -> Reader<O> {
        // Those that left are noticed here on resources where nothing happens.
        self.watchers.retain(|slot| !slot.queue.is_closed());
        let (queue, receiver) = mpsc::channel(events_max.max(1));
        let end = Arc::new(Mutex::new(None));
        self.watchers.push(Slot { prefix: prefix.into(), queue, end: Arc::clone(&end) });
        (receiver, end)
    }

    /// The changes after a revision, if the ring reaches back that far.
    pub(super) fn after(
        &self,
        prefix: &str,
        revision: u64,
    ) -> Option<impl Iterator<Item = Arc<Change<O>>> + use<'_, O>> {
        let prefix: Box<str> = prefix.into();
        let newer = self.newer(revision)?;
        Some(newer.filter(move |change| change.current.key.starts_with(&*prefix)).cloned())
    }

    fn newer(&self, revision: u64) -> Option<impl DoubleEndedIterator<Item = &Arc<Change<O>>>> {
        if revision < self.ring_start {
            return None;
        }
        let first = self.ring.partition_point(|(change, _)| change.revision <= revision);
        Some(self.ring.range(first..).map(|(change, _)| change))
    }

    fn bounds(&self, prefix: &str, start_after: Option<&str>) -> (Position, Position) {
        let from = match start_after {
            Some(after) if after >= prefix => self.objects.position(after, true),
            _ => self.objects.position(prefix, false),
        };
        let to =
            prefix_end(prefix).map_or_else(|| self.objects.end(), |end| self.objects.position(&end, false));
        (from, to)
    }

    pub(super) fn count(&self, prefix: &str) -> usize {
        let (from, to) = self.bounds(prefix, None);
        self.objects.rank(to) - self.objects.rank(from)
    }

    fn bad_under(&self, prefix: &str) -> Vec<Undecodable> {
        self.undecodable.values().filter(|bad| bad.key.starts_with(prefix)).cloned().collect()
    }

    pub(super) fn page(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        revision: u64,
    ) -> Page<O> {
        let (from, to) = self.bounds(prefix, start_after);
        let count = self.objects.rank(to).saturating_sub(self.objects.rank(from));
        let taken = if limit == 0 { count } else { limit.min(count) };
        let mut entries = Vec::with_capacity(taken);
        entries.extend(self.objects.iterate(from).take(taken).cloned());
        let remaining = (count - taken) as u64;
        Page { entries, revision, more: remaining > 0, remaining, undecodable: self.bad_under(prefix) }
    }

    /// A page as of an earlier revision: the present with the ring's changes undone. None: the ring is too short.
    pub(super) fn page_at(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        at: u64,
    ) -> Option<Page<O>> {
        let mut undone: BTreeMap<&str, Option<&Arc<Entry<O>>>> = BTreeMap::new();
        for change in self.newer(at)?.rev().filter(|change| change.current.key.starts_with(prefix)) {
            undone.insert(&change.current.key, change.previous.as_ref());
        }
        if undone.is_empty() {
            return Some(self.page(prefix, start_after, limit, at));
        }
        let (from, to) = self.bounds(prefix, start_after);
        let count = self.objects.rank(to).saturating_sub(self.objects.rank(from));
        let same = self.objects.iterate(from).take(count).filter(|entry| !undone.contains_key(&*entry.key));
        let behind = |entry: &&&Arc<Entry<O>>| start_after.is_none_or(|after| *entry.key > *after);
        let mut entries: Vec<_> =
            same.chain(undone.values().flatten().filter(behind).copied()).cloned().collect();
        // Two sorted runs: cheap.
        entries.sort_by(|left, right| left.key.cmp(&right.key));
        let taken = if limit == 0 { entries.len() } else { limit.min(entries.len()) };
        let remaining = (entries.len() - taken) as u64;
        entries.truncate(taken);
        let undecodable = self.bad_under(prefix);
        Some(Page { entries, revision: at, more: remaining > 0, remaining, undecodable })
    }
}
