//! Power failures beneath the embedded store, and the proof that these tests would notice a missing synchronisation.
//! `CAROB_SEEDS` is the number of stores that are tried, if others are wanted.

mod disk;

use disk::{Image, State, Storage, history_holds, read, step};
use stdx::entropy::Entropy;
use store::embedded::Part;
use store::{Outcome, Store};

const SEEDS: u64 = 12;
/// Lives of one store: each ends by a failure of the power.
const LIVES: u64 = 6;

/// Writes until the power fails, several times; every acknowledged write must be there afterwards, and of the one that
/// was under way all or nothing. The error says what was lost.
async fn survive(seed: u64, lies: &[Part]) -> Result<(), String> {
    let random = Entropy::seeded(seed);
    let mut image = Image::default();
    let (mut state, mut revision) = (State::new(), 1);
    for life in 0..LIVES {
        let at = |what: &str| format!("seed {seed} life {life}: {what}");
        let storage = Storage::holding(image, &random);
        // The first life must get as far as making the file.
        storage.disk().power_fails_at = 60 * u64::from(life == 0) + random.below(400);
        storage.disk().lies = lies.to_vec();
        let mut under_way = None;
        if let Ok(store) = storage.open() {
            let found = (read(&store).await, store.revision().await);
            if !matches!(found, (Ok(found), Ok(newest)) if found == state && newest == revision) {
                return Err(at("a clean start does not find what was there"));
            }
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
        image = storage.disk().after_failure();
        let storage = Storage::holding(image, &random);
        let store = storage.open().map_err(|error| at(&error.to_string()))?;
        let found = read(&store).await.map_err(|error| at(&error.to_string()))?;
        if found != state {
            if Some(&found) != under_way.as_ref() {
                return Err(at("what was acknowledged is not there, or half of a transaction is"));
            }
            (state, revision) = (found, revision + 1);
        }
        if store.revision().await.ok() != Some(revision) {
            return Err(at("the revision is another"));
        }
        if !history_holds(&store, &state, revision).await {
            return Err(at("the history does not lead to the present"));
        }
        drop(store);
        image = storage.disk().seen();
    }
    Ok(())
}

#[allow(clippy::disallowed_methods)] // a test's own knob
fn seeds() -> u64 {
    std::env::var("CAROB_SEEDS").map_or(SEEDS, |text| text.parse().expect("a number"))
}

#[tokio::test]
async fn power_failures_lose_nothing_acknowledged() {
    for seed in 0..seeds() {
        survive(seed, &[]).await.unwrap();
    }
}

/// These tests can fail: on a disk whose synchronisations do nothing they do, with nearly every seed; be it only those of the
/// database or only those of the journal.
#[tokio::test]
async fn a_missing_synchronisation_is_noticed() {
    let kinds: [&[Part]; 3] = [&[Part::Database, Part::Journal], &[Part::Database], &[Part::Journal]];
    for lies in kinds {
        let mut noticed = 0;
        for seed in 0..4 {
            // What is left of such a file may be anything, and reading it may panic beneath us: noticed, too.
            let run = tokio::spawn(survive(seed, lies));
            noticed += u32::from(!matches!(run.await, Ok(Ok(()))));
        }
        assert!(noticed >= 3, "only {noticed} of 4 runs without synchronisation of {lies:?} lost something");
    }
}
