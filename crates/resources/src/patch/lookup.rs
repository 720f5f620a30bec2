//! What the schema says of a field to strategic merge patches.

use super::PatchError;
use crate::schema::{Definition, Type};

/// The schema of a map in a patch.
#[derive(Clone, Copy)]
pub enum Schema {
    /// A struct.
    Struct(&'static Definition),
    /// A map whose values have this type.
    Map(Type),
    /// Nothing is known: fields replace each other.
    Unknown,
}

/// What is known of one field.
pub struct Meta {
    /// Schema of the field's value, or of its elements if it is a list.
    pub schema: Schema,
    /// Lists and maps are merged (lists only with this).
    pub merge: bool,
    /// Maps are replaced.
    pub replace: bool,
    /// Patches say which keys stay.
    pub retain_keys: bool,
    /// Key that matches elements.
    pub merge_key: &'static str,
}

impl Schema {
    /// The schema of a definition.
    pub fn of(definition: Option<&'static Definition>) -> Self {
        definition.map_or(Schema::Unknown, Schema::Struct)
    }

    fn of_type(ty: Type) -> Self {
        match ty {
            Type::Struct(_) => Schema::of(ty.definition()),
            Type::List(of) => Schema::of_type(*of),
            Type::Map(of) => Schema::Map(*of),
            Type::SchemaOrArray | Type::SchemaOrBool | Type::SchemaOrStrings => {
                Schema::Struct(crate::schema::table::json_schema_props())
            }
            _ => Schema::Unknown,
        }
    }

    /// The name upstream prints.
    pub fn name(self) -> &'static str {
        match self {
            Schema::Struct(definition) => definition.short_name(),
            Schema::Map(_) | Schema::Unknown => "",
        }
    }

    /// Looks a field up.
    pub fn field(self, name: &str) -> Result<Meta, PatchError> {
        let plain = |schema| Meta { schema, merge: false, replace: false, retain_keys: false, merge_key: "" };
        match self {
            Schema::Unknown => Ok(plain(Schema::Unknown)),
            Schema::Map(of) => Ok(plain(Schema::of_type(of))),
            Schema::Struct(definition) => {
                let unknown = || {
                    let owner = definition.short_name();
                    PatchError::Other(format!(
                        "unable to find api field in struct {owner} for the json field {name:?}"
                    ))
                };
                let field = definition.field(name).ok_or_else(unknown)?;
                let has = |strategy: &str| field.patch_strategies().any(|own| own == strategy);
                Ok(Meta {
                    schema: Schema::of_type(field.ty),
                    merge: has("merge"),
                    replace: has("replace"),
                    retain_keys: has("retainKeys"),
                    merge_key: field.patch_merge_key(),
                })
            }
        }
    }
}
