//! What go-yaml says about the usual mistakes: the same words and line numbers as kubectl's, whose scanner finds some
//! of them earlier or later than ours.

use granit_parser::{ErrorKind, Parser};

/// A mistake as a line-wise reading finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line from 1.
    pub line: usize,
    /// Column from 1.
    pub column: usize,
    /// go-yaml's words.
    pub words: &'static str,
    /// Line that go-yaml names.
    pub told_line: usize,
}

/// The mistake of a document that is no YAML.
pub fn find(document: &str) -> Option<Mistake> {
    by_lines(document).or_else(|| by_parser(document))
}

const NO_TOKEN: &str = "found character that cannot start any token";
const NO_MAPPING: &str = "mapping values are not allowed in this context";
const NO_COLON: &str = "could not find expected ':'";
const NO_END: &str = "found unexpected end of stream";

/// What the parser finds, in go-yaml's words. go-yaml names the line of what its scanner refuses, and the line before
/// of what its parser refuses.
fn by_parser(document: &str) -> Option<Mistake> {
    let error = Parser::new_from_str(document).find_map(Result::err)?;
    let (line, column) = (error.marker().line(), error.marker().col() + 1);
    let before = line.saturating_sub(1);
    let last = document.lines().count();
    let own_line = document.lines().nth(before).unwrap_or_default();
    let (words, told_line) = match error.kind() {
        ErrorKind::ExpectedBlockMappingKey => ("did not find expected key", before),
        ErrorKind::ExpectedBlockSequenceEntry => ("did not find expected '-' indicator", before),
        ErrorKind::ExpectedFlowMappingSeparator => ("did not find expected ',' or '}'", before),
        ErrorKind::ExpectedFlowSequenceSeparator | ErrorKind::InvalidColonPlacement => {
            ("did not find expected ',' or ']'", before)
        }
        ErrorKind::ExpectedNodeContent => ("did not find expected node content", before),
        ErrorKind::ExpectedDocumentStart => ("did not find expected <document start>", before),
        ErrorKind::UnclosedFlowCollection { .. } => ("did not find expected ',' or ']'", last),
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => (NO_END, last + 1),
        ErrorKind::UnexpectedCharacter { .. }
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation => (NO_TOKEN, line),
        ErrorKind::MappingValueNotAllowed => (NO_MAPPING, line),
        ErrorKind::SimpleKeyExpected => (NO_COLON, line),
        ErrorKind::BlockSequenceEntryNotAllowed => {
            ("block sequence entries are not allowed in this context", line)
        }
        ErrorKind::MissingAnchorOrAliasName => {
            ("did not find expected alphabetic or numeric character", line)
        }
        ErrorKind::UnknownAnchor if alias(own_line, column).is_empty() => {
            ("did not find expected alphabetic or numeric character", line)
        }
        ErrorKind::UnknownAnchor => ("unknown anchor", 0),
        ErrorKind::InvalidBlockScalarHeader => ("did not find expected comment or line break", line),
        ErrorKind::UnknownQuotedScalarEscape => ("found unknown escape character", line),
        _ => return None,
    };
    Some(Mistake { line, column, words, told_line })
}

/// The name of the alias at a column.
fn alias(line: &str, column: usize) -> String {
    let rest = line.chars().skip(column).skip_while(|c| *c == '*');
    rest.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect()
}

/// A plain text that may go on in the next lines.
#[derive(Clone, Copy)]
struct Plain {
    /// Column from 0 of what it belongs to.
    indent: usize,
    /// Its line, from 0.
    started: usize,
    /// Whether it stands after a key or a dash.
    valued: bool,
}

/// Reads line by line as go-yaml's scanner does, as far as the usual mistakes need it.
#[derive(Default)]
struct Lines {
    /// Indent of the key whose block text is being read.
    block: Option<usize>,
    /// Columns of the mappings that are open.
    open: Vec<usize>,
    plain: Option<Plain>,
}

/// The usual mistakes, as a reading line by line finds them.
fn by_lines(document: &str) -> Option<Mistake> {
    let lines: Vec<&str> = document.lines().collect();
    let mut reading = Lines::default();
    let found = lines.iter().enumerate().find_map(|(at, line)| reading.line(at, line));
    match (found, reading.plain) {
        (None, Some(Plain { indent, started, valued: false })) if lines.len() > 1 => {
            let (line, column) = (started + 1, indent + 1);
            Some(Mistake { line, column, words: NO_COLON, told_line: lines.len() + 1 })
        }
        (found, _) => found,
    }
}

impl Lines {
    fn line(&mut self, at: usize, line: &str) -> Option<Mistake> {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let body = &line[indent..];
        if body.trim().is_empty() || self.block.is_some_and(|parent| indent > parent) {
            return None;
        }
        self.block = None;
        if body.starts_with('#') {
            return None;
        }
        let told_line = at + 1;
        if body.starts_with('\t') {
            let in_text = self.plain.is_some_and(|own| indent <= own.indent);
            let words = if in_text { "found a tab character that violates indentation" } else { NO_TOKEN };
            return Some(Mistake { line: at + 1, column: indent + 1, words, told_line });
        }
        let content = after_dashes(body);
        let column = line.len() - content.len();
        let is_entry = body.starts_with("- ") || body == "-";
        let key = key_end(content);
        if self.plain.is_none_or(|own| column <= own.indent) {
            self.open.retain(|open| *open < column || (*open == column && !is_entry));
        }
        if let Some(plain) = self.plain {
            let continues = indent > plain.indent;
            if continues && plain.valued && key.is_some() && !is_entry {
                let column = column + key.unwrap_or(0) + 1;
                return Some(Mistake { line: at + 1, column, words: NO_MAPPING, told_line });
            }
            if !plain.valued && !continues {
                // The first line of a block is not yet known to be a key: the text goes on into the next lines.
                let is_first = !self.open.contains(&plain.indent) && indent == plain.indent;
                if is_first && key.is_none() {
                    return None;
                }
                let words = if is_first { NO_MAPPING } else { NO_COLON };
                let (line, column) = (plain.started + 1, plain.indent + 1);
                return Some(Mistake { line, column, words, told_line });
            }
        }
        self.take(at, indent, column, content, is_entry, key);
        None
    }

    /// Notes what a line without a mistake begins.
    fn take(
        &mut self,
        at: usize,
        indent: usize,
        column: usize,
        content: &str,
        is_entry: bool,
        key: Option<usize>,
    ) {
        if key.is_some() && !self.open.contains(&column) {
            self.open.push(column);
        }
        let value = key.map(|end| content[end + 1..].trim_start());
        if value.is_some_and(|value| value.starts_with(['|', '>'])) {
            self.block = Some(indent);
            self.plain = None;
            return;
        }
        let plain = |indent: usize, valued: bool| Some(Plain { indent, started: at, valued });
        self.plain = match value {
            Some(value) if is_plain(value) => plain(column, true),
            Some(_) => None,
            None if is_entry && is_plain(content) => plain(indent, true),
            None if is_plain(content) && self.plain.is_none_or(|own| indent <= own.indent) => {
                plain(column, false)
            }
            None => self.plain,
        };
    }
}

/// go-yaml's whole text.
pub fn error(document: &str) -> Option<String> {
    let Mistake { line, column, words, told_line } = find(document)?;
    let words = match told_line {
        0 if words == "unknown anchor" => {
            let name = alias(document.lines().nth(line.saturating_sub(1)).unwrap_or_default(), column);
            format!("unknown anchor '{name}' referenced")
        }
        0 => words.to_owned(),
        told => format!("line {told}: {words}"),
    };
    Some(format!("error converting YAML to JSON: yaml: {words}"))
}

fn after_dashes(mut text: &str) -> &str {
    while let Some(rest) = text.strip_prefix("- ") {
        text = rest.trim_start_matches(' ');
    }
    text
}

/// Where the colon of `key: value` stands.
fn key_end(text: &str) -> Option<usize> {
    if text.starts_with(['"', '\'', '{', '[', '#']) {
        let quote = text.chars().next()?;
        let end = text[1..].find(quote)? + 2;
        return text[end..].starts_with(':').then_some(end);
    }
    let mut from = 0;
    while let Some(at) = text[from..].find(':') {
        let end = from + at;
        if text[..end].contains(" #") {
            return None;
        }
        if text[end + 1..].is_empty() || text[end + 1..].starts_with([' ', '\t']) {
            return Some(end);
        }
        from = end + 1;
    }
    None
}

fn is_plain(value: &str) -> bool {
    !value.is_empty() && !value.starts_with(['#', '"', '\'', '{', '[', '&', '*', '!', '|', '>'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_as_go_yaml_does() {
        for (text, want) in [
            (
                "apiVersion: v1\nkind: Pod\nmetadata:\n name: x\nspec:\n containers:\n -name: busybox-container\n  image: busybox\n",
                "line 8: mapping values are not allowed in this context",
            ),
            (
                "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: x\n",
                "line 4: found character that cannot start any token",
            ),
            (
                "a:\n  spec:\n  - name: x\n    image: nginx\n    ports\n    - containerPort: 80\n",
                "line 6: could not find expected ':'",
            ),
        ] {
            assert_eq!(error(text), Some(format!("error converting YAML to JSON: yaml: {want}")), "{text}");
        }
        for fine in [
            "a: b\nc:\n- d\n- e: f\n  g: |\n    x: y: z\n    plain\n",
            "a: b\n  c\nd: 'x: y'\n",
            "a: http://x\n",
        ] {
            assert_eq!(find(fine), None, "{fine}");
        }
    }
}
