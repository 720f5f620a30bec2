//! The tables of the database and the form of their rows.
//!
//! `latest` holds the current record of each key; `log` says for each past change what it replaced (an undo log: a
//! creation costs a few bytes, and the present with the log undone is any earlier revision); `leases` orders the keys
//! that will expire; `meta` holds the compacted revision. The current revision is that of the newest log row.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use redb::{ReadableTable, StorageError, TableDefinition};

use crate::{Event, EventKind, Record};

/// Key → created, modified, expiry (0: none), value. Keys are bytes, which compare faster than text.
pub(super) const LATEST: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("latest");
/// Revision and place within it → operation, key, the record replaced.
pub(super) const LOG: TableDefinition<'static, (u64, u32), &[u8]> = TableDefinition::new("log");
/// Expiry in seconds of Unix time and key.
pub(super) const LEASES: TableDefinition<'static, (u64, &[u8]), ()> = TableDefinition::new("leases");
/// Names of numbers.
pub(super) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

/// The `meta` row of the newest revision whose history is gone.
pub(super) const COMPACTED: &str = "compacted";

const HEADER_BYTES: usize = 24;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// A row of `latest`.
pub(super) struct Latest {
    pub(super) record: Record,
    pub(super) expires_s: Option<u64>,
}

pub(super) fn encode_latest(created: u64, modified: u64, expires_s: Option<u64>, value: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEADER_BYTES + value.len());
    for number in [created, modified, expires_s.unwrap_or(0)] {
        row.extend_from_slice(&number.to_le_bytes());
    }
    row.extend_from_slice(value);
    row
}

fn number(row: &[u8], at: usize) -> Result<u64, StorageError> {
    let bytes = row.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map(u64::from_le_bytes).ok_or_else(|| StorageError::Corrupted("a row is too short".into()))
}

/// A key's text.
pub(super) fn text(key: &[u8]) -> Result<&str, StorageError> {
    std::str::from_utf8(key).map_err(|_| StorageError::Corrupted("a key is not text".into()))
}

pub(super) fn decode_latest(key: Arc<str>, row: &[u8]) -> Result<Latest, StorageError> {
    let (created, modified, expires_s) = (number(row, 0)?, number(row, 8)?, number(row, 16)?);
    let value = Bytes::copy_from_slice(&row[HEADER_BYTES..]);
    Ok(Latest {
        record: Record { key, value, created, modified },
        expires_s: Some(expires_s).filter(|at_s| *at_s > 0),
    })
}

/// A row of `log`.
pub(super) struct Undo {
    deleted: bool,
    pub(super) key: Arc<str>,
    pub(super) previous: Option<Record>,
}

pub(super) fn encode_undo(event: &Event) -> Vec<u8> {
    let previous = event.previous();
    let length = event.key.len();
    let mut row = Vec::with_capacity(5 + length + previous.map_or(0, |record| 16 + record.value.len()));
    row.push(if matches!(event.kind, EventKind::Put { .. }) { PUT } else { DELETE });
    // Requests are bounded, so the length fits.
    row.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    row.extend_from_slice(event.key.as_bytes());
    if let Some(record) = previous {
        row.extend_from_slice(&record.created.to_le_bytes());
        row.extend_from_slice(&record.modified.to_le_bytes());
        row.extend_from_slice(&record.value);
    }
    row
}

/// Decodes a row of `log` if its key starts with `prefix`.
pub(super) fn decode_undo(row: &[u8], prefix: &str) -> Result<Option<Undo>, StorageError> {
    let corrupted = || StorageError::Corrupted("a log row is malformed".into());
    let length = row.get(1..5).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let end = 5 + length.ok_or_else(corrupted)? as usize;
    let key = row.get(5..end).and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or_else(corrupted)?;
    if !key.starts_with(prefix) {
        return Ok(None);
    }
    let key: Arc<str> = key.into();
    let rest = &row[end..];
    let previous = if rest.is_empty() {
        None
    } else {
        let (created, modified) = (number(rest, 0)?, number(rest, 8)?);
        let value = Bytes::copy_from_slice(&rest[16..]);
        Some(Record { key: Arc::clone(&key), value, created, modified })
    };
    Ok(Some(Undo { deleted: row[0] == DELETE, key, previous }))
}

/// The revision of the newest change.
pub(super) fn revision(
    log: &impl ReadableTable<(u64, u32), &'static [u8]>,
    compacted: u64,
) -> Result<u64, StorageError> {
    let newest = log.last()?.map_or(0, |(position, _)| position.value().0);
    Ok(newest.max(compacted).max(1))
}

/// What keys under `prefix` were at revision `at`, for those that have changed since.
pub(super) fn undone(
    log: &impl ReadableTable<(u64, u32), &'static [u8]>,
    prefix: &str,
    at: u64,
) -> Result<BTreeMap<Arc<str>, Option<Record>>, StorageError> {
    let mut undone = BTreeMap::new();
    for row in log.range((at + 1, 0)..)?.rev() {
        if let Some(undo) = decode_undo(row?.1.value(), prefix)? {
            undone.insert(undo.key, undo.previous);
        }
    }
    Ok(undone)
}

/// The events under `prefix` after `after`, up to and including `until`: read backwards, because a change's new value
/// is what the next change replaced, or the present one.
pub(super) fn replay(
    latest: &impl ReadableTable<&'static [u8], &'static [u8]>,
    log: &impl ReadableTable<(u64, u32), &'static [u8]>,
    prefix: &str,
    after: u64,
    until: u64,
) -> Result<Vec<Event>, StorageError> {
    let mut replaced: HashMap<Arc<str>, Option<Record>> = HashMap::new();
    let mut events = Vec::new();
    for row in log.range((after + 1, 0)..)?.rev() {
        let (position, row) = row?;
        let revision = position.value().0;
        let Some(Undo { deleted, key, previous }) = decode_undo(row.value(), prefix)? else { continue };
        let record = match replaced.insert(Arc::clone(&key), previous.clone()) {
            Some(record) => record,
            None => {
                let present = latest.get(key.as_bytes())?;
                present
                    .map(|row| decode_latest(Arc::clone(&key), row.value()))
                    .transpose()?
                    .map(|latest| latest.record)
            }
        };
        let kind = match record {
            _ if deleted => EventKind::Delete { previous },
            Some(record) => EventKind::Put { record, previous },
            None => return Err(StorageError::Corrupted(format!("the log lost the value of {key}"))),
        };
        if revision <= until {
            events.push(Event { revision, key, kind });
        }
    }
    events.reverse();
    Ok(events)
}
