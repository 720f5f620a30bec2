//! Seccomp: the default profile (what containerd applies for `RuntimeDefault`), profiles from JSON files (the OCI
//! runtime specification's format), and their compilation to a filter program.
//!
//! Rules are turned into intervals of call numbers per architecture; a balanced tree of comparisons finds the
//! interval in about nine steps, and calls whose verdict depends on arguments get a short list of tests.

mod compile;
mod default;
mod file;
mod generated;

pub use compile::{Action, Comparison, Condition, Profile, Rule, compile};
pub use default::default_profile;
pub use file::parse;

#[cfg(test)]
mod tests;
