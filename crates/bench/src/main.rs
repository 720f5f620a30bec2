//! Measures a carob instance from outside and prints the table of `docs/performance.md`.
//!
//! The rules: the instance is the release binary with everything on; its users hold a service account's token that RBAC
//! authorizes, never `system:masters`; the load comes from this program on the same cores; nothing waits between Pods;
//! memory is summed PSS of all of carob's processes. Figures are medians; every sample is kept as JSON.

mod api;
mod instance;
mod load;
mod pods;
mod processes;
mod report;
mod samples;

use std::path::PathBuf;

use anyhow::{Context, bail};

use api::User;
use instance::Instance;
use report::Report;

/// Starts with an empty data directory.
const STARTS: usize = 5;
/// Rounds of Pods one at a time, and Pods of a round.
const ROUNDS: usize = 3;
const PODS_IN_TURN: usize = 20;
/// Pods posted at once.
const PODS_AT_ONCE: usize = 50;

const USAGE: &str =
    "usage: bench --binary FILE --samples DIR [--document FILE] [--scheduler FILE] [--only pods|rates]";

/// What the command line says.
struct Options {
    /// The program that is measured.
    binary: PathBuf,
    /// Where samples go.
    samples: PathBuf,
    /// A document whose table is replaced.
    document: Option<PathBuf>,
    /// The scheduler's own bench, already built.
    scheduler: Option<PathBuf>,
    /// What is measured of a running instance.
    parts: Parts,
}

/// Parts that can be measured alone, to look into them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    All,
    Pods,
    Rates,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    // Some other part of the program may have chosen it already: it is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(measure(&options))?;
    report.keep(&options.samples)?;
    let table = report.table();
    show(&table);
    if let Some(document) = &options.document {
        report::replace(document, &table)?;
    }
    Ok(())
}

#[allow(clippy::print_stdout)] // the program's answer
fn show(text: &str) {
    println!("{text}");
}

/// Progress, apart from the answer.
fn tell(text: &str) {
    eprintln!("{text}");
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self {
            binary: PathBuf::new(),
            samples: PathBuf::new(),
            document: None,
            scheduler: None,
            parts: Parts::All,
        };
        while let Some(word) = words.next() {
            let value = words.next().map(PathBuf::from).with_context(|| format!("{word} needs a value"))?;
            match word.as_str() {
                "--binary" => options.binary = value,
                "--samples" => options.samples = value,
                "--document" => options.document = Some(value),
                "--scheduler" => options.scheduler = Some(value),
                "--only" if value.as_os_str() == "pods" => options.parts = Parts::Pods,
                "--only" if value.as_os_str() == "rates" => options.parts = Parts::Rates,
                other => bail!("{other} {}: {USAGE}", value.display()),
            }
        }
        if !options.binary.is_file() || options.samples.as_os_str().is_empty() {
            bail!("{USAGE}");
        }
        Ok(options)
    }
}

/// Measures everything, in the order of the table; what is idle comes before what makes work.
async fn measure(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let starts = if options.parts == Parts::All { STARTS } else { 1 };
    for run in 1..=starts {
        let instance = Instance::start(&options.binary).await?;
        tell(&format!("start {run} of {starts}: {:.3} s", instance.started_in.as_secs_f64()));
        report.starts_s.push(instance.started_in.as_secs_f64());
        if run == starts {
            let measured = with_instance(&instance, options.parts, &mut report).await;
            if measured.is_err() {
                tell(&instance.log_tail());
            }
            measured?;
        }
        instance.end()?;
    }
    report.scheduled_per_s = match &options.scheduler {
        Some(program) => load::schedule(program)?,
        None => Vec::new(),
    };
    report.binary_bytes = std::fs::metadata(&options.binary)?.len();
    Ok(report)
}

async fn with_instance(instance: &Instance, parts: Parts, report: &mut Report) -> anyhow::Result<()> {
    let user = User::authorized(instance).await?;
    if parts == Parts::All {
        tell("idle: memory and CPU");
        let idle = processes::settle(instance).await?;
        report.idle_pss_bytes = vec![idle.pss_bytes];
        report.idle_cpu_percent = processes::idle_cpu(instance).await?;
    }
    if parts != Parts::Rates {
        tell("Pods one at a time");
        for _ in 0..ROUNDS {
            report.pod_ms.extend(pods::in_turn(&user, PODS_IN_TURN).await?);
        }
        tell("Pods at once");
        measure_bursts(instance, &user, report).await?;
    }
    if parts != Parts::Pods {
        tell("GET");
        let names = pods::at_once(&user, 1, ROUNDS, &mut Vec::new()).await?;
        report.gets_per_s = load::gets(&user, &names[0]).await?;
        pods::delete(&user, &names).await?;
        tell("creates");
        report.creates_per_s = load::creates(&user).await?;
        tell("LIST");
        report.lists_per_s = load::lists(&user).await?;
    }
    Ok(())
}

async fn measure_bursts(instance: &Instance, user: &User, report: &mut Report) -> anyhow::Result<()> {
    let before = processes::settle(instance).await?;
    for round in 0..ROUNDS {
        let names = pods::at_once(user, PODS_AT_ONCE, round, &mut report.burst_s).await?;
        if round + 1 == ROUNDS {
            let after = processes::settle(instance).await?;
            report.note_memory_of_pods(&before, &after, PODS_AT_ONCE);
        }
        pods::delete(user, &names).await?;
    }
    Ok(())
}
