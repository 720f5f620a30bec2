//! Any kind, field by field; and a few that are little more.

use model::tree::TreeExt;
use serde_json::Value;

use super::writer::{beginning, plain};
use super::{Described, Writer};

/// Fields that are shown at the beginning, or not at all.
const SKIPPED: [&str; 7] = [
    ".metadata.managedFields",
    ".metadata.name",
    ".metadata.namespace",
    ".metadata.labels",
    ".metadata.annotations",
    ".apiVersion",
    ".kind",
];

/// Any object.
pub fn describe(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    out.field(0, "Name", object.name());
    out.field(0, "Namespace", object.namespace());
    out.labels("Labels", object.at(&["metadata", "labels"]));
    out.annotations("Annotations", object.at(&["metadata", "annotations"]));
    out.field(0, "API Version", object.api_version());
    out.field(0, "Kind", object.kind());
    content(object, 0, "", out);
}

fn content(value: &Value, level: usize, prefix: &str, out: &mut Writer) {
    for (field, value) in value.as_object().into_iter().flatten() {
        let path = format!("{prefix}.{field}");
        if SKIPPED.contains(&path.as_str()) {
            continue;
        }
        match value {
            Value::Object(_) => {
                out.line(level, format!("{}:", label(field)));
                content(value, level + 1, &path, out);
            }
            Value::Array(list) => {
                out.line(level, format!("{}:", label(field)));
                for child in list {
                    match child {
                        Value::Object(_) => content(child, level + 1, &path, out),
                        other => out.line(level + 1, plain(Some(other))),
                    }
                }
            }
            other => out.field(level, &label(field), plain(Some(other))),
        }
    }
}

/// `resourceVersion` as `Resource Version`.
fn label(field: &str) -> String {
    if !field.chars().all(|c| c.is_alphabetic() || c == '-') {
        return field.to_owned();
    }
    let mut words: Vec<String> = Vec::new();
    let chars: Vec<char> = field.chars().collect();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| chars[at]);
        let next_is_lower = chars.get(at + 1).is_some_and(|c| c.is_lowercase());
        let begins = match before {
            None => true,
            Some(before) => {
                c.is_uppercase() && (before.is_lowercase() || (before.is_uppercase() && next_is_lower))
            }
        };
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(*c);
        }
    }
    let title = |word: &String| {
        let upper = word.to_uppercase();
        if ["API", "URL", "UID", "GUID"].contains(&upper.as_str()) {
            return upper;
        }
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_uppercase().collect::<String>() + letters.as_str())
            .unwrap_or_default()
    };
    words.iter().map(title).collect::<Vec<_>>().join(" ")
}

/// A ConfigMap.
pub fn config_map(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    beginning(object, out);
    out.line(0, "\nData\n====");
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        out.line(0, format!("{key}:\n----\n{}\n", value.as_str().unwrap_or_default()));
    }
    out.line(0, "\nBinaryData\n====");
    for (key, value) in object["binaryData"].as_object().into_iter().flatten() {
        out.line(0, format!("{key}: {} bytes", decoded_length(value)));
    }
    out.line(0, "");
}

/// A Secret, values hidden.
pub fn secret(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    beginning(object, out);
    out.line(0, format!("\nType:\t{}", object.text(&["type"])));
    out.line(0, "\nData\n====");
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        out.line(0, format!("{key}:\t{} bytes", decoded_length(value)));
    }
}

fn decoded_length(value: &Value) -> usize {
    use base64::Engine;
    let text = value.as_str().unwrap_or_default();
    base64::engine::general_purpose::STANDARD.decode(text).map_or(text.len(), |bytes| bytes.len())
}

/// A ServiceAccount.
pub fn service_account(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    beginning(object, out);
    let names: Vec<String> =
        object.items(&["imagePullSecrets"]).iter().map(|one| one.text(&["name"]).to_owned()).collect();
    out.several("Image pull secrets", &names);
}
