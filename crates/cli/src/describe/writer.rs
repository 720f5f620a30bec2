//! Writing descriptions: levels of two spaces, tabs between names and values.

use model::tree::TreeExt;
use serde_json::Value;

/// Longest annotation shown on one line.
const ANNOTATION_CHARS_MAX: usize = 140;

/// The text so far, tabs not yet laid out.
#[derive(Default)]
pub(crate) struct Writer {
    /// Text.
    pub text: String,
}

impl Writer {
    /// A line at a level; tabs separate cells.
    pub fn line(&mut self, level: usize, text: impl AsRef<str>) {
        self.text.push_str(&"  ".repeat(level));
        self.text.push_str(text.as_ref());
        self.text.push('\n');
    }

    /// `Name:<tab>value`.
    pub fn field(&mut self, level: usize, name: &str, value: impl std::fmt::Display) {
        self.line(level, format!("{name}:\t{value}"));
    }

    /// `Name:<tab>value` if there is one.
    pub fn optional(&mut self, level: usize, name: &str, value: &str) {
        if !value.is_empty() {
            self.field(level, name, value);
        }
    }

    /// Several values under one name, one per line.
    pub fn several(&mut self, title: &str, values: &[String]) {
        if values.is_empty() {
            self.field(0, title, "<none>");
            return;
        }
        for (at, value) in values.iter().enumerate() {
            if at == 0 { self.field(0, title, value) } else { self.line(0, format!("\t{value}")) }
        }
    }

    /// Labels, one per line.
    pub fn labels(&mut self, title: &str, labels: Option<&Value>) {
        self.several(title, &pairs(labels, "="));
    }

    /// Annotations, those of `apply` left out, long ones shortened.
    pub fn annotations(&mut self, title: &str, annotations: Option<&Value>) {
        let empty = serde_json::Map::new();
        let map = annotations.and_then(Value::as_object).unwrap_or(&empty);
        let mut first = true;
        for (key, value) in map.iter().filter(|(key, _)| *key != crate::commands::create::LAST_APPLIED) {
            let start = if first { format!("{title}:\t") } else { "\t".to_owned() };
            first = false;
            let value = value.as_str().unwrap_or_default();
            let value = value.strip_suffix('\n').unwrap_or(value);
            if value.len() + key.len() + 2 <= ANNOTATION_CHARS_MAX && !value.contains('\n') {
                self.line(0, format!("{start}{key}: {value}"));
                continue;
            }
            self.line(0, format!("{start}{key}:"));
            for line in value.split('\n') {
                self.line(0, format!("\t  {}", shorten(line, ANNOTATION_CHARS_MAX - 2)));
            }
        }
        if first {
            self.field(0, title, "<none>");
        }
    }
}

fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 3).collect();
    format!("{kept}...")
}

/// Pairs of a map of strings, joined.
pub(crate) fn pairs(map: Option<&Value>, with: &str) -> Vec<String> {
    let map = map.and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}{with}{}", value.as_str().unwrap_or_default()))
        .collect()
}

/// `<none>` for nothing.
pub(crate) fn or_none(text: &str) -> &str {
    if text.is_empty() { "<none>" } else { text }
}

/// `True`, `False`.
pub(crate) fn truth(value: Option<&Value>) -> &'static str {
    if value.and_then(Value::as_bool).unwrap_or(false) { "True" } else { "False" }
}

/// Name and namespace, labels and annotations: how most descriptions begin.
pub(crate) fn beginning(object: &Value, writer: &mut Writer) {
    writer.field(0, "Name", object.name());
    if !object.namespace().is_empty() {
        writer.field(0, "Namespace", object.namespace());
    }
    writer.labels("Labels", object.at(&["metadata", "labels"]));
    writer.annotations("Annotations", object.at(&["metadata", "annotations"]));
}

/// A number, text or boolean as Go prints it.
pub(crate) fn plain(value: Option<&Value>) -> String {
    value.map(crate::jsonpath::text).unwrap_or_default()
}
