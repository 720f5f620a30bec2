//! The values that go in and out of a store.

use std::sync::Arc;

use bytes::Bytes;

/// A key's value at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Arc<str>,
    /// The value.
    pub value: Bytes,
    /// The revision that created the key (anew after a deletion).
    pub created: u64,
    /// The revision that wrote this value.
    pub modified: u64,
}

/// A page of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// In key order.
    pub records: Vec<Record>,
    /// The revision the page shows.
    pub revision: u64,
    /// Whether further records follow the last one.
    pub more: bool,
    /// How many follow, where known.
    pub remaining: Option<u64>,
}

/// What must hold for a transaction to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The key looked at.
    pub key: String,
    /// What it must be.
    pub expect: Expect,
}

/// The state of a key that a [`Condition`] wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is no such key.
    Absent,
    /// It was last written at this revision.
    Modified(u64),
    /// It exists.
    Exists,
}

impl Expect {
    /// Whether a key last written at `modified` (none: absent) is as wanted.
    pub fn holds(self, modified: Option<u64>) -> bool {
        match self {
            Self::Absent => modified.is_none(),
            Self::Modified(revision) => modified == Some(revision),
            Self::Exists => modified.is_some(),
        }
    }
}

/// A change to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Writes a value.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
        /// Seconds after which the key deletes itself (none: never).
        lease_ttl_s: Option<u64>,
    },
    /// Removes a key.
    Delete {
        /// The key.
        key: String,
    },
}

impl Operation {
    /// The key it changes.
    pub fn key(&self) -> &str {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }
}

/// Conditions and the operations they guard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// All happen, at one revision.
    pub operations: Vec<Operation>,
}

impl Transaction {
    /// Writes a key that must not be there yet.
    pub fn create(key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        let key = key.into();
        Self::default().expect(key.clone(), Expect::Absent).put(key, value, None)
    }

    /// Replaces the value a key had at revision `modified`.
    pub fn update(key: impl Into<String>, modified: u64, value: impl Into<Bytes>) -> Self {
        let key = key.into();
        Self::default().expect(key.clone(), Expect::Modified(modified)).put(key, value, None)
    }

    /// Removes a key as it was at revision `modified`.
    pub fn delete(key: impl Into<String>, modified: u64) -> Self {
        let key = key.into();
        Self::default().expect(key.clone(), Expect::Modified(modified)).remove(key)
    }

    /// Adds a condition.
    pub fn expect(mut self, key: impl Into<String>, expect: Expect) -> Self {
        self.conditions.push(Condition { key: key.into(), expect });
        self
    }

    /// Adds a write.
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>, lease_ttl_s: Option<u64>) -> Self {
        self.operations.push(Operation::Put { key: key.into(), value: value.into(), lease_ttl_s });
        self
    }

    /// Adds a removal.
    pub fn remove(mut self, key: impl Into<String>) -> Self {
        self.operations.push(Operation::Delete { key: key.into() });
        self
    }
}

/// What became of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It happened, and is durable.
    Committed {
        /// Its revision (the current one if nothing changed).
        revision: u64,
    },
    /// A condition did not hold; nothing happened.
    Conflict {
        /// The present record of each condition's key, in the conditions' order.
        observed: Vec<Option<Record>>,
    },
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The revision that made it.
    pub revision: u64,
    /// The key.
    pub key: Arc<str>,
    /// What happened.
    pub kind: EventKind,
}

/// What an [`Event`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// A value was written.
    Put {
        /// The new record.
        record: Record,
        /// The one it replaced.
        previous: Option<Record>,
    },
    /// The key was removed.
    Delete {
        /// What it was (none: a foreign store no longer knows).
        previous: Option<Record>,
    },
}

impl Event {
    /// The record before the change.
    pub fn previous(&self) -> Option<&Record> {
        match &self.kind {
            EventKind::Put { previous, .. } | EventKind::Delete { previous } => previous.as_ref(),
        }
    }
}

/// The smallest string that is greater than every key with this prefix (none: there is no such string).
pub fn prefix_end(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // The next scalar value, over the gap of the surrogates.
        let next = (u32::from(last) + 1..=0x10_ffff).find_map(char::from_u32);
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}
