//! Lines that two clients are given, each in a cluster of its own: the lines, the files beside them, and what may differ
//! between two clusters.

use std::path::{Path, PathBuf};

use crate::golden::words;
use crate::masks::{Mask, Table};

/// A line to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// As it is written.
    pub text: String,
    /// Arguments.
    pub arguments: Vec<String>,
    /// The file that is its standard input.
    pub input: Option<String>,
}

/// Where the lines and their files are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data")
}

/// The lines of `data/parity.txt`, in their order.
pub fn lines() -> Vec<Line> {
    parse(include_str!("../data/parity.txt"))
}

fn parse(text: &str) -> Vec<Line> {
    let line = |text: &str| {
        let (command, input) = match text.split_once(" < ") {
            Some((command, input)) => (command, Some(input.trim().to_owned())),
            None => (text, None),
        };
        Line { text: text.to_owned(), arguments: words(command), input }
    };
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).map(line).collect()
}

/// What differs between two clusters: expression, what stands for it. In this order.
const MASKS: [Mask; 14] = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}", "<time>"),
    (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "<time>"),
    (r"(?m)^([IWE])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ([a-z_]+\.go):\d+\]", "$1 $2]"),
    (r#"("?resourceVersion"?: ?)"\d+""#, "${1}<version>"),
    (r"(Resource Version: +)\d+", "${1}<version>"),
    (r"kube-api-access-[a-z0-9]{5}\b", "kube-api-access-<random>"),
    (r"127\.0\.0\.1:\d{4,5}", "<address>"),
    // Addresses of Services are given out at random.
    (r"\b10\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", "<address>"),
    (r"\b(\d+[smhd])+\b|<invalid>", "<age>"),
    // A token.
    (r"eyJ[A-Za-z0-9_.-]+", "<token>"),
    // The folder of a client, and those that `diff` makes.
    (r"/\S*/(stock|own)/", "<folder>/"),
    (r"/\S*/(LIVE|MERGED)-[A-Za-z0-9]+", "<folder>/$1"),
];

/// Masks whose texts have no fixed width.
const VARYING: [&str; 4] = ["<age>", "<address>", "<time>", "<version>"];

/// Masks for answers.
pub struct Masks(Table);

impl Default for Masks {
    fn default() -> Self {
        Self(Table::new(&MASKS))
    }
}

impl Masks {
    /// The text without what differs between two clusters, and help as its [`skeleton`]. Where an age or an address
    /// was, the widths of columns may differ with it; everywhere else they count.
    pub fn apply(&self, text: &str) -> String {
        let masked = self.0.apply(&skeleton(text));
        if !VARYING.iter().any(|word| masked.contains(word)) {
            return masked;
        }
        let joined = |line: &str| {
            let indent = line.len() - line.trim_start().len();
            let cells: Vec<&str> =
                line.trim().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            format!("{}{}", &line[..indent], cells.join("  "))
        };
        masked.lines().map(joined).collect::<Vec<_>>().join("\n")
    }
}

/// A section of a help text, and the lines in it that count.
const SECTIONS: [(&str, &str); 4] =
    [("Aliases:", ""), ("Commands:", "  "), ("Options:", "    -"), ("Usage:", "  ")];

/// What tells help texts apart besides their prose, which each program has in words of its own: aliases, commands,
/// flags with their defaults, usage; and what stands before and after a help text. Other texts stay as they are.
pub fn skeleton(text: &str) -> String {
    if !text.contains("\nUsage:\n") {
        return text.to_owned();
    }
    let mut kept = Vec::new();
    let mut section: Option<&(&str, &str)> = None;
    let mut ended = false;
    for line in text.lines() {
        if ended {
            kept.push(line);
            continue;
        }
        let title = line.ends_with(':') && !line.starts_with(' ') && !line.starts_with('\t');
        if title {
            let name = line.split(" (").next().unwrap_or(line).trim_end_matches(':');
            section = SECTIONS.iter().find(|(end, _)| name.ends_with(end.trim_end_matches(':')));
        }
        match section {
            Some((_, begins)) if title || line.starts_with(begins) => kept.push(line),
            None if line.starts_with("error: ") || line.starts_with("Error ") => kept.push(line),
            _ => {}
        }
        ended = line.starts_with("Use \"") && line.contains(" options\" for");
    }
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_words_and_input() {
        let found = parse("# no\n\napply -f - < two.yaml\nget 'a b'\n");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].arguments.len(), found[0].input.as_deref()), (3, Some("two.yaml")));
        assert_eq!(found[1].arguments, ["get", "a b"]);
    }

    #[test]
    fn there_are_many_lines_and_their_files() {
        let lines = lines();
        assert!(lines.len() > 500, "{}", lines.len());
        for line in lines {
            for file in line.input.iter() {
                assert!(folder().join("parity").join(file).exists(), "{file}");
            }
        }
    }

    #[test]
    fn widths_count_where_nothing_varies() {
        let masks = Masks::default();
        assert_eq!(masks.apply("NAME   A\nx      y\n"), "NAME   A\nx      y\n");
        assert_eq!(masks.apply("NAME   AGE\nx      12s\n"), "NAME  AGE\nx  <age>");
        assert_eq!(masks.apply("dial 127.0.0.1:45123: x"), "dial <address>: x");
    }

    #[test]
    fn help_is_compared_without_its_prose() {
        let help = |prose: &str, default: &str| {
            format!(
                "{prose}.\n\nAliases:\nx, y\n\nExamples:\n  # {prose}\n  kubectl x\n\nBasic Commands (Beginner):\n  z   Does z\n\nOptions:\n    -f, --file='{default}':\n\t{prose}\n\nUsage:\n  kubectl x [options]\n\nUse \"kubectl options\" for a list\nerror: no\n"
            )
        };
        assert_eq!(skeleton(&help("One", "")), skeleton(&help("Another", "")));
        assert_ne!(skeleton(&help("One", "")), skeleton(&help("One", "-")));
        assert!(skeleton(&help("One", "")).ends_with("\nerror: no"));
        assert!(skeleton(&help("One", "")).contains("  z   Does z\n"));
        assert_eq!(skeleton("NAME   AGE\n"), "NAME   AGE\n");
    }
}
