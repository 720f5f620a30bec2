//! Reading a value against a type, as Go's decoder fills a struct and its encoder writes it again, in one pass over any
//! serde source. Upstream's decoder keeps the first type error and reads on (so that a broken quantity further down
//! wins, because custom decoders abort), and collects unknown and duplicate fields with their paths.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::special;
use super::table::{Definition, Field, Omit, Type};
use super::untyped::Untyped;

/// Upstream stops collecting strict errors here.
const STRICT_ERRORS_MAX: usize = 100;

/// What is known while reading: where we are and what went wrong.
pub struct Context {
    /// Path for strict errors: `spec.containers[0].ports`.
    path: String,
    /// Path for type errors: `spec.containers.ports`.
    go_path: String,
    /// Innermost struct, for type errors.
    go_struct: &'static str,
    /// First type error.
    saved: Option<String>,
    /// Error that ended the reading.
    fatal: Option<String>,
    /// Strict errors in the document's order.
    pub strict: Vec<String>,
    seen: HashSet<String>,
    /// Depth of values read without strictness.
    lenient: usize,
}

impl Context {
    /// At the root.
    pub fn new() -> Self {
        Self {
            path: String::new(),
            go_path: String::new(),
            go_struct: "",
            saved: None,
            fatal: None,
            strict: Vec::new(),
            seen: HashSet::new(),
            lenient: 0,
        }
    }

    /// The outcome: Go's error, or the value.
    pub fn finish<E: fmt::Display>(&mut self, read: Result<Option<Value>, E>) -> Result<Value, String> {
        match (self.fatal.take(), read, self.saved.take()) {
            (Some(fatal), ..) => Err(fatal),
            (None, Err(error), _) => Err(error.to_string()),
            (None, Ok(_), Some(saved)) => Err(saved),
            (None, Ok(value), None) => Ok(value.unwrap_or(Value::Null)),
        }
    }

    /// Notes a strict error about a field of the present path.
    pub fn strict_error(&mut self, what: &str, field: &str) {
        if self.lenient > 0 || self.strict.len() >= STRICT_ERRORS_MAX {
            return;
        }
        let dot = if self.path.is_empty() { "" } else { "." };
        let text = format!("{what} {}", super::strict::quote(&format!("{}{dot}{field}", self.path)));
        if self.seen.insert(text.clone()) {
            self.strict.push(text);
        }
    }

    /// Notes a type error: a value of JSON type `what` where Go has `go_type`.
    fn type_error(&mut self, what: &str, go_type: &str) {
        let place = match self.go_struct {
            "" => "Go value".to_owned(),
            name => format!("Go struct field {name}.{}", self.go_path),
        };
        self.save(format!("json: cannot unmarshal {what} into {place} of type {go_type}"));
    }

    /// Notes an error that does not end the reading.
    pub fn save(&mut self, text: String) {
        self.saved.get_or_insert(text);
    }

    /// Notes an error that ends the reading.
    fn abort<E: serde::de::Error>(&mut self, text: String) -> E {
        let error = E::custom(&text);
        self.fatal.get_or_insert(text);
        error
    }

    /// Runs `read` with a longer strict path.
    pub fn within<R>(&mut self, part: PathPart<'_>, read: impl FnOnce(&mut Self) -> R) -> R {
        let length = self.path.len();
        match part {
            PathPart::Index(index) => self.path.push_str(&format!("[{index}]")),
            PathPart::Key(key) => {
                if length > 0 {
                    self.path.push('.');
                }
                self.path.push_str(key);
            }
        }
        let result = read(self);
        self.path.truncate(length);
        result
    }

    /// Runs `read` inside a field of a struct.
    fn in_field<R>(&mut self, owner: &Definition, field: &Field, read: impl FnOnce(&mut Self) -> R) -> R {
        let (go_length, go_struct) = (self.go_path.len(), self.go_struct);
        if go_length > 0 {
            self.go_path.push('.');
        }
        self.go_path.push_str(field.embedded);
        self.go_path.push_str(field.name);
        self.go_struct = owner.short_name();
        let result = self.within(PathPart::Key(field.name), read);
        self.go_path.truncate(go_length);
        self.go_struct = go_struct;
        result
    }

    /// Runs `read` as a nested decoder of its own: not strict, its errors end the whole reading.
    fn nested<R>(&mut self, read: impl FnOnce(&mut Self) -> R) -> R {
        let (go_path, go_struct) = (std::mem::take(&mut self.go_path), std::mem::take(&mut self.go_struct));
        let saved = self.saved.take();
        self.lenient += 1;
        let result = read(self);
        self.lenient -= 1;
        self.go_path = go_path;
        self.go_struct = go_struct;
        if let Some(inner) = std::mem::replace(&mut self.saved, saved) {
            self.fatal.get_or_insert(inner);
        }
        result
    }
}

/// A step of a strict path.
pub enum PathPart<'a> {
    /// `.name`
    Key(&'a str),
    /// `[0]`
    Index(usize),
}

/// Reads a whole object.
pub fn root<'de, D: Deserializer<'de>>(
    definition: &'static Definition,
    context: &mut Context,
    source: D,
) -> Result<Option<Value>, D::Error> {
    let ty = definition.special.unwrap_or_else(|| super::table_index(definition));
    Typed { context, ty, go_type: definition.go_name }.deserialize(source)
}

/// Reads one value of a type. `None`: null, or not usable (an error is noted).
pub struct Typed<'c> {
    /// Where we are.
    pub context: &'c mut Context,
    /// Expected type.
    pub ty: Type,
    /// Go's name of it.
    pub go_type: &'static str,
}

impl<'de> DeserializeSeed<'de> for Typed<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Option<Value>, D::Error> {
        source.deserialize_any(self)
    }
}

impl Typed<'_> {
    fn wrong(self, what: &str) -> Option<Value> {
        self.context.type_error(what, if self.go_type.is_empty() { self.ty.go_name() } else { self.go_type });
        None
    }

    fn scalar<E: serde::de::Error>(self, read: Result<Value, String>) -> Result<Option<Value>, E> {
        read.map(Some).map_err(|text| self.context.abort(text))
    }

    fn number<E: serde::de::Error>(self, number: Number) -> Result<Option<Value>, E> {
        match self.ty {
            Type::Int32 | Type::Int64 => {
                let fits = |n: &i64| self.ty == Type::Int64 || i32::try_from(*n).is_ok();
                match number.as_i64().filter(fits) {
                    Some(whole) => Ok(Some(whole.into())),
                    None => Ok(self.wrong(&format!("number {number}"))),
                }
            }
            Type::Float | Type::Raw => Ok(Some(Value::Number(number))),
            Type::Text | Type::Bool | Type::Bytes | Type::Struct(_) | Type::List(_) | Type::Map(_) => {
                Ok(self.wrong("number"))
            }
            ty => self.scalar(special::from_number(ty, &number)),
        }
    }
}

impl<'de> Visitor<'de> for Typed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.go_type)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Option<Value>, E> {
        match self.ty {
            Type::Bool | Type::Raw | Type::SchemaOrBool => Ok(Some(value.into())),
            ty if special::is(ty) => self.scalar(special::from_bool(ty)),
            _ => Ok(self.wrong("bool")),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Option<Value>, E> {
        self.number(value.into())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Option<Value>, E> {
        self.number(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Option<Value>, E> {
        match Number::from_f64(value) {
            Some(number) => self.number(number),
            None => Err(self.context.abort(format!("json: unsupported value: {value}"))),
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Option<Value>, E> {
        match self.ty {
            Type::Text | Type::Raw => Ok(Some(value.into())),
            _ => self.visit_string(value.to_owned()),
        }
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Option<Value>, E> {
        match self.ty {
            Type::Text | Type::Raw => Ok(Some(value.into())),
            Type::Bytes => match super::base64::canonical(&value) {
                Ok(text) => Ok(Some(text.into())),
                Err(text) => {
                    self.context.save(text);
                    Ok(None)
                }
            },
            ty if special::is(ty) => self.scalar(special::from_text(ty, value)),
            _ => Ok(self.wrong("string")),
        }
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<Option<Value>, D::Error> {
        source.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Option<Value>, A::Error> {
        match self.ty {
            Type::List(of) => self.list(*of, source),
            Type::Raw => Untyped { context: self.context, tracked: false }.visit_seq(source).map(Some),
            Type::SchemaOrArray => {
                let props = super::table_index(super::table::json_schema_props());
                self.context.nested(|context| Typed { context, ty: props, go_type: "" }.list(props, source))
            }
            Type::SchemaOrStrings => self
                .context
                .nested(|context| Typed { context, ty: Type::Text, go_type: "" }.list(Type::Text, source)),
            ty => {
                while source.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                if special::is(ty) {
                    self.scalar(special::from_collection(ty, "array"))
                } else {
                    Ok(self.wrong("array"))
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Option<Value>, A::Error> {
        match self.ty {
            Type::Struct(_) => match self.ty.definition() {
                Some(definition) => read_struct(self.context, definition, source).map(Some),
                None => Err(A::Error::custom("a definition is missing from the tables")),
            },
            Type::Map(of) => self.map(*of, source),
            Type::Raw => Untyped { context: self.context, tracked: false }.visit_map(source).map(Some),
            Type::SchemaOrArray | Type::SchemaOrBool | Type::SchemaOrStrings => {
                let props = super::table::json_schema_props();
                self.context.nested(|context| read_struct(context, props, source)).map(Some)
            }
            ty => {
                while source.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
                if special::is(ty) {
                    self.scalar(special::from_collection(ty, "object"))
                } else {
                    Ok(self.wrong("object"))
                }
            }
        }
    }
}

impl Typed<'_> {
    fn list<'de, A: SeqAccess<'de>>(self, of: Type, mut source: A) -> Result<Option<Value>, A::Error> {
        let go_type = self.go_type.strip_prefix("[]").unwrap_or("").trim_start_matches('*');
        let mut list = Vec::new();
        loop {
            let at = list.len();
            let element = self.context.within(PathPart::Index(at), |context| {
                source.next_element_seed(Typed { context, ty: of, go_type })
            })?;
            let Some(element) = element else { break };
            list.push(element.unwrap_or_else(|| zero(of)));
        }
        Ok(Some(Value::Array(list)))
    }

    fn map<'de, A: MapAccess<'de>>(self, of: Type, mut source: A) -> Result<Option<Value>, A::Error> {
        let go_type =
            self.go_type.strip_prefix("map[").and_then(|rest| rest.split_once(']')).map_or("", |(_, of)| of);
        let mut map = Map::new();
        while let Some(key) = source.next_key::<String>()? {
            if map.contains_key(&key) {
                self.context.strict_error("duplicate field", &key);
            }
            let value = self.context.within(PathPart::Key(&key), |context| {
                source.next_value_seed(Typed { context, ty: of, go_type: go_type.trim_start_matches('*') })
            })?;
            map.insert(key, value.unwrap_or_else(|| zero(of)));
        }
        Ok(Some(Value::Object(map)))
    }
}

/// Reads an object into a struct and writes it as Go would.
fn read_struct<'de, A: MapAccess<'de>>(
    context: &mut Context,
    definition: &'static Definition,
    mut source: A,
) -> Result<Value, A::Error> {
    let mut map = Map::new();
    // Fields that were set and those that were read, null included: a bit each; no definition has more than 64 fields.
    let mut read = 0u64;
    while let Some(key) = source.next_key_seed(FieldName(definition))? {
        let at = match key {
            Ok(at) => at,
            Err(name) => {
                context.strict_error("unknown field", &name);
                source.next_value::<serde::de::IgnoredAny>()?;
                continue;
            }
        };
        let field = &definition.fields[at];
        if read & (1 << at) != 0 {
            context.strict_error("duplicate field", field.name);
        }
        read |= 1 << at;
        let value = context.in_field(definition, field, |context| {
            source.next_value_seed(Typed { context, ty: field.ty, go_type: field.go_type })
        })?;
        match value {
            Some(value) if keeps(field, &value) => {
                map.insert(field.name.to_owned(), value);
            }
            _ => {
                map.remove(field.name);
            }
        }
    }
    fill(definition, &mut map);
    Ok(Value::Object(map))
}

/// Reads a key as the place of a field, or as the name of an unknown one.
struct FieldName(&'static Definition);

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Self::Value, D::Error> {
        source.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Result<usize, String>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.fields.iter().position(|field| field.name == name).ok_or_else(|| name.to_owned()))
    }
}

/// Whether Go writes a field that holds this value.
fn keeps(field: &Field, value: &Value) -> bool {
    if field.pointer || field.omit == Omit::Never {
        return true;
    }
    match value {
        Value::Null => false,
        Value::Bool(value) => *value || special::is(field.ty),
        Value::Number(number) => number.as_f64() != Some(0.0) || special::is(field.ty),
        Value::String(text) => !text.is_empty() || special::is(field.ty),
        Value::Array(list) => !list.is_empty() || field.ty == Type::Raw,
        Value::Object(map) => !map.is_empty() || !matches!(field.ty, Type::Map(_)),
    }
}

/// Adds what Go writes although it was not set.
fn fill(definition: &'static Definition, map: &mut Map<String, Value>) {
    for field in definition.fields {
        if map.contains_key(field.name) {
            continue;
        }
        let always = match (field.omit, field.pointer) {
            (Omit::Never, true) => Some(Value::Null),
            (Omit::Never, false) => Some(zero(field.ty)),
            (Omit::Empty, false) if is_struct(field.ty) => Some(zero(field.ty)),
            _ => None,
        };
        if let Some(value) = always {
            map.insert(field.name.to_owned(), value);
        }
    }
}

/// Whether Go holds the type as a struct, which `omitempty` never leaves out.
fn is_struct(ty: Type) -> bool {
    matches!(ty, Type::Struct(_) | Type::Raw) || special::is(ty)
}

/// What Go writes for a value that was never set.
pub fn zero(ty: Type) -> Value {
    match ty {
        Type::Text => "".into(),
        Type::Bool => false.into(),
        Type::Int32 | Type::Int64 | Type::IntOrString => 0.into(),
        Type::Float => 0.into(),
        Type::Quantity => "0".into(),
        Type::Duration => "0s".into(),
        Type::SchemaOrBool => false.into(),
        Type::Struct(_) => {
            let mut map = Map::new();
            if let Some(definition) = ty.definition() {
                fill(definition, &mut map);
            }
            Value::Object(map)
        }
        _ => Value::Null,
    }
}
