//! Errors about fields, with upstream's words (k8s.io/apimachinery/pkg/util/validation/field).

use std::fmt;

use model::Cause;
use serde_json::Value;

/// A field path: `spec.containers[0].name`, `metadata.labels[a]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path of dotted names; empty is the root.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A field of this one.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self(name.into()) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An element of this list.
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// An entry of this map.
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `Required value`.
    Required,
    /// `Duplicate value`.
    Duplicate,
    /// `Invalid value`.
    Invalid,
    /// `Unsupported value`.
    NotSupported,
    /// `Forbidden`.
    Forbidden,
    /// `Too long`.
    TooLong,
    /// `Too many`.
    TooMany,
    /// `Internal error`.
    Internal,
    /// `Invalid value` of the wrong type.
    TypeInvalid,
    /// `Not found`.
    NotFound,
}

impl Fault {
    /// (cause reason, words).
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Fault::Required => ("FieldValueRequired", "Required value"),
            Fault::Duplicate => ("FieldValueDuplicate", "Duplicate value"),
            Fault::Invalid => ("FieldValueInvalid", "Invalid value"),
            Fault::NotSupported => ("FieldValueNotSupported", "Unsupported value"),
            Fault::Forbidden => ("FieldValueForbidden", "Forbidden"),
            Fault::TooLong => ("FieldValueTooLong", "Too long"),
            Fault::TooMany => ("FieldValueTooMany", "Too many"),
            Fault::Internal => ("InternalError", "Internal error"),
            Fault::TypeInvalid => ("FieldValueTypeInvalid", "Invalid value"),
            Fault::NotFound => ("FieldValueNotFound", "Not found"),
        }
    }
}

/// An error about one field.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// Kind of error.
    pub fault: Fault,
    /// Where.
    pub path: Path,
    /// The offending value, as text ready for the message (`"x"`, `-1`, `{"a":"b"}`); empty where upstream shows none.
    pub value: String,
    /// Further words.
    pub detail: String,
}

/// A list of field errors.
pub type Errors = Vec<FieldError>;

impl FieldError {
    /// `Required value`, with words or without.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self { fault: Fault::Required, path: path.clone(), value: String::new(), detail: detail.into() }
    }

    /// `Invalid value: <value>: <detail>`.
    pub fn invalid(path: &Path, value: &Value, detail: impl Into<String>) -> Self {
        Self { fault: Fault::Invalid, path: path.clone(), value: show(value), detail: detail.into() }
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(path: &Path, value: &Value) -> Self {
        Self { fault: Fault::Duplicate, path: path.clone(), value: show(value), detail: String::new() }
    }

    /// `Forbidden: <detail>`.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self { fault: Fault::Forbidden, path: path.clone(), value: String::new(), detail: detail.into() }
    }

    /// `Unsupported value: <value>: supported values: "a", "b"`.
    pub fn not_supported(path: &Path, value: &Value, supported: &[&str]) -> Self {
        let mut supported: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        supported.sort();
        let detail = if supported.is_empty() {
            String::new()
        } else {
            format!("supported values: {}", supported.join(", "))
        };
        Self { fault: Fault::NotSupported, path: path.clone(), value: show(value), detail }
    }

    /// `Not found: <value>`.
    pub fn not_found(path: &Path, value: &Value) -> Self {
        Self { fault: Fault::NotFound, path: path.clone(), value: show(value), detail: String::new() }
    }

    /// `Too long: may not be more than <n> bytes`.
    pub fn too_long(path: &Path, bytes_max: usize) -> Self {
        let detail = format!("may not be more than {bytes_max} bytes");
        Self { fault: Fault::TooLong, path: path.clone(), value: String::new(), detail }
    }

    /// `Too many: <n>: must have at most <max> items`.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {items}");
        Self { fault: Fault::TooMany, path: path.clone(), value: actual.to_string(), detail }
    }

    /// What stands in a `Status`.
    pub fn to_cause(&self) -> Cause {
        let (reason, words) = self.fault.words();
        let mut message = words.to_owned();
        for part in [&self.value, &self.detail] {
            if !part.is_empty() {
                message.push_str(": ");
                message.push_str(part);
            }
        }
        Cause { reason: reason.into(), message, field: self.path.to_string() }
    }
}

/// A value as upstream prints it in messages: strings quoted, numbers bare, the rest as JSON.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        other => other.to_string(),
    }
}
