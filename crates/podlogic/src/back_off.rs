//! Back-off of restarts and pulls: 10 s, doubling to 5 min, forgotten after twice the maximum without failure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

/// First pause.
pub const INITIAL: Duration = Duration::from_secs(10);
/// Longest pause.
pub const MAXIMUM: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy)]
struct Entry {
    pause: Duration,
    updated: Timestamp,
}

/// Pauses by key.
#[derive(Debug, Clone)]
pub struct BackOff {
    initial: Duration,
    maximum: Duration,
    entries: BTreeMap<String, Entry>,
}

impl Default for BackOff {
    fn default() -> Self {
        Self::new(INITIAL, MAXIMUM)
    }
}

/// Time from `earlier` to `later`, zero if it is negative.
pub fn elapsed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

impl BackOff {
    /// With these bounds (`crashLoopBackOff.maxContainerRestartPeriod` lowers the second).
    pub fn new(initial: Duration, maximum: Duration) -> Self {
        Self { initial: initial.min(maximum), maximum, entries: BTreeMap::new() }
    }

    /// The present pause of a key.
    pub fn pause(&self, key: &str) -> Duration {
        self.entries.get(key).map(|entry| entry.pause).unwrap_or_default()
    }

    /// When the key may be tried again, if that is after `now`. `since` is the moment of the failure.
    pub fn until(&self, key: &str, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key)?;
        if self.expired(entry, since) {
            return None;
        }
        let end = since.checked_add(entry.pause).ok()?;
        (end > now).then_some(end)
    }

    /// As [`BackOff::until`], counted from the last [`BackOff::next`].
    pub fn until_since_update(&self, key: &str, now: Timestamp) -> Option<Timestamp> {
        let entry = self.entries.get(key)?;
        if self.expired(entry, now) {
            return None;
        }
        let end = entry.updated.checked_add(entry.pause).ok()?;
        (end > now).then_some(end)
    }

    /// Notes an attempt: the next pause is twice as long. `at` is the moment of the failure that led to it; a key
    /// that was quiet for long starts anew.
    pub fn next(&mut self, key: &str, at: Timestamp, now: Timestamp) {
        let pause = match self.entries.get(key) {
            Some(entry) if !self.expired(entry, at) => (entry.pause * 2).min(self.maximum),
            _ => self.initial,
        };
        self.entries.insert(key.to_owned(), Entry { pause, updated: now });
    }

    /// Forgets the keys with this prefix.
    pub fn forget(&mut self, prefix: &str) {
        self.entries.retain(|key, _| !key.starts_with(prefix));
    }

    /// Whether the key was quiet for twice the longest pause.
    fn expired(&self, entry: &Entry, at: Timestamp) -> bool {
        elapsed(entry.updated, at) > self.maximum * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_from_ten_seconds_to_five_minutes_and_forgets() {
        let mut back_off = BackOff::default();
        let mut now = Timestamp::UNIX_EPOCH;
        assert_eq!(back_off.until("k", now, now), None, "the first restart is immediate");
        let mut pauses = Vec::new();
        for _ in 0..7 {
            back_off.next("k", now, now);
            pauses.push(back_off.pause("k").as_secs());
            now = back_off.until("k", now, now).expect("in back-off");
            assert_eq!(back_off.until("k", now, now + Duration::from_secs(301)), None);
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        now += Duration::from_secs(601);
        assert_eq!(back_off.until("k", now, now), None);
        back_off.next("k", now, now);
        assert_eq!(back_off.pause("k").as_secs(), 10);
    }
}
