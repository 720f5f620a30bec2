//! Filling in defaults in trees.

use model::quantity::{Format, Quantity};
use serde_json::{Map, Value, json};

use crate::rules::at::is_empty;

/// Sets a field that is absent or an empty text (a plain field of upstream's types).
pub fn plain(object: &mut Value, key: &str, value: impl Into<Value>) {
    let Some(map) = object.as_object_mut() else { return };
    if map.get(key).is_none_or(|value| value.is_null() || value.as_str() == Some("")) {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets a field that is absent (a pointer in upstream's types: an empty text stays).
pub fn pointer(object: &mut Value, key: &str, value: impl Into<Value>) {
    let Some(map) = object.as_object_mut() else { return };
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value.into());
    }
}

/// Sets a number that is absent or 0.
pub fn number(object: &mut Value, key: &str, value: i64) {
    let Some(map) = object.as_object_mut() else { return };
    if map.get(key).and_then(Value::as_i64).unwrap_or_default() == 0 {
        map.insert(key.to_owned(), value.into());
    }
}

/// Makes sure that a field is an object and gives it.
pub fn object<'o>(parent: &'o mut Value, key: &str) -> Option<&'o mut Value> {
    let map = parent.as_object_mut()?;
    let field = map.entry(key.to_owned()).or_insert_with(|| json!({}));
    if field.is_null() {
        *field = json!({});
    }
    Some(field)
}

/// The elements of a list field.
pub fn items<'o>(parent: &'o mut Value, key: &str) -> impl Iterator<Item = &'o mut Value> {
    parent.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// A field that is there.
pub fn some<'o>(parent: &'o mut Value, key: &str) -> Option<&'o mut Value> {
    parent.get_mut(key).filter(|value| !value.is_null())
}

/// Amounts are rounded up to thousandths (`SetDefaults_ResourceList`).
pub fn round_resources(parent: &mut Value, keys: &[&str]) {
    for key in keys {
        for quantity in
            parent.get_mut(*key).and_then(Value::as_object_mut).into_iter().flatten().map(|(_, value)| value)
        {
            let Ok(parsed) = Quantity::from_value(quantity) else { continue };
            if parsed.nanos() % 1_000_000 != 0 {
                let mut rounded = Quantity::from_milli(parsed.milli_value());
                if parsed.format() == Format::DecimalExponent {
                    let mut zero = Quantity::new(0, Format::DecimalExponent);
                    zero.add(&rounded);
                    rounded = zero;
                }
                *quantity = Value::String(rounded.to_string());
            }
        }
    }
}

/// `requests` and `limits` of a `resources` field.
pub fn round_requirements(parent: &mut Value) {
    if let Some(resources) = some(parent, "resources") {
        round_resources(resources, &["limits", "requests"]);
    }
}

/// Copies the entries of one map into another where that has none of the name.
pub fn copy_missing(parent: &mut Value, from: &str, to: &str) {
    let Some(source) = parent.get(from).and_then(Value::as_object).filter(|map| !map.is_empty()).cloned()
    else {
        return;
    };
    let Some(target) = object(parent, to).and_then(Value::as_object_mut) else { return };
    for (key, value) in source {
        target.entry(key).or_insert(value);
    }
}

/// Removes a field; true if it was there.
pub fn drop(parent: &mut Value, key: &str) -> bool {
    parent.as_object_mut().and_then(|map| map.remove(key)).is_some_and(|value| !value.is_null())
}

/// Removes a field that is empty.
pub fn drop_empty(parent: &mut Value, key: &str) {
    if parent.get(key).is_some_and(is_empty) {
        drop(parent, key);
    }
}

/// A map field, if it is one.
pub fn map<'o>(parent: &'o Value, key: &str) -> Option<&'o Map<String, Value>> {
    parent.get(key).and_then(Value::as_object)
}
