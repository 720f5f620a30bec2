//! Transcripts: what a learner types and sees, written by tests into `docs/transcripts/` and held to it afterwards.
//!
//! A session is a list of shell lines run against one instance. Their output is kept as it was, so that the page reads as a
//! terminal does; what differs from run to run (ages, addresses, ids) is masked only when a later run is compared with it.
//! `CAROB_WRITE_TRANSCRIPTS=1` writes the pages anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use similar::TextDiff;
use testkit::command::run_with_input;
use testkit::{Answer, Kubectl};

use crate::golden::Masks;

/// A session that is being written down.
pub struct Transcript {
    page: &'static str,
    text: String,
    kubectl: Kubectl,
}

/// Where the pages are.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/transcripts")
}

impl Transcript {
    /// Begins a page (its file's name without `.md`) with a title and an introduction.
    pub fn begin(page: &'static str, title: &str, introduction: &str, kubectl: Kubectl) -> Self {
        let text = format!("# {title}\n\n{introduction}\n");
        Self { page, text, kubectl }
    }

    /// A sentence between the lines.
    pub fn note(&mut self, text: &str) {
        let _ = writeln!(self.text, "\n{text}");
    }

    /// Writes a file into the folder of the session and shows it.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file(&mut self, name: &str, content: &str) {
        std::fs::write(self.kubectl.folder().join(name), content).expect("written");
        let _ = writeln!(self.text, "\n`{name}`:\n\n```yaml\n{}```", content.trim_start());
    }

    /// Runs a line and writes down what it says: standard output, then standard error.
    ///
    /// # Panics
    /// If the shell cannot be started.
    pub fn line(&mut self, line: &str) -> Answer {
        let answer = run_with_input(&mut self.kubectl.shell(line), b"").expect("a shell");
        self.show(line, &format!("{}{}", answer.stdout, answer.stderr));
        answer
    }

    /// As [`Transcript::line`], for one that has to succeed; its standard output.
    ///
    /// # Panics
    /// If it fails.
    pub fn ok(&mut self, line: &str) -> String {
        let answer = self.line(line);
        assert_eq!(answer.code, 0, "{line}: {}{}", answer.stdout, answer.stderr);
        answer.stdout
    }

    /// As [`Transcript::ok`]; what it says has to contain these texts.
    ///
    /// # Panics
    /// If it fails or says something else.
    pub fn says(&mut self, line: &str, texts: &[&str]) {
        let said = self.ok(line);
        for text in texts {
            assert!(said.contains(text), "{line}: no {text:?} in:\n{said}");
        }
    }

    /// As [`Transcript::line`], for one that has to fail with a text on standard error.
    ///
    /// # Panics
    /// If it succeeds or says something else.
    pub fn refused(&mut self, line: &str, text: &str) {
        let answer = self.line(line);
        assert_ne!(answer.code, 0, "{line}: {}", answer.stdout);
        assert!(answer.stderr.contains(text), "{line}: no {text:?} in:\n{}", answer.stderr);
    }

    /// Writes down a line that was run otherwise, with what it said.
    pub fn show(&mut self, line: &str, said: &str) {
        // The instance's prefix stands for the root of the file system.
        let said = said.replace(&self.kubectl.folder().display().to_string(), "");
        let said = said.trim_end_matches('\n');
        let end = if said.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.text, "\n```console\n$ {line}\n{said}{end}```");
    }

    /// Compares with the page, or writes it.
    ///
    /// # Panics
    /// If the page says something else.
    pub fn end(self) {
        let path = folder().join(format!("{}.md", self.page));
        if testkit::is_set("CAROB_WRITE_TRANSCRIPTS") {
            std::fs::create_dir_all(folder()).expect("a directory");
            std::fs::write(&path, &self.text).expect("written");
            return;
        }
        let page = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!("{}: {error}; write it by CAROB_WRITE_TRANSCRIPTS=1", path.display())
        });
        let masks = Masks::default();
        let (old, new) = (masked(&masks, &page), masked(&masks, &self.text));
        let diff = TextDiff::from_lines(&old, &new);
        assert!(
            old == new,
            "{} differs (CAROB_WRITE_TRANSCRIPTS=1 writes it anew):\n{}",
            path.display(),
            diff.unified_diff().context_radius(3).header("written down", "seen now")
        );
    }
}

/// A page without what differs from run to run, line by line of what was typed.
fn masked(masks: &Masks, page: &str) -> String {
    let mut result = String::new();
    for (number, part) in page.split("\n$ ").enumerate() {
        let (line, said) = if number == 0 { ("", part) } else { part.split_once('\n').unwrap_or((part, "")) };
        let line = line.trim_start_matches("kubectl ");
        let _ = writeln!(result, "$ {}\n{}", masks.apply("", line), masks.apply(line, said));
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_compared_without_ages() {
        let page = |age: &str| {
            format!("# T\n\n```console\n$ kubectl get pods\nNAME   AGE\na      {age}\n```\n\nNext.\n")
        };
        let masks = Masks::default();
        assert_eq!(masked(&masks, &page("5s")), masked(&masks, &page("2m10s")));
        assert_ne!(masked(&masks, &page("5s")), masked(&masks, &page("5s").replace("Next", "Then")));
    }
}
