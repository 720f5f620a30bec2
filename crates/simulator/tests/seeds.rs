//! Runs seeds. `CAROB_SEEDS` is how many, `SEED` is one to repeat, `CAROB_TRACE` a file for all that happened in the last.

use simulator::audit::Counts;
use simulator::run;

/// Seeds of an ordinary test run: few enough for a minute without optimisation.
const SEEDS: u64 = 1;
/// The first of them.
const FIRST: u64 = 1;
/// Random steps of each.
const STEPS: u64 = 120;

#[allow(clippy::disallowed_methods)] // a test's own knobs
fn text(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn variable(name: &str) -> Option<u64> {
    let text = text(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[test]
fn nothing_that_must_not_be_ever_is() {
    let seeds = match variable("SEED") {
        Some(seed) => seed..seed + 1,
        None => FIRST..FIRST + variable("CAROB_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let mut counts = Counts::default();
    let trace = text("CAROB_TRACE");
    let keep = |whole: &[String]| {
        if let Some(path) = &trace {
            std::fs::write(path, whole.join("\n")).unwrap();
        }
    };
    for seed in seeds {
        match run(seed, STEPS, trace.is_some()) {
            Ok(summary) => {
                counts += summary.counts;
                keep(&summary.whole);
            }
            Err(finding) => {
                keep(&finding.whole);
                panic!("{finding}");
            }
        }
    }
    // Where nothing happens nothing goes wrong.
    if count >= 10 {
        assert!(counts.bound > 5 * count && counts.ran > count && counts.gone > 10 * count, "{counts:?}");
    }
}

fn run_whole(seed: u64) -> simulator::Summary {
    run(seed, 40, true).unwrap_or_else(|finding| panic!("{finding}"))
}

#[test]
fn a_seed_makes_one_run() {
    const SEED: u64 = FIRST;
    let (first, second) = (run_whole(SEED), run_whole(SEED));
    for (at, (one, other)) in first.whole.iter().zip(&second.whole).enumerate() {
        assert_eq!(one, other, "event {at}, after {:#?}", &first.whole[at.saturating_sub(10)..at]);
    }
    assert_eq!((first.hash, first.events), (second.hash, second.events));
    let other = run_whole(SEED + 1);
    assert_ne!(first.hash, other.hash);
    assert!(first.events > 1000, "only {} requests and commits", first.events);
}
