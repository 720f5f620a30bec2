//! Entries in key order with cheap ranks: a page of a long list needs the number of entries after it without walking
//! over them. Sorted chunks of bounded length; insertion moves at most one chunk's pointers.

use std::cmp::Ordering;
use std::sync::Arc;

use super::Entry;

/// Entries per chunk before it is split.
const CHUNK_MAX: usize = 512;

/// A place between entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    chunk: usize,
    index: usize,
}

/// The entries of a cache.
#[derive(Debug)]
pub(super) struct Sorted<O> {
    /// None of them is empty.
    chunks: Vec<Vec<Arc<Entry<O>>>>,
}

impl<O> Default for Sorted<O> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<O> Sorted<O> {
    /// The place before the first entry whose key is not less than `key` (`after`: is greater).
    pub(super) fn position(&self, key: &str, after: bool) -> Position {
        let before = |entry: &Arc<Entry<O>>| match (*entry.key).cmp(key) {
            Ordering::Less => true,
            Ordering::Equal => after,
            Ordering::Greater => false,
        };
        let chunk = self.chunks.partition_point(|chunk| chunk.last().is_some_and(before));
        let index = self.chunks.get(chunk).map_or(0, |chunk| chunk.partition_point(before));
        Position { chunk, index }
    }

    /// The place after the last entry.
    pub(super) fn end(&self) -> Position {
        Position { chunk: self.chunks.len(), index: 0 }
    }

    /// The number of entries before a place.
    pub(super) fn rank(&self, position: Position) -> usize {
        self.chunks[..position.chunk].iter().map(Vec::len).sum::<usize>() + position.index
    }

    /// The entries from a place on.
    pub(super) fn iterate(&self, from: Position) -> impl Iterator<Item = &Arc<Entry<O>>> {
        let first = self.chunks.get(from.chunk).map_or(&[][..], |chunk| &chunk[from.index..]);
        let rest = self.chunks.get(from.chunk + 1..).unwrap_or_default();
        first.iter().chain(rest.iter().flatten())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<Entry<O>>> {
        let position = self.position(key, false);
        self.chunks.get(position.chunk)?.get(position.index).filter(|entry| &*entry.key == key)
    }

    /// Puts an entry in, gives the one it replaces.
    pub(super) fn insert(&mut self, entry: Arc<Entry<O>>) -> Option<Arc<Entry<O>>> {
        let mut position = self.position(&entry.key, false);
        if position.chunk == self.chunks.len() {
            // Behind everything: the last chunk takes it, so that growing lists fill their chunks.
            match self.chunks.last() {
                Some(last) => position = Position { chunk: self.chunks.len() - 1, index: last.len() },
                None => self.chunks.push(Vec::new()),
            }
        }
        let chunk = &mut self.chunks[position.chunk];
        if let Some(present) = chunk.get_mut(position.index).filter(|present| present.key == entry.key) {
            return Some(std::mem::replace(present, entry));
        }
        chunk.insert(position.index, entry);
        if chunk.len() > CHUNK_MAX {
            // Appending is the common case (names grow): leave the left half fuller.
            let right = chunk.split_off(CHUNK_MAX * 3 / 4);
            self.chunks.insert(position.chunk + 1, right);
        }
        None
    }

    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<Entry<O>>> {
        let Position { chunk, index } = self.position(key, false);
        let entries = self.chunks.get_mut(chunk)?;
        if &*entries.get(index)?.key != key {
            return None;
        }
        let removed = entries.remove(index);
        if entries.is_empty() {
            self.chunks.remove(chunk);
        }
        Some(removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(key: &str, modified: u64) -> Arc<Entry<()>> {
        Arc::new(Entry { key: key.into(), created: 0, modified, object: () })
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(operations in prop::collection::vec((any::<bool>(), 0u32..2000), 0..3000)) {
            let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
            for (step, (insert, key)) in operations.into_iter().enumerate() {
                let key = format!("k{key:04}");
                let replaced = if insert {
                    (sorted.insert(entry(&key, step as u64)), model.insert(key.clone(), step as u64))
                } else {
                    (sorted.remove(&key), model.remove(&key))
                };
                prop_assert_eq!(replaced.0.map(|entry| entry.modified), replaced.1);
            }
            let found: Vec<_> = sorted.iterate(sorted.position("", false)).map(|e| (e.key.to_string(), e.modified)).collect();
            prop_assert_eq!(&found, &model.clone().into_iter().collect::<Vec<_>>());
            prop_assert_eq!(sorted.rank(sorted.end()), model.len());
            for bound in ["k0000", "k0500", "k1000", "k1999", "z"] {
                let below = model.range(..bound.to_owned()).count();
                prop_assert_eq!(sorted.rank(sorted.position(bound, false)), below);
                prop_assert_eq!(sorted.rank(sorted.position(bound, true)), below + usize::from(model.contains_key(bound)));
                prop_assert_eq!(sorted.get(bound).is_some(), model.contains_key(bound));
            }
        }
    }
}
