//! YAML as upstream's `sigs.k8s.io/yaml` writes it: keys in natural order, sequences at their key's own indent, plain
//! scalars where they read back as strings, folded after 80 columns, literal blocks for text with line breaks.

mod order;
mod scalar;

use serde_json::Value;

use scalar::Style;

pub(crate) use scalar::number;

/// Columns after which a space becomes a line break.
const WIDTH: usize = 80;

/// Writes a document.
pub fn to_string(value: &Value) -> String {
    let mut writer = Writer { text: String::new(), column: 0 };
    match value {
        Value::Object(map) if !map.is_empty() => writer.map(value, 0, false),
        Value::Array(list) if !list.is_empty() => writer.list(list, 0, false),
        other => {
            writer.scalar(other, 0, false);
            writer.put("\n");
        }
    }
    writer.text
}

/// Whether a key needs no quotes.
pub(crate) fn is_plain(text: &str) -> bool {
    scalar::style(text, true) == Style::Plain
}

struct Writer {
    text: String,
    column: usize,
}

impl Writer {
    fn put(&mut self, text: &str) {
        self.text.push_str(text);
        match text.rfind('\n') {
            Some(at) => self.column = text[at + 1..].chars().count(),
            None => self.column += text.chars().count(),
        }
    }

    fn indent(&mut self, indent: usize) {
        self.put("\n");
        self.put(&" ".repeat(indent));
    }

    /// `inline`: the first key follows a `- `.
    fn map(&mut self, value: &Value, indent: usize, inline: bool) {
        let Some(map) = value.as_object() else { return };
        let mut keys: Vec<&String> = map.keys().collect();
        keys.sort_by(|a, b| order::compare(a, b));
        for (at, key) in keys.into_iter().enumerate() {
            if at > 0 || !inline {
                self.put(&" ".repeat(indent));
            }
            self.text(key, indent, true);
            self.put(":");
            self.value(&map[key], indent, indent);
        }
    }

    fn list(&mut self, list: &[Value], indent: usize, inline: bool) {
        for (at, item) in list.iter().enumerate() {
            if at > 0 || !inline {
                self.put(&" ".repeat(indent));
            }
            self.put("-");
            match item {
                Value::Object(map) if !map.is_empty() => {
                    self.put(" ");
                    self.map(item, indent + 2, true);
                }
                Value::Array(inner) if !inner.is_empty() => {
                    self.put(" ");
                    self.list(inner, indent + 2, true);
                }
                _ => {
                    self.put(" ");
                    self.scalar(item, indent + 2, false);
                    self.put("\n");
                }
            }
        }
    }

    /// What follows `key:`.
    fn value(&mut self, value: &Value, indent: usize, list_indent: usize) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                self.put("\n");
                self.map(value, indent + 2, false);
            }
            Value::Array(list) if !list.is_empty() => {
                self.put("\n");
                self.list(list, list_indent, false);
            }
            _ => {
                self.put(" ");
                self.scalar(value, indent + 2, false);
                self.put("\n");
            }
        }
    }

    fn scalar(&mut self, value: &Value, indent: usize, key: bool) {
        match value {
            Value::Null => self.put("null"),
            Value::Object(_) => self.put("{}"),
            Value::Array(_) => self.put("[]"),
            Value::String(text) => self.text(text, indent, key),
            Value::Bool(value) => self.put(if *value { "true" } else { "false" }),
            Value::Number(number) => self.put(&scalar::number(number)),
        }
    }

    fn text(&mut self, text: &str, indent: usize, key: bool) {
        match scalar::style(text, key) {
            Style::Plain => self.plain(text, indent, key),
            Style::Single => self.single(text, indent, key),
            Style::Double => self.double(text, indent, key),
            Style::Literal => self.literal(text, indent),
        }
    }

    fn plain(&mut self, text: &str, indent: usize, key: bool) {
        self.folded(text, indent, !key, false, |writer, c| writer.put(c.encode_utf8(&mut [0; 4])));
    }

    fn single(&mut self, text: &str, indent: usize, key: bool) {
        self.put("'");
        self.folded(text, indent, !key, true, |writer, c| match c {
            '\'' => writer.put("''"),
            c => writer.put(c.encode_utf8(&mut [0; 4])),
        });
        self.put("'");
    }

    /// Writes text whose single spaces may become line breaks beyond the width.
    fn folded(
        &mut self,
        text: &str,
        indent: usize,
        breaks: bool,
        inner: bool,
        write: impl Fn(&mut Self, char),
    ) {
        let chars: Vec<char> = text.chars().collect();
        let mut spaces = false;
        for (at, c) in chars.iter().enumerate() {
            if *c != ' ' {
                write(self, *c);
                spaces = false;
                continue;
            }
            let next_is_space = chars.get(at + 1) == Some(&' ');
            let at_end = inner && (at == 0 || at + 1 == chars.len());
            if breaks && !spaces && self.column > WIDTH && !next_is_space && !at_end {
                self.indent(indent);
            } else {
                self.put(" ");
            }
            spaces = true;
        }
    }

    fn double(&mut self, text: &str, indent: usize, key: bool) {
        let chars: Vec<char> = text.chars().collect();
        self.put("\"");
        let mut spaces = false;
        for (at, c) in chars.iter().enumerate() {
            if let Some(escaped) = scalar::escape(*c) {
                self.put(&escaped);
                spaces = false;
            } else if *c == ' ' {
                if !key && !spaces && self.column > WIDTH && at > 0 && at + 1 < chars.len() {
                    self.indent(indent);
                    if chars[at + 1] == ' ' {
                        self.put("\\");
                    }
                } else {
                    self.put(" ");
                }
                spaces = true;
            } else {
                self.put(c.encode_utf8(&mut [0; 4]));
                spaces = false;
            }
        }
        self.put("\"");
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.put("|");
        if text.starts_with([' ', '\n']) {
            self.put("2");
        }
        let body = text.strip_suffix('\n');
        match body {
            None => self.put("-"),
            Some(body) if body.is_empty() || body.ends_with('\n') => self.put("+"),
            Some(_) => {}
        }
        for line in body.unwrap_or(text).split('\n') {
            if line.is_empty() {
                self.put("\n");
            } else {
                self.indent(indent);
                self.put(line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_quoted_as_upstreams() {
        for (value, want) in [
            (json!("plain"), "plain"),
            (json!("two words"), "two words"),
            (json!(""), "\"\""),
            (json!("10000"), "\"10000\""),
            (json!("1.5"), "\"1.5\""),
            (json!("0x1f"), "\"0x1f\""),
            (json!("1e3"), "\"1e3\""),
            (json!("true"), "\"true\""),
            (json!("y"), "\"y\""),
            (json!("off"), "\"off\""),
            (json!("null"), "\"null\""),
            (json!("~"), "\"~\""),
            (json!("2026-11-21T06:14:12Z"), "\"2026-11-21T06:14:12Z\""),
            (json!("2026-11-21"), "\"2026-11-21\""),
            (json!("10.244.1.56"), "10.244.1.56"),
            (json!("1:30"), "\"1:30\""),
            (json!("8080:80"), "8080:80"),
            (json!("nginx:1.14"), "nginx:1.14"),
            (json!("a: b"), "'a: b'"),
            (json!("a #b"), "'a #b'"),
            (json!("#b"), "'#b'"),
            (json!("-c"), "-c"),
            (json!("- c"), "'- c'"),
            (json!("*"), "'*'"),
            (json!("it's: so"), "'it''s: so'"),
            (json!(" lead"), "' lead'"),
            (json!("a\tb"), "\"a\\tb\""),
            (json!("a\nb"), "|-\n  a\n  b"),
            (json!("a\nb\n"), "|\n  a\n  b"),
            (json!("a\n\n"), "|+\n  a\n"),
            (json!("é"), "é"),
            (json!({}), "{}"),
            (json!([]), "[]"),
            (json!(null), "null"),
            (json!(1.5), "1.5"),
            (json!(-3), "-3"),
        ] {
            assert_eq!(to_string(&json!({"k": value})), format!("k: {want}\n"), "{value}");
        }
    }

    #[test]
    fn structures_are_laid_out_as_upstreams() {
        let value = json!({
            "b": {"y": [{"k": 1, "j": [1, [2, 3]]}, "s"], "x10": 1, "x9": 2},
            "a": ["x", {}, []],
        });
        let want = "a:\n- x\n- {}\n- []\nb:\n  x9: 2\n  x10: 1\n  \"y\":\n  - j:\n    - 1\n    - - 2\n      - 3\n    k: 1\n  - s\n";
        assert_eq!(to_string(&value), want);
    }

    #[test]
    fn long_text_is_folded() {
        let text = "aaaa bbbb cccc dddd ".repeat(6);
        let written = to_string(&json!({"message": text.trim()}));
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines.len(), 2, "{written}");
        assert!(lines[0].len() > 80 && lines[0].len() < 86, "{written}");
        assert!(lines[1].starts_with("  "), "{written}");
        assert_eq!(
            to_string(&json!({"m": format!("{}: x", text)})).lines().next().map(|line| &line[..5]),
            Some("m: 'a")
        );
    }
}
