//! Runs seeds: a few that are always the same, or as told: `CAROB_SEEDS` is how many, from `SEED` on or from one that nobody
//! chose, which it prints; `SEED` alone is one to repeat, `CAROB_TRACE` a file for all that happened in the last.

use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use simulator::audit::Counts;
use simulator::{Finding, Summary, run};
use stdx::entropy::Entropy;

/// Seeds of an ordinary test run: few enough for a minute without optimisation. 6, 9 and 19 have rivals.
const SEEDS: [u64; 10] = [0, 3, 5, 6, 9, 12, 14, 16, 18, 19];
/// Random steps of each.
const STEPS: u64 = 120;

#[allow(clippy::disallowed_methods)] // a test's own knobs
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

fn variable(name: &str) -> Option<u64> {
    let text = text(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Runs seeds on all processors, and panics with the first finding.
fn run_all(seeds: &[u64]) -> Counts {
    let trace = text("CAROB_TRACE");
    let keep = |whole: &[String]| {
        if let Some(path) = &trace {
            std::fs::write(path, whole.join("\n")).unwrap();
        }
    };
    let (next, counts) = (AtomicU64::new(0), Mutex::new(Counts::default()));
    let found: Mutex<Option<Box<Finding>>> = Mutex::new(None);
    let work = || {
        while let Some(seed) = seeds.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap()) {
            if found.lock().is_some() {
                return;
            }
            match run(*seed, STEPS, trace.is_some()) {
                Ok(summary) => {
                    eprintln!("SEED={seed}: {} requests and commits, {:?}", summary.events, summary.counts);
                    *counts.lock() += summary.counts;
                    keep(&summary.whole);
                }
                Err(finding) => {
                    keep(&finding.whole);
                    *found.lock() = Some(finding);
                }
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(seeds.len());
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    if let Some(finding) = found.into_inner() {
        panic!("{finding}");
    }
    counts.into_inner()
}

#[test]
fn nothing_that_must_not_be_ever_is() {
    let seeds = match (variable("SEED"), variable("CAROB_SEEDS")) {
        (Some(seed), None) => vec![seed],
        (Some(first), Some(count)) => (first..first + count).collect(),
        (None, Some(count)) => {
            let first = Entropy::system().below(1 << 32);
            (first..first + count).collect()
        }
        (None, None) => SEEDS.to_vec(),
    };
    let counts = run_all(&seeds);
    // Where nothing happens nothing goes wrong.
    let count = seeds.len() as u64;
    if count >= 10 {
        assert!(counts.bound > 5 * count && counts.ran > count && counts.gone > 10 * count, "{counts:?}");
    }
}

fn run_whole(seed: u64) -> Summary {
    run(seed, 40, true).unwrap_or_else(|finding| panic!("{finding}"))
}

#[test]
fn a_seed_makes_one_run() {
    const SEED: u64 = 1;
    let (first, second) = (run_whole(SEED), run_whole(SEED));
    for (at, (one, other)) in first.whole.iter().zip(&second.whole).enumerate() {
        assert_eq!(one, other, "event {at}, after {:#?}", &first.whole[at.saturating_sub(10)..at]);
    }
    assert_eq!((first.hash, first.events), (second.hash, second.events));
    let other = run_whole(SEED + 1);
    assert_ne!(first.hash, other.hash);
    assert!(first.events > 1000, "only {} requests and commits", first.events);
}
