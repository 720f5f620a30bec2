//! JSON as Go's encoder writes it: indented by four spaces, `<`, `>` and `&` escaped; and KYAML.

use resources::schema::{Definition, Type};
use serde_json::Value;

/// Keys in order of their letters, with a line end.
pub fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write(value, None, 0, &mut out);
    out.push('\n');
    out
}

/// Keys in the order of the type's fields, as Go writes structs.
pub fn in_field_order(value: &Value, definition: Option<&'static Definition>) -> String {
    let mut out = String::new();
    write(value, definition, 0, &mut out);
    out.push('\n');
    out
}

fn write(value: &Value, definition: Option<&'static Definition>, depth: usize, out: &mut String) {
    let pad = |depth: usize| "    ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push_str("{\n");
            let keys = ordered(map.keys(), definition);
            for (at, key) in keys.iter().enumerate() {
                out.push_str(&pad(depth + 1));
                string(key, out);
                out.push_str(": ");
                let inner = definition.and_then(|own| own.field(key)).and_then(|field| element(field.ty));
                write(&map[key.as_str()], inner, depth + 1, out);
                out.push_str(if at + 1 < keys.len() { ",\n" } else { "\n" });
            }
            out.push_str(&format!("{}}}", pad(depth)));
        }
        Value::Array(list) if !list.is_empty() => {
            out.push_str("[\n");
            for (at, item) in list.iter().enumerate() {
                out.push_str(&pad(depth + 1));
                write(item, definition, depth + 1, out);
                out.push_str(if at + 1 < list.len() { ",\n" } else { "\n" });
            }
            out.push_str(&format!("{}]", pad(depth)));
        }
        Value::String(text) => string(text, out),
        Value::Number(number) => out.push_str(&crate::yaml_number(number)),
        other => out.push_str(&other.to_string()),
    }
}

/// The definition of a field's value, or of its list's items. Maps of structs keep their keys' order.
fn element(ty: Type) -> Option<&'static Definition> {
    match ty {
        Type::List(inner) => element(*inner),
        other => other.definition(),
    }
}

fn ordered<'a>(
    keys: impl Iterator<Item = &'a String>,
    definition: Option<&'static Definition>,
) -> Vec<&'a String> {
    let mut keys: Vec<&String> = keys.collect();
    if let Some(definition) = definition {
        keys.sort_by_key(|key| match key.as_str() {
            // Every type begins with its TypeMeta, kind first.
            "kind" => (0, 0),
            "apiVersion" => (0, 1),
            name => (1, definition.fields.iter().position(|field| field.name == name).unwrap_or(usize::MAX)),
        });
    }
    keys
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// YAML in flow style (KEP-5295): keys bare where they can be, strings in double quotes, trailing commas.
pub fn kyaml(value: &Value) -> String {
    let mut out = String::from("---\n");
    flow(value, 0, &mut out);
    out.push('\n');
    out
}

fn flow(value: &Value, depth: usize, out: &mut String) {
    let pad = |depth: usize| "  ".repeat(depth);
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push_str("{\n");
            for (key, inner) in map {
                out.push_str(&pad(depth + 1));
                let style = crate::yaml::is_plain(key);
                if style {
                    out.push_str(key)
                } else {
                    string(key, out)
                }
                out.push_str(": ");
                flow(inner, depth + 1, out);
                out.push_str(",\n");
            }
            out.push_str(&format!("{}}}", pad(depth)));
        }
        Value::Array(list) if !list.is_empty() => {
            // Lists of maps hug their brackets.
            if list.iter().all(|item| item.as_object().is_some_and(|map| !map.is_empty())) {
                out.push('[');
                for (at, item) in list.iter().enumerate() {
                    out.push_str(if at > 0 { ", " } else { "" });
                    flow(item, depth, out);
                }
                out.push(']');
                return;
            }
            out.push_str("[\n");
            for item in list {
                out.push_str(&pad(depth + 1));
                flow(item, depth + 1, out);
                out.push_str(",\n");
            }
            out.push_str(&format!("{}]", pad(depth)));
        }
        Value::String(text) => string(text, out),
        other => out.push_str(&other.to_string()),
    }
}

/// On one line, keys in the order of the type's fields.
pub fn compact_in_field_order(value: &Value, definition: Option<&'static Definition>) -> String {
    match value {
        Value::Object(map) => {
            let field = |key: &String| {
                let inner = definition.and_then(|own| own.field(key)).and_then(|field| element(field.ty));
                let mut text = String::new();
                string(key, &mut text);
                format!("{text}:{}", compact_in_field_order(&map[key.as_str()], inner))
            };
            let fields: Vec<String> = ordered(map.keys(), definition).into_iter().map(field).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(list) => {
            let items: Vec<String> =
                list.iter().map(|item| compact_in_field_order(item, definition)).collect();
            format!("[{}]", items.join(","))
        }
        other => compact(other),
    }
}

/// On one line, keys in order of their letters.
pub fn compact(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let field = |(key, inner): (&String, &Value)| {
                let mut text = String::new();
                string(key, &mut text);
                format!("{text}:{}", compact(inner))
            };
            format!("{{{}}}", map.iter().map(field).collect::<Vec<_>>().join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(compact).collect::<Vec<_>>().join(",")),
        Value::String(text) => {
            let mut out = String::new();
            string(text, &mut out);
            out
        }
        Value::Number(number) => crate::yaml_number(number),
        other => other.to_string(),
    }
}
