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

/// The usual mistakes, as a reading line by line finds them.
fn by_lines(document: &str) -> Option<Mistake> {
    let lines: Vec<&str> = document.lines().collect();
    let mut block_indent: Option<usize> = None;
    // Columns of the mappings that are open.
    let mut open: Vec<usize> = Vec::new();
    // Indent and number of a plain text that may go on in the next lines, and whether it stands after a key or dash.
    let mut plain: Option<(usize, usize, bool)> = None;
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let body = &line[indent..];
        if body.trim().is_empty() {
            continue;
        }
        if let Some(parent) = block_indent {
            if indent > parent {
                continue;
            }
            block_indent = None;
        }
        if body.starts_with('#') {
            continue;
        }
        if body.starts_with('\t') {
            let in_text = plain.is_some_and(|(own, _, _)| indent <= own);
            let words = if in_text { "found a tab character that violates indentation" } else { NO_TOKEN };
            return Some(Mistake { line: at + 1, column: indent + 1, words, told_line: at + 1 });
        }
        let content = after_dashes(body);
        let content_column = line.len() - content.len();
        let is_entry = body.starts_with("- ") || body == "-";
        let key = key_end(content);
        if plain.is_none_or(|(own, _, _)| content_column <= own) {
            open.retain(|column| *column < content_column || (*column == content_column && !is_entry));
        }
        if let Some((plain_indent, started, valued)) = plain {
            let continues = indent > plain_indent;
            if continues && valued && key.is_some() && !is_entry {
                let column = content_column + key.unwrap_or(0) + 1;
                let words = NO_MAPPING;
                return Some(Mistake { line: at + 1, column, words, told_line: at + 1 });
            }
            // The first line of a block is not yet known to be a key: the text goes on into the next lines.
            if !valued && !continues && !open.contains(&plain_indent) && indent == plain_indent {
                if key.is_some() {
                    let words = NO_MAPPING;
                    let line = started + 1;
                    return Some(Mistake { line, column: plain_indent + 1, words, told_line: at + 1 });
                }
                continue;
            }
            if !valued && !continues {
                let words = NO_COLON;
                return Some(Mistake {
                    line: started + 1,
                    column: plain_indent + 1,
                    words,
                    told_line: at + 1,
                });
            }
        }
        if key.is_some() && !open.contains(&content_column) {
            open.push(content_column);
        }
        let value = key.map(|end| content[end + 1..].trim_start());
        if value.is_some_and(|value| value.starts_with(['|', '>'])) {
            block_indent = Some(indent);
            plain = None;
            continue;
        }
        plain = match value {
            Some(value) if is_plain(value) => Some((content_column, at, true)),
            Some(_) => None,
            None if is_entry && is_plain(content) => Some((indent, at, true)),
            None if is_plain(content) && plain.is_none_or(|(plain_indent, _, _)| indent <= plain_indent) => {
                Some((content_column, at, false))
            }
            None => plain,
        };
    }
    match plain {
        Some((indent, started, false)) if lines.len() > 1 => {
            let words = NO_COLON;
            Some(Mistake { line: started + 1, column: indent + 1, words, told_line: lines.len() + 1 })
        }
        _ => None,
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
