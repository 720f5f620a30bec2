//! Trees into messages.

use std::sync::LazyLock;

use model::GroupVersionKind;
use serde_json::{Map, Value};

use super::MAGIC;
use super::wire::{Backward, WireType};
use crate::schema::table::{Definition, Field, Omit, Type, definition, json_schema_props};
use crate::schema::{base64, decode, table_index};

/// Writes an object of a definition with its envelope (`runtime.Unknown`).
pub fn object(definition: &'static Definition, tree: &Value) -> Vec<u8> {
    let mut out = Backward::default();
    envelope(&mut out, tree, |out| message(out, definition, tree.as_object()));
    out.finish()
}

/// Magic and `runtime.Unknown` around what `raw` writes.
fn envelope(out: &mut Backward, tree: &Value, raw: impl FnOnce(&mut Backward)) {
    let text = |name: &str| tree.get(name).and_then(Value::as_str).unwrap_or_default().as_bytes();
    // No content type and no content encoding.
    out.bytes(4, b"");
    out.bytes(3, b"");
    let start = out.len();
    raw(out);
    out.close(2, start);
    let start = out.len();
    out.bytes(2, text("kind"));
    out.bytes(1, text("apiVersion"));
    out.close(1, start);
    out.raw(MAGIC);
}

/// `PartialObjectMetadata`, which upstream's OpenAPI document does not have.
static PARTIAL: LazyLock<Definition> = LazyLock::new(|| Definition {
    name: "io.k8s.apimachinery.pkg.apis.meta.v1.PartialObjectMetadata",
    go_name: "v1.PartialObjectMetadata",
    special: None,
    atomic: false,
    kinds: &[],
    order: &[],
    fields: &*PARTIAL_FIELDS,
});

static PARTIAL_FIELDS: LazyLock<[Field; 1]> = LazyLock::new(|| {
    let metadata =
        definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").map_or(Type::Raw, table_index);
    [Field {
        name: "metadata",
        go_type: "v1.ObjectMeta",
        embedded: "",
        ty: metadata,
        pointer: false,
        omit: Omit::Empty,
        required: false,
        number: 1,
        within: [0, 0],
        wrapped: false,
        merge: None,
    }]
});

/// The definition of `PartialObjectMetadata`.
pub fn partial() -> &'static Definition {
    &PARTIAL
}

/// The definition of a tree by its own `kind` and `apiVersion`.
fn definition_of(tree: &Value) -> Option<&'static Definition> {
    let text = |name: &str| tree.get(name).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = model::gvk::split_api_version(text("apiVersion"));
    let kind = GroupVersionKind::new(group, version, text("kind"));
    match (group, text("kind")) {
        ("meta.k8s.io", "PartialObjectMetadata") => Some(partial()),
        _ => decode::definition_of(&kind),
    }
}

/// Writes a tree of whatever kind it says it is; `None` where upstream has no message for it.
pub fn tree(tree: &Value) -> Option<Vec<u8>> {
    definition_of(tree).map(|definition| object(definition, tree))
}

/// An event of a watch (`meta.v1.WatchEvent`) around an object with its envelope.
pub fn event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Backward::default();
    let start = out.len();
    out.bytes(1, object);
    out.close(2, start);
    out.bytes(1, kind.as_bytes());
    out.finish()
}

/// A list, item after item, without a tree of all of it.
pub struct Collection {
    head: Value,
    raw: Vec<u8>,
}

impl Collection {
    /// A list of a kind with its `ListMeta`.
    pub fn new(api_version: &str, kind: &str, metadata: &Value) -> Self {
        let mut out = Backward::default();
        let start = out.len();
        if let Some(meta) = definition("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta") {
            message(&mut out, meta, metadata.as_object());
        }
        out.close(1, start);
        let head = serde_json::json!({"apiVersion": api_version, "kind": kind});
        Self { head, raw: out.finish() }
    }

    /// Adds an item.
    pub fn push(&mut self, definition: &'static Definition, item: &Value) {
        let mut out = Backward::default();
        message(&mut out, definition, item.as_object());
        out.close(2, 0);
        self.raw.extend_from_slice(&out.finish());
    }

    /// The whole list with its envelope.
    pub fn finish(self) -> Vec<u8> {
        let mut out = Backward::default();
        envelope(&mut out, &self.head, |out| out.raw(&self.raw));
        out.finish()
    }
}

/// Writes a message's fields, the last one first.
fn message(out: &mut Backward, definition: &'static Definition, tree: Option<&Map<String, Value>>) {
    let fields = definition.fields;
    let at = |place: usize| match definition.order.get(place) {
        Some(index) => fields.get(usize::from(*index)),
        None => fields.get(place),
    };
    // Starts of the embedded messages that are open.
    let mut open = [0_u8; 2];
    let mut starts = [0_usize; 2];
    for field in (0..fields.len()).rev().filter_map(at).filter(|field| field.number > 0) {
        for depth in [1, 0] {
            let outer_changes = open[0] != field.within[0];
            if open[depth] != 0 && (outer_changes || open[depth] != field.within[depth]) {
                out.close(open[depth], starts[depth]);
                open[depth] = 0;
            }
        }
        for depth in [0, 1] {
            if open[depth] == 0 && field.within[depth] != 0 {
                open[depth] = field.within[depth];
                starts[depth] = out.len();
            }
        }
        let value = tree.and_then(|tree| tree.get(field.name)).filter(|value| !value.is_null());
        write_field(out, field, value);
    }
    for depth in [1, 0] {
        if open[depth] != 0 {
            out.close(open[depth], starts[depth]);
        }
    }
}

fn write_field(out: &mut Backward, field: &Field, found: Option<&Value>) {
    let number = field.number;
    match (field.ty, found) {
        (Type::List(of), Some(Value::Array(list))) if field.wrapped => wrapped(out, number, *of, list),
        (Type::List(of), Some(Value::Array(list))) => {
            list.iter().rev().for_each(|item| value(out, number, *of, item));
        }
        (Type::Map(of), Some(Value::Object(map))) => {
            let mut entries: Vec<(&String, &Value)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            for (key, item) in entries.into_iter().rev() {
                let start = out.len();
                match (*of, item) {
                    (Type::List(of), Value::Array(list)) => wrapped(out, 2, *of, list),
                    (of, item) => value(out, 2, of, item),
                }
                out.bytes(1, key.as_bytes());
                out.close(number, start);
            }
        }
        (Type::List(_) | Type::Map(_), _) | (Type::Bytes, None) => {}
        (_, None) if field.pointer => {}
        (ty, found) => value(out, number, ty, found.unwrap_or(&Value::Null)),
    }
}

/// A list in a message of its own.
fn wrapped(out: &mut Backward, number: u8, of: Type, list: &[Value]) {
    let start = out.len();
    list.iter().rev().for_each(|item| value(out, 1, of, item));
    out.close(number, start);
}

/// One value; what is absent or of another type is Go's zero value.
fn value(out: &mut Backward, number: u8, ty: Type, value: &Value) {
    match ty {
        Type::Text => return out.bytes(number, value.as_str().unwrap_or_default().as_bytes()),
        Type::Bool => return out.integer(number, i64::from(value.as_bool().unwrap_or(false))),
        Type::Int32 | Type::Int64 => return out.integer(number, value.as_i64().unwrap_or(0)),
        Type::Float => {
            out.raw(&value.as_f64().unwrap_or(0.0).to_le_bytes());
            return out.tag(number, WireType::Fixed64);
        }
        Type::Bytes => {
            return out.bytes(number, &base64::bytes(value.as_str().unwrap_or_default()).unwrap_or_default());
        }
        _ => {}
    }
    let start = out.len();
    match ty {
        Type::Quantity => out.bytes(1, value.as_str().unwrap_or("0").as_bytes()),
        Type::Time | Type::MicroTime => time(out, ty, value),
        Type::Duration => out.integer(1, nanoseconds(value.as_str().unwrap_or_default())),
        Type::IntOrString => {
            let text = value.as_str();
            out.bytes(3, text.unwrap_or_default().as_bytes());
            out.integer(2, value.as_i64().unwrap_or(0));
            out.integer(1, i64::from(text.is_some()));
        }
        Type::Raw => {
            if !value.is_null() {
                out.bytes(1, value.to_string().as_bytes());
            }
        }
        Type::SchemaOrArray | Type::SchemaOrBool | Type::SchemaOrStrings => union(out, ty, value),
        ty => {
            if let Some(definition) = ty.definition() {
                message(out, definition, value.as_object());
            }
        }
    }
    out.close(number, start);
}

/// Seconds and nanoseconds; nothing where there is no time.
fn time(out: &mut Backward, ty: Type, value: &Value) {
    let Some(at) = value.as_str().and_then(model::time::parse) else { return };
    // Upstream keeps microseconds of the one and nothing below a second of the other.
    let fraction = at.as_nanosecond().rem_euclid(1_000_000_000) / 1000 * 1000;
    let nanoseconds = if ty == Type::MicroTime { i64::try_from(fraction).unwrap_or(0) } else { 0 };
    let seconds = i64::try_from(at.as_nanosecond().div_euclid(1_000_000_000)).unwrap_or(0);
    out.integer(2, nanoseconds);
    out.integer(1, seconds);
}

fn nanoseconds(text: &str) -> i64 {
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let nanoseconds = stdx::duration::parse_go(rest).map_or(0, |duration| duration.as_nanos());
    let nanoseconds = i64::try_from(nanoseconds).unwrap_or(i64::MAX);
    if negative { -nanoseconds } else { nanoseconds }
}

/// The unions of JSON schema.
fn union(out: &mut Backward, ty: Type, found: &Value) {
    let props = table_index(json_schema_props());
    match (ty, found) {
        (Type::SchemaOrArray, Value::Array(list)) => {
            list.iter().rev().for_each(|item| value(out, 2, props, item));
        }
        (Type::SchemaOrStrings, Value::Array(list)) => {
            list.iter().rev().for_each(|item| value(out, 2, Type::Text, item));
        }
        (Type::SchemaOrBool, found) => {
            if found.is_object() {
                value(out, 2, props, found);
            }
            // A schema allows as `true` does.
            out.integer(1, i64::from(found.is_object() || *found == Value::Bool(true)));
        }
        (_, found) if found.is_object() => value(out, 1, props, found),
        _ => {}
    }
}
