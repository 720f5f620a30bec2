//! Derived tables.

pub mod policy;
