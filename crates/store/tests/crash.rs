//! Power failures beneath the embedded store: a disk that loses, keeps or tears what was not synchronised.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use store::embedded::{EmbeddedStore, Options};
use store::{Outcome, Store, Transaction, suite};

/// The unit that a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone)]
enum Pending {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

/// What a process sees of the disk, what is safe on it, and what is under way.
#[derive(Debug, Default)]
struct Disk {
    seen: Vec<u8>,
    safe: Vec<u8>,
    pending: Vec<Pending>,
    /// Calls until the power fails.
    calls_left: u64,
}

fn apply(image: &mut Vec<u8>, change: &Pending, bytes_max: usize) {
    match change {
        Pending::Length(length) => image.resize(*length, 0),
        Pending::Write { offset, data } => {
            let data = &data[..data.len().min(bytes_max)];
            if image.len() < offset + data.len() {
                image.resize(offset + data.len(), 0);
            }
            image[*offset..offset + data.len()].copy_from_slice(data);
        }
    }
}

impl Disk {
    fn call(&mut self) -> io::Result<()> {
        let left = self.calls_left.checked_sub(1);
        self.calls_left = left.ok_or_else(|| io::Error::other("the power failed"))?;
        Ok(())
    }

    fn change(&mut self, change: Pending) -> io::Result<()> {
        self.call()?;
        apply(&mut self.seen, &change, usize::MAX);
        self.pending.push(change);
        Ok(())
    }

    /// What is found when the power is back: of what was under way anything may have got through, in any order.
    fn after_failure(&self, random: &Entropy) -> Vec<u8> {
        let mut image = self.safe.clone();
        let mut pending = self.pending.clone();
        for at in (1..pending.len()).rev() {
            pending.swap(at, usize::try_from(random.below(at as u64 + 1)).unwrap());
        }
        for change in &pending {
            match random.below(3) {
                0 => {}
                1 => apply(&mut image, change, usize::MAX),
                _ => apply(&mut image, change, SECTOR_BYTES * usize::try_from(random.below(8)).unwrap()),
            }
        }
        // The file is never shorter than it safely was.
        image.resize(image.len().max(self.safe.len()), 0);
        image
    }
}

#[derive(Debug, Clone)]
struct Storage(Arc<Mutex<Disk>>);

impl Storage {
    fn holding(image: Vec<u8>, calls_left: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk { seen: image.clone(), safe: image, pending: Vec::new(), calls_left })))
    }
}

impl StorageBackend for Storage {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        let found = disk.seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().change(Pending::Length(usize::try_from(length).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.lock().unwrap();
        disk.call()?;
        disk.safe = disk.seen.clone();
        disk.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.0.lock().unwrap().change(Pending::Write { offset, data: data.to_vec() })
    }
}

type State = BTreeMap<String, String>;

fn open(storage: &Storage) -> store::Result<EmbeddedStore> {
    let options = Options { writer_thread: false, ..Options::default() };
    let storage = storage.clone();
    EmbeddedStore::open_on(Path::new("disk"), move || Ok(storage.clone()), Clock::system(), &options)
}

/// A random transaction, and the state after it.
fn step(state: &State, random: &Entropy, number: u64) -> (Transaction, State) {
    let (mut transaction, mut next) = (Transaction::default(), state.clone());
    for slot in 0..=random.below(4) {
        let key = format!("/k/{slot}/{:02}", random.below(40));
        if random.below(4) == 0 {
            transaction = transaction.remove(key.clone());
            next.remove(&key);
        } else {
            let value = format!("{number} {}", "x".repeat(usize::try_from(random.below(3000)).unwrap()));
            transaction = transaction.put(key.clone(), value.clone(), None);
            next.insert(key, value);
        }
    }
    (transaction, next)
}

async fn read(store: &EmbeddedStore) -> State {
    let listing = store.list("/k/", None, 0, None).await.unwrap();
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    listing.records.iter().map(|record| (record.key.to_string(), text(&record.value))).collect()
}

/// Writes until the power fails, several times; every acknowledged write must be there afterwards, and of the one that
/// was under way all or nothing.
async fn survive(seed: u64) {
    let random = Entropy::seeded(seed);
    let mut image = Vec::new();
    let (mut state, mut revision) = (State::new(), 1);
    for life in 0..6 {
        // The first life must get as far as making the file.
        let storage = Storage::holding(image, 60 * u64::from(life == 0) + random.below(400));
        let mut under_way = None;
        if let Ok(store) = open(&storage) {
            assert_eq!(
                (read(&store).await, store.revision().await.unwrap()),
                (state.clone(), revision),
                "seed {seed}"
            );
            for number in 0.. {
                let (transaction, next) = step(&state, &random, number);
                match store.transact(transaction).await {
                    Ok(Outcome::Committed { revision: made }) => (state, revision) = (next, made),
                    Ok(Outcome::Conflict { .. }) => unreachable!("there are no conditions"),
                    Err(_) => {
                        under_way = Some(next);
                        break;
                    }
                }
                if random.below(20) == 0 && store.compact(revision).await.is_err() {
                    break;
                }
            }
        }
        image = storage.0.lock().unwrap().after_failure(&random);
        let storage = Storage::holding(image, u64::MAX);
        let store = open(&storage).unwrap_or_else(|error| panic!("seed {seed} life {life}: {error}"));
        let found = read(&store).await;
        if found != state {
            assert_eq!(Some(&found), under_way.as_ref(), "seed {seed} life {life}");
            (state, revision) = (found, revision + 1);
        }
        assert_eq!(store.revision().await.unwrap(), revision, "seed {seed} life {life}");
        check_history(&store, &state, revision).await;
        drop(store);
        image = storage.0.lock().unwrap().safe.clone();
    }
}

/// The log still leads from an earlier revision to the present.
async fn check_history(store: &EmbeddedStore, state: &State, revision: u64) {
    let Some((from, mut watch)) = first_watch(store, revision).await else { return };
    let before = store.list("/k/", None, 0, Some(from)).await.unwrap();
    let mut replayed: State = BTreeMap::new();
    for record in before.records {
        replayed.insert(record.key.to_string(), String::from_utf8(record.value.to_vec()).unwrap());
    }
    for event in suite::read_until(&mut watch, revision).await {
        match event.kind {
            store::EventKind::Put { record, .. } => {
                replayed.insert(event.key.to_string(), String::from_utf8(record.value.to_vec()).unwrap());
            }
            store::EventKind::Delete { .. } => drop(replayed.remove(&*event.key)),
        }
    }
    assert_eq!(&replayed, state);
}

async fn first_watch(store: &EmbeddedStore, revision: u64) -> Option<(u64, store::WatchStream)> {
    for from in 1..=revision {
        if let Ok(watch) = store.watch("/k/", from).await {
            return Some((from, watch));
        }
    }
    None
}

#[tokio::test]
async fn power_failures_lose_nothing_acknowledged() {
    for seed in 0..8 {
        survive(seed).await;
    }
}
