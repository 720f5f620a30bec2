//! What go-yaml says about the usual mistakes: the same words and line numbers as kubectl's, whose scanner finds some
//! of them earlier or later than ours.

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

/// The usual mistakes.
pub fn find(document: &str) -> Option<Mistake> {
    let lines: Vec<&str> = document.lines().collect();
    let mut block_indent: Option<usize> = None;
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
            let words = "found character that cannot start any token";
            return Some(Mistake { line: at + 1, column: indent + 1, words, told_line: at + 1 });
        }
        let content = after_dashes(body);
        let content_column = line.len() - content.len();
        let is_entry = body.starts_with("- ") || body == "-";
        let key = key_end(content);
        if let Some((plain_indent, started, valued)) = plain {
            let continues = indent > plain_indent;
            if continues && valued && key.is_some() && !is_entry {
                let column = content_column + key.unwrap_or(0) + 1;
                let words = "mapping values are not allowed in this context";
                return Some(Mistake { line: at + 1, column, words, told_line: at + 1 });
            }
            if !valued && !continues {
                let words = "could not find expected ':'";
                return Some(Mistake {
                    line: started + 1,
                    column: plain_indent + 1,
                    words,
                    told_line: at + 1,
                });
            }
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
            let words = "could not find expected ':'";
            Some(Mistake { line: started + 1, column: indent + 1, words, told_line: lines.len() + 1 })
        }
        _ => None,
    }
}

/// go-yaml's whole text.
pub fn error(document: &str) -> Option<String> {
    let mistake = find(document)?;
    Some(format!("error converting YAML to JSON: yaml: line {}: {}", mistake.told_line, mistake.words))
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
