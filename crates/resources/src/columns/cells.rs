//! What the cells of several kinds have in common.

use jiff::Timestamp;
use model::tree::TreeExt;
use serde_json::Value;

use super::age;

/// An object to be shown, and the time.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// The object, in the version that its kind is printed in.
    pub object: &'a Value,
    /// Now.
    pub now: Timestamp,
}

impl<'a> Row<'a> {
    /// `metadata.name`.
    pub fn name(&self) -> &'a str {
        self.object.name()
    }

    /// Time since creation.
    pub fn age(&self) -> Value {
        self.since(&["metadata", "creationTimestamp"])
    }

    /// Time since the one at a path, `<unknown>` without.
    pub fn since(&self, path: &[&str]) -> Value {
        age::since(self.object.text(path), self.now).into()
    }

    /// The text at a path.
    pub fn text(&self, path: &[&str]) -> &'a str {
        self.object.text(path)
    }

    /// The text at a path, or something else if it is absent or empty.
    pub fn text_or(&self, path: &[&str], otherwise: &'a str) -> &'a str {
        Some(self.text(path)).filter(|text| !text.is_empty()).unwrap_or(otherwise)
    }

    /// The number at a path, absent is 0.
    pub fn number(&self, path: &[&str]) -> i64 {
        self.object.integer(path).unwrap_or(0)
    }

    /// The boolean at a path, absent is `otherwise`.
    pub fn flag(&self, path: &[&str], otherwise: bool) -> bool {
        self.object.at(path).and_then(Value::as_bool).unwrap_or(otherwise)
    }

    /// The list at a path.
    pub fn items(&self, path: &[&str]) -> &'a [Value] {
        self.object.items(path)
    }

    /// Number of entries of the list or map at a path.
    pub fn count(&self, path: &[&str]) -> usize {
        match self.object.at(path) {
            Some(Value::Array(list)) => list.len(),
            Some(Value::Object(map)) => map.len(),
            _ => 0,
        }
    }

    /// Whether there is anything at a path.
    pub fn has(&self, path: &[&str]) -> bool {
        self.object.at(path).is_some()
    }

    /// Whether it is being deleted.
    pub fn deleting(&self) -> bool {
        self.has(&["metadata", "deletionTimestamp"])
    }

    /// The condition of a type in `status.conditions`.
    pub fn condition(&self, kind: &str) -> Option<&'a Value> {
        self.items(&["status", "conditions"]).iter().find(|condition| condition.text(&["type"]) == kind)
    }

    /// Whether the condition of a type is true.
    pub fn condition_true(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition.text(&["status"]) == "True")
    }
}

/// Cells of anything that JSON can hold.
macro_rules! row {
    ($($cell:expr),* $(,)?) => { vec![$(serde_json::Value::from($cell)),*] };
}
pub(super) use row;

/// Names and images of containers.
pub fn containers(list: &[Value]) -> (String, String) {
    let join =
        |field: &str| list.iter().map(|container| container.text(&[field])).collect::<Vec<_>>().join(",");
    (join("name"), join("image"))
}

/// A map of labels: `a=b,c=d`, or `<none>`.
pub fn labels(map: Option<&Value>) -> String {
    let pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if pairs.is_empty() { "<none>".into() } else { pairs.join(",") }
}

/// A label selector as `metav1.FormatLabelSelector` writes it, `<none>` if it is empty.
pub fn selector(selector: Option<&Value>) -> String {
    let text = selector.map(label_selector).unwrap_or_default();
    if text.is_empty() { "<none>".into() } else { text }
}

/// A label selector, sorted by key: `a=b,c in (d,e)`; empty selectors are empty here.
pub fn label_selector(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in selector.at(&["matchLabels"]).and_then(Value::as_object).into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in selector.items(&["matchExpressions"]) {
        let key = expression.text(&["key"]);
        let mut values: Vec<&str> = expression.items(&["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression.text(&["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    let parts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
    parts.join(",")
}

/// The first few of a list and how many more there are; an empty list is `<unset>`.
pub fn some_of(list: &[String], max: usize) -> String {
    let shown = list[..list.len().min(max)].join(",");
    match list.len() {
        0 => "<unset>".into(),
        count if count > max => format!("{shown} + {} more...", count - max),
        _ => shown,
    }
}

/// Access modes in their short form.
pub fn access_modes(list: &[Value]) -> String {
    const SHORT: &[(&str, &str)] = &[
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let found =
        SHORT.iter().filter(|(long, _)| list.iter().any(|mode| mode == long)).map(|(_, short)| *short);
    found.collect::<Vec<_>>().join(",")
}

/// A value in a text: strings bare, the rest as JSON; absent is empty.
pub fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
