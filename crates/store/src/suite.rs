//! What every back end must do, as functions over any [`Store`]: run by the tests of each of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use stdx::entropy::Entropy;

use crate::{
    Batch, Error, Event, EventKind, Expect, Listing, OPERATIONS_MAX, Operation, Outcome, REQUEST_BYTES_MAX,
    Record, Store, Transaction, WatchStream,
};

/// A store of which the test is the only writer, freshly made.
pub type Subject = Arc<dyn Store>;

/// Runs everything; `fresh` makes an empty store whose leases count on a clock standing at `now_s`.
pub async fn all(fresh: impl Fn() -> Subject, now_s: u64) {
    creation_update_deletion(fresh()).await;
    conflicts(fresh()).await;
    several_operations_share_a_revision(fresh()).await;
    pages_are_pinned(fresh()).await;
    watches_resume(fresh()).await;
    compaction(fresh()).await;
    limits(fresh()).await;
    leases(fresh(), now_s).await;
    slow_watchers_are_told(fresh()).await;
    concurrent_writers(fresh()).await;
    for seed in 0..4 {
        random_history(fresh(), seed).await;
    }
}

/// The revision of a commit.
///
/// # Panics
/// When it was a conflict.
pub fn committed(outcome: &Outcome) -> u64 {
    match outcome {
        Outcome::Committed { revision } => *revision,
        Outcome::Conflict { .. } => panic!("unexpected conflict: {outcome:?}"),
    }
}

async fn commit(store: &Subject, transaction: Transaction) -> u64 {
    committed(&store.transact(transaction).await.expect("a transaction works"))
}

async fn put(store: &Subject, key: &str, value: &str) -> u64 {
    commit(store, Transaction::default().put(key, value.to_owned(), None)).await
}

fn names(listing: &Listing) -> Vec<&str> {
    listing.records.iter().map(|record| &*record.key).collect()
}

/// Reads a stream until it has everything up to `revision`.
pub async fn read_until(stream: &mut WatchStream, revision: u64) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    loop {
        let Batch { revision: reached, events: more } = stream.next().await.expect("the watch goes on");
        events.extend(more);
        if reached >= revision {
            return events;
        }
    }
}

async fn creation_update_deletion(store: Subject) {
    assert_eq!(store.revision().await.unwrap(), 1, "an empty store is at revision 1");
    assert_eq!(commit(&store, Transaction::create("/a/1", "one")).await, 2);
    assert_eq!(commit(&store, Transaction::update("/a/1", 2, "uno")).await, 3);
    let found = store.get("/a/1").await.unwrap().unwrap();
    assert_eq!((&*found.key, &found.value[..], found.created, found.modified), ("/a/1", &b"uno"[..], 2, 3));
    assert_eq!(commit(&store, Transaction::delete("/a/1", 3)).await, 4);
    assert_eq!(store.get("/a/1").await.unwrap(), None);
    assert_eq!(commit(&store, Transaction::default().remove("/a/1")).await, 4, "no change, no revision");
    assert_eq!(commit(&store, Transaction::create("/a/1", "again")).await, 5);
    assert_eq!(store.get("/a/1").await.unwrap().unwrap().created, 5);
    assert_eq!((store.revision().await.unwrap(), store.progress()), (5, 5));
    store.wait_progress(5).await;
}

async fn conflicts(store: Subject) {
    put(&store, "/a", "1").await;
    let cases = [
        (Expect::Absent, "/a", false),
        (Expect::Absent, "/b", true),
        (Expect::Exists, "/a", true),
        (Expect::Exists, "/b", false),
        (Expect::Modified(2), "/a", true),
        (Expect::Modified(1), "/a", false),
        (Expect::Modified(1), "/b", false),
    ];
    for (expect, key, holds) in cases {
        let before = store.revision().await.unwrap();
        let transaction = Transaction::default().expect(key, expect).expect("/a", Expect::Exists);
        match store.transact(transaction.put("/x", "", None)).await.unwrap() {
            Outcome::Committed { revision } => assert!(holds && revision == before + 1, "{expect:?} {key}"),
            Outcome::Conflict { observed } => {
                assert!(!holds, "{expect:?} {key}");
                assert_eq!(observed, [store.get(key).await.unwrap(), store.get("/a").await.unwrap()]);
                assert_eq!(store.revision().await.unwrap(), before, "a conflict changes nothing");
            }
        }
    }
}

async fn several_operations_share_a_revision(store: Subject) {
    put(&store, "/b", "old").await;
    let transaction = Transaction::default().put("/a", "1", None).remove("/b").put("/c", "3", None);
    let revision = commit(&store, transaction).await;
    let mut stream = store.watch("/", 1).await.unwrap();
    let events = read_until(&mut stream, revision).await;
    let seen: Vec<_> = events.iter().map(|event| (event.revision, &*event.key)).collect();
    assert_eq!(seen, [(2, "/b"), (3, "/a"), (3, "/b"), (3, "/c")]);
    assert_eq!(events[2].previous().unwrap().value, "old");
    let twice = Transaction::default().put("/a", "1", None).remove("/a");
    assert!(matches!(store.transact(twice).await, Err(Error::DuplicateKey)));
}

async fn pages_are_pinned(store: Subject) {
    for index in 0..10 {
        put(&store, &format!("/p/{index}"), "old").await;
    }
    put(&store, "/q/0", "other").await;
    let first = store.list("/p/", None, 4, None).await.unwrap();
    assert_eq!(names(&first), ["/p/0", "/p/1", "/p/2", "/p/3"]);
    assert_eq!((first.revision, first.more, first.remaining.unwrap_or(6)), (12, true, 6));
    put(&store, "/p/5", "new").await;
    put(&store, "/p/55", "new").await;
    commit(&store, Transaction::default().remove("/p/6").remove("/p/9")).await;
    let second = store.list("/p/", Some("/p/3"), 4, Some(first.revision)).await.unwrap();
    assert_eq!(names(&second), ["/p/4", "/p/5", "/p/6", "/p/7"]);
    assert!(second.records.iter().all(|record| record.value == "old") && second.more);
    let last = store.list("/p/", Some("/p/7"), 4, Some(first.revision)).await.unwrap();
    assert_eq!((names(&last), last.more), (vec!["/p/8", "/p/9"], false));
    let now = store.list("/p/", Some("/p/4"), 0, None).await.unwrap();
    assert_eq!(names(&now), ["/p/5", "/p/55", "/p/7", "/p/8"]);
    let end = store.list("/p/", Some("/q"), 0, None).await.unwrap();
    assert_eq!((end.records.len(), end.more), (0, false));
    let ahead = store.list("/p/", None, 0, Some(99)).await;
    assert!(matches!(ahead, Err(Error::Future { requested: 99, .. })));
}

async fn watches_resume(store: Subject) {
    put(&store, "/a/1", "1").await;
    put(&store, "/b/1", "1").await;
    put(&store, "/a/1", "2").await;
    let mut stream = store.watch("/a/", 2).await.unwrap();
    let deleted = commit(&store, Transaction::default().remove("/a/1")).await;
    put(&store, "/b/1", "2").await;
    let events = read_until(&mut stream, deleted).await;
    let [Event { revision: 4, kind: EventKind::Put { record, previous: Some(old) }, .. }, removal] =
        &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((&record.value[..], record.created, record.modified), (&b"2"[..], 2, 4));
    assert_eq!((&old.value[..], old.modified), (&b"1"[..], 2));
    assert!(matches!(&removal.kind, EventKind::Delete { previous: Some(last) } if last == record));
    let mut rest = store.watch("/a/", deleted).await.unwrap();
    let created = commit(&store, Transaction::create("/a/1", "3")).await;
    let events = read_until(&mut rest, created).await;
    assert!(matches!(&events[..], [Event { kind: EventKind::Put { previous: None, .. }, .. }]), "{events:?}");
}

async fn compaction(store: Subject) {
    for value in ["1", "2", "3", "4"] {
        put(&store, "/a", value).await;
    }
    store.compact(3).await.unwrap();
    assert!(matches!(store.compact(3).await, Err(Error::Compacted { requested: 3, compacted: 3 })));
    assert!(matches!(store.compact(9).await, Err(Error::Future { requested: 9, current: 5 })));
    assert!(matches!(store.watch("/", 2).await, Err(Error::Compacted { .. })));
    assert!(matches!(store.list("/", None, 0, Some(2)).await, Err(Error::Compacted { .. })));
    let then = store.list("/", None, 0, Some(3)).await.unwrap();
    assert_eq!(then.records[0].value, "2", "the compacted revision itself can be read");
    let mut stream = store.watch("/", 3).await.unwrap();
    let events = read_until(&mut stream, 5).await;
    assert_eq!(events.iter().map(|event| event.revision).collect::<Vec<_>>(), [4, 5]);
    assert_eq!(events[0].previous().unwrap().value, "2");
    store.compact(5).await.unwrap();
    assert_eq!(put(&store, "/a", "5").await, 6, "revisions go on");
}

async fn limits(store: Subject) {
    let keys = |count: usize| (0..count).map(|index| format!("/k{index}"));
    let puts = |count| keys(count).fold(Transaction::default(), |all, key| all.put(key, "", None));
    assert!(matches!(store.transact(puts(OPERATIONS_MAX + 1)).await, Err(Error::TooManyOperations)));
    commit(&store, puts(OPERATIONS_MAX)).await;
    let large = Bytes::from(vec![b'x'; REQUEST_BYTES_MAX]);
    let error = store.transact(Transaction::default().put("/large", large.clone(), None)).await.unwrap_err();
    assert_eq!(error.to_string(), "etcdserver: request is too large");
    let fits = large.slice(..REQUEST_BYTES_MAX - "/large".len());
    commit(&store, Transaction::default().put("/large", fits.clone(), None)).await;
    assert_eq!(store.get("/large").await.unwrap().unwrap().value, fits);
}

async fn leases(store: Subject, now_s: u64) {
    commit(&store, Transaction::default().put("/short", "", Some(10)).put("/long", "", Some(3600))).await;
    commit(&store, Transaction::default().put("/renewed", "", Some(10))).await;
    commit(&store, Transaction::default().put("/renewed", "", Some(60))).await;
    commit(&store, Transaction::default().put("/kept", "", Some(10))).await;
    commit(&store, Transaction::default().put("/kept", "", None)).await;
    commit(&store, Transaction::default().put("/removed", "", Some(10))).await;
    commit(&store, Transaction::default().remove("/removed")).await;
    assert_eq!(store.expire(now_s + 9).await.unwrap(), 0);
    let before = store.revision().await.unwrap();
    assert_eq!(store.expire(now_s + 10).await.unwrap(), 1);
    let events = read_until(&mut store.watch("/", before).await.unwrap(), before + 1).await;
    assert!(matches!(&events[..], [Event { kind: EventKind::Delete { .. }, key, .. }] if &**key == "/short"));
    assert_eq!(store.expire(now_s + 3600).await.unwrap(), 2);
    assert_eq!(names(&store.list("/", None, 0, None).await.unwrap()), ["/kept"]);
}

async fn slow_watchers_are_told(store: Subject) {
    let mut slow = store.watch("/", 1).await.unwrap();
    let batches = crate::watch::STREAM_BATCHES_MAX + 5;
    // Written one at a time, so that each is a batch of its own.
    for index in 0..batches {
        put(&store, "/a", &index.to_string()).await;
    }
    let mut last = 1;
    let end = loop {
        match slow.next().await {
            Ok(batch) => {
                assert!(batch.events.iter().all(|event| event.revision > last));
                last = batch.revision;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(end, Error::Lagged { .. }), "{end}");
    let mut resumed = store.watch("/", last).await.unwrap();
    let events = read_until(&mut resumed, 1 + batches as u64).await;
    assert_eq!(events.len(), batches + 1 - usize::try_from(last).unwrap(), "nothing is lost on resuming");
}

/// Counters incremented by many: no increment is lost, the history is linear.
async fn concurrent_writers(store: Subject) {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 20;
    commit(&store, Transaction::create("/counter", "0")).await;
    let mut stream = store.watch("/", 1).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for round in 0..ROUNDS {
                commit(&store, Transaction::create(format!("/own/{writer}/{round}"), "")).await;
                loop {
                    let seen = store.get("/counter").await.unwrap().unwrap();
                    let value: usize = std::str::from_utf8(&seen.value).unwrap().parse().unwrap();
                    let next = Transaction::update("/counter", seen.modified, (value + 1).to_string());
                    if let Outcome::Committed { .. } = store.transact(next).await.unwrap() {
                        break;
                    }
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let total = 1 + 2 * WRITERS * ROUNDS;
    assert_eq!(store.revision().await.unwrap(), 1 + total as u64);
    assert_eq!(store.get("/counter").await.unwrap().unwrap().value, (WRITERS * ROUNDS).to_string());
    let events = read_until(&mut stream, 1 + total as u64).await;
    let revisions: Vec<u64> = events.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, (2..=1 + total as u64).collect::<Vec<_>>());
}

/// Random transactions against a model that keeps every revision whole.
async fn random_history(store: Subject, seed: u64) {
    let random = Entropy::seeded(seed);
    let pick = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap();
    let mut history: Vec<BTreeMap<String, Record>> = vec![BTreeMap::new(); 2];
    let mut compacted = 0;
    let mut watch = store.watch("/r/", 1).await.unwrap();
    for step in 0..300 {
        let present = history.last().unwrap().clone();
        let mut transaction = Transaction::default();
        for index in 0..=pick(3) {
            let key = format!("/r/{}/{index}", pick(6));
            if pick(4) == 0 {
                let expect =
                    [Expect::Absent, Expect::Exists, Expect::Modified(history.len() as u64 - 1)][pick(3)];
                transaction = transaction.expect(key.clone(), expect);
            }
            transaction = match pick(3) {
                0 => transaction.remove(key),
                _ => transaction.put(key, format!("{step}"), None),
            };
        }
        let modified = |key: &String| present.get(key).map(|record| record.modified);
        let holds =
            transaction.conditions.iter().all(|condition| condition.expect.holds(modified(&condition.key)));
        let revision = history.len() as u64;
        let next = apply(&present, &transaction.operations, revision);
        match store.transact(transaction).await.unwrap() {
            Outcome::Conflict { .. } => assert!(!holds, "seed {seed} step {step}"),
            Outcome::Committed { revision: made } => {
                assert!(holds, "seed {seed} step {step}");
                if next == present {
                    assert_eq!(made, revision - 1);
                } else {
                    assert_eq!(made, revision);
                    history.push(next);
                }
            }
        }
        if pick(60) == 0 && history.len() as u64 - 2 > compacted {
            compacted = history.len() as u64 - 2;
            store.compact(compacted).await.unwrap();
        }
        let at = pick(history.len() - 1) as u64 + 1;
        let listing = store.list("/r/", None, 0, Some(at)).await;
        if at < compacted {
            assert!(matches!(listing, Err(Error::Compacted { .. })), "seed {seed} step {step}");
        } else {
            let expected: Vec<_> = history[usize::try_from(at).unwrap()].values().cloned().collect();
            assert_eq!(listing.unwrap().records, expected, "seed {seed} step {step} at {at}");
        }
    }
    let newest = history.len() as u64 - 1;
    check_replay(&read_until(&mut watch, newest).await, &history, 1);
    let late = store.watch("/r/", compacted).await.unwrap();
    check_replay(&read_until(&mut { late }, newest).await, &history, compacted.max(1));
}

fn apply(
    present: &BTreeMap<String, Record>,
    operations: &[Operation],
    revision: u64,
) -> BTreeMap<String, Record> {
    let mut next = present.clone();
    for operation in operations {
        match operation {
            Operation::Delete { key } => drop(next.remove(key)),
            Operation::Put { key, value, .. } => {
                let created = next.get(key).map_or(revision, |record| record.created);
                let record =
                    Record { key: key.as_str().into(), value: value.clone(), created, modified: revision };
                next.insert(key.clone(), record);
            }
        }
    }
    next
}

/// Events applied to the state they start from make every later state.
fn check_replay(events: &[Event], history: &[BTreeMap<String, Record>], from: u64) {
    let at = |revision: u64| &history[usize::try_from(revision).unwrap()];
    let mut state = at(from).clone();
    let mut events = events.iter().peekable();
    for revision in from + 1..history.len() as u64 {
        while let Some(event) = events.next_if(|event| event.revision == revision) {
            let key = event.key.to_string();
            assert_eq!(event.previous(), state.get(&key), "revision {revision}");
            match &event.kind {
                EventKind::Put { record, .. } => drop(state.insert(key, record.clone())),
                EventKind::Delete { .. } => drop(state.remove(&key)),
            }
        }
        assert_eq!(&state, at(revision), "revision {revision}");
    }
    assert_eq!(events.next(), None);
}
