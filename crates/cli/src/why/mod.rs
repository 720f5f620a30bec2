//! `carob why`: why an object is as it is, in a few plain lines: the cause, what shows it, and what helps. The deciders
//! ([`pods`], [`nodes`], [`others`]) are pure: the object, its events, its node and the ends of its logs in, diagnoses
//! out.

mod command;
pub mod containers;
pub mod exits;
pub mod images;
pub mod nodes;
pub mod others;
pub mod placing;
pub mod pods;
#[cfg(test)]
mod tests;

pub use command::COMMAND;

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::tree::TreeExt;
use serde::Serialize;
use serde_json::Value;

/// Lines of evidence that are shown at most of one log.
pub const LOG_LINES: usize = 5;
/// Lines longer than this are cut, in characters.
const LINE_MAX: usize = 200;

/// What is known about an object.
pub struct Facts<'a> {
    /// The object.
    pub object: &'a Value,
    /// Its events, the latest last.
    pub events: &'a [Value],
    /// For a Pod: its node, if it has one that is there.
    pub node: Option<&'a Value>,
    /// For a Pod: the last lines of each container's log.
    pub logs: &'a BTreeMap<String, Vec<String>>,
    /// The time of day.
    pub now: Timestamp,
}

impl Facts<'_> {
    /// The latest event with one of these reasons.
    pub fn event(&self, reasons: &[&str]) -> Option<&Value> {
        self.events.iter().rev().find(|event| reasons.contains(&event.text(&["reason"])))
    }

    /// The latest event with this reason whose message has these words.
    pub fn event_with(&self, reason: &str, words: &str) -> Option<&Value> {
        let is =
            |event: &&Value| event.text(&["reason"]) == reason && event.text(&["message"]).contains(words);
        self.events.iter().rev().find(is)
    }

    /// An event as evidence.
    pub fn said(&self, event: &Value) -> String {
        let count = event.integer(&["count"]).unwrap_or(1);
        let times = if count > 1 { format!(", {count} times") } else { String::new() };
        cut(&format!("event {}{times}: {}", event.text(&["reason"]), event.text(&["message"]).trim()))
    }

    /// The command line's name of a Pod, with its namespace if that has to be said.
    pub fn pod(&self) -> String {
        let name = self.object.name();
        match self.object.namespace() {
            "" | "default" => name.to_owned(),
            namespace => format!("{name} -n {namespace}"),
        }
    }
}

/// Why it is so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Whether nothing is wrong.
    pub healthy: bool,
    /// One sentence.
    pub cause: String,
    /// What shows it, as it is written in the object, its events and its log.
    pub evidence: Vec<String>,
    /// What helps: sentences, and command lines to copy.
    pub remedy: Vec<String>,
}

impl Diagnosis {
    /// Something is wrong.
    pub fn wrong(cause: impl Into<String>) -> Self {
        Self { healthy: false, cause: cause.into(), evidence: Vec::new(), remedy: Vec::new() }
    }

    /// Nothing is wrong.
    pub fn right(cause: impl Into<String>) -> Self {
        Self { healthy: true, ..Self::wrong(cause) }
    }

    /// With a line of evidence; empty lines are left out.
    #[must_use]
    pub fn seen(mut self, line: impl Into<String>) -> Self {
        let line = cut(&line.into());
        if !line.trim().is_empty() && !self.evidence.contains(&line) {
            self.evidence.push(line);
        }
        self
    }

    /// With several lines of evidence.
    #[must_use]
    pub fn seen_all(self, lines: impl IntoIterator<Item = String>) -> Self {
        lines.into_iter().fold(self, Diagnosis::seen)
    }

    /// With a remedy.
    #[must_use]
    pub fn mend(mut self, line: impl Into<String>) -> Self {
        self.remedy.push(line.into());
        self
    }

    /// As it is printed below the object's name.
    pub fn text(&self) -> String {
        let mut text = format!("  {}\n", self.cause);
        for (title, lines) in [("because", &self.evidence), ("what helps", &self.remedy)] {
            if !lines.is_empty() {
                text.push_str(&format!("  {title}:\n"));
                lines.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
            }
        }
        text
    }
}

/// One line, not too long. The middle is left out: long messages of runtimes and registries end with the cause.
fn cut(line: &str) -> String {
    let chars: Vec<char> =
        line.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c }).collect();
    if chars.len() <= LINE_MAX {
        return chars.into_iter().collect();
    }
    let (first, last) = (LINE_MAX / 3, LINE_MAX - LINE_MAX / 3);
    let begin: String = chars[..first].iter().collect();
    let end: String = chars[chars.len() - last..].iter().collect();
    format!("{begin}…{end}")
}

/// Why an object is as it is; at least one diagnosis.
pub fn decide(facts: &Facts<'_>) -> Vec<Diagnosis> {
    match (facts.object.api_version(), facts.object.kind()) {
        ("v1", "Pod") => pods::decide(facts),
        ("v1", "Node") => nodes::decide(facts),
        _ => others::decide(facts),
    }
}
