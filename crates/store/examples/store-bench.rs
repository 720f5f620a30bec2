//! Prints what the store does per second: `cargo run --release -p store --example store-bench [DIRECTORY]`.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use stdx::clock::Clock;
use store::cache::{Cache, Decode, DecodeError, Delivery, Options as CacheOptions};
use store::embedded::{EmbeddedStore, Options};
use store::{Store, Transaction};

const PREFIX: &str = "/registry/core/configmaps/";
const VALUE_BYTES: usize = 600;

/// Keeps the bytes, as the API server keeps wire bytes.
struct Keep;

impl Decode for Keep {
    type Object = Bytes;

    fn decode(&self, _key: &str, stored: &Bytes, _revision: u64) -> Result<Bytes, DecodeError> {
        Ok(stored.clone())
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = arguments.get(1).map_or(temporary.path(), std::path::Path::new).join("bench");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let store = EmbeddedStore::open(&directory, Clock::system(), &Options::default());
        let store: Arc<dyn Store> = Arc::new(store.expect("the store opens"));
        let cache = Cache::new(Arc::clone(&store), Keep, PREFIX, CacheOptions::default()).await;
        let cache = cache.expect("the cache opens");
        for (writers, total) in [(1, 2000), (16, 20_000), (64, 20_000)] {
            writes(&store, writers, total).await;
        }
        lists(&cache).await;
        fan_out(&store, &cache).await;
    });
    let opened = Instant::now();
    EmbeddedStore::open(&directory, Clock::system(), &Options::default()).expect("the store opens again");
    println!("open again: {:.1?}", opened.elapsed());
    std::fs::remove_dir_all(directory).expect("the directory is removed");
}

fn key(writers: usize, writer: usize, index: usize) -> String {
    format!("{PREFIX}default/object-{writers:03}-{writer:03}-{index:06}")
}

async fn writes(store: &Arc<dyn Store>, writers: usize, total: usize) {
    let started = Instant::now();
    let tasks = (0..writers).map(|writer| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let mut times = Vec::with_capacity(total / writers);
            for index in 0..total / writers {
                let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
                let begun = Instant::now();
                store
                    .transact(Transaction::create(key(writers, writer, index), value))
                    .await
                    .expect("a write");
                times.push(begun.elapsed());
            }
            times
        })
    });
    let mut times: Vec<Duration> = Vec::with_capacity(total);
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await.expect("a writer"));
    }
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    times.sort_unstable();
    let [median, p99] = [50, 99].map(|percent| times[times.len() * percent / 100]);
    println!("durable creates, {writers} writers: {rate:.0}/s, median {median:.1?}, p99 {p99:.1?}");
}

async fn lists(cache: &Arc<Cache<Keep>>) {
    const ROUNDS: u32 = 2000;
    let started = Instant::now();
    let mut bytes = 0;
    for _ in 0..ROUNDS {
        let page = cache.range(PREFIX, None, 500);
        bytes += page.entries.iter().map(|entry| entry.object.len()).sum::<usize>();
    }
    println!("list 500 of {}: {:.1?} each ({bytes} bytes)", cache.count(PREFIX), started.elapsed() / ROUNDS);
    let name = key(16, 3, 77);
    let started = Instant::now();
    let found = (0..100_000).filter(|_| cache.get(&name).is_some()).count();
    println!("get: {:.0?} each", started.elapsed() / u32::try_from(found).expect("few"));
}

async fn fan_out(store: &Arc<dyn Store>, cache: &Arc<Cache<Keep>>) {
    const WATCHERS: usize = 100;
    const ROUNDS: u32 = 200;
    let (done, mut finished) = tokio::sync::mpsc::channel(WATCHERS);
    for _ in 0..WATCHERS {
        let mut watcher = cache.subscribe(PREFIX, None, false).await.expect("a watcher");
        let done = done.clone();
        tokio::spawn(async move {
            while let Ok(Delivery::Change(change)) = watcher.next().await {
                if done.send(change.revision).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut total = Duration::ZERO;
    for round in 0..ROUNDS {
        let value = Bytes::from(round.to_string());
        store.transact(Transaction::default().put(key(0, 0, 0), value, None)).await.expect("a write");
        // From the writer's answer to the last watcher's having it.
        let begun = Instant::now();
        for _ in 0..WATCHERS {
            finished.recv().await.expect("a delivery");
        }
        total += begun.elapsed();
    }
    println!("fan-out to {WATCHERS} watchers: {:.1?} after the write's answer", total / ROUNDS);
}
