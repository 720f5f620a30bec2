//! Sandboxes and containers: the per-Pod process, roots, cgroups, logs, exec.
//!
//! The daemon side is [`Runtime`], an implementation of CRI's runtime service. Each Pod has one small process, the same
//! program started again ([`shim_main`]), which outlives the daemon. The two speak [`protocol`].

pub mod cgroup;
mod client;
mod container;
mod daemon;
mod events;
mod exec;
mod host_devices;
pub mod identity;
mod launch;
mod open;
mod options;
pub mod plan;
pub mod protocol;
mod sandbox;
pub mod seccomp_profile;
mod service;
mod shim;
pub mod spec;
pub mod state;
mod streams;

pub use daemon::Runtime;
pub use options::Options;
pub use shim::shim_main;

/// First argument of the program when it is started as a Pod's process.
pub const POD_PROCESS_ARGUMENT: &str = "pod-process";
