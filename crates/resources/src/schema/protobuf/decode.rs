//! Messages into trees. What comes out still has to be normalised: it holds every value the message has, zero or not.

use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use super::MAGIC;
use super::wire::{Reader, WireType};
use crate::schema::table::{Definition, Field, Type, json_schema_props};
use crate::schema::{base64, table_index};

/// How deep a tree may be: what is stored is read again as JSON, whose reader stops at 128.
const DEPTH_MAX: usize = 120;

/// The envelope of an object (`runtime.Unknown`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown<'b> {
    /// `apiVersion`.
    pub api_version: String,
    /// `kind`.
    pub kind: String,
    /// The object's message.
    pub raw: &'b [u8],
}

impl<'b> Unknown<'b> {
    /// Takes the envelope off.
    ///
    /// # Errors
    /// Upstream's texts.
    pub fn parse(body: &'b [u8]) -> Result<Self, String> {
        if body.is_empty() {
            return Err("empty data".into());
        }
        let Some(rest) = body.strip_prefix(MAGIC) else {
            let text =
                "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]";
            return Err(text.into());
        };
        if rest.is_empty() {
            return Err("empty body".into());
        }
        let mut unknown = Self::default();
        let mut reader = Reader::new(rest);
        while !reader.is_empty() {
            match reader.tag("Unknown")? {
                (1, WireType::Bytes) => unknown.type_meta(reader.bytes()?)?,
                (2, WireType::Bytes) => unknown.raw = reader.bytes()?,
                (1, wire) => return Err(wrong("TypeMeta", wire)),
                (2, wire) => return Err(wrong("Raw", wire)),
                (_, wire) => reader.skip(wire)?,
            }
        }
        Ok(unknown)
    }

    fn type_meta(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            match reader.tag("TypeMeta")? {
                (1, WireType::Bytes) => self.api_version = text(reader.bytes()?),
                (2, WireType::Bytes) => self.kind = text(reader.bytes()?),
                (1, wire) => return Err(wrong("APIVersion", wire)),
                (2, wire) => return Err(wrong("Kind", wire)),
                (_, wire) => reader.skip(wire)?,
            }
        }
        Ok(())
    }
}

/// The type of an event of a watch, and its object with its envelope.
///
/// # Errors
/// Upstream's texts.
pub fn event_of(bytes: &[u8]) -> Result<(String, Vec<u8>), String> {
    let event = Scalars::read(bytes)?;
    let object = Scalars::read(event.bytes[2].unwrap_or_default())?;
    Ok((event.text(1).unwrap_or_default(), object.bytes[1].unwrap_or_default().to_vec()))
}

/// Reads a message of a definition.
///
/// # Errors
/// Upstream's texts; also for what is nested too deep.
pub fn message(definition: &'static Definition, bytes: &[u8]) -> Result<Value, String> {
    let mut tree = Map::new();
    fill(definition, [0, 0], bytes, &mut tree, DEPTH_MAX)?;
    Ok(Value::Object(tree))
}

fn wrong(field: &str, wire: WireType) -> String {
    format!("proto: wrong wireType = {} for field {field}", wire.number())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn deeper(depth: usize) -> Result<usize, String> {
    depth.checked_sub(1).ok_or_else(|| "exceeded max depth".to_owned())
}

/// Reads fields of a message, or of the embedded message at `within`, into a tree.
fn fill(
    definition: &'static Definition,
    within: [u8; 2],
    bytes: &[u8],
    tree: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), String> {
    let depth = deeper(depth)?;
    let level = within.iter().take_while(|number| **number != 0).count();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let (number, wire) = reader.tag(definition.short_name())?;
        let number = u8::try_from(number).unwrap_or(0);
        let numbered = definition.fields.iter().filter(|_| number != 0);
        let inside = |field: &&Field| field.within[..level] == within[..level];
        let mut fields = numbered.filter(inside);
        let embedded = |field: &&Field| level < 2 && field.within[level] == number;
        if let Some(field) = fields.clone().find(|field| field.within == within && field.number == number) {
            read_field(field, wire, &mut reader, tree, depth)?;
        } else if let Some(field) = fields.find(embedded) {
            if wire != WireType::Bytes {
                return Err(wrong(&go_name(field.embedded.split('.').nth(level).unwrap_or("")), wire));
            }
            let mut inner = within;
            inner[level] = number;
            fill(definition, inner, reader.bytes()?, tree, depth)?;
        } else {
            reader.skip(wire)?;
        }
    }
    Ok(())
}

/// The name in Go of a field: `volumeMounts` → `VolumeMounts`.
fn go_name(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn read_field(
    field: &'static Field,
    wire: WireType,
    reader: &mut Reader<'_>,
    tree: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), String> {
    let fault = || wrong(&go_name(field.name), wire);
    match field.ty {
        Type::List(of) => {
            let list = tree.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = list else { return Ok(()) };
            if field.wrapped {
                let bytes = (wire == WireType::Bytes).then(|| reader.bytes()).ok_or_else(fault)??;
                *list = items(*of, bytes, deeper(depth)?)?;
            } else if wire == WireType::Bytes && matches!(of, Type::Int32 | Type::Int64 | Type::Bool) {
                let mut packed = Reader::new(reader.bytes()?);
                while !packed.is_empty() {
                    list.push(value(*of, WireType::Varint, &mut packed, None, depth)?.unwrap_or(Value::Null));
                }
            } else {
                list.push(value(*of, wire, reader, None, deeper(depth)?)?.ok_or_else(fault)?);
            }
        }
        Type::Map(of) => {
            let bytes = (wire == WireType::Bytes).then(|| reader.bytes()).ok_or_else(fault)??;
            let (key, item) = entry(*of, bytes, deeper(depth)?)?;
            let map = tree.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = map {
                map.insert(key, item);
            }
        }
        ty => match tree.entry(field.name) {
            Entry::Occupied(mut slot) => {
                let before = slot.get_mut().take();
                *slot.get_mut() = value(ty, wire, reader, Some(before), depth)?.ok_or_else(fault)?;
            }
            Entry::Vacant(slot) => {
                slot.insert(value(ty, wire, reader, None, depth)?.ok_or_else(fault)?);
            }
        },
    }
    Ok(())
}

/// The list in a message of its own.
fn items(of: Type, bytes: &[u8], depth: usize) -> Result<Vec<Value>, String> {
    let mut list = Vec::new();
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match reader.tag("Items")? {
            (1, wire) => {
                list.push(value(of, wire, &mut reader, None, depth)?.ok_or_else(|| wrong("Items", wire))?);
            }
            (_, wire) => reader.skip(wire)?,
        }
    }
    Ok(list)
}

/// An entry of a map.
fn entry(of: Type, bytes: &[u8], depth: usize) -> Result<(String, Value), String> {
    let mut key = String::new();
    let mut item = None;
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        match (reader.tag("entry")?, of) {
            ((1, WireType::Bytes), _) => key = text(reader.bytes()?),
            ((2, WireType::Bytes), Type::List(of)) => {
                item = Some(Value::Array(items(*of, reader.bytes()?, deeper(depth)?)?));
            }
            ((2, wire), _) => item = value(of, wire, &mut reader, None, depth)?,
            ((_, wire), _) => reader.skip(wire)?,
        }
    }
    let item = match item {
        Some(item) => item,
        None => zero(of),
    };
    Ok((key, item))
}

/// Go's zero value in JSON.
fn zero(ty: Type) -> Value {
    match ty {
        Type::Text | Type::Bytes => "".into(),
        Type::Bool => false.into(),
        Type::Int32 | Type::Int64 | Type::Float | Type::IntOrString => 0.into(),
        Type::Quantity => "0".into(),
        Type::Duration => "0s".into(),
        Type::Struct(_) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

/// One value, into the one before it. `None`: it is written in another way than its type is.
fn value(
    ty: Type,
    wire: WireType,
    reader: &mut Reader<'_>,
    before: Option<Value>,
    depth: usize,
) -> Result<Option<Value>, String> {
    let read = match (ty, wire) {
        (Type::Text, WireType::Bytes) => text(reader.bytes()?).into(),
        (Type::Bool, WireType::Varint) => (reader.varint()? != 0).into(),
        // Go keeps the low half.
        (Type::Int32, WireType::Varint) => (reader.varint()? as i32).into(),
        (Type::Int64, WireType::Varint) => reader.varint()?.cast_signed().into(),
        (Type::Float, WireType::Fixed64) => {
            let float = f64::from_le_bytes(reader.fixed64()?);
            let number =
                Number::from_f64(float).ok_or_else(|| format!("json: unsupported value: {float}"))?;
            Value::Number(number)
        }
        (Type::Bytes, WireType::Bytes) => base64::text(reader.bytes()?).into(),
        (Type::Text | Type::Bool | Type::Int32 | Type::Int64 | Type::Float | Type::Bytes, _) => {
            return Ok(None);
        }
        (Type::List(_) | Type::Map(_), _) => return Ok(None),
        (ty, WireType::Bytes) => nested(ty, reader.bytes()?, before, depth)?,
        _ => return Ok(None),
    };
    Ok(Some(read))
}

/// A value that is a message.
fn nested(ty: Type, bytes: &[u8], before: Option<Value>, depth: usize) -> Result<Value, String> {
    Ok(match ty {
        Type::Quantity => Scalars::read(bytes)?.text(1).map_or_else(|| "0".into(), Value::from),
        Type::Time | Type::MicroTime => {
            if bytes.is_empty() {
                return Ok(Value::Null);
            }
            let scalars = Scalars::read(bytes)?;
            time(ty, scalars.integer(1), scalars.integer(2))?
        }
        Type::Duration => duration(Scalars::read(bytes)?.integer(1)).into(),
        Type::IntOrString => {
            let scalars = Scalars::read(bytes)?;
            match scalars.integer(1) {
                0 => (scalars.integer(2) as i32).into(),
                1 => scalars.text(3).unwrap_or_default().into(),
                _ => return Err("impossible IntOrString.Type".into()),
            }
        }
        Type::Raw => raw(&Scalars::read(bytes)?, depth)?,
        Type::SchemaOrArray | Type::SchemaOrBool | Type::SchemaOrStrings => union(ty, bytes, depth)?,
        ty => {
            let definition = ty.definition().ok_or("a definition is missing from the tables")?;
            let mut tree = match before {
                Some(Value::Object(tree)) => tree,
                _ => Map::new(),
            };
            fill(definition, [0, 0], bytes, &mut tree, depth)?;
            Value::Object(tree)
        }
    })
}

/// The first fields of a message that holds integers and bytes only; later ones win.
#[derive(Default)]
struct Scalars<'b> {
    integers: [u64; 4],
    bytes: [Option<&'b [u8]>; 4],
}

impl<'b> Scalars<'b> {
    fn read(bytes: &'b [u8]) -> Result<Self, String> {
        let mut scalars = Self::default();
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let (number, wire) = reader.tag("message")?;
            let at = usize::try_from(number).unwrap_or(usize::MAX);
            match wire {
                WireType::Varint if at < 4 => scalars.integers[at] = reader.varint()?,
                WireType::Bytes if at < 4 => scalars.bytes[at] = Some(reader.bytes()?),
                wire => reader.skip(wire)?,
            }
        }
        Ok(scalars)
    }

    fn integer(&self, number: usize) -> i64 {
        self.integers[number].cast_signed()
    }

    fn text(&self, number: usize) -> Option<String> {
        self.bytes[number].map(text)
    }
}

fn time(ty: Type, seconds: i64, nanoseconds: i64) -> Result<Value, String> {
    let nanoseconds = if ty == Type::MicroTime { nanoseconds as i32 } else { 0 };
    let at = jiff::Timestamp::new(seconds, 0)
        .and_then(|at| at.checked_add(jiff::SignedDuration::from_nanos(i64::from(nanoseconds))))
        .map_err(|_| "Time.MarshalJSON: year outside of range [0,9999]".to_owned())?;
    Ok(match ty {
        Type::MicroTime => model::time::format_micros(at).into(),
        _ => model::time::format_seconds(at).into(),
    })
}

fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let magnitude = std::time::Duration::from_nanos(nanoseconds.unsigned_abs());
    format!("{sign}{}", stdx::duration::format_go(magnitude))
}

/// JSON in bytes.
fn raw(scalars: &Scalars<'_>, depth: usize) -> Result<Value, String> {
    let Some(bytes) = scalars.bytes[1].filter(|bytes| !bytes.is_empty()) else { return Ok(Value::Null) };
    let value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return Err(crate::schema::go_json::syntax_error(bytes).unwrap_or(error.to_string())),
    };
    if nesting(&value) > depth { Err("exceeded max depth".into()) } else { Ok(value) }
}

fn nesting(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(nesting).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(nesting).max().unwrap_or(0),
        _ => 0,
    }
}

/// The unions of JSON schema.
fn union(ty: Type, bytes: &[u8], depth: usize) -> Result<Value, String> {
    let props = table_index(json_schema_props());
    let depth = deeper(depth)?;
    let (mut schema, mut list, mut allows) = (None, Vec::new(), false);
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        let (number, wire) = reader.tag("JSONSchemaProps")?;
        let fault = || wrong("Schema", wire);
        match (ty, number) {
            (Type::SchemaOrBool, 1) => {
                let flag = value(Type::Bool, wire, &mut reader, None, depth)?.ok_or_else(fault)?;
                allows = flag == Value::Bool(true);
            }
            (Type::SchemaOrBool, 2) | (Type::SchemaOrArray | Type::SchemaOrStrings, 1) => {
                schema = Some(value(props, wire, &mut reader, schema, depth)?.ok_or_else(fault)?);
            }
            (Type::SchemaOrArray, 2) => {
                list.push(value(props, wire, &mut reader, None, depth)?.ok_or_else(fault)?);
            }
            (Type::SchemaOrStrings, 2) => {
                list.push(value(Type::Text, wire, &mut reader, None, depth)?.ok_or_else(fault)?);
            }
            (_, _) => reader.skip(wire)?,
        }
    }
    // Go prefers the list.
    Ok(match schema {
        _ if !list.is_empty() => Value::Array(list),
        Some(schema) => schema,
        None if ty == Type::SchemaOrBool => allows.into(),
        None => Value::Null,
    })
}
