//! Lines that two clients are given, each in a cluster of its own: the lines, the files beside them, and what may differ
//! between two clusters.

use std::path::{Path, PathBuf};

use regex::Regex;

use crate::golden::words;

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
const MASKS: [(&str, &str); 13] = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "U"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "T"),
    (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "T"),
    (r"(?m)^([IWE])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ([a-z_]+\.go):\d+\]", "$1 $2]"),
    (r#"("?resourceVersion"?: )"\d+""#, "${1}N"),
    (r"(Resource Version: +)\d+", "${1}N"),
    (r"kube-api-access-[a-z0-9]{5}\b", "kube-api-access-R"),
    (r"127\.0\.0\.1:\d{4,5}", "A"),
    // Addresses of Services are given out at random.
    (r"\b10\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", "I"),
    (r"\b(\d+[smhd])+\b", "AGE"),
    (r"<invalid>", "AGE"),
    // A token.
    (r"eyJ[A-Za-z0-9_.-]+", "JWT"),
    // The folder of a client.
    (r"/\S*/(stock|own)/", "FOLDER/"),
];

/// Masks for answers.
pub struct Masks(Vec<(Regex, &'static str)>);

impl Default for Masks {
    fn default() -> Self {
        let compile = |(text, with): (&str, &'static str)| (Regex::new(text).expect("an expression"), with);
        Self(MASKS.into_iter().map(compile).collect())
    }
}

impl Masks {
    /// The text without what differs between two clusters. Where an age or an address was, the widths of columns
    /// may differ with it; everywhere else they count.
    pub fn apply(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        for (expression, with) in &self.0 {
            masked = expression.replace_all(&masked, *with).into_owned();
        }
        if !["AGE", "I", "A", "T"].iter().any(|word| masked.split_whitespace().any(|own| own == *word)) {
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
        assert_eq!(masks.apply("NAME   AGE\nx      12s\n"), "NAME  AGE\nx  AGE");
        assert_eq!(masks.apply("dial 127.0.0.1:45123: x"), "dial A: x");
    }
}
