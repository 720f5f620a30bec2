//! Documents that are YAML but no object of a known kind.

use model::tree::TreeExt;
use serde_json::Value;

use super::{Hint, nearest, show};
use crate::manifest::Origin;
use crate::manifest::locate::{self, Node, Place, Shape};
use crate::mapping::Mapper;

const TOP: Place = Place { line: 1, column: 1 };

/// Where the first thing stands.
fn begin(documents: &[Node]) -> Place {
    documents.first().map_or(TOP, |root| root.place)
}

fn value_of(root: Option<&Node>, field: &str) -> Option<Place> {
    root.and_then(|root| root.get(field)).map(|node| node.place)
}

/// About a document that is no object, or does not say what it is.
pub fn object(origin: &Origin, object: &Value) -> String {
    let documents = locate::documents(&origin.text);
    let root = documents.first();
    let begin = begin(&documents);
    let mut hints = Vec::new();
    match object {
        Value::Object(map) => {
            let kind = map.get("kind").and_then(Value::as_str).unwrap_or("Pod");
            for (field, example) in [("apiVersion", version_of(kind)), ("kind", "Pod".into())] {
                match map.get(field) {
                    Some(Value::String(text)) if !text.is_empty() => {}
                    Some(Value::String(_) | Value::Null) | None => {
                        let mend =
                            format!("add a line `{field}: {example}` at the top level, beside the others");
                        hints.push(Hint::new(value_of(root, field).unwrap_or(begin), mend));
                    }
                    Some(_) => {
                        let place = value_of(root, field).unwrap_or(begin);
                        hints.push(Hint::new(place, format!("this is a text, such as `{field}: {example}`")));
                    }
                }
            }
            if hints.is_empty() {
                hints.extend(metadata(root));
            }
        }
        Value::Array(_) => {
            let mend = "a manifest is an object, not a list: take the dash away and write several objects one after the other, with a line `---` between them";
            hints.push(Hint::new(begin, mend));
        }
        _ => {
            let mend = "a manifest is made of lines `key: value`: it begins with `apiVersion:`, `kind:`, `metadata:` and `spec:`";
            hints.push(Hint::new(begin, mend));
        }
    }
    show(origin, hints)
}

/// About an object without a name.
pub fn nameless(origin: &Origin, object: &Value) -> String {
    let documents = locate::documents(&origin.text);
    let Some(root) = documents.first() else { return String::new() };
    let root = own_root(root, object).unwrap_or(root);
    let steps = locate::steps("metadata.name");
    let place = locate::find(root, &steps).place;
    show(origin, vec![Hint::new(place, "add `name: web` under `metadata:`")])
}

/// Labels and annotations are texts.
fn metadata(root: Option<&Node>) -> Vec<Hint> {
    let mut hints = Vec::new();
    let Some(metadata) = root.and_then(|root| root.get("metadata")) else { return hints };
    for field in ["labels", "annotations"] {
        let Some(node) = metadata.get(field) else { continue };
        match &node.shape {
            Shape::Map(entries) => {
                for (_, _, value) in entries {
                    if matches!(value.json_type(), "number" | "bool")
                        && let Some(text) = value.text()
                    {
                        hints.push(Hint::new(
                            value.place,
                            format!("this must be text: put it in quotes, {text:?}"),
                        ));
                    }
                }
            }
            _ => hints
                .push(Hint::new(node.place, "write `key: value` lines here, indented and without dashes")),
        }
    }
    if let Some(name) = metadata.get("name")
        && matches!(name.json_type(), "number" | "bool")
        && let Some(text) = name.text()
    {
        hints.push(Hint::new(name.place, format!("a name is text: put it in quotes, {text:?}")));
    }
    if matches!(metadata.shape, Shape::Scalar { .. }) {
        hints.push(Hint::new(
            metadata.place,
            "write `name: …` on a line of its own below `metadata:`, indented",
        ));
    }
    hints
}

/// The version under which a built-in kind is served.
fn version_of(kind: &str) -> String {
    let found = resources::registry().rows().iter().find(|row| row.kind.eq_ignore_ascii_case(kind));
    found.map_or_else(|| "v1".into(), |row| row.api_version())
}

/// About a kind that the server does not have.
pub fn kind(origin: &Origin, mapper: &Mapper, object: &Value) -> String {
    let documents = locate::documents(&origin.text);
    let Some(root) = documents.first() else { return String::new() };
    let root = own_root(root, object).unwrap_or(root);
    let (kind, version) = (object.kind(), object.api_version());
    let place = |field: &str| value_of(Some(root), field).unwrap_or(root.place);
    let named = mapper.all.iter().find(|mapping| mapping.kind == kind);
    if let Some(mapping) = named {
        let own = mapping.api_version();
        return show(
            origin,
            vec![Hint::new(
                place("apiVersion"),
                format!("{kind} is not in {version:?}: write `apiVersion: {own}`"),
            )],
        );
    }
    let same = mapper.all.iter().find(|mapping| {
        let own = [&mapping.kind, &mapping.plural, &mapping.singular];
        own.iter().any(|name| name.eq_ignore_ascii_case(kind))
            || mapping.short_names.iter().any(|name| name.eq_ignore_ascii_case(kind))
    });
    let near = same
        .map(|mapping| mapping.kind.as_str())
        .or_else(|| nearest(kind, mapper.all.iter().map(|mapping| mapping.kind.as_str())));
    let mend = match near {
        Some(near) => format!("did you mean `kind: {near}`? Capital letters matter"),
        None => "no such kind is served: `carob api-resources` lists what is".to_owned(),
    };
    show(origin, vec![Hint::new(place("kind"), mend)])
}

/// Keys that stand twice. `words`: `line 9: key "image" already set in map`.
pub fn duplicate(origin: &Origin, words: &str) -> String {
    let number = |text: &str| text.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok();
    let line = words.find("line ").and_then(|at| number(&words[at + 5..])).unwrap_or(1);
    let key = words.split('"').nth(1).unwrap_or_default();
    let text = origin.text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let column = text.find(key).map_or(1, |at| text[..at].chars().count() + 1);
    let mend = if matches!(key, "apiVersion" | "kind") && column == 1 {
        "a second object begins here: put a line `---` before it".to_owned()
    } else {
        format!("{key:?} stands in the same block already, and only the last would count: keep one of them")
    };
    show(origin, vec![Hint::new(Place { line, column }, mend)])
}

/// The part of a document that is this object: itself, or an item of a list.
pub fn own_root<'n>(root: &'n Node, object: &Value) -> Option<&'n Node> {
    let items = root.get("items")?;
    let Shape::List(list) = &items.shape else { return None };
    list.iter().find(|item| {
        let name = item.get("metadata").and_then(|metadata| metadata.get("name")).and_then(Node::text);
        item.get("kind").and_then(Node::text) == Some(object.kind()) && name == Some(object.name())
    })
}
