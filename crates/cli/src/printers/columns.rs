//! `-o custom-columns`.

use serde_json::Value;

use crate::jsonpath::{self, Template};
use crate::text::tabs;

/// Columns of the user's own.
pub struct Columns {
    headers: Vec<String>,
    paths: Vec<Template>,
    no_headers: bool,
}

impl Columns {
    /// Reads `NAME:.path,NAME:.path`.
    pub fn parse(text: &str, no_headers: bool) -> Result<Self, String> {
        if text.is_empty() {
            return Err("custom-columns format specified but no custom columns given".into());
        }
        let mut columns = Self { headers: Vec::new(), paths: Vec::new(), no_headers };
        for part in text.split(',') {
            let Some((header, path)) = part.split_once(':').filter(|(_, path)| !path.is_empty()) else {
                return Err(format!(
                    "unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"
                ));
            };
            columns.add(header, path)?;
        }
        Ok(columns)
    }

    /// Reads two lines: headers and paths, in columns.
    pub fn parse_file(text: &str, no_headers: bool) -> Result<Self, String> {
        let mut lines = text.lines();
        let (Some(headers), Some(paths)) = (lines.next(), lines.next()) else {
            return Err("expected two lines: headers and paths".into());
        };
        let (headers, paths): (Vec<&str>, Vec<&str>) =
            (headers.split_whitespace().collect(), paths.split_whitespace().collect());
        if headers.len() != paths.len() {
            return Err(format!(
                "number of headers ({}) and field specifications ({}) don't match",
                headers.len(),
                paths.len()
            ));
        }
        let mut columns = Self { headers: Vec::new(), paths: Vec::new(), no_headers };
        for (header, path) in headers.iter().zip(paths) {
            columns.add(header, path)?;
        }
        Ok(columns)
    }

    fn add(&mut self, header: &str, path: &str) -> Result<(), String> {
        self.headers.push(header.to_owned());
        self.paths.push(Template::relaxed(path)?);
        Ok(())
    }

    /// An object, or the objects of a list, as a table.
    pub fn print(&self, object: &Value) -> String {
        let mut text = String::new();
        if !self.no_headers {
            text.push_str(&(self.headers.join("\t") + "\n"));
        }
        for item in crate::builder::items(object) {
            let cells: Vec<String> = self.paths.iter().map(|path| cell(path, &item)).collect();
            text.push_str(&(cells.join("\t") + "\n"));
        }
        tabs::align(&text, tabs::TABLE)
    }
}

fn cell(path: &Template, item: &Value) -> String {
    let values = path.values(item).unwrap_or_default();
    if values.is_empty() {
        return "<none>".into();
    }
    let texts: Vec<String> = values.iter().map(go_text).collect();
    texts.join(",")
}

/// A value as Go's `%v` prints it.
fn go_text(value: &Value) -> String {
    match value {
        Value::Object(_) | Value::Array(_) => resources::patch::print::go(value),
        Value::Null => "<none>".into(),
        other => jsonpath::text(other),
    }
}
