//! A process that writes is killed at random moments, again and again on the same files. What it said was acknowledged
//! is there, transactions are whole, revisions go on, and the next process opens the store within a second.
//! `CAROB_CRASH_ROUNDS` is the number of kills, if others are wanted.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use stdx::clock::Clock;
use stdx::entropy::Entropy;
use store::embedded::{EmbeddedStore, Options};
use store::{EventKind, Outcome, Store, Transaction};

/// Tells this test's child where to write.
const ROLE: &str = "STORE_TEST_KILLED_WRITER";
const ROUNDS_VARIABLE: &str = "CAROB_CRASH_ROUNDS";
const ROUNDS: u64 = 40;
const WRITERS: u64 = 6;
/// How long opening after a kill may take, half of the times: a busy machine may be in the way of some.
const OPEN_MAX: Duration = Duration::from_secs(1);

#[allow(clippy::disallowed_methods)] // a test's own knobs
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, Clock::system(), &Options::default()).unwrap()
}

/// What one writer's last transaction must be seen as: its number under three keys, one of them in another part of the
/// tree, and the key of the one before gone.
fn transaction(writer: u64, number: u64) -> Transaction {
    let value = |size: usize| format!("{number} {}", "x".repeat(size));
    Transaction::default()
        .put(format!("/a/{writer}"), value(20), None)
        .put(format!("/z/{writer}"), value(usize::try_from(number % 3000).unwrap()), None)
        .put(format!("/n/{writer}/{number:08}"), "", None)
        .remove(format!("/n/{writer}/{:08}", number.saturating_sub(1)))
}

/// The child: writes until it is killed, and says what was acknowledged.
async fn write_for_ever(path: &Path) {
    let store = Arc::new(open(path));
    let writers = (0..WRITERS).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let before = store.get(&format!("/a/{writer}")).await.unwrap();
            let first = before.map_or(0, |record| number_of(&record.value)) + 1;
            for number in first.. {
                let outcome = store.transact(transaction(writer, number)).await.unwrap();
                let Outcome::Committed { revision } = outcome else { panic!("{outcome:?}") };
                // One write to the pipe: a line is there as a whole or not at all.
                let line = format!("{writer} {number} {revision}\n");
                std::io::stderr().write_all(line.as_bytes()).unwrap();
                if writer == 0 && number % 50 == 49 {
                    store.compact(revision).await.unwrap();
                }
            }
        })
    });
    futures::future::join_all(writers.collect::<Vec<_>>()).await;
}

fn number_of(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// When to kill a child.
#[derive(Clone, Copy)]
struct Moment {
    /// Counted from its first acknowledgement, else from its start.
    acknowledges: bool,
    wait: Duration,
}

/// Starts a child, kills it, gives what it acknowledged: revision → writer and number.
fn kill_one(path: &Path, moment: Moment) -> BTreeMap<u64, (u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_writer_loses_nothing_acknowledged", "--nocapture"])
        .env(ROLE, path)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut acknowledged = BTreeMap::new();
    // What is no acknowledgement is a complaint.
    let mut take = |line: String| {
        let words: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
        let Ok(&[writer, number, revision]) = words.as_deref() else { return Some(line) };
        assert_eq!(acknowledged.insert(revision, (writer, number)), None, "a revision given twice");
        None
    };
    if moment.acknowledges {
        let first = lines.next().expect("the child acknowledges");
        if let Some(complaint) = take(first) {
            panic!("{complaint}\n{}", lines.collect::<Vec<_>>().join("\n"));
        }
    }
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let killer = std::thread::spawn(move || {
        // Nothing is ever sent: this is the wait.
        let _ = end.recv_timeout(moment.wait);
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let complaint: Vec<String> = lines.filter_map(take).collect();
    killer.join().unwrap();
    drop(ended);
    assert!(complaint.is_empty(), "{}", complaint.join("\n"));
    acknowledged
}

/// Checks the files after a kill; gives the newest revision, and how long opening took.
async fn check(path: &Path, acknowledged: &BTreeMap<u64, (u64, u64)>, before: u64) -> (u64, Duration) {
    let begun = tokio::time::Instant::now();
    let store = open(path);
    let took = begun.elapsed();
    let newest = store.revision().await.unwrap();
    let first = acknowledged.keys().next().copied().unwrap_or(before + 1);
    let last = acknowledged.keys().last().copied().unwrap_or(before);
    assert!(first > before, "revision {first} was given before {before}");
    assert!(newest >= last, "revision {last} was acknowledged, the store ends at {newest}");
    let mut numbers: BTreeMap<u64, u64> = BTreeMap::new();
    for (writer, number) in acknowledged.values() {
        let known = numbers.insert(*writer, *number);
        assert!(known.is_none_or(|known| known + 1 == *number), "writer {writer}: {known:?}, then {number}");
    }
    for writer in 0..WRITERS {
        let value = |record: Option<store::Record>| record.map(|record| number_of(&record.value));
        let there = value(store.get(&format!("/a/{writer}")).await.unwrap());
        assert!(there >= numbers.get(&writer).copied(), "writer {writer}: {there:?} of {numbers:?}");
        assert_eq!(value(store.get(&format!("/z/{writer}")).await.unwrap()), there, "half a transaction");
        let keys = store.list(&format!("/n/{writer}/"), None, 0, None).await.unwrap().records;
        let keys: Vec<&str> = keys.iter().map(|record| &*record.key).collect();
        let own = there.map(|number| format!("/n/{writer}/{number:08}"));
        assert_eq!(keys, own.iter().map(String::as_str).collect::<Vec<_>>(), "half a transaction");
    }
    replay(&store, newest).await;
    (newest, took)
}

/// The history that is left leads to the present, one revision after the other.
async fn replay(store: &EmbeddedStore, newest: u64) {
    let mut from = newest;
    while from > 1 && store.watch("/", from - 1).await.is_ok() {
        from -= 1;
    }
    let then = store.list("/", None, 0, Some(from)).await.unwrap().records;
    let mut state: BTreeMap<_, _> = then.into_iter().map(|record| (record.key, record.value)).collect();
    let mut last = from;
    for event in store::suite::read_until(&mut store.watch("/", from).await.unwrap(), newest).await {
        assert!(event.revision == last || event.revision == last + 1, "{last} then {}", event.revision);
        last = event.revision;
        match event.kind {
            EventKind::Put { record, .. } => drop(state.insert(record.key, record.value)),
            EventKind::Delete { .. } => drop(state.remove(&event.key)),
        }
    }
    let now = store.list("/", None, 0, None).await.unwrap().records;
    assert_eq!(state, now.into_iter().map(|record| (record.key, record.value)).collect());
}

#[test]
fn a_killed_writer_loses_nothing_acknowledged() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Some(path) = variable(ROLE) {
        return runtime.block_on(write_for_ever(Path::new(&path)));
    }
    let rounds = variable(ROUNDS_VARIABLE).map_or(ROUNDS, |text| text.parse().expect(ROUNDS_VARIABLE));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let random = Entropy::system();
    let (mut newest, mut openings) = (1, Vec::new());
    for round in 0..rounds {
        if round % 10 == 0 {
            // From time to time a new store: the first moments of a file are moments, too.
            drop(std::fs::remove_dir_all(&path));
            newest = 1;
        }
        let moment =
            Moment { acknowledges: random.below(5) > 0, wait: Duration::from_micros(random.below(60_000)) };
        let acknowledged = kill_one(&path, moment);
        let (found, took) = runtime.block_on(check(&path, &acknowledged, newest));
        newest = found;
        openings.push(took);
    }
    openings.sort_unstable();
    let median = openings[openings.len() / 2];
    assert!(median < OPEN_MAX, "opening after a kill took {median:?}");
}
