//! A whole cluster on one thread, tests only: API server over a store that fails, controllers, scheduler and the real node
//! agent over containers in memory, with time that jumps and everything that is random made from one seed.
//!
//! [`run`] performs random work and random faults (lost answers and watches, delays that reorder, restarts of every
//! component, a runtime that fails, nodes that fall silent or die, in some runs two schedulers that know nothing of each other), and checks after each step what must never be so ([`audit`]) and at the end
//! that what fits has a place and runs ([`settled`]), and that all that was deleted has gone. One seed makes one run: the same requests in the same order, told by
//! [`trace::Trace::hash`].

pub mod audit;
pub mod cluster;
pub mod faults;
pub mod link;
pub mod nodes;
mod panics;
pub mod settled;
pub mod shaky;
pub mod trace;
pub mod workload;

pub use cluster::{Finding, Summary, run};
