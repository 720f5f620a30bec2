//! Pods that wait: active (to be placed now, by priority, then in order of arrival), backing off (after a failure),
//! unschedulable (until something happens that may help).

use std::collections::{BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};

use crate::filters::Plugin;
use crate::pod::PodKey;

/// The first wait after a failure; it doubles with every further one.
const BACKOFF_MIN: SignedDuration = SignedDuration::from_secs(1);
const BACKOFF_MAX: SignedDuration = SignedDuration::from_secs(10);

/// After this long an unschedulable Pod is tried again though nothing happened.
const UNSCHEDULABLE_MAX: SignedDuration = SignedDuration::from_secs(300);

/// Where a Pod waits.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Active {
        rank: (i64, u64),
    },
    Backoff {
        until: Timestamp,
    },
    Unschedulable {
        since: Timestamp,
    },
    /// Handed out to be placed, or waiting for its gates.
    Aside,
}

#[derive(Debug, Clone)]
struct Waiting {
    place: Place,
    priority: i32,
    attempts: u32,
    /// Until when it should back off, should it be moved.
    backoff_until: Option<Timestamp>,
    /// What refused it at the last attempt.
    refused_by: BTreeSet<Plugin>,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: HashMap<PodKey, Waiting>,
    active: BTreeSet<((i64, u64), PodKey)>,
    backoff: BTreeSet<(Timestamp, PodKey)>,
    unschedulable: BTreeSet<(Timestamp, PodKey)>,
    arrivals: u64,
}

impl Queue {
    /// Puts a Pod in (again): it is tried as soon as its turn comes and its back-off is over.
    pub(crate) fn push(&mut self, key: &PodKey, priority: i32) {
        let backoff_until = self.waiting.get(key).and_then(|waiting| waiting.backoff_until);
        match backoff_until {
            Some(until) => self.put(key, Place::Backoff { until }, priority),
            None => {
                self.arrivals += 1;
                // Higher priorities first, so they sort lower.
                let rank = (-i64::from(priority), self.arrivals);
                self.put(key, Place::Active { rank }, priority);
            }
        }
    }

    /// Keeps a Pod aside until it is pushed.
    pub(crate) fn set_aside(&mut self, key: &PodKey, priority: i32) {
        self.put(key, Place::Aside, priority);
    }

    fn put(&mut self, key: &PodKey, place: Place, priority: i32) {
        self.unlink(key);
        match &place {
            Place::Active { rank } => drop(self.active.insert((*rank, key.clone()))),
            Place::Backoff { until } => drop(self.backoff.insert((*until, key.clone()))),
            Place::Unschedulable { since } => drop(self.unschedulable.insert((*since, key.clone()))),
            Place::Aside => {}
        }
        let fresh = || Waiting {
            place: Place::Aside,
            priority,
            attempts: 0,
            backoff_until: None,
            refused_by: BTreeSet::new(),
        };
        let waiting = self.waiting.entry(key.clone()).or_insert_with(fresh);
        (waiting.place, waiting.priority) = (place, priority);
    }

    fn unlink(&mut self, key: &PodKey) {
        match self.waiting.get(key).map(|waiting| waiting.place.clone()) {
            Some(Place::Active { rank }) => drop(self.active.remove(&(rank, key.clone()))),
            Some(Place::Backoff { until }) => drop(self.backoff.remove(&(until, key.clone()))),
            Some(Place::Unschedulable { since }) => drop(self.unschedulable.remove(&(since, key.clone()))),
            Some(Place::Aside) | None => {}
        }
    }

    /// Forgets a Pod.
    pub(crate) fn remove(&mut self, key: &PodKey) {
        self.unlink(key);
        self.waiting.remove(key);
    }

    pub(crate) fn contains(&self, key: &PodKey) -> bool {
        self.waiting.contains_key(key)
    }

    /// The next Pod to place; it is set aside.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<PodKey> {
        self.release(now);
        let (_, key) = self.active.pop_first()?;
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.place = Place::Aside;
            waiting.attempts += 1;
            waiting.backoff_until = None;
        }
        Some(key)
    }

    /// Moves what has waited long enough.
    fn release(&mut self, now: Timestamp) {
        while let Some((until, key)) = self.backoff.first().cloned()
            && until <= now
        {
            let priority = self.waiting.get_mut(&key).map_or(0, |waiting| {
                waiting.backoff_until = None;
                waiting.priority
            });
            self.push(&key, priority);
        }
        while let Some((since, key)) = self.unschedulable.first().cloned()
            && now.duration_since(since) >= UNSCHEDULABLE_MAX
        {
            let priority = self.waiting.get_mut(&key).map_or(0, |waiting| {
                waiting.backoff_until = None;
                waiting.priority
            });
            self.push(&key, priority);
        }
    }

    /// When [`Queue::pop`] may next give a Pod that it does not give now.
    pub(crate) fn wakeup(&self) -> Option<Timestamp> {
        let backoff = self.backoff.first().map(|(until, _)| *until);
        let overdue =
            self.unschedulable.first().and_then(|(since, _)| since.checked_add(UNSCHEDULABLE_MAX).ok());
        backoff.into_iter().chain(overdue).min()
    }

    /// A Pod could not be placed: it waits for an event.
    pub(crate) fn refuse(&mut self, key: &PodKey, refused_by: BTreeSet<Plugin>, now: Timestamp) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        waiting.refused_by = refused_by;
        waiting.backoff_until = now.checked_add(backoff(waiting.attempts)).ok();
        let priority = waiting.priority;
        self.put(key, Place::Unschedulable { since: now }, priority);
    }

    /// A Pod was placed, but binding failed: it is tried again after its back-off.
    pub(crate) fn retry(&mut self, key: &PodKey, now: Timestamp) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        waiting.backoff_until = now.checked_add(backoff(waiting.attempts)).ok();
        let priority = waiting.priority;
        self.push(key, priority);
    }

    /// The Pods that wait for an event, with what refused them.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&PodKey, &BTreeSet<Plugin>)> {
        let keys = self.unschedulable.iter().map(|(_, key)| key);
        keys.filter_map(|key| Some((key, &self.waiting.get(key)?.refused_by)))
    }

    /// Moves a Pod that waits for an event, for one has come.
    pub(crate) fn wake(&mut self, key: &PodKey) {
        let waiting = self.waiting.get(key);
        if let Some(Waiting { place: Place::Unschedulable { .. }, priority, .. }) = waiting {
            let priority = *priority;
            self.push(key, priority);
        }
    }

    /// Pods in each part: active, backing off, unschedulable.
    pub(crate) fn lengths(&self) -> (usize, usize, usize) {
        (self.active.len(), self.backoff.len(), self.unschedulable.len())
    }
}

fn backoff(attempts: u32) -> SignedDuration {
    let doubled = BACKOFF_MIN.as_secs() << attempts.saturating_sub(1).min(8);
    SignedDuration::from_secs(doubled).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_000_000 + milliseconds).unwrap()
    }

    fn key(name: &str) -> PodKey {
        PodKey::new("default", name)
    }

    #[test]
    fn priority_then_arrival() {
        let mut queue = Queue::default();
        for (name, priority) in [("a", 0), ("b", 10), ("c", 0), ("d", 10), ("e", -5)] {
            queue.push(&key(name), priority);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(at(0))).map(|key| key.name.to_string()).collect();
        assert_eq!(order, ["b", "d", "a", "c", "e"]);
    }

    #[test]
    fn back_off_doubles_up_to_ten_seconds() {
        let mut queue = Queue::default();
        queue.push(&key("a"), 0);
        let mut now = 0;
        for wait_s in [1, 2, 4, 8, 10, 10] {
            assert_eq!(queue.pop(at(now)), Some(key("a")));
            queue.refuse(&key("a"), BTreeSet::from([Plugin::NodeResourcesFit]), at(now));
            assert_eq!(queue.pop(at(now + 60_000)), None, "it waits for an event");
            queue.wake(&key("a"));
            assert_eq!(queue.wakeup(), Some(at(now + wait_s * 1000)));
            assert_eq!(queue.pop(at(now + wait_s * 1000 - 1)), None);
            now += wait_s * 1000;
        }
        assert_eq!(queue.pop(at(now)), Some(key("a")));
        queue.refuse(&key("a"), BTreeSet::new(), at(now));
        assert_eq!(queue.pop(at(now + 299_999)), None);
        assert_eq!(queue.pop(at(now + 300_000)), Some(key("a")), "tried again though nothing happened");
        queue.retry(&key("a"), at(now + 300_000));
        assert_eq!(queue.lengths(), (0, 1, 0));
        queue.remove(&key("a"));
        assert_eq!((queue.pop(at(9_999_999)), queue.wakeup()), (None, None));
    }
}
