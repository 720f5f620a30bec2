//! A work queue of keys (client-go's rate-limited work queue): a key waits once however often it is added, is never
//! worked on twice at the same time, and after failures waits longer and longer.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// First and longest wait of a key that fails; they double in between.
const RETRY_MIN: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_secs(1000);

struct Inner<K> {
    waiting: VecDeque<K>,
    queued: HashSet<K>,
    working: HashSet<K>,
    failures: HashMap<K, u32>,
    /// When a key is added by itself.
    later: HashMap<K, Instant>,
}

/// A queue. Cheap to clone. It is bounded by the number of distinct keys, which are objects that exist.
pub struct Queue<K> {
    name: &'static str,
    inner: Arc<Mutex<Inner<K>>>,
    ready: Arc<Notify>,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self { name: self.name, inner: self.inner.clone(), ready: self.ready.clone() }
    }
}

impl<K: Clone + Eq + Hash + Debug + Send + 'static> Queue<K> {
    /// An empty queue.
    pub fn new(name: &'static str) -> Self {
        let inner = Inner {
            waiting: VecDeque::new(),
            queued: HashSet::new(),
            working: HashSet::new(),
            failures: HashMap::new(),
            later: HashMap::new(),
        };
        Self { name, inner: Arc::new(Mutex::new(inner)), ready: Arc::new(Notify::new()) }
    }

    /// Adds a key. One that is being worked on comes again afterwards.
    pub fn add(&self, key: K) {
        let mut inner = self.inner.lock();
        if !inner.queued.insert(key.clone()) {
            return;
        }
        if !inner.working.contains(&key) {
            inner.waiting.push_back(key);
            drop(inner);
            self.ready.notify_one();
        }
    }

    /// Adds a key after a while, or earlier if that was asked for before: a key waits for one time only. Were each time
    /// kept, a key that asks for itself whenever it is worked on would come more and more often.
    pub fn add_after(&self, key: K, wait: Duration) {
        if wait.is_zero() {
            return self.add(key);
        }
        let at = Instant::now() + wait;
        {
            let mut inner = self.inner.lock();
            if inner.later.get(&key).is_some_and(|earlier| *earlier <= at) {
                return;
            }
            inner.later.insert(key.clone(), at);
        }
        let queue = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let due = {
                let mut inner = queue.inner.lock();
                // Else an earlier time was asked for meanwhile.
                let due = inner.later.get(&key) == Some(&at);
                if due {
                    inner.later.remove(&key);
                }
                due
            };
            if due {
                queue.add(key);
            }
        });
    }

    /// How many keys wait.
    pub fn depth(&self) -> usize {
        self.inner.lock().waiting.len()
    }

    async fn next(&self) -> K {
        loop {
            let ready = self.ready.notified();
            {
                let mut inner = self.inner.lock();
                if let Some(key) = inner.waiting.pop_front() {
                    inner.queued.remove(&key);
                    inner.working.insert(key.clone());
                    if !inner.waiting.is_empty() {
                        // A permit is held once only: pass the word on to the next worker.
                        self.ready.notify_one();
                    }
                    return key;
                }
            }
            ready.await;
        }
    }

    fn done(&self, key: K, failed: bool) {
        let mut inner = self.inner.lock();
        inner.working.remove(&key);
        if failed {
            let failures = inner.failures.entry(key.clone()).or_insert(0);
            *failures += 1;
            let wait = RETRY_MIN.saturating_mul(1 << (*failures - 1).min(20)).min(RETRY_MAX);
            drop(inner);
            self.add_after(key.clone(), wait);
            inner = self.inner.lock();
        } else {
            inner.failures.remove(&key);
        }
        if inner.queued.contains(&key) && !inner.waiting.contains(&key) {
            inner.waiting.push_back(key);
            drop(inner);
            self.ready.notify_one();
        }
    }

    /// Works on keys for ever, `workers` at a time; ends only by being dropped. What fails is reported and comes
    /// again.
    pub async fn run<F, W, E>(self, workers: usize, work: F)
    where
        F: Fn(K) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), E>> + Send,
        E: std::fmt::Display,
    {
        let work = &work;
        let queue = &self;
        let each = move |_| async move {
            loop {
                let key = queue.next().await;
                let result = work(key.clone()).await;
                if let Err(error) = &result {
                    tracing::debug!(queue = queue.name, ?key, %error, "work failed, trying again");
                }
                queue.done(key, result.is_err());
            }
        };
        futures::future::join_all((0..workers).map(each)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// A key that is added by events and asks for itself each time comes as often as it asks, not once more per event.
    #[tokio::test(start_paused = true)]
    async fn a_key_waits_for_one_time_only() {
        let queue: Queue<&'static str> = Queue::new("test");
        let calls = Arc::new(AtomicUsize::new(0));
        let (own, again) = (calls.clone(), queue.clone());
        let running = tokio::spawn(queue.clone().run(1, move |key| {
            own.fetch_add(1, Ordering::SeqCst);
            again.add_after(key, Duration::from_secs(1));
            async { Ok::<(), &str>(()) }
        }));
        for _ in 0..5 {
            queue.add("a");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let before = calls.load(Ordering::SeqCst);
        assert_eq!(before, 5, "each event at once");
        tokio::time::sleep(Duration::from_secs(10)).await;
        let calls = calls.load(Ordering::SeqCst) - before;
        assert!((9..=10).contains(&calls), "{calls} times in ten seconds");
        // An earlier time counts.
        queue.add_after("b", Duration::from_secs(100));
        queue.add_after("b", Duration::from_millis(1));
        tokio::time::sleep(Duration::from_millis(2)).await;
        let later = queue.inner.lock().later.get("b").copied();
        assert!(later.is_none_or(|at| at <= Instant::now() + Duration::from_secs(2)), "{later:?}");
        running.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn keys_come_once_and_again_after_failures() {
        let queue: Queue<&'static str> = Queue::new("test");
        queue.add("a");
        queue.add("a");
        queue.add("b");
        assert_eq!(queue.depth(), 2);
        let (calls, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (own_calls, own_counted) = (calls.clone(), counted.clone());
        let running = tokio::spawn(queue.clone().run(2, move |key| {
            let (calls, counted) = (own_calls.clone(), own_counted.clone());
            async move {
                let count = calls.fetch_add(1, Ordering::SeqCst) + 1;
                if count == 5 {
                    counted.notify_one();
                }
                if key == "a" && count < 5 { Err("not yet") } else { Ok(()) }
            }
        }));
        counted.notified().await;
        assert!(queue.depth() <= 1);
        running.abort();
        assert_eq!(calls.load(Ordering::SeqCst), 5, "b once, a until it worked");
    }
}
