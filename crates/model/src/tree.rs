//! Objects as trees: JSON values with accessors for what every object has.

use serde_json::{Map, Value};

/// A JSON value.
pub type Tree = Value;
/// A JSON object (ordered by key).
pub type Object = Map<String, Value>;

/// Accessors for a Kubernetes object held as a tree. Absent and null are the same.
pub trait TreeExt {
    /// The value at a path of keys.
    fn at(&self, path: &[&str]) -> Option<&Value>;
    /// The string at a path; absent is empty.
    fn text(&self, path: &[&str]) -> &str;
    /// The number at a path.
    fn integer(&self, path: &[&str]) -> Option<i64>;
    /// The array at a path; absent is empty.
    fn items(&self, path: &[&str]) -> &[Value];
    /// The value at a path, its parents made as objects where absent (or not objects).
    fn at_mut(&mut self, path: &[&str]) -> &mut Value;
    /// Sets the value at a path.
    fn set(&mut self, path: &[&str], value: impl Into<Value>)
    where
        Self: Sized;
    /// Removes the value at a path.
    fn unset(&mut self, path: &[&str]) -> Option<Value>;
    /// `metadata.name`.
    fn name(&self) -> &str {
        self.text(&["metadata", "name"])
    }
    /// `metadata.namespace`.
    fn namespace(&self) -> &str {
        self.text(&["metadata", "namespace"])
    }
    /// `metadata.uid`.
    fn uid(&self) -> &str {
        self.text(&["metadata", "uid"])
    }
    /// `metadata.resourceVersion`.
    fn resource_version(&self) -> &str {
        self.text(&["metadata", "resourceVersion"])
    }
    /// `kind`.
    fn kind(&self) -> &str {
        self.text(&["kind"])
    }
    /// `apiVersion`.
    fn api_version(&self) -> &str {
        self.text(&["apiVersion"])
    }
}

impl TreeExt for Value {
    fn at(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(self, |value, key| value.get(key)).filter(|value| !value.is_null())
    }

    fn text(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or_default()
    }

    fn integer(&self, path: &[&str]) -> Option<i64> {
        self.at(path).and_then(Value::as_i64)
    }

    fn items(&self, path: &[&str]) -> &[Value] {
        self.at(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn at_mut(&mut self, path: &[&str]) -> &mut Value {
        path.iter().fold(self, |value, key| {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            let Value::Object(map) = value else { unreachable!("made an object above") };
            map.entry(*key).or_insert(Value::Null)
        })
    }

    fn set(&mut self, path: &[&str], value: impl Into<Value>) {
        *self.at_mut(path) = value.into();
    }

    fn unset(&mut self, path: &[&str]) -> Option<Value> {
        let (last, parents) = path.split_last()?;
        let parent = parents.iter().try_fold(self, |value, key| value.get_mut(key))?;
        parent.as_object_mut()?.remove(*last)
    }
}
