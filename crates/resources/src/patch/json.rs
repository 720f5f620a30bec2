//! JSON patches (RFC 6902) with the texts and leniencies of upstream's library (evanphx/json-patch v4): negative
//! indices count from the end, a missing value is null.

use serde_json::{Map, Value};

use super::PatchError;
use super::merge::go_json_error;
use crate::schema::{FieldValidation, decode};

/// Upstream's bound on operations.
const OPERATIONS_MAX: usize = 10_000;
/// Bound on what copies may add, as upstream's: 3 MiB.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Applies a patch given as bytes. The second part are strict errors of the patch itself.
pub fn apply(
    current: &Value,
    patch: &[u8],
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), PatchError> {
    let decoded = decode::from_json(patch).map_err(|error| match validation {
        FieldValidation::Ignore => PatchError::Bad(error),
        _ => PatchError::Bad(format!("error decoding patch: {error}")),
    })?;
    let Value::Array(operations) = decoded.object else {
        let error = go_json_error(&decoded.object, "[]handlers.jsonPatchOp");
        return Err(PatchError::Bad(format!("error decoding patch: {error}")));
    };
    let mut strict: Vec<String> = decoded.strict.iter().map(|error| format!("json patch {error}")).collect();
    if operations.len() > OPERATIONS_MAX {
        let count = operations.len();
        let text = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}");
        return Err(PatchError::TooLarge(text));
    }
    for (at, operation) in operations.iter().enumerate() {
        for name in operation.as_object().into_iter().flat_map(Map::keys) {
            if !matches!(name.as_str(), "op" | "path" | "from" | "value") {
                strict.push(format!("json patch unknown field \"[{at}].{name}\""));
            }
        }
    }
    let mut object = current.clone();
    apply_operations(&mut object, &operations)?;
    Ok((object, strict))
}

/// Applies operations to a document; it is left half-patched on error.
pub fn apply_operations(document: &mut Value, operations: &[Value]) -> Result<(), PatchError> {
    let mut copied_bytes = 0;
    for operation in operations {
        let step = Operation { fields: operation, document };
        step.perform(&mut copied_bytes).map_err(PatchError::Unprocessable)?;
    }
    Ok(())
}

struct Operation<'a> {
    fields: &'a Value,
    document: &'a mut Value,
}

const MISSING: &str = "missing value";

impl Operation<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(Value::as_str)
    }

    fn value(&self) -> Value {
        self.fields.get("value").cloned().unwrap_or_default()
    }

    fn path(&self, op: &str) -> Result<String, String> {
        let missing = || match op {
            "add" | "remove" => format!("{op} operation failed to decode path: {MISSING}"),
            _ => format!("{op} operation failed to decode path: operation missing path field: {MISSING}"),
        };
        self.text("path").map(str::to_owned).ok_or_else(missing)
    }

    fn perform(self, copied_bytes: &mut usize) -> Result<(), String> {
        match self.text("op").unwrap_or("unknown") {
            "add" => self.add(),
            "remove" => self.remove(),
            "replace" => self.replace(),
            "move" => self.transfer("move", copied_bytes),
            "copy" => self.transfer("copy", copied_bytes),
            "test" => self.test(),
            other => Err(format!("Unexpected kind: {other}")),
        }
    }

    fn add(self) -> Result<(), String> {
        let path = self.path("add")?;
        let value = self.value();
        let (parent, key) = find(self.document, &path).ok_or_else(|| {
            format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}")
        })?;
        add_at(parent, &key, value).map_err(|error| format!("error in add for path: '{path}': {error}"))
    }

    fn remove(self) -> Result<(), String> {
        let path = self.path("remove")?;
        let (parent, key) = find(self.document, &path).ok_or_else(|| {
            format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}")
        })?;
        remove_at(parent, &key).map_err(|error| format!("error in remove for path: '{path}': {error}"))
    }

    fn replace(self) -> Result<(), String> {
        let path = self.path("replace")?;
        let value = self.value();
        if path.is_empty() {
            if !value.is_object() && !value.is_array() {
                return Err(format!(
                    "replace operation value must be object or array: {}",
                    "invalid state detected"
                ));
            }
            *self.document = value;
            return Ok(());
        }
        let (parent, key) = find(self.document, &path).ok_or_else(|| {
            format!("replace operation does not apply: doc is missing path: {path}: {MISSING}")
        })?;
        match get_at(parent, &key) {
            Ok(Some(slot)) => *slot = value,
            Ok(None) | Err(_) => {
                return Err(format!(
                    "replace operation does not apply: doc is missing key: {path}: {MISSING}"
                ));
            }
        }
        Ok(())
    }

    fn transfer(self, op: &str, copied_bytes: &mut usize) -> Result<(), String> {
        let missing =
            || format!("{op} operation failed to decode from: operation, missing from field: {MISSING}");
        let from = self.text("from").map(str::to_owned).ok_or_else(missing)?;
        let (parent, key) = find(self.document, &from).ok_or_else(|| {
            format!("{op} operation does not apply: doc is missing from path: {from}: {MISSING}")
        })?;
        let shown = if op == "move" { &key } else { &from };
        let failed = |error: String| format!("error in {op} for path: '{shown}': {error}");
        let value = get_at(parent, &key).map_err(failed)?.map(|value| value.clone()).unwrap_or_default();
        if op == "move" {
            remove_at(parent, &key).map_err(|error| format!("error in move for path: '{key}': {error}"))?;
        } else {
            *copied_bytes += value.to_string().len();
            if *copied_bytes > COPIED_BYTES_MAX {
                return Err(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied_bytes}, \
                     exceeding the limit {COPIED_BYTES_MAX}"
                ));
            }
        }
        let path = self.fields.get("path").and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
            format!("{op} operation failed to decode path: operation missing path field: {MISSING}")
        })?;
        let (parent, key) = find(self.document, &path).ok_or_else(|| {
            format!("{op} operation does not apply: doc is missing destination path: {path}: {MISSING}")
        })?;
        add_at(parent, &key, value).map_err(|error| format!("error in {op} for path: '{path}': {error}"))
    }

    fn test(self) -> Result<(), String> {
        let path = self.path("test")?;
        let value = self.value();
        let failed = || format!("testing value {path} failed: test failed");
        if path.is_empty() {
            return if *self.document == value { Ok(()) } else { Err(failed()) };
        }
        let (parent, key) = find(self.document, &path)
            .ok_or_else(|| format!("test operation does not apply: is missing path: {path}: {MISSING}"))?;
        let found =
            get_at(parent, &key).map_err(|error| format!("error in test for path: '{path}': {error}"))?;
        match found {
            Some(found) if same(found, &value) => Ok(()),
            None if value.is_null() => Ok(()),
            _ => Err(failed()),
        }
    }
}

/// Numbers are compared by value, as JSON knows one kind of number only.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// The container a path ends in, and the last key.
fn find<'d>(document: &'d mut Value, path: &str) -> Option<(&'d mut Value, String)> {
    let mut parts: Vec<&str> = path.split('/').collect();
    if parts.len() < 2 {
        return None;
    }
    let last = unescape(parts.pop()?);
    let mut node = document;
    for part in &parts[1..] {
        let key = unescape(part);
        node = get_at(node, &key).ok()??;
    }
    (node.is_object() || node.is_array()).then_some((node, last))
}

fn unescape(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

fn index(key: &str, length: usize) -> Result<usize, String> {
    let at: i64 = key.parse().map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))?;
    let wrong = || format!("Unable to access invalid index: {at}: invalid index referenced");
    let length = i64::try_from(length).map_err(|_| wrong())?;
    let from_start = if at < 0 { at + length } else { at };
    usize::try_from(from_start).ok().filter(|_| from_start < length).ok_or_else(wrong)
}

fn get_at<'v>(container: &'v mut Value, key: &str) -> Result<Option<&'v mut Value>, String> {
    match container {
        Value::Object(map) => Ok(map.get_mut(key)),
        Value::Array(list) => {
            let at = index(key, list.len())?;
            Ok(list.get_mut(at))
        }
        _ => Ok(None),
    }
}

fn add_at(container: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match container {
        Value::Object(map) => {
            map.insert(key.to_owned(), value);
        }
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let at = index(key, list.len() + 1).map_err(|error| {
                if error.starts_with("strconv") {
                    format!("value was not a proper array index: '{key}': {error}")
                } else {
                    error
                }
            })?;
            list.insert(at, value);
        }
        _ => {}
    }
    Ok(())
}

fn remove_at(container: &mut Value, key: &str) -> Result<(), String> {
    match container {
        Value::Object(map) => {
            map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))?;
        }
        Value::Array(list) => {
            let at = index(key, list.len())?;
            list.remove(at);
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_and_their_errors() {
        let document = json!({"a": {"b": [1, 2, 3]}, "x/y": 1});
        for (patch, want) in [
            (
                json!([{"op": "add", "path": "/a/c", "value": 1}]),
                Ok(json!({"a": {"b": [1, 2, 3], "c": 1}, "x/y": 1})),
            ),
            (
                json!([{"op": "add", "path": "/a/b/-", "value": 4}]),
                Ok(json!({"a": {"b": [1, 2, 3, 4]}, "x/y": 1})),
            ),
            (json!([{"op": "remove", "path": "/a/b/-1"}]), Ok(json!({"a": {"b": [1, 2]}, "x/y": 1}))),
            (
                json!([{"op": "replace", "path": "/x~1y", "value": 2}]),
                Ok(json!({"a": {"b": [1, 2, 3]}, "x/y": 2})),
            ),
            (
                json!([{"op": "move", "from": "/a/b", "path": "/b"}]),
                Ok(json!({"a": {}, "b": [1, 2, 3], "x/y": 1})),
            ),
            (json!([{"op": "test", "path": "/a/b/0", "value": 1.0}]), Ok(document.clone())),
            (
                json!([{"op": "test", "path": "/a/b/0", "value": 2}]),
                Err("testing value /a/b/0 failed: test failed"),
            ),
            (
                json!([{"op": "remove", "path": "/a/z"}]),
                Err("error in remove for path: '/a/z': Unable to remove nonexistent key: z: missing value"),
            ),
            (
                json!([{"op": "replace", "path": "/a/z", "value": 1}]),
                Err("replace operation does not apply: doc is missing key: /a/z: missing value"),
            ),
            (
                json!([{"op": "add", "path": "/z/a", "value": 1}]),
                Err("add operation does not apply: doc is missing path: \"/z/a\": missing value"),
            ),
            (
                json!([{"op": "remove", "path": "/a/b/7"}]),
                Err(
                    "error in remove for path: '/a/b/7': Unable to access invalid index: 7: invalid index referenced",
                ),
            ),
            (json!([{"op": "zap", "path": "/a"}]), Err("Unexpected kind: zap")),
        ] {
            let bytes = patch.to_string();
            let got = apply(&document, bytes.as_bytes(), FieldValidation::Strict).map(|(object, _)| object);
            assert_eq!(got.map_err(|error| error.to_string()), want.map_err(str::to_owned), "{patch}");
        }
    }
}
