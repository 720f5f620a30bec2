//! The rules of structure: what ARCHITECTURE.md and CONTRIBUTING.md promise and no compiler checks. Each rule is a test of
//! this crate, too, so that `cargo test` shows which one is broken.

mod crates;
mod functions;
mod manifests;
mod source;
mod text;
mod words;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// What a rule found: breaches, and what comes near one.
#[derive(Default)]
struct Findings {
    breaches: Vec<String>,
    warnings: Vec<String>,
}

/// A rule: its name and its check of the whole project.
type Rule = (&'static str, fn(&Project) -> anyhow::Result<Findings>);

/// All rules.
const RULES: &[Rule] = &[
    ("crate edges", crates::check),
    ("source files", source::check),
    ("function lengths", functions::check),
    ("words", words::check),
    ("manifests", manifests::check),
];

/// The project's files: those that git tracks.
struct Project {
    files: Vec<File>,
}

/// A tracked text file.
struct File {
    /// Path from the root, with slashes.
    path: String,
    text: String,
}

impl Project {
    fn read() -> anyhow::Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask is in the root")?.to_owned();
        let listed = Command::new("git")
            .args(["ls-files", "-z"])
            .current_dir(&root)
            .output()
            .context("git ls-files")?;
        if !listed.status.success() {
            bail!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr).trim());
        }
        let names = String::from_utf8(listed.stdout).context("names of files")?;
        let read = |path: &str| {
            // A file that is deleted but still tracked, or that is no text, has no structure.
            let text = std::fs::read_to_string(root.join(path)).ok()?;
            Some(File { path: path.to_owned(), text })
        };
        let files = names.split('\0').filter(|path| !path.is_empty()).filter_map(read).collect();
        Ok(Self { files })
    }

    /// Rust files written by hand.
    fn sources(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.path.ends_with(".rs") && !file.path.contains("/generated/"))
    }
}

impl File {
    /// The crate that a source belongs to.
    fn crate_name(&self) -> &str {
        let mut parts = self.path.split('/');
        match parts.next() {
            Some("crates") => parts.next().unwrap_or_default(),
            other => other.unwrap_or_default(),
        }
    }

    /// Whether this is a test, a bench or an example, as a whole file.
    fn is_test(&self) -> bool {
        let in_folder = |name: &str| self.path.contains(&format!("/{name}/"));
        let only_tests = self.path.ends_with("/tests.rs") || self.path.ends_with("/suite.rs");
        only_tests || ["tests", "testing", "examples", "benches"].iter().any(|name| in_folder(name))
    }
}

/// Checks every rule and prints what was found.
pub fn run() -> anyhow::Result<()> {
    let project = Project::read()?;
    let mut breaches = 0;
    for (name, check) in RULES {
        let found = check(&project)?;
        for line in &found.warnings {
            show(&format!("warning: {name}: {line}"));
        }
        for line in &found.breaches {
            show(&format!("error: {name}: {line}"));
        }
        breaches += found.breaches.len();
    }
    if breaches > 0 {
        bail!("the structure has {breaches} breaches (rules: xtask/src/structure)");
    }
    show(&format!("structure: {} rules hold in {} files", RULES.len(), project.files.len()));
    Ok(())
}

#[allow(clippy::print_stdout)] // a chore's answer
fn show(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn holds(name: &str) {
        let (_, check) = RULES.iter().find(|(own, _)| *own == name).expect("a rule");
        let found = check(&Project::read().unwrap()).unwrap();
        assert!(found.breaches.is_empty(), "{name}:\n  {}", found.breaches.join("\n  "));
    }

    #[test]
    fn crates_depend_on_lower_layers_only() {
        holds("crate edges");
    }

    #[test]
    fn source_files_keep_their_rules() {
        holds("source files");
    }

    #[test]
    fn functions_fit_on_a_screen() {
        holds("function lengths");
    }

    #[test]
    fn files_speak_of_the_software_only() {
        holds("words");
    }

    #[test]
    fn examples_are_yaml() {
        holds("manifests");
    }
}
