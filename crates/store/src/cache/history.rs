//! Reads further back than the ring reaches, from the store's own history.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Cache, Change, ChangeKind, Decode, Entry, Page, Watcher};
use crate::{Error, Event, EventKind, Record, Result};

/// Attempts to meet the ring, which may move on while history is read.
const ATTEMPTS_MAX: usize = 5;

/// A page at an earlier revision.
pub(super) async fn page<D: Decode>(
    cache: &Cache<D>,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
    at: u64,
) -> Result<Page<D::Object>> {
    let listing = cache.store.list(prefix, start_after, limit, Some(at)).await?;
    let (mut entries, mut undecodable) = (Vec::with_capacity(listing.records.len()), Vec::new());
    for record in &listing.records {
        // What has not changed since is shared.
        let present = cache.get(&record.key).filter(|entry| entry.modified == record.modified);
        match present.map_or_else(|| cache.entry(record, record.modified), Ok) {
            Ok(entry) => entries.push(entry),
            Err(bad) => undecodable.push(bad),
        }
    }
    let remaining = listing.remaining.unwrap_or(0);
    Ok(Page { entries, revision: at, more: listing.more, remaining, undecodable })
}

/// A watcher that starts before the ring: the store's log up to where the ring takes over.
pub(super) async fn resume<D: Decode>(cache: &Arc<Cache<D>>, prefix: &str, after: u64) -> Result<Watcher<D>> {
    for _ in 0..ATTEMPTS_MAX {
        let target = cache.current_revision();
        let mut stream = cache.store.watch(prefix, after).await?;
        let mut events: Vec<Event> = Vec::new();
        let mut reached = after;
        while reached < target {
            let batch = stream.next().await?;
            reached = batch.revision.max(reached);
            events.extend(batch.events);
        }
        events.retain(|event| event.revision <= target);
        let changes = decode(cache, &events)?;
        if let Some(mut watcher) = cache.join(prefix, Some(target), false, changes) {
            watcher.started_at(after);
            return Ok(watcher);
        }
    }
    // Written faster than history can be read: the reader has to list.
    Err(Error::Compacted { requested: after, compacted: cache.current_revision() })
}

/// Decoded entries by key and revision.
type Known<O> = HashMap<(Arc<str>, u64), Arc<Entry<O>>>;

/// Decodes past events; each entry once, though it is one event's current and the next one's previous.
fn decode<D: Decode>(cache: &Cache<D>, events: &[Event]) -> Result<Vec<Arc<Change<D::Object>>>> {
    let mut known: Known<D::Object> = HashMap::new();
    let mut entry = |record: &Record, revision: u64| {
        let slot = (Arc::clone(&record.key), revision);
        if let Some(entry) = known.get(&slot) {
            return Ok(Arc::clone(entry));
        }
        let present = cache.get(&record.key).filter(|entry| entry.modified == revision);
        let made = present.map_or_else(|| cache.entry(record, revision), Ok);
        // Unreadable history: the reader has to list, and finds what is unreadable there.
        let made = made.map_err(|bad| Error::Compacted { requested: revision, compacted: bad.modified })?;
        known.insert(slot, Arc::clone(&made));
        Ok::<_, Error>(made)
    };
    let mut changes = Vec::with_capacity(events.len());
    for event in events {
        let previous = event.previous().map(|record| entry(record, record.modified)).transpose()?;
        let (kind, current) = match &event.kind {
            EventKind::Put { record, .. } if previous.is_none() => {
                (ChangeKind::Added, entry(record, event.revision)?)
            }
            EventKind::Put { record, .. } => (ChangeKind::Modified, entry(record, event.revision)?),
            EventKind::Delete { previous: Some(record) } => {
                (ChangeKind::Deleted, entry(record, event.revision)?)
            }
            EventKind::Delete { previous: None } => {
                return Err(Error::Compacted { requested: event.revision, compacted: event.revision });
            }
        };
        changes.push(Arc::new(Change { revision: event.revision, kind, current, previous }));
    }
    Ok(changes)
}
