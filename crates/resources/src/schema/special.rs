//! Types that Go reads with code of their own: quantities, times, durations, int-or-string, the unions of JSON schema.
//! Their errors end the reading.

use serde_json::{Number, Value};

use super::go_time;
use super::table::Type;

/// Whether a type is one of these.
pub fn is(ty: Type) -> bool {
    matches!(
        ty,
        Type::Quantity
            | Type::Time
            | Type::MicroTime
            | Type::Duration
            | Type::IntOrString
            | Type::SchemaOrArray
            | Type::SchemaOrBool
            | Type::SchemaOrStrings
    )
}

/// From a JSON string.
pub fn from_text(ty: Type, text: String) -> Result<Value, String> {
    match ty {
        Type::Quantity => quantity(text.trim()),
        Type::Time => go_time::seconds(&text).map(Value::from),
        Type::MicroTime => go_time::micros(&text).map(Value::from),
        Type::Duration => go_time::duration(&text).map(Value::from),
        Type::IntOrString => Ok(text.into()),
        _ => union(ty),
    }
}

/// From a JSON number.
pub fn from_number(ty: Type, number: &Number) -> Result<Value, String> {
    match ty {
        Type::Quantity => quantity(&number.to_string()),
        Type::IntOrString => match number.as_i64().filter(|whole| i32::try_from(*whole).is_ok()) {
            Some(whole) => Ok(whole.into()),
            None => Err(wrong(&format!("number {number}"), "int32")),
        },
        Type::Time | Type::MicroTime | Type::Duration => Err(wrong("number", "string")),
        _ => union(ty),
    }
}

/// From `true` or `false`.
pub fn from_bool(ty: Type) -> Result<Value, String> {
    from_other(ty, "bool")
}

/// From an array or object.
pub fn from_collection(ty: Type, what: &str) -> Result<Value, String> {
    from_other(ty, what)
}

fn from_other(ty: Type, what: &str) -> Result<Value, String> {
    match ty {
        Type::Quantity => quantity("?"),
        Type::IntOrString => Err(wrong(what, "int32")),
        Type::Time | Type::MicroTime | Type::Duration => Err(wrong(what, "string")),
        _ => union(ty),
    }
}

fn quantity(text: &str) -> Result<Value, String> {
    model::quantity::canonical(text).map(Value::from).map_err(|error| error.to_string())
}

/// A union that has no branch for the value: one refuses, the others stay empty.
fn union(ty: Type) -> Result<Value, String> {
    match ty {
        Type::SchemaOrBool => Err("boolean or JSON schema expected".into()),
        _ => Ok(Value::Null),
    }
}

fn wrong(what: &str, go_type: &str) -> String {
    format!("json: cannot unmarshal {what} into Go value of type {go_type}")
}
