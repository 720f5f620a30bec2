//! Merge patches (RFC 7386): applied, and made from a difference.

use serde_json::{Map, Value};

use super::PatchError;
use crate::schema::decode;

/// Applies a merge patch given as bytes. The second part are its duplicate fields.
pub fn apply_bytes(current: &Value, patch: &[u8]) -> Result<(Value, Vec<String>), PatchError> {
    let decoded = decode::from_json(patch)
        .map_err(|error| PatchError::Bad(format!("error decoding patch: {error}")))?;
    if !decoded.object.is_object() {
        let error = go_json_error(&decoded.object, "map[string]interface {}");
        return Err(PatchError::Bad(format!("error decoding patch: {error}")));
    }
    let mut object = current.clone();
    apply(&mut object, decoded.object);
    Ok((object, decoded.strict))
}

/// Applies a merge patch: objects merge, null removes, anything else replaces.
pub fn apply(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { unreachable!("made an object above") };
    for (name, value) in patch {
        if value.is_null() {
            map.remove(&name);
        } else {
            let slot = map.entry(name).or_insert(Value::Null);
            apply(slot, value);
        }
    }
}

/// The merge patch that makes `modified` of `original`.
pub fn diff(original: &Value, modified: &Value) -> Value {
    let (Value::Object(original), Value::Object(modified)) = (original, modified) else {
        return modified.clone();
    };
    let mut patch = Map::new();
    for (name, value) in modified {
        match original.get(name) {
            Some(old) if old == value => {}
            Some(old) if old.is_object() && value.is_object() => {
                patch.insert(name.clone(), diff(old, value));
            }
            _ => {
                patch.insert(name.clone(), value.clone());
            }
        }
    }
    for name in original.keys().filter(|name| !modified.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// `json: cannot unmarshal array into Go value of type …`.
pub fn go_json_error(value: &Value, go_type: &str) -> String {
    let what = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("json: cannot unmarshal {what} into Go value of type {go_type}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merging() {
        for (target, patch, want) in [
            (
                json!({"a": {"b": 1, "c": 2}}),
                json!({"a": {"b": null, "d": 3}}),
                json!({"a": {"c": 2, "d": 3}}),
            ),
            (json!({"a": [1]}), json!({"a": [2]}), json!({"a": [2]})),
            (json!({}), json!({"a": {"b": null}}), json!({"a": {}})),
            (json!({"a": 1}), json!({"a": {"b": 1}}), json!({"a": {"b": 1}})),
        ] {
            let mut got = target.clone();
            apply(&mut got, patch.clone());
            assert_eq!(got, want, "{target} {patch}");
        }
        let (original, modified) = (json!({"a": {"b": 1, "c": 2}, "d": 1}), json!({"a": {"b": 2}, "e": [1]}));
        let patch = diff(&original, &modified);
        assert_eq!(patch, json!({"a": {"b": 2, "c": null}, "d": null, "e": [1]}));
        let mut got = original;
        apply(&mut got, patch);
        assert_eq!(got, modified);
    }
}
