//! A bounded map that keeps what is used: two generations, the older of which is dropped whole when the younger is full.
//! No list to keep in order, no clock; at most twice the bound is held.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

/// A bounded map of recently used entries.
#[derive(Debug)]
pub struct Generations<K, V> {
    recent: HashMap<K, V>,
    older: HashMap<K, V>,
    generation_max: usize,
}

impl<K: Hash + Eq + Clone, V: Clone> Generations<K, V> {
    /// With so many entries in a generation.
    pub fn new(generation_max: usize) -> Self {
        Self { recent: HashMap::new(), older: HashMap::new(), generation_max }
    }

    /// An entry, if it is still held; it stays for another generation then.
    pub fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if let Some(value) = self.recent.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.older.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Puts an entry in, in place of the one under the same key.
    pub fn insert(&mut self, key: K, value: V) {
        if self.recent.len() >= self.generation_max && !self.recent.contains_key(&key) {
            self.older = mem::take(&mut self.recent);
        }
        self.recent.insert(key, value);
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.recent.len() + self.older.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_bounded() {
        let mut held = Generations::new(10);
        held.insert("used".to_owned(), 1);
        for number in 0..1000 {
            held.insert(number.to_string(), number);
            assert_eq!(held.get("used"), Some(1), "forgotten after {number}");
            assert!(held.len() <= 20);
        }
        assert_eq!(held.get("3"), None);
        held.insert("used".to_owned(), 2);
        assert_eq!(held.get("used"), Some(2));
    }

    #[test]
    fn the_newest_entry_of_a_key_wins_over_an_older_generation() {
        let mut held = Generations::new(1);
        held.insert("a", 1);
        held.insert("b", 1);
        held.insert("a", 2);
        assert_eq!(held.get("a"), Some(2));
    }
}
