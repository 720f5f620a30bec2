//! How often things go wrong, and a store that fails as disks do: before a write, or after it without saying so.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use parking_lot::Mutex;
use stdx::entropy::Entropy;
use store::{Error, Listing, Operation, Outcome, Record, Result, Sink, Store, Transaction, WatchStream};

/// Chances in 1,000.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chances {
    /// A request does not reach the server.
    pub refused: u64,
    /// The answer to a request is lost.
    pub unanswered: u64,
    /// A watch ends at an event.
    pub watch_ends: u64,
    /// A call to a node's runtime fails, or its answer is lost.
    pub runtime_fails: u64,
    /// A write to the store fails.
    pub write_fails: u64,
    /// Longest delay of a request, of its answer, and of an event, in milliseconds.
    pub delay_ms: u64,
}

/// Chances that change while a run goes on, and the dice.
pub struct Faults {
    chances: Mutex<Chances>,
    rivals: bool,
    random: Entropy,
}

impl Faults {
    /// Nothing goes wrong yet. `rivals`: the run has schedulers that do not know what they have bound.
    pub fn new(random: Entropy, rivals: bool) -> Arc<Self> {
        Arc::new(Self { chances: Mutex::default(), rivals, random })
    }

    /// Whether two schedulers work at once, and the answers to bindings may be lost. A place may then be given away twice, in
    /// upstream as well: the nodes are the last to refuse. Without them, it must never be.
    pub fn rivals(&self) -> bool {
        self.rivals
    }

    /// Sets the chances.
    pub fn set(&self, chances: Chances) {
        *self.chances.lock() = chances;
    }

    /// Throws the dice for one kind of fault.
    pub fn happens(&self, chance: impl Fn(&Chances) -> u64) -> bool {
        let chance = chance(&self.chances.lock());
        chance > 0 && self.random.below(1000) < chance
    }

    /// Waits for a random while.
    pub async fn delay(&self) {
        let most = self.chances.lock().delay_ms;
        let wait_ms = if most == 0 { 0 } else { self.random.below(most + 1) };
        if wait_ms > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await;
        }
    }
}

/// A store whose writes fail now and then.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Arc<Faults>,
}

impl FaultyStore {
    /// Above another store.
    pub fn new(inner: Arc<dyn Store>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

fn failed() -> Error {
    Error::Io { path: "disk".into(), message: "input/output error".into() }
}

/// Whether a write binds a Pod. Only in a run with rivals is it done without being acknowledged: whoever bound does not know
/// then that the place is taken, and may give it away twice until the news come, which upstream's scheduler does as well.
fn binds(transaction: &Transaction) -> bool {
    let binds = |operation: &Operation| match operation {
        Operation::Put { key, value, .. } => {
            key.starts_with("/registry/pods/") && value.windows(10).any(|part| part == b"\"nodeName\"")
        }
        Operation::Delete { .. } => false,
    };
    transaction.operations.iter().any(binds)
}

#[async_trait]
impl Store for FaultyStore {
    async fn revision(&self) -> Result<u64> {
        self.inner.revision().await
    }

    async fn get(&self, key: &str) -> Result<Option<Record>> {
        self.inner.get(key).await
    }

    async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        at: Option<u64>,
    ) -> Result<Listing> {
        self.inner.list(prefix, start_after, limit, at).await
    }

    async fn transact(&self, transaction: Transaction) -> Result<Outcome> {
        if self.faults.happens(|chances| chances.write_fails) {
            return Err(failed());
        }
        let ambiguous = self.faults.rivals() || !binds(&transaction);
        let outcome = self.inner.transact(transaction).await?;
        if ambiguous && self.faults.happens(|chances| chances.write_fails) {
            return Err(failed());
        }
        Ok(outcome)
    }

    async fn watch(&self, prefix: &str, after: u64) -> Result<WatchStream> {
        self.inner.watch(prefix, after).await
    }

    async fn compact(&self, revision: u64) -> Result<()> {
        self.inner.compact(revision).await
    }

    fn progress(&self) -> u64 {
        self.inner.progress()
    }

    async fn wait_progress(&self, revision: u64) {
        self.inner.wait_progress(revision).await;
    }

    async fn expire(&self, now_s: u64) -> Result<usize> {
        self.inner.expire(now_s).await
    }

    fn attach(&self, prefix: &str, sink: Weak<dyn Sink>) -> bool {
        self.inner.attach(prefix, sink)
    }
}
