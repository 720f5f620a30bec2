//! No room: whichever write, growth or synchronisation finds none, the error says so, nothing acknowledged is lost, and
//! writing goes on once there is room again.

mod disk;

use disk::{Image, State, Storage, history_holds, read, step};
use stdx::entropy::Entropy;
use store::embedded::EmbeddedStore;
use store::{Error, Outcome, Store, suite};

/// Transactions of the workload.
const STEPS: u64 = 6;
const SEED: u64 = 7;

/// A disk on which a store was made and closed.
async fn fresh(random: &Entropy) -> Storage {
    let storage = Storage::holding(Image::default(), random);
    drop(storage.open().unwrap());
    let image = storage.disk().seen();
    Storage::holding(image, random)
}

struct Written {
    state: State,
    revision: u64,
    /// What failed, and the state if it happened all the same.
    failed: Option<(Error, State)>,
}

/// Performs the workload up to its end or the first failure.
async fn write(store: &EmbeddedStore) -> Written {
    let random = Entropy::seeded(SEED);
    let mut written = Written { state: State::new(), revision: 1, failed: None };
    for number in 0..STEPS {
        let (transaction, next) = step(&written.state, &random, number);
        match store.transact(transaction).await {
            Ok(Outcome::Committed { revision }) => (written.state, written.revision) = (next, revision),
            Ok(Outcome::Conflict { .. }) => unreachable!("there are no conditions"),
            Err(error) => {
                written.failed = Some((error, next));
                break;
            }
        }
    }
    written
}

fn assert_is_full(error: &Error, at: u64) {
    assert!(matches!(error, Error::Full { .. }), "call {at}: {error}");
    let text = error.to_string();
    assert!(text.contains("no space left") && text.contains("free some space"), "call {at}: {text}");
}

/// What must hold after a failure: all that was acknowledged, and of what failed all or nothing.
async fn check(store: &EmbeddedStore, written: &mut Written, at: u64) {
    let found = read(store).await.unwrap_or_else(|error| panic!("call {at}: {error}"));
    if found != written.state {
        let next = written.failed.as_ref().map(|(_, next)| next);
        assert_eq!(Some(&found), next, "call {at}: lost, or half there");
        (written.state, written.revision) = (found, written.revision + 1);
    }
    assert_eq!(store.revision().await.unwrap(), written.revision, "call {at}");
    assert!(history_holds(store, &written.state, written.revision).await, "call {at}");
}

#[tokio::test]
async fn no_room_at_any_call() {
    let random = Entropy::seeded(SEED);
    let storage = fresh(&random).await;
    let opened = storage.open().unwrap();
    let first = storage.disk().calls;
    assert!(write(&opened).await.failed.is_none());
    let calls = storage.disk().calls;
    drop(opened);
    assert!(calls > first + STEPS, "{first} {calls}");
    // Within opening, then within each commit.
    for at in 0..calls {
        let storage = fresh(&random).await;
        storage.disk().full_from = at;
        let store = match storage.open() {
            Ok(store) => store,
            Err(error) => {
                assert_is_full(&error, at);
                storage.disk().full_from = u64::MAX;
                let store = storage.open().unwrap_or_else(|error| panic!("call {at}: {error}"));
                assert!(write(&store).await.failed.is_none(), "call {at}");
                continue;
            }
        };
        let mut written = write(&store).await;
        let Some((error, _)) = &written.failed else { panic!("call {at} did not fail") };
        assert_is_full(error, at);
        // While it lasts every write is refused with the same words, and reads that work say what is.
        let (again, _) = step(&State::new(), &random, 99);
        assert_is_full(&store.transact(again).await.unwrap_err(), at);
        match read(&store).await {
            Ok(found) => {
                let next = written.failed.as_ref().map(|(_, next)| next);
                assert!(found == written.state || Some(&found) == next, "call {at}");
            }
            Err(error) => assert_is_full(&error, at),
        }
        if at % 2 == 0 {
            // The power fails as well before there is room.
            let image = storage.disk().after_failure();
            drop(store);
            let storage = Storage::holding(image, &random);
            let store = storage.open().unwrap_or_else(|error| panic!("call {at}: {error}"));
            check(&store, &mut written, at).await;
            continue;
        }
        storage.disk().full_from = u64::MAX;
        check(&store, &mut written, at).await;
        let (transaction, next) = step(&written.state, &random, 100);
        let outcome = store.transact(transaction).await.unwrap_or_else(|error| panic!("call {at}: {error}"));
        written = Written { state: next, revision: suite::committed(&outcome), failed: None };
        check(&store, &mut written, at).await;
        // And it lasts.
        let image = storage.disk().after_failure();
        drop(store);
        let store =
            Storage::holding(image, &random).open().unwrap_or_else(|error| panic!("call {at}: {error}"));
        check(&store, &mut written, at).await;
    }
}
