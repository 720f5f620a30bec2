//! Builds what is measured and what measures, and runs it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::cargo::{cargo, platform_directory, target_directory};

/// Prints the table, keeps the samples in the target directory; with `write` the document gets the table, too.
pub fn run(write: bool) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the root")?;
    let build =
        |arguments: &[&str]| succeed(cargo().args(["build", "--release", "--locked"]).args(arguments));
    // Each by itself: together they would be built with other features of the same dependencies, carob once more.
    build(&["-p", "carob"])?;
    build(&["-p", "bench"])?;
    build(&["-p", "scheduler", "--example", "scheduler-bench"])?;
    let release = platform_directory()?.join("release");
    let samples = target_directory()?.join("bench");
    let mut bench = Command::new(release.join("bench"));
    bench.arg("--binary").arg(release.join("carob")).arg("--samples").arg(samples);
    bench.arg("--scheduler").arg(release.join("examples/scheduler-bench"));
    if write {
        bench.arg("--document").arg(root.join("docs/performance.md"));
    }
    succeed(&mut bench)
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    if !command.status().with_context(|| format!("starting {name}"))?.success() {
        bail!("{name} failed");
    }
    Ok(())
}
