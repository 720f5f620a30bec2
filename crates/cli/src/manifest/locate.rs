//! Where in a YAML text a field stands: the documents of the text as trees of places, and field paths followed through
//! them. Built from the parser's events, so that comments, flow style and quotes do not matter. Bounded by the number of
//! nodes; what cannot be read any further ends the tree and not the program.

use std::iter::Peekable;

use granit_parser::{Event, Parser, ScalarStyle, Span};

/// Nodes of a text; further ones are not looked at.
const NODES_MAX: usize = 200_000;
/// How deep a tree is followed.
const DEPTH_MAX: usize = 100;

/// A place: line and column from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub shape: Shape,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// A text, number, switch or nothing; whether it stands without quotes.
    Scalar {
        /// The text.
        text: String,
        /// Without quotes.
        plain: bool,
    },
    /// Keys with their places, and values.
    Map(Vec<(String, Place, Node)>),
    /// Entries.
    List(Vec<Node>),
    /// An alias, or what lies too deep.
    Other,
}

impl Node {
    /// What JSON calls its type, as Go says it: `string`, `number`, `bool`, `object`, `array`, `null`.
    pub fn json_type(&self) -> &'static str {
        match &self.shape {
            Shape::Map(_) => "object",
            Shape::List(_) => "array",
            Shape::Other => "null",
            Shape::Scalar { plain: false, .. } => "string",
            Shape::Scalar { text, plain: true } => match text.as_str() {
                "" | "~" | "null" | "Null" | "NULL" => "null",
                word if is_switch(word) => "bool",
                word if is_number(word) => "number",
                _ => "string",
            },
        }
    }

    /// The scalar's text.
    pub fn text(&self) -> Option<&str> {
        match &self.shape {
            Shape::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The value of a key.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.entry(name).map(|(_, node)| node)
    }

    fn entry(&self, name: &str) -> Option<(Place, &Node)> {
        let Shape::Map(entries) = &self.shape else { return None };
        entries.iter().rev().find(|(own, _, _)| own == name).map(|(_, place, node)| (*place, node))
    }
}

fn is_switch(word: &str) -> bool {
    const WORDS: [&str; 6] = ["true", "false", "yes", "no", "on", "off"];
    WORDS.iter().any(|own| {
        let capital = format!("{}{}", own[..1].to_uppercase(), &own[1..]);
        word == *own || word == capital || word == own.to_uppercase()
    })
}

fn is_number(word: &str) -> bool {
    let word = word.replace('_', "");
    let digits = word.strip_prefix(['-', '+']).unwrap_or(&word);
    let hex = digits.strip_prefix("0x").is_some_and(|rest| i64::from_str_radix(rest, 16).is_ok());
    let octal = digits.strip_prefix("0o").is_some_and(|rest| i64::from_str_radix(rest, 8).is_ok());
    hex || octal
        || digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && word.parse::<f64>().is_ok()
}

type Events<'t> = Peekable<Box<dyn Iterator<Item = (Event<'t>, Span)> + 't>>;

/// The documents of a text, in order; reading ends at the first mistake.
pub fn documents(text: &str) -> Vec<Node> {
    let events: Box<dyn Iterator<Item = (Event<'_>, Span)>> =
        Box::new(Parser::new_from_str(text).map_while(Result::ok).take(NODES_MAX));
    let mut events: Events<'_> = events.peekable();
    let mut found = Vec::new();
    while let Some((event, span)) = events.next() {
        if is_node(&event) {
            found.push(node(event, &span, &mut events, 0));
        }
    }
    found
}

fn is_node(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) | Event::Alias(_))
}

fn place(span: &Span) -> Place {
    Place { line: span.start.line(), column: span.start.col() + 1 }
}

/// The next event that is a node or the end of a collection.
fn next<'t>(events: &mut Events<'t>) -> Option<(Event<'t>, Span)> {
    events.find(|(event, _)| is_node(event) || matches!(event, Event::SequenceEnd | Event::MappingEnd))
}

fn node<'t>(event: Event<'t>, span: &Span, events: &mut Events<'t>, depth: usize) -> Node {
    let place = place(span);
    let shape = match event {
        Event::Scalar(text, style, ..) => {
            Shape::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }
        }
        Event::SequenceStart(..) | Event::MappingStart(..) if depth >= DEPTH_MAX => {
            let mut open = 1_usize;
            while open > 0 {
                match next(events) {
                    Some((Event::SequenceStart(..) | Event::MappingStart(..), _)) => open += 1,
                    Some((Event::SequenceEnd | Event::MappingEnd, _)) => open -= 1,
                    Some(_) => {}
                    None => break,
                }
            }
            Shape::Other
        }
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            while let Some((event, span)) = next(events) {
                if event == Event::SequenceEnd {
                    break;
                }
                list.push(node(event, &span, events, depth + 1));
            }
            Shape::List(list)
        }
        Event::MappingStart(..) => map(events, depth),
        _ => Shape::Other,
    };
    Node { place, shape }
}

fn map(events: &mut Events<'_>, depth: usize) -> Shape {
    let mut entries = Vec::new();
    while let Some((event, span)) = next(events) {
        if event == Event::MappingEnd {
            break;
        }
        let key = node(event, &span, events, depth + 1);
        let Some((event, value_span)) = next(events) else { break };
        if event == Event::MappingEnd {
            break;
        }
        let value = node(event, &value_span, events, depth + 1);
        entries.push((key.text().unwrap_or_default().to_owned(), key.place, value));
    }
    Shape::Map(entries)
}

/// One step of a field path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A field or a key of a map.
    Key(String),
    /// An entry of a list, from 0; a map's key where it is one of digits.
    Index(usize),
}

/// Steps of a path as the server writes them: `spec.containers[0].ports`, `metadata.labels[a.b/c]`.
pub fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (word, after) = inner.split_once(']').unwrap_or((inner, ""));
            let word = word.trim_matches('"');
            steps.push(word.parse().map_or_else(|_| Step::Key(word.to_owned()), Step::Index));
            rest = after.strip_prefix('.').unwrap_or(after);
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        if end > 0 {
            steps.push(Step::Key(rest[..end].to_owned()));
        }
        rest = &rest[end..];
        rest = rest.strip_prefix('.').unwrap_or(rest);
    }
    steps
}

/// What following a path found.
#[derive(Debug, Clone)]
pub struct Found<'n> {
    /// The key, the list's entry, or the value itself.
    pub place: Place,
    /// The last value reached.
    pub node: &'n Node,
    /// How many steps were not there.
    pub missing: usize,
}

/// Follows a path as far as it goes.
pub fn find<'n>(root: &'n Node, steps: &[Step]) -> Found<'n> {
    let (mut place, mut node) = (root.place, root);
    let mut at = 0;
    while at < steps.len() {
        let Some((taken, next_place, next)) = step(node, &steps[at..]) else { break };
        (place, node) = (next_place, next);
        at += taken;
    }
    Found { place, node, missing: steps.len() - at }
}

fn step<'n>(node: &'n Node, steps: &[Step]) -> Option<(usize, Place, &'n Node)> {
    match (&node.shape, steps.first()?) {
        (Shape::List(list), Step::Index(index)) => list.get(*index).map(|entry| (1, entry.place, entry)),
        (_, Step::Index(index)) => node.entry(&index.to_string()).map(|(place, value)| (1, place, value)),
        (_, Step::Key(name)) => {
            if let Some((place, value)) = node.entry(name) {
                return Some((1, place, value));
            }
            // A key with dots in it looks like several steps.
            let mut joined = name.clone();
            for (more, step) in steps.iter().enumerate().skip(1) {
                let Step::Key(part) = step else { return None };
                joined = format!("{joined}.{part}");
                if let Some((place, value)) = node.entry(&joined) {
                    return Some((more + 1, place, value));
                }
            }
            None
        }
    }
}

/// All values at a path without indices (`spec.containers.env.value`), lists walked through.
pub fn all<'n>(root: &'n Node, names: &[&str]) -> Vec<(Place, &'n Node)> {
    let mut now = vec![(root.place, root)];
    for name in names {
        let mut next = Vec::new();
        for (_, node) in now {
            entries(node).into_iter().for_each(|(_, node)| next.extend(node.entry(name)));
        }
        now = next;
    }
    now
}

/// The value, or for a list its entries.
pub fn entries(node: &Node) -> Vec<(Place, &Node)> {
    match &node.shape {
        Shape::List(list) => list.iter().map(|entry| (entry.place, entry)).collect(),
        _ => vec![(node.place, node)],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POD: &str = "# a Pod\nspec:\n  containers:\n  - name: a\n    ports: [{containerPort: 80}]\n  - name: b\n    env:\n    - {name: X, value: yes}\nmetadata:\n  labels: {app.kubernetes.io/name: 'x', \"80\": y}\n---\nsecond: 1\n";

    #[test]
    fn paths_lead_to_lines_and_columns() {
        let documents = documents(POD);
        assert_eq!(documents.len(), 2);
        for (path, line, column, missing) in [
            ("spec.containers", 3, 3, 0),
            ("spec.containers[0].name", 4, 5, 0),
            ("spec.containers[0].ports[0].containerPort", 5, 14, 0),
            ("spec.containers[1].env[0].value", 8, 17, 0),
            ("spec.containers[1].image", 6, 5, 1),
            ("spec.volumes[0].name", 2, 1, 3),
            ("metadata.labels.app.kubernetes.io/name", 10, 12, 0),
            ("metadata.labels[app.kubernetes.io/name]", 10, 12, 0),
            ("metadata.labels[80]", 10, 41, 0),
            ("", 2, 1, 0),
        ] {
            let found = find(&documents[0], &steps(path));
            let seen = (found.place.line, found.place.column, found.missing);
            assert_eq!(seen, (line, column, missing), "{path}");
        }
        let values = all(&documents[0], &["spec", "containers", "env", "value"]);
        assert_eq!(values.len(), 1);
        assert_eq!(values[0].1.json_type(), "bool");
    }

    #[test]
    fn scalars_have_the_types_that_upstream_reads() {
        for (text, want) in [
            ("80", "number"),
            ("'80'", "string"),
            ("1e3", "number"),
            ("0x1f", "number"),
            ("100mb", "string"),
            ("on", "bool"),
            ("True", "bool"),
            ("tRue", "string"),
            ("~", "null"),
            ("{}", "object"),
            ("[]", "array"),
            ("nan", "string"),
        ] {
            assert_eq!(documents(text)[0].json_type(), want, "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[ \\t\\n:\\-\\[\\]{}'\"&*!|>#a-c0-9\u{feff}é]{0,200}", path in "[a-c.\\[\\]0-9\"]{0,20}") {
            for document in documents(&text) {
                let found = find(&document, &steps(&path));
                prop_assert!(found.place.line >= 1 && found.place.column >= 1);
                all(&document, &["a", "b"]);
            }
        }
    }
}
