//! Pure authorization: RBAC evaluation, upstream's bootstrap policy, the Node authorizer. No store, no clock, no lock:
//! roles and objects come in, a decision comes out.

pub mod attributes;
pub mod evaluate;
#[rustfmt::skip]
pub mod generated;
pub mod node;
pub mod policy;

pub use attributes::{Attributes, Decision};
pub use evaluate::{Policy, PolicyRule};
