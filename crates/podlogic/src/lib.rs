//! The Pod life cycle, decided purely: what is observed of a Pod's sandbox and containers, and a clock value, go in;
//! actions and the Pod's status come out. Nothing here does IO, waits or asks for the time.

pub mod actions;
pub mod admission;
pub mod back_off;
pub mod conditions;
pub mod container_config;
pub mod container_status;
pub mod dns;
pub mod downward;
pub mod env;
pub mod hosts;
pub mod keyring;
pub mod labels;
pub mod limits;
pub mod observed;
pub mod paths;
pub mod phase;
pub mod pod;
pub mod probe;
pub mod pull;
pub mod restart;
pub mod sandbox_config;
pub mod security;
pub mod status;
pub mod sysctls;
pub mod termination;

pub use actions::{Actions, Kill, KillReason, Start, compute_actions};
pub use observed::Observed;
pub use pod::ContainerKind;
pub use status::{StatusInput, generate_status};
