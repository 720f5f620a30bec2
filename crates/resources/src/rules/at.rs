//! A value inside an object together with its path: what validation walks over and complains about. Absent, null and
//! (for texts, lists and maps) empty are the same, as they are for upstream's types.

use serde_json::Value;

use crate::field::{Errors, Fault, FieldError, Path};

static NULL: Value = Value::Null;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct At<'o> {
    /// The value; null where absent.
    pub value: &'o Value,
    /// Its path.
    pub path: Path,
}

impl<'o> At<'o> {
    /// The whole object.
    pub fn root(object: &'o Value) -> Self {
        Self { value: object, path: Path::default() }
    }

    /// A value at a path.
    pub fn new(value: &'o Value, path: Path) -> Self {
        Self { value, path }
    }

    /// A field.
    pub fn child(&self, key: &str) -> Self {
        Self { value: self.value.get(key).unwrap_or(&NULL), path: self.path.child(key) }
    }

    /// A field, if it is there (an empty struct is there).
    pub fn some(&self, key: &str) -> Option<Self> {
        Some(self.child(key)).filter(|field| !field.value.is_null())
    }

    /// The elements of a list field.
    pub fn items(&self, key: &str) -> Vec<Self> {
        self.child(key).elements()
    }

    /// The elements of this list.
    pub fn elements(&self) -> Vec<Self> {
        let list = self.value.as_array().map_or(&[][..], Vec::as_slice);
        list.iter().enumerate().map(|(index, value)| Self { value, path: self.path.index(index) }).collect()
    }

    /// The entries of a map field, ordered by key; their paths are `field[key]`.
    pub fn entries(&self, key: &str) -> Vec<(&'o str, Self)> {
        let map = self.child(key);
        let entry = |(name, value): (&'o String, &'o Value)| {
            (name.as_str(), Self { value, path: map.path.key(name) })
        };
        map.value.as_object().into_iter().flatten().map(entry).collect()
    }

    /// This text; empty if it is none.
    pub fn text(&self) -> &'o str {
        self.value.as_str().unwrap_or_default()
    }

    /// The text of a field.
    pub fn str(&self, key: &str) -> &'o str {
        self.value.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    /// The number of a field.
    pub fn int(&self, key: &str) -> Option<i64> {
        self.value.get(key).and_then(Value::as_i64)
    }

    /// This number.
    pub fn number(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The truth value of a field; absent is false.
    pub fn flag(&self, key: &str) -> bool {
        self.value.get(key).and_then(Value::as_bool).unwrap_or_default()
    }

    /// Whether a field is there.
    pub fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some_and(|value| !value.is_null())
    }

    /// Whether this is absent or empty.
    pub fn is_empty(&self) -> bool {
        is_empty(self.value)
    }

    /// How many elements a list or map field has.
    pub fn len_of(&self, key: &str) -> usize {
        match self.value.get(key) {
            Some(Value::Array(list)) => list.len(),
            Some(Value::Object(map)) => map.len(),
            _ => 0,
        }
    }

    /// `Required value`.
    pub fn required(&self, detail: impl Into<String>) -> FieldError {
        FieldError::required(&self.path, detail)
    }

    /// `Invalid value` with this value.
    pub fn invalid(&self, detail: impl Into<String>) -> FieldError {
        FieldError::invalid(&self.path, self.value, detail)
    }

    /// `Invalid value` with another value.
    pub fn invalid_as(&self, value: impl Into<Value>, detail: impl Into<String>) -> FieldError {
        FieldError::invalid(&self.path, &value.into(), detail)
    }

    /// `Invalid value` with a value already written out.
    pub fn invalid_shown(&self, shown: String, detail: impl Into<String>) -> FieldError {
        FieldError { fault: Fault::Invalid, path: self.path.clone(), value: shown, detail: detail.into() }
    }

    /// `Forbidden`.
    pub fn forbidden(&self, detail: impl Into<String>) -> FieldError {
        FieldError::forbidden(&self.path, detail)
    }

    /// `Duplicate value` with this value.
    pub fn duplicate(&self) -> FieldError {
        FieldError::duplicate(&self.path, &self.shown_text())
    }

    /// `Not found` with this value.
    pub fn not_found(&self) -> FieldError {
        FieldError::not_found(&self.path, &self.shown_text())
    }

    /// `Unsupported value` with this value; the supported ones in the order given.
    pub fn not_supported(&self, supported: &[&str]) -> FieldError {
        let supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = format!("supported values: {}", supported.join(", "));
        FieldError { detail, ..FieldError::not_supported(&self.path, &self.shown_text(), &[]) }
    }

    /// Absent texts are shown as upstream's zero value.
    fn shown_text(&self) -> Value {
        if self.value.is_null() { Value::String(String::new()) } else { self.value.clone() }
    }

    /// Complaints about this text.
    pub fn complain(&self, errors: &mut Errors, complaints: Vec<String>) {
        errors.extend(
            complaints
                .into_iter()
                .map(|complaint| FieldError::invalid(&self.path, &self.shown_text(), complaint)),
        );
    }

    /// A text that must be one of a few (absent: an error too).
    pub fn one_of(&self, errors: &mut Errors, supported: &[&str]) {
        if !supported.contains(&self.text()) {
            errors.push(self.not_supported(supported));
        }
    }

    /// A text that must be there and one of a few.
    pub fn required_one_of(&self, errors: &mut Errors, supported: &[&str]) {
        if self.text().is_empty() {
            errors.push(self.required(""));
        } else {
            self.one_of(errors, supported);
        }
    }

    /// A text that must be there.
    pub fn require(&self, errors: &mut Errors, key: &str) -> bool {
        let missing = self.value.get(key).is_none_or(is_empty);
        if missing {
            errors.push(self.child(key).required(""));
        }
        !missing
    }
}

/// Whether a value is absent or empty.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// Whether two optional values are the same to upstream's `Semantic.DeepEqual`: absent and empty do not differ,
/// quantities are compared as they are written (they are canonical).
pub fn same(left: Option<&Value>, right: Option<&Value>) -> bool {
    let (left, right) = (left.unwrap_or(&NULL), right.unwrap_or(&NULL));
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            let covers = |one: &serde_json::Map<String, Value>, other: &serde_json::Map<String, Value>| {
                one.iter().all(|(key, value)| same(Some(value), other.get(key)))
            };
            covers(left, right)
                && right.iter().all(|(key, value)| left.contains_key(key) || is_empty_deep(value))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same(Some(left), Some(right)))
        }
        (Value::Null, other) | (other, Value::Null) => is_empty_deep(other),
        (left, right) => left == right,
    }
}

/// Null, an empty text, list or map. An empty struct that is a pointer to upstream differs from none; where that
/// matters the caller compares by itself.
fn is_empty_deep(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        other => is_empty(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_and_values() {
        let object = json!({"spec": {"list": [{"a": "x"}], "map": {"k": "v"}, "n": 3}});
        let spec = At::root(&object).child("spec");
        assert_eq!(spec.items("list")[0].child("a").path.to_string(), "spec.list[0].a");
        assert_eq!(spec.entries("map")[0].1.path.to_string(), "spec.map[k]");
        assert_eq!(spec.int("n"), Some(3));
        let error = spec.child("absent").not_supported(&["b", "a"]);
        assert_eq!(error.to_cause().message, "Unsupported value: \"\": supported values: \"b\", \"a\"");
    }

    #[test]
    fn absent_and_empty_are_the_same() {
        let table = [
            (json!({"a": []}), json!({}), true),
            (json!({"a": {"b": ""}}), json!({"a": {}}), true),
            (json!({"a": 1}), json!({"a": 2}), false),
            (json!({"a": 0}), json!({}), false),
            (json!([1, 2]), json!([1]), false),
            (json!({"a": {"b": 1}}), json!({}), false),
        ];
        for (left, right, expected) in table {
            assert_eq!(same(Some(&left), Some(&right)), expected, "{left} {right}");
            assert_eq!(same(Some(&right), Some(&left)), expected, "{right} {left}");
        }
    }
}
