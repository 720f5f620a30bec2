//! The store's housekeeping, at upstream's pace: expired keys go, history older than five to ten minutes is compacted.

use std::sync::Weak;
use std::time::Duration;

use stdx::clock::Clock;
use tokio::time::MissedTickBehavior;

use crate::{Error, Store, memory};

/// How often expired keys are removed.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(30);

/// Expiry rounds between two compactions: five minutes.
const ROUNDS_PER_COMPACTION: u32 = 10;

/// Keeps a store tidy until it is dropped. Leases end by `clock`.
pub async fn run(store: Weak<dyn Store>, clock: Clock) {
    let mut ticks = tokio::time::interval(EXPIRY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut compactor = Compactor::default();
    let mut round = 0;
    loop {
        ticks.tick().await;
        let Some(store) = store.upgrade() else { return };
        if let Err(error) = store.expire(memory::now_s(&clock)).await {
            tracing::warn!(%error, "expired keys stay for another round");
        }
        if round % ROUNDS_PER_COMPACTION == 0 {
            compactor.round(&*store).await;
        }
        round += 1;
    }
}

/// Compacts up to what was newest one round ago, so that readers have at least that long to continue.
#[derive(Default)]
struct Compactor {
    newest_before: u64,
    compacted: u64,
}

impl Compactor {
    async fn round(&mut self, store: &dyn Store) {
        let target = std::mem::replace(&mut self.newest_before, store.progress());
        if target <= self.compacted {
            return;
        }
        match store.compact(target).await {
            // Someone else may have.
            Ok(()) | Err(Error::Compacted { .. }) => self.compacted = target,
            Err(error) => tracing::warn!(%error, target, "history was not compacted"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Transaction, memory::MemoryStore};
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn leases_end_and_history_goes() {
        let clock = Clock::manual(jiff::Timestamp::from_second(1000).unwrap());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
        let weak: Weak<dyn Store> = Arc::downgrade(&store);
        let task = tokio::spawn(run(weak, clock.clone()));
        // The first round finds an empty store.
        tokio::time::sleep(Duration::from_secs(1)).await;
        store.transact(Transaction::default().put("/e", "", Some(60))).await.unwrap();
        tokio::time::sleep(Duration::from_secs(298)).await;
        assert!(store.get("/e").await.unwrap().is_some(), "the wall clock stands still");
        clock.set(jiff::Timestamp::from_second(1060).unwrap());
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert!(store.get("/e").await.unwrap().is_none());
        assert!(store.watch("/", 1).await.is_ok(), "history younger than a round stays");
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(matches!(store.watch("/", 1).await, Err(Error::Compacted { .. })));
        assert!(store.watch("/", 3).await.is_ok());
        drop(store);
        tokio::time::sleep(Duration::from_secs(31)).await;
        assert!(task.is_finished());
    }
}
