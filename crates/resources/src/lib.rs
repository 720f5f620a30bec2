//! The one resource table: names, schema, defaults, validation, update rules, print columns. Router, discovery,
//! OpenAPI, authorization names, printing and the CLI's names all derive from it; there is no handler per kind.

pub mod columns;
pub mod convert;
pub mod discovery;
pub mod field;
mod generated;
pub mod openapi;
pub mod patch;
pub mod registry;
pub mod row;
pub mod rules;
pub mod schema;

pub use registry::{Registry, registry};
pub use row::{Resource, Scope, Subresource};
pub use rules::Rules;
