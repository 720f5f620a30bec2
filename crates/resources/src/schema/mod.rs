//! The schema: what upstream's types look like ([`table`]), bytes into trees as upstream's decoder reads them
//! ([`decode`]), trees as upstream's encoder would write them back ([`normalise`]).

pub mod base64;
pub mod decode;
pub mod go_json;
pub mod go_time;
pub mod protobuf;
mod special;
pub mod strict;
pub mod table;
mod typed;
mod untyped;
pub mod yaml;

pub use decode::{Decoded, Format, decode};
pub use strict::FieldValidation;
pub use table::{Definition, Field, Type, definition};

use serde_json::Value;

/// What came of reading a tree against a definition: strict errors (`unknown field "spec.a"`) in upstream's order.
pub type StrictErrors = Vec<String>;

/// Rewrites a tree as upstream's Go type of this definition would encode it: nulls and empty optional fields dropped,
/// always-present structs kept, quantities, times and numbers canonical, unknown fields pruned. Doing it twice changes
/// nothing. Gives the unknown fields; the error is upstream's text for a value of the wrong type
/// (`json: cannot unmarshal …`), and then the tree is left empty.
pub fn normalise(definition: &'static Definition, object: &mut Value) -> Result<StrictErrors, String> {
    let mut context = typed::Context::new();
    let tree = std::mem::take(object);
    let read = typed::root(definition, &mut context, tree);
    *object = context.finish(read)?;
    Ok(context.strict)
}

/// The type that a definition of the table is.
fn table_index(definition: &'static Definition) -> Type {
    let at =
        table::definitions().binary_search_by(|other| other.name.cmp(definition.name)).unwrap_or(usize::MAX);
    Type::Struct(u16::try_from(at).unwrap_or(u16::MAX))
}
