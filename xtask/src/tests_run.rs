//! The run of all tests: prepares the machine, starts the runner, keeps its counts for the end of the run.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::cargo::{cargo, target_directory};

/// What to run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that need neither root nor network.
    Unit,
    /// All of them.
    All,
}

/// Tests of whole instances: they need root, each of them.
const ROOT_PACKAGES: &[&str] = &["e2e"];
/// What the runner's last lines look like.
const COUNTS: [&str; 2] = ["Summary [", "test result:"];

/// Runs the tests; the error is that some failed.
pub fn run(which: Which) -> anyhow::Result<()> {
    let target = target_directory()?;
    let mut counts = Vec::new();
    let mut failed = Vec::new();
    if which == Which::All {
        prepare()?;
    }
    let runner = if has_nextest(&target) { nextest(which, &target) } else { plain(which) };
    for (name, mut command) in [("tests", runner), ("doc tests", doc_tests())] {
        show(&format!("=== {name}: {}", line_of(&command)));
        let (ok, mut found) = teed(&mut command)?;
        if !ok {
            failed.push(name);
        }
        match found.iter().any(|line| line.contains(COUNTS[0])) {
            // What a test that failed at first printed of itself is no count of the run.
            true => found.retain(|line| line.contains(COUNTS[0])),
            false => found = vec![sum(&found)],
        }
        counts.extend(found.into_iter().map(|line| format!("{name}: {line}")));
    }
    let text = counts.join("\n") + "\n";
    fs::write(target.join("test-counts.txt"), &text).context("keeping the counts")?;
    show(&format!("=== counts\n{}", text.trim_end()));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Makes the machine ready. The program that does it is built together with the tests: by itself it would be built with
/// other features of the same dependencies, all of them once more.
fn prepare() -> anyhow::Result<()> {
    succeed(cargo().args(["build", "--locked", "--workspace", "--tests", "--bin", "testkit-setup"]))?;
    let folder = std::env::current_exe().context("finding this program")?;
    let program = folder.with_file_name("testkit-setup");
    succeed(&mut Command::new(program))
}

#[allow(clippy::print_stdout)] // a chore's answer
fn show(line: &str) {
    println!("{line}");
}

/// Whether nextest is there; if not, it is built once, into the target directory.
fn has_nextest(target: &Path) -> bool {
    let works = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let own = target.join("tools/bin/cargo-nextest");
    if works(cargo().args(["nextest", "--version"])) || own.exists() {
        return true;
    }
    show("cargo-nextest is missing: building it");
    let mut install = cargo();
    install.args(["install", "--locked", "--quiet", "cargo-nextest", "--root"]).arg(target.join("tools"));
    install.status().is_ok_and(|status| status.success()) && own.exists()
}

fn nextest(which: Which, target: &Path) -> Command {
    let mut command = cargo();
    // Cargo finds its subcommands by name.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([target.join("tools/bin")]);
    if let Ok(path) = std::env::join_paths(folders) {
        command.env("PATH", path);
    }
    command.args(["nextest", "run", "--locked", "--workspace"]);
    match which {
        Which::All => command.args(["--run-ignored", "all"]),
        Which::Unit => {
            ROOT_PACKAGES.iter().fold(&mut command, |command, name| command.args(["--exclude", name]))
        }
    };
    command
}

/// Cargo's own runner: the same tests, fewer at a time, because they share processes.
fn plain(which: Which) -> Command {
    let mut command = cargo();
    command.args(["test", "--locked", "--workspace", "--all-targets", "--no-fail-fast"]);
    match which {
        Which::All => command.args(["--", "--include-ignored", "--test-threads", "2"]),
        Which::Unit => {
            ROOT_PACKAGES.iter().fold(&mut command, |command, name| command.args(["--exclude", name]))
        }
    };
    command
}

fn doc_tests() -> Command {
    let mut command = cargo();
    command.args(["test", "--locked", "--workspace", "--doc", "--quiet"]);
    command
}

fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words =
        [program].into_iter().chain(command.get_args()).map(|word| word.to_string_lossy().into_owned());
    words.collect::<Vec<_>>().join(" ")
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let line = line_of(command);
    if !command.status().with_context(|| line.clone())?.success() {
        bail!("{line}: failed");
    }
    Ok(())
}

/// Runs a command whose output is shown as it comes; gives its lines of counts.
fn teed(command: &mut Command) -> anyhow::Result<(bool, Vec<String>)> {
    let (reader, writer) = std::io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer).stdin(Stdio::null());
    let mut child = command.spawn().context("starting cargo")?;
    // The command holds the write end: dropped here, the lines end when the runner does.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut counts = Vec::new();
    let mut out = std::io::stdout();
    for line in BufReader::new(reader).lines() {
        let line = line?;
        writeln!(out, "{line}")?;
        if COUNTS.iter().any(|own| line.contains(own)) {
            counts.push(line.trim().to_owned());
        }
    }
    Ok((child.wait()?.success(), counts))
}

/// One line for many of `test result: ok. 3 passed; 0 failed; …`.
fn sum(lines: &[String]) -> String {
    let number = |line: &String, word: &str| -> u64 {
        let before = line.split(word).next().unwrap_or_default().trim_end();
        before.rsplit(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let total = |word: &str| lines.iter().map(|line| number(line, word)).sum::<u64>();
    format!("{} passed; {} failed; {} ignored", total(" passed"), total(" failed"), total(" ignored"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_summed() {
        let lines = [
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured".to_owned(),
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured".to_owned(),
        ];
        assert_eq!(sum(&lines), "13 passed; 2 failed; 1 ignored");
    }
}
