//! For people who called the program `carob`: where in the file a manifest is wrong, what stands there, and how to mend
//! it. kubectl's own message comes first, unchanged. [`syntax`] is about text that is no YAML, [`shape`] about what is
//! no object, [`fields`] about names that the schema does not have, [`values`] about values that the server refuses.

pub mod fields;
pub mod shape;
pub mod syntax;
pub mod values;

use model::{Reason, Status};
use resources::schema::Definition;
use serde_json::Value;

use super::Origin;
use super::locate::{self, Node, Place};

/// At most so many places are shown of one document.
const HINTS_MAX: usize = 10;

/// A place in a document with a remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Where, in the document.
    pub place: Place,
    /// What to write instead.
    pub mend: String,
}

impl Hint {
    /// Makes one.
    pub fn new(place: Place, mend: impl Into<String>) -> Self {
        Self { place, mend: mend.into() }
    }

    /// The place with the line that stands there, and the remedy.
    fn show(&self, origin: &Origin) -> String {
        let Place { line, column } = self.place;
        let text = origin.text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let number = (line + origin.first_line).to_string();
        let pad = " ".repeat(number.len());
        let before = text.chars().take(column.saturating_sub(1));
        let caret: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let (file, mend) = (&origin.name, &self.mend);
        format!(
            "{pad} --> {file}:{number}:{column}\n{pad} |\n{number} | {text}\n{pad} | {caret}^\n{pad} = mend: {mend}\n"
        )
    }
}

/// The hints as they are printed, in the order of the file.
pub fn show(origin: &Origin, mut hints: Vec<Hint>) -> String {
    hints.sort_by_key(|hint| (hint.place.line, hint.place.column));
    hints.dedup();
    hints.iter().take(HINTS_MAX).map(|hint| hint.show(origin)).collect()
}

/// What a hint is made of: the document, its places, and what it should be.
pub struct Subject<'a> {
    /// The document as a tree of places.
    pub root: &'a Node,
    /// The object.
    pub object: &'a Value,
    /// Its kind's schema.
    pub definition: Option<&'static Definition>,
}

impl Subject<'_> {
    /// `carob explain pod.spec`: where to read on about a field path.
    pub fn explain(&self, path: &str) -> String {
        let kind = self.object["kind"].as_str().unwrap_or_default().to_lowercase();
        let mut words = vec![kind];
        for step in locate::steps(path) {
            if let locate::Step::Key(name) = step {
                words.push(name);
            }
        }
        format!("carob explain {}", words.join("."))
    }
}

/// About what the server refused.
pub fn server(
    origin: &Origin,
    object: &Value,
    definition: Option<&'static Definition>,
    status: &Status,
) -> String {
    let documents = locate::documents(&origin.text);
    let Some(root) = documents.first() else { return String::new() };
    // Of a list, the object's own place is looked for by its name.
    let root = shape::own_root(root, object).unwrap_or(root);
    let subject = Subject { root, object, definition };
    let mut hints = Vec::new();
    if status.is(Reason::Invalid) {
        for cause in status.details.iter().flat_map(|details| &details.causes) {
            hints.push(values::cause(&subject, &cause.field, &cause.message));
        }
    }
    for path in quoted_after(&status.message, "unknown field \"") {
        hints.push(fields::unknown(&subject, path));
    }
    hints.extend(values::wrong_type(&subject, &status.message));
    if status.message.contains("quantities must match") || status.message.contains("unable to parse quantity")
    {
        hints.extend(values::quantities(&subject));
    }
    show(origin, hints)
}

fn quoted_after<'t>(text: &'t str, before: &str) -> Vec<&'t str> {
    text.split(before).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// The known name within a third of the letters.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (name.chars().count() / 3).max(1);
    known
        .map(|other| (slips(&name.to_lowercase(), &other.to_lowercase()), other))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, other)| other)
}

/// Levenshtein's distance, where two letters that changed places count as one slip.
fn slips(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Levenshtein's distance.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let above = row[j + 1];
            let change = if c == *other { diagonal } else { diagonal + 1 };
            row[j + 1] = change.min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found() {
        let known = ["image", "imagePullPolicy", "ports", "name"];
        for (name, want) in [
            ("imgae", Some("image")),
            ("port", Some("ports")),
            ("Image", Some("image")),
            ("imagePulPolicy", Some("imagePullPolicy")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known.into_iter()), want, "{name}");
        }
        assert_eq!((distance("ab", "ba"), slips("ab", "ba"), slips("kitten", "sitting")), (2, 1, 3));
    }
}
