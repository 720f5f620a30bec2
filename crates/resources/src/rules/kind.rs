//! Rules of a kind as a row of functions: what most kinds need, so that each says only what is its own.

use model::names;
use model::tree::TreeExt;
use serde_json::Value;

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::{Rules, generic_update};

/// Looks at a new or changed object.
pub type Check = fn(&mut Errors, &At);
/// Looks at a change: new, old, subresource.
pub type UpdateCheck = fn(&mut Errors, &At, &At, Option<&str>);
/// Sets what a change may not touch: new, old, subresource.
pub type Update = fn(&mut Value, &Value, Option<&str>);

/// A kind's rules.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Fills in defaults.
    pub default: fn(&mut Value),
    /// Prepares a creation.
    pub create: fn(&mut Value),
    /// Prepares an update.
    pub update: Update,
    /// Errors of a new object.
    pub validate: Check,
    /// Errors of a change.
    pub validate_update: Option<UpdateCheck>,
    /// What is wrong with a name.
    pub name: fn(&str, bool) -> Vec<String>,
    /// Warnings: new, old.
    pub warnings: fn(&Value, Option<&Value>) -> Vec<String>,
    /// Selectable fields besides name and namespace: dotted paths.
    pub fields: &'static [&'static str],
    /// The value of a selectable field, where it is not just that of its path.
    pub field: fn(&Value, &str) -> String,
    /// Whether an update may create.
    pub creates_on_update: bool,
    /// Whether an update must name its revision.
    pub needs_revision: bool,
}

/// Drops the status of a new object.
pub fn drop_status(object: &mut Value) {
    object.unset(&["status"]);
}

/// Leaves an object alone.
pub fn nothing(_: &mut Value) {}

/// Whether a write goes to the status.
pub fn is_status(subresource: Option<&str>) -> bool {
    subresource == Some("status")
}

/// The text, number or truth value at a dotted path.
pub fn field_text(object: &Value, path: &str) -> String {
    let parts: Vec<&str> = path.split('.').collect();
    match object.at(&parts) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

impl Kind {
    /// A kind without rules of its own.
    pub const PLAIN: Kind = Kind {
        default: nothing,
        create: drop_status,
        update: generic_update,
        validate: |_, _| {},
        validate_update: None,
        name: names::dns_subdomain_name,
        warnings: |_, _| Vec::new(),
        fields: &[],
        field: field_text,
        creates_on_update: false,
        needs_revision: false,
    };
}

impl Rules for Kind {
    fn default(&self, object: &mut Value) {
        (self.default)(object);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        (self.create)(object);
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, subresource: Option<&str>) {
        (self.update)(object, old, subresource);
    }

    fn validate(&self, object: &Value) -> Errors {
        let mut errors = Errors::new();
        (self.validate)(&mut errors, &At::root(object));
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, subresource: Option<&str>) -> Errors {
        let mut errors = Errors::new();
        let new = At::root(object);
        match self.validate_update {
            Some(check) => check(&mut errors, &new, &At::root(old), subresource),
            None if !is_status(subresource) => (self.validate)(&mut errors, &new),
            None => {}
        }
        errors
    }

    fn name_errors(&self, name: &str, prefix: bool) -> Vec<String> {
        (self.name)(name, prefix)
    }

    fn warnings(&self, object: &Value, old: Option<&Value>) -> Vec<String> {
        (self.warnings)(object, old)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        self.fields.iter().map(|path| (*path, (self.field)(object, path))).collect()
    }

    fn selectable_field_names(&self) -> &'static [&'static str] {
        self.fields
    }

    fn allows_create_on_update(&self) -> bool {
        self.creates_on_update
    }

    fn requires_resource_version(&self) -> bool {
        self.needs_revision
    }
}
