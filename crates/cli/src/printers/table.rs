//! Tables that the server made (`meta.k8s.io/v1 Table`), printed.

use std::cmp::Ordering;

use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::jsonpath::{self, Template};
use crate::text::tabs::Remembered;

/// What a table shows beside the server's columns.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Columns of lower priority.
    pub wide: bool,
    /// No header line.
    pub no_headers: bool,
    /// A namespace column.
    pub with_namespace: bool,
    /// `pod/` in front of names.
    pub kind: Option<String>,
    /// Labels as columns.
    pub label_columns: Vec<String>,
    /// A column with all labels.
    pub show_labels: bool,
}

/// Prints tables of one resource, whose widths agree.
#[derive(Default)]
pub struct TablePrinter {
    remembered: Remembered,
    columns: Vec<Value>,
    headers_done: bool,
}

impl TablePrinter {
    /// The text of a table; nothing if it has no rows.
    pub fn print(&mut self, table: &Value, options: &Options) -> String {
        let own = table.items(&["columnDefinitions"]);
        if !own.is_empty() {
            self.columns = own.to_vec();
        }
        let rows = table.items(&["rows"]);
        if rows.is_empty() {
            return String::new();
        }
        let mut lines = Vec::new();
        if !options.no_headers && !self.headers_done {
            lines.push(self.headers(options));
            self.headers_done = true;
        }
        lines.extend(rows.iter().map(|row| self.row(row, options)));
        self.remembered.align(&lines)
    }

    fn shown<'a>(&'a self, options: &'a Options) -> impl Iterator<Item = (usize, &'a Value)> {
        let visible = move |column: &Value| options.wide || column.integer(&["priority"]).unwrap_or(0) == 0;
        self.columns.iter().enumerate().filter(move |(_, column)| visible(column))
    }

    fn headers(&self, options: &Options) -> Vec<String> {
        let mut cells = Vec::new();
        if options.with_namespace {
            cells.push("NAMESPACE".to_owned());
        }
        cells.extend(self.shown(options).map(|(_, column)| column.text(&["name"]).to_uppercase()));
        let last = |label: &String| label.rsplit('/').next().unwrap_or(label).to_uppercase();
        cells.extend(options.label_columns.iter().map(last));
        if options.show_labels {
            cells.push("LABELS".into());
        }
        cells
    }

    fn row(&self, row: &Value, options: &Options) -> Vec<String> {
        let object = &row["object"];
        let mut cells = Vec::new();
        if options.with_namespace {
            cells.push(object.namespace().to_owned());
        }
        for (at, column) in self.shown(options) {
            let mut text = row.items(&["cells"]).get(at).map(cell).unwrap_or_default();
            if let Some(kind) = options.kind.as_deref().filter(|_| column.text(&["format"]) == "name") {
                text = format!("{kind}/{text}");
            }
            cells.push(text);
        }
        let labels = object.at(&["metadata", "labels"]);
        for label in &options.label_columns {
            cells.push(
                labels.and_then(|labels| labels[label.as_str()].as_str()).unwrap_or_default().to_owned(),
            );
        }
        if options.show_labels {
            cells.push(format_labels(labels));
        }
        cells
    }
}

/// `a=b,c=d`, `<none>`.
pub fn format_labels(labels: Option<&Value>) -> String {
    let Some(map) = labels.and_then(Value::as_object).filter(|map| !map.is_empty()) else {
        return "<none>".into();
    };
    let pairs: Vec<String> =
        map.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}

/// A cell: only its first line, control characters made harmless.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => return String::new(),
        other => jsonpath::text(other),
    };
    match text.find(['\n', '\r', '\u{c}']) {
        Some(end) => escaped(&text[..end]) + "...",
        None => escaped(&text),
    }
}

/// Terminals must not be steered by what objects say.
fn escaped(text: &str) -> String {
    text.replace('\u{1b}', "^[").replace('\r', "\\r")
}

/// A table of objects for a server that gives none: names and ages, or the columns known here.
pub fn of_objects(mapping: &crate::mapping::Mapping, objects: &[Value], now: jiff::Timestamp) -> Value {
    let kind = model::GroupVersionKind::new(&*mapping.group, &*mapping.version, &*mapping.kind);
    if let Some(row) = resources::registry().by_kind(&kind) {
        let include = resources::columns::IncludeObject::Object;
        return resources::columns::table(row, objects, now, include, json!({}), true);
    }
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let age = crate::text::since(object.text(&["metadata", "creationTimestamp"]), now);
            json!({"cells": [object.name(), age], "object": object})
        })
        .collect();
    json!({
        "kind": "Table",
        "columnDefinitions": [
            {"name": "Name", "type": "string", "format": "name", "priority": 0},
            {"name": "Age", "type": "string", "format": "", "priority": 0},
        ],
        "rows": rows,
    })
}

/// Sorts values by what a path finds in them, as `--sort-by` does.
pub fn sort_by<T>(list: &mut [T], path: &Template, object: impl Fn(&T) -> &Value) {
    let mut keyed: Vec<(Option<Value>, usize)> = list
        .iter()
        .enumerate()
        .map(|(at, item)| (path.values(object(item)).ok().and_then(|found| found.into_iter().next()), at))
        .collect();
    keyed.sort_by(|(a, _), (b, _)| compare(a.as_ref(), b.as_ref()));
    permute(list, &keyed.iter().map(|(_, at)| *at).collect::<Vec<_>>());
}

/// Puts `list[order[i]]` at place `i`.
fn permute<T>(list: &mut [T], order: &[usize]) {
    let mut place: Vec<usize> = vec![0; order.len()];
    for (to, from) in order.iter().enumerate() {
        place[*from] = to;
    }
    for at in 0..place.len() {
        while place[at] != at {
            let to = place[at];
            list.swap(at, to);
            place.swap(at, to);
        }
    }
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(Value::Number(a)), Some(Value::Number(b))) => {
            a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal)
        }
        (Some(a), Some(b)) => {
            let (a, b) = (jsonpath::text(a), jsonpath::text(b));
            match (model::quantity::Quantity::parse(&a), model::quantity::Quantity::parse(&b)) {
                (Ok(a), Ok(b)) => a.nanos().cmp(&b.nanos()),
                _ => natural(&a, &b),
            }
        }
    }
}

/// Numbers inside texts count as numbers.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.chars().peekable(), b.chars().peekable());
    loop {
        match (left.peek().copied(), right.peek().copied()) {
            (None, None) => return Ordering::Equal,
            (None, _) => return Ordering::Less,
            (_, None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let take = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
                    let mut digits = String::new();
                    while let Some(c) = chars.next_if(char::is_ascii_digit) {
                        digits.push(c);
                    }
                    digits
                };
                let (x, y) = (take(&mut left), take(&mut right));
                let (x, y) = (x.trim_start_matches('0'), y.trim_start_matches('0'));
                let order = x.len().cmp(&y.len()).then(x.cmp(y));
                if order != Ordering::Equal {
                    return order;
                }
            }
            (Some(x), Some(y)) if x == y => {
                left.next();
                right.next();
            }
            (Some(x), Some(y)) => return x.cmp(&y),
        }
    }
}
