//! Pure deciders for the controllers: what is seen goes in, actions come out. No client, no clock, no lock; time is an
//! argument. Level-triggered: a decider never learns which event woke it, and deciding twice changes nothing.

pub mod action;
pub mod garbage;
pub mod namespace;
pub mod node_addresses;
pub mod node_life;
pub mod pod_garbage;
pub mod service_account;

pub use action::{Action, PatchKind, Target};
