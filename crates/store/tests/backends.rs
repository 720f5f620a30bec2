//! The suite over every back end, and what is particular to the embedded one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;
use stdx::clock::Clock;
use store::embedded::{EmbeddedStore, FileStorage, Options, Part};
use store::memory::MemoryStore;
use store::{Error, Store, Transaction, suite};

const NOW_S: u64 = 1_700_000_000;

fn clock() -> Clock {
    Clock::manual(jiff::Timestamp::from_second(i64::try_from(NOW_S).unwrap()).unwrap())
}

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, clock(), &Options::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    suite::all(|| Arc::new(MemoryStore::new(clock())), NOW_S).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    let directory = tempfile::tempdir().unwrap();
    let count = AtomicU64::new(0);
    let fresh = || {
        let path = directory.path().join(count.fetch_add(1, Ordering::Relaxed).to_string());
        Arc::new(open(&path)) as suite::Subject
    };
    suite::all(fresh, NOW_S).await;
}

#[tokio::test]
async fn embedded_on_one_thread() {
    let options = Options { writer_thread: false, ..Options::default() };
    let fresh = || {
        let memory = |_| Ok(redb::backends::InMemoryBackend::new());
        Arc::new(EmbeddedStore::open_on(Path::new("memory"), memory, clock(), &options).unwrap())
            as suite::Subject
    };
    suite::all(fresh, NOW_S).await;
}

#[tokio::test]
async fn reopening_keeps_everything() {
    let directory = tempfile::tempdir().unwrap();
    {
        let store = open(directory.path());
        store.transact(Transaction::create("/a", "1")).await.unwrap();
        store.transact(Transaction::update("/a", 2, "2")).await.unwrap();
        store.transact(Transaction::default().put("/e", "", Some(10))).await.unwrap();
        store.compact(2).await.unwrap();
        let file = std::fs::metadata(directory.path().join("store.redb")).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);
    }
    {
        let store = open(directory.path());
        assert_eq!((store.revision().await.unwrap(), store.progress()), (4, 4));
        assert_eq!(store.get("/a").await.unwrap().unwrap().modified, 3);
        let events = suite::read_until(&mut store.watch("/", 2).await.unwrap(), 4).await;
        assert_eq!(events.len(), 2);
        assert!(matches!(store.watch("/", 1).await, Err(Error::Compacted { .. })));
        assert_eq!(store.expire(NOW_S + 10).await.unwrap(), 1);
        store.compact(5).await.unwrap();
    }
    let store = open(directory.path());
    assert_eq!(store.revision().await.unwrap(), 5, "a fully compacted log keeps the revision");
    assert_eq!(store.list("/", None, 0, None).await.unwrap().records.len(), 1);
}

#[test]
fn a_directory_in_use_or_too_new_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let store = open(path);
    let error = EmbeddedStore::open(path, clock(), &Options::default()).err().unwrap().to_string();
    let holder = std::process::id();
    assert_eq!(error, format!("data directory {} is in use by process {holder}", path.display()));
    drop(store);
    std::fs::write(path.join("version"), "1\n").unwrap();
    drop(open(path));
    assert_eq!(
        std::fs::read_to_string(path.join("version")).unwrap(),
        "2\n",
        "an older format is brought up to date"
    );
    std::fs::write(path.join("version"), "3\n").unwrap();
    let error = EmbeddedStore::open(path, clock(), &Options::default()).err().unwrap();
    assert!(matches!(&error, Error::DataDirNewer { found, .. } if found == "3"), "{error}");
}

/// A file on a disk with a quota.
#[derive(Debug)]
struct Quota {
    file: FileStorage,
    bytes_max: Arc<AtomicU64>,
}

impl StorageBackend for Quota {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset + data.len() as u64 > self.bytes_max.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write(offset, data)
    }
}

#[tokio::test]
async fn a_full_disk_stops_writes_only_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let bytes_max = Arc::new(AtomicU64::new(u64::MAX));
    let storage = {
        let (path, bytes_max) = (path.clone(), Arc::clone(&bytes_max));
        move |part: Part| {
            let path = path.with_extension(format!("{part:?}"));
            Ok(Quota { file: FileStorage::open(&path)?, bytes_max: Arc::clone(&bytes_max) })
        }
    };
    let store = EmbeddedStore::open_on(&path, storage, clock(), &Options::default()).unwrap();
    store.transact(Transaction::create("/first", "1")).await.unwrap();
    bytes_max.store(1 << 20, Ordering::Relaxed);
    let value = vec![b'x'; 100_000];
    let mut written = 0;
    let error = loop {
        match store.transact(Transaction::create(format!("/{written}"), value.clone())).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Full { .. }), "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
    assert_eq!(store.get("/first").await.unwrap().unwrap().value, "1", "reads go on");
    assert!(store.transact(Transaction::create("/more", value.clone())).await.is_err());
    bytes_max.store(u64::MAX, Ordering::Relaxed);
    store.transact(Transaction::create("/more", value)).await.unwrap();
    let listing = store.list("/", None, 0, None).await.unwrap();
    assert_eq!((listing.records.len(), listing.revision), (written + 2, 3 + written as u64));
}
