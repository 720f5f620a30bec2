//! A disk in memory, with the two files of a store, that fails as disks do: the power goes, what was not synchronised is
//! lost, kept, reordered or torn within a page; there is no room; a synchronisation that failed has thrown away what it
//! should have written.
#![allow(dead_code)] // each test binary uses a part

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use store::embedded::{EmbeddedStore, Options, Part};
use store::{EventKind, Store, Transaction, suite};

/// The unit that a disk writes as a whole.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Clone)]
enum Pending {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

/// What the journal of these stores holds before the database is synchronised: some ten transactions.
const JOURNAL_BYTES: u64 = 64 << 10;

/// The bytes of the database and of the journal.
pub type Image = [Vec<u8>; 2];

/// What a process sees of a file, what is safe on the disk, and what is under way.
#[derive(Default)]
struct File {
    seen: Vec<u8>,
    safe: Vec<u8>,
    pending: Vec<Pending>,
}

/// The files and how they fail.
pub struct Disk {
    files: [File; 2],
    random: Entropy,
    /// Writes, changes of length and synchronisations so far.
    pub calls: u64,
    /// The call at which the power fails.
    pub power_fails_at: u64,
    /// The call from which on there is no room.
    pub full_from: u64,
    /// Synchronisations of these files say that they worked and do nothing.
    pub lies: Vec<Part>,
}

/// Applies a change but for the sectors that did not get through.
fn apply(image: &mut Vec<u8>, change: &Pending, arrives: impl Fn(usize) -> bool) {
    match change {
        Pending::Length(length) => image.resize(*length, 0),
        Pending::Write { offset, data } => {
            for (sector, part) in data.chunks(SECTOR_BYTES).enumerate().filter(|(sector, _)| arrives(*sector))
            {
                let at = offset + sector * SECTOR_BYTES;
                if image.len() < at + part.len() {
                    image.resize(at + part.len(), 0);
                }
                image[at..at + part.len()].copy_from_slice(part);
            }
        }
    }
}

fn below(random: &Entropy, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap()
}

/// Of what is under way anything may get through, in any order: whole, not at all, its first sectors, any of them.
fn scramble(image: &mut Vec<u8>, pending: &[Pending], random: &Entropy) {
    let safe_bytes = image.len();
    let mut pending = pending.to_vec();
    for at in (1..pending.len()).rev() {
        pending.swap(at, below(random, at + 1));
    }
    for change in &pending {
        match random.below(4) {
            0 => {}
            1 => apply(image, change, |_| true),
            2 => {
                let count = below(random, 8);
                apply(image, change, |sector| sector < count);
            }
            _ => {
                let mask = random.next_u64();
                apply(image, change, |sector| mask >> (sector % 64) & 1 == 1);
            }
        }
    }
    // The file is never shorter than it safely was.
    image.resize(image.len().max(safe_bytes), 0);
}

impl Disk {
    fn call(&mut self) -> io::Result<()> {
        let number = self.calls;
        self.calls += 1;
        if number >= self.power_fails_at {
            return Err(io::Error::other("the power failed"));
        }
        if number >= self.full_from {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn change(&mut self, part: Part, change: Pending) -> io::Result<()> {
        let result = self.call();
        let file = &mut self.files[part as usize];
        if result.is_ok() {
            apply(&mut file.seen, &change, |_| true);
            file.pending.push(change);
        } else if let Pending::Write { offset, data } = change {
            // A write that found no room for its end has written its beginning.
            let done = data[..data.len().min(SECTOR_BYTES * below(&self.random, 4))].to_vec();
            if offset + done.len() <= file.seen.len() {
                let done = Pending::Write { offset, data: done };
                apply(&mut file.seen, &done, |_| true);
                file.pending.push(done);
            }
        }
        result
    }

    fn sync(&mut self, part: Part) -> io::Result<()> {
        let result = self.call();
        if self.lies.contains(&part) {
            return result;
        }
        let file = &mut self.files[part as usize];
        match result {
            Ok(()) => file.safe.clone_from(&file.seen),
            // The system has given up on these pages: readers see them, the disk does not have them, and no later
            // synchronisation will write them.
            Err(_) => scramble(&mut file.safe, &file.pending, &self.random),
        }
        file.pending.clear();
        result
    }

    /// What is found when the power is back.
    pub fn after_failure(&self) -> Image {
        self.files.each_ref().map(|file| {
            let mut image = file.safe.clone();
            scramble(&mut image, &file.pending, &self.random);
            image
        })
    }

    /// What a process sees.
    pub fn seen(&self) -> Image {
        self.files.each_ref().map(|file| file.seen.clone())
    }
}

/// A handle on a disk. Cheap to clone.
#[derive(Clone)]
pub struct Storage(Arc<Mutex<Disk>>);

impl Storage {
    /// A disk that holds `image` and does not fail yet.
    pub fn holding(image: Image, random: &Entropy) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            files: image.map(|image| File { seen: image.clone(), safe: image, pending: Vec::new() }),
            random: random.clone(),
            calls: 0,
            power_fails_at: u64::MAX,
            full_from: u64::MAX,
            lies: Vec::new(),
        })))
    }

    /// The disk.
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    /// A store on it, on one thread.
    pub fn open(&self) -> store::Result<EmbeddedStore> {
        let options = Options { writer_thread: false, journal_bytes: JOURNAL_BYTES, ..Options::default() };
        let storage = self.clone();
        let open = move |part| Ok(Handle { storage: storage.clone(), part });
        EmbeddedStore::open_on(Path::new("disk"), open, Clock::system(), &options)
    }
}

/// A handle on a file.
struct Handle {
    storage: Storage,
    part: Part,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?}", self.part)
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.storage.disk().files[self.part as usize].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.storage.disk();
        let start = usize::try_from(offset).unwrap();
        let seen = &disk.files[self.part as usize].seen;
        let found = seen.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.storage.disk().change(self.part, Pending::Length(usize::try_from(length).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.storage.disk().sync(self.part)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.storage.disk().change(self.part, Pending::Write { offset, data: data.to_vec() })
    }
}

/// Keys and values.
pub type State = BTreeMap<String, String>;

/// A random transaction, and the state after it.
pub fn step(state: &State, random: &Entropy, number: u64) -> (Transaction, State) {
    let (mut transaction, mut next) = (Transaction::default(), state.clone());
    for slot in 0..=random.below(4) {
        let key = format!("/k/{slot}/{:02}", random.below(40));
        if random.below(4) == 0 {
            transaction = transaction.remove(key.clone());
            next.remove(&key);
        } else {
            let value = format!("{number} {}", "x".repeat(below(random, 3000)));
            transaction = transaction.put(key.clone(), value.clone(), None);
            next.insert(key, value);
        }
    }
    (transaction, next)
}

fn text(value: &[u8]) -> String {
    String::from_utf8(value.to_vec()).unwrap()
}

/// What a store holds.
pub async fn read(store: &EmbeddedStore) -> store::Result<State> {
    let listing = store.list("/k/", None, 0, None).await?;
    Ok(listing.records.iter().map(|record| (record.key.to_string(), text(&record.value))).collect())
}

/// Whether the log still leads from an earlier revision to the present.
pub async fn history_holds(store: &EmbeddedStore, state: &State, revision: u64) -> bool {
    let Some((from, mut watch)) = first_watch(store, revision).await else { return true };
    let before = store.list("/k/", None, 0, Some(from)).await.unwrap();
    let mut replayed = State::new();
    for record in before.records {
        replayed.insert(record.key.to_string(), text(&record.value));
    }
    for event in suite::read_until(&mut watch, revision).await {
        match event.kind {
            EventKind::Put { record, .. } => {
                drop(replayed.insert(event.key.to_string(), text(&record.value)))
            }
            EventKind::Delete { .. } => drop(replayed.remove(&*event.key)),
        }
    }
    &replayed == state
}

async fn first_watch(store: &EmbeddedStore, revision: u64) -> Option<(u64, store::WatchStream)> {
    for from in 1..=revision {
        if let Ok(watch) = store.watch("/k/", from).await {
            return Some((from, watch));
        }
    }
    None
}
