//! The watch cache above a store that calls it and above one that does not.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use store::cache::{
    Cache, Caches, Change, ChangeKind, Decode, DecodeError, Delivery, Options, Page, WatchEnd, Watcher,
};
use store::memory::MemoryStore;
use store::{Error, Listing, Outcome, Record, Result, Sink, Store, Transaction, WatchStream};

/// Text with its revision, as the wire form would have it.
struct Text;

impl Decode for Text {
    type Object = String;

    fn decode(&self, _key: &str, stored: &Bytes, revision: u64) -> Result<String, DecodeError> {
        let text = std::str::from_utf8(stored).map_err(|error| DecodeError::new(error.to_string()))?;
        Ok(format!("{text}@{revision}"))
    }
}

/// How a store tells its caches of changes.
#[derive(Clone, Copy, PartialEq)]
enum Tells {
    /// By the stream: its writers are elsewhere.
    ByStream,
    /// By a call, and somebody writes in the very moment of attaching.
    ByCallAtOnce,
}

/// A store that tells of changes otherwise than the memory does.
struct Foreign(MemoryStore, Tells);

#[async_trait]
impl Store for Foreign {
    async fn revision(&self) -> Result<u64> {
        self.0.revision().await
    }
    async fn get(&self, key: &str) -> Result<Option<Record>> {
        self.0.get(key).await
    }
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<u64>,
    ) -> Result<Listing> {
        self.0.list(prefix, after, limit, at).await
    }
    async fn transact(&self, transaction: Transaction) -> Result<Outcome> {
        self.0.transact(transaction).await
    }
    async fn watch(&self, prefix: &str, after: u64) -> Result<WatchStream> {
        self.0.watch(prefix, after).await
    }
    async fn compact(&self, revision: u64) -> Result<()> {
        self.0.compact(revision).await
    }
    fn progress(&self) -> u64 {
        self.0.progress()
    }
    async fn wait_progress(&self, revision: u64) {
        self.0.wait_progress(revision).await;
    }
    async fn expire(&self, now_s: u64) -> Result<usize> {
        self.0.expire(now_s).await
    }
    fn attach(&self, prefix: &str, sink: Weak<dyn Sink>) -> bool {
        if self.1 == Tells::ByStream {
            return false;
        }
        self.0.attach(prefix, sink);
        let write = self.0.transact(Transaction::default().put("/p/first", "early", None));
        futures::executor::block_on(write).expect("written");
        true
    }
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(Clock::system()))
}

async fn cache_over(store: &Arc<dyn Store>, options: Options) -> Arc<Cache<Text>> {
    Cache::new(Arc::clone(store), Text, "/p/", options).await.unwrap()
}

async fn put(store: &Arc<dyn Store>, key: &str, value: impl Into<Bytes>) -> u64 {
    store::suite::committed(&store.transact(Transaction::default().put(key, value, None)).await.unwrap())
}

async fn remove(store: &Arc<dyn Store>, key: &str) -> u64 {
    store::suite::committed(&store.transact(Transaction::default().remove(key)).await.unwrap())
}

fn shown(page: &Page<String>) -> Vec<&str> {
    page.entries.iter().map(|entry| entry.object.as_str()).collect()
}

/// A change as text: `+key=value`, `~key=new<old`, `-key=last<old`.
fn line(change: &Change<String>) -> String {
    let sign = match change.kind {
        ChangeKind::Added => '+',
        ChangeKind::Modified => '~',
        ChangeKind::Deleted => '-',
    };
    let old = change.previous.as_ref().map(|entry| format!("<{}", entry.object)).unwrap_or_default();
    format!("{sign}{}={}{old}", change.current.key, change.current.object)
}

fn drain(watcher: &mut Watcher<Text>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(delivery) = watcher.try_next().unwrap() {
        lines.push(match delivery {
            Delivery::Initial(entry) => format!("={}={}", entry.key, entry.object),
            Delivery::InitialEnd { revision } => format!("end {revision}"),
            Delivery::Change(change) => line(&change),
        });
    }
    lines
}

#[tokio::test]
async fn writes_are_seen_at_once() {
    let store = memory();
    put(&store, "/p/a/1", "old").await;
    let cache = cache_over(&store, Options::default()).await;
    assert_eq!(cache.get("/p/a/1").unwrap().object, "old@2");
    put(&store, "/p/a/1", "new").await;
    assert_eq!((cache.get("/p/a/1").unwrap().created, cache.get("/p/a/1").unwrap().modified), (2, 3));
    let other = put(&store, "/q/1", "else").await;
    assert_eq!(cache.current_revision(), other, "the list's version is the store's");
    assert!(cache.get("/q/1").is_none());
    remove(&store, "/p/a/1").await;
    assert!(cache.get("/p/a/1").is_none());
    cache.wait_until(5).await;
}

#[tokio::test]
async fn pages_now_and_then() {
    for ring_events_max in [100, 3, 0] {
        let store = memory();
        let cache = cache_over(&store, Options { ring_events_max, ..Options::default() }).await;
        for index in 0..6 {
            put(&store, &format!("/p/a/{index}"), "old").await;
        }
        put(&store, "/p/b/0", "other").await;
        let first = cache.range("/p/a/", None, 2);
        assert_eq!(shown(&first), ["old@2", "old@3"]);
        assert_eq!((first.revision, first.more, first.remaining), (8, true, 4));
        put(&store, "/p/a/2", "new").await;
        remove(&store, "/p/a/3").await;
        put(&store, "/p/a/33", "new").await;
        put(&store, "/p/a/0", "new").await;
        let second = cache.range_at("/p/a/", Some("/p/a/1"), 3, first.revision).await.unwrap();
        assert_eq!(shown(&second), ["old@4", "old@5", "old@6"], "ring of {ring_events_max}");
        assert_eq!((second.revision, second.more, second.remaining), (8, true, 1));
        assert_eq!(shown(&cache.range("/p/a/", Some("/p/a/1"), 0)), ["new@9", "new@11", "old@6", "old@7"]);
        assert_eq!((cache.count("/p/a/"), cache.count("/p/")), (6, 7));
        assert!(matches!(cache.range_at("/p/", None, 0, 99).await, Err(Error::Future { .. })));
        store.compact(9).await.unwrap();
        let gone = cache.range_at("/p/a/", None, 0, 8).await;
        assert_eq!(gone.is_err(), ring_events_max < 100, "the ring may outlive the store's history");
    }
}

#[tokio::test]
async fn watches_from_now_from_then_and_with_the_present() {
    for ring_events_max in [100, 2, 0] {
        let store = memory();
        put(&store, "/p/a/1", "one").await;
        let cache = cache_over(&store, Options { ring_events_max, ..Options::default() }).await;
        let mut now = cache.subscribe("/p/a/", None, false).await.unwrap();
        let mut initial = cache.subscribe("/p/", None, true).await.unwrap();
        put(&store, "/p/a/1", "uno").await;
        put(&store, "/p/b/1", "b").await;
        remove(&store, "/p/a/1").await;
        let changes = ["~/p/a/1=uno@3<one@2", "-/p/a/1=uno@5<uno@3"];
        assert_eq!(drain(&mut now), changes);
        let all = ["=/p/a/1=one@2", "end 2", changes[0], "+/p/b/1=b@4", changes[1]];
        assert_eq!(drain(&mut initial), all);
        let mut then = cache.subscribe("/p/a/", Some(2), false).await.unwrap();
        let mut halfway = cache.subscribe("/p/a/", Some(3), false).await.unwrap();
        put(&store, "/p/a/1", "again").await;
        let again = "+/p/a/1=again@6";
        assert_eq!(drain(&mut then), [changes[0], changes[1], again], "ring of {ring_events_max}");
        assert_eq!(drain(&mut halfway), [changes[1], again]);
        assert_eq!((then.bookmark(), cache.current_revision()), (6, 6));
        put(&store, "/q/1", "elsewhere").await;
        assert_eq!(then.bookmark(), 7, "bookmarks advance with the store");
        put(&store, "/p/a/1", "x").await;
        assert_eq!(then.bookmark(), 6, "a waiting change holds the bookmark back");
        store.compact(7).await.unwrap();
        let late = cache.subscribe("/p/a/", Some(1), false).await;
        assert!(matches!(late.err(), Some(Error::Compacted { .. })));
        let mut ahead = cache.subscribe("/p/a/", Some(9), false).await.unwrap();
        put(&store, "/p/a/1", "y").await;
        put(&store, "/p/a/1", "z").await;
        assert_eq!(drain(&mut ahead), ["~/p/a/1=z@10<y@9"]);
    }
}

#[tokio::test]
async fn a_full_watcher_is_closed() {
    let store = memory();
    let cache = cache_over(&store, Options { watcher_events_max: 4, ..Options::default() }).await;
    let mut slow = cache.subscribe("/p/", None, false).await.unwrap();
    for index in 0..6 {
        put(&store, "/p/1", index.to_string()).await;
    }
    for index in 0..4 {
        let Delivery::Change(change) = slow.next().await.unwrap() else { panic!("a change") };
        assert!(change.current.object.starts_with(&index.to_string()));
    }
    assert_eq!(slow.next().await.err(), Some(WatchEnd::Lagged));
    assert_eq!(cache.watcher_count(), 0);
    let mut resumed = cache.subscribe("/p/", Some(slow.bookmark()), false).await.unwrap();
    assert_eq!(drain(&mut resumed), ["~/p/1=4@6<3@5", "~/p/1=5@7<4@6"]);
}

#[tokio::test]
async fn unreadable_objects_are_reported() {
    let store = memory();
    put(&store, "/p/bad", vec![0xff]).await;
    put(&store, "/p/good", "fine").await;
    let cache = cache_over(&store, Options::default()).await;
    let page = cache.range("/p/", None, 0);
    assert_eq!((shown(&page), page.undecodable.len()), (vec!["fine@3"], 1));
    assert_eq!(cache.undecodable("/p/bad").unwrap().modified, 2);
    let mut watcher = cache.subscribe("/p/", None, false).await.unwrap();
    put(&store, "/p/good", vec![0xff]).await;
    let end = watcher.next().await.err().unwrap();
    assert!(matches!(&end, WatchEnd::Undecodable(bad) if &*bad.key == "/p/good"), "{end}");
    assert!(cache.get("/p/good").is_none());
    put(&store, "/p/good", "repaired").await;
    remove(&store, "/p/bad").await;
    let page = cache.range("/p/", None, 0);
    assert_eq!((shown(&page), page.undecodable.len()), (vec!["repaired@5"], 0));
}

#[tokio::test]
async fn a_foreign_store_is_followed() {
    let store: Arc<dyn Store> = Arc::new(Foreign(MemoryStore::new(Clock::system()), Tells::ByStream));
    put(&store, "/p/1", "before").await;
    let cache = cache_over(&store, Options::default()).await;
    let mut watcher = cache.subscribe("/p/", None, false).await.unwrap();
    let revision = put(&store, "/p/1", "after").await;
    cache.wait_until(revision).await;
    assert_eq!(cache.get("/p/1").unwrap().object, "after@3");
    assert_eq!(drain(&mut watcher), ["~/p/1=after@3<before@2"]);
}

#[tokio::test]
async fn one_cache_per_prefix() {
    let caches = Caches::new(memory(), Options::default());
    let (one, two) = tokio::join!(caches.open("/p/", || Text), caches.open("/p/", || Text));
    assert!(Arc::ptr_eq(&one.unwrap(), &two.unwrap()));
    let mut watcher = caches.get("/p/").unwrap().subscribe("/p/", None, false).await.unwrap();
    caches.close("/p/");
    assert!(caches.get("/p/").is_none());
    assert_eq!(watcher.next().await.err(), Some(WatchEnd::Reset));
}

/// Watches opened at random moments from random revisions all tell the same story, whatever the ring's length.
#[tokio::test]
async fn every_watch_tells_the_same_story() {
    for seed in 0..20 {
        let random = Entropy::seeded(seed);
        let pick = |bound: u64| random.below(bound);
        let store = memory();
        let ring_events_max = [0, 1, 7, 500][usize::try_from(seed % 4).unwrap()];
        let cache = cache_over(&store, Options { ring_events_max, ..Options::default() }).await;
        let mut whole = cache.subscribe("/p/", None, false).await.unwrap();
        let mut parts = Vec::new();
        for step in 0..200 {
            let mut transaction = Transaction::default();
            for index in 0..=pick(2) {
                let key = format!("/p/{}/{index}", pick(5));
                transaction = match pick(3) {
                    0 => transaction.remove(key),
                    _ => transaction.put(key, step.to_string(), None),
                };
            }
            store.transact(transaction).await.unwrap();
            if pick(10) == 0 {
                let after = 1 + pick(cache.current_revision());
                parts.push((after, cache.subscribe("/p/", Some(after), false).await.unwrap()));
            }
        }
        let story = drain(&mut whole);
        let revision = |line: &String| line.split(['@', '<']).nth(1).unwrap().parse::<u64>().unwrap();
        for (after, mut part) in parts {
            let expected: Vec<_> = story.iter().filter(|line| revision(line) > after).cloned().collect();
            assert_eq!(drain(&mut part), expected, "seed {seed} after {after}");
        }
        let at = 1 + pick(cache.current_revision());
        let (there, here) =
            (store.list("/p/", None, 0, Some(at)).await, cache.range_at("/p/", None, 0, at).await);
        let keys: Vec<_> =
            there.unwrap().records.iter().map(|record| (record.key.clone(), record.modified)).collect();
        let found: Vec<_> =
            here.unwrap().entries.iter().map(|entry| (entry.key.clone(), entry.modified)).collect();
        assert_eq!(found, keys, "seed {seed} at {at}");
    }
}

#[tokio::test]
async fn a_write_in_the_moment_of_opening_does_not_end_the_cache() {
    let store: Arc<dyn Store> = Arc::new(Foreign(MemoryStore::new(Clock::system()), Tells::ByCallAtOnce));
    let cache = cache_over(&store, Options::default()).await;
    assert!(cache.get("/p/first").is_some(), "written while the cache was opened");
    put(&store, "/p/later", "late").await;
    assert!(cache.get("/p/later").is_some(), "written afterwards");
}
