//! The node agent: watches the Pods of its node, performs what `podlogic` decides on the runtime, and reports.
//!
//! One task per Pod ([`worker`]) wakes on events only: a change of the Pod, an event of the runtime, a probe's result,
//! the end of a back-off. Status is written as soon as it is known ([`statuses`]).

pub mod admit;
pub mod agent;
pub mod api;
pub mod backend;
pub mod config;
pub mod directories;
pub mod events;
pub mod files;
pub mod garbage;
pub mod hooks;
pub mod housekeeping;
pub mod http;
pub mod images;
pub mod kill;
pub mod machine;
pub mod node;
pub mod node_api;
pub mod objects;
pub mod observe;
pub mod options;
pub mod probes;
pub mod rotation;
pub mod seams;
pub mod shared;
pub mod source;
pub mod start;
pub mod statuses;
pub mod sync;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod thresholds;
pub mod volumes;
pub mod worker;

pub use agent::Agent;
pub use options::{Directories, Options};
pub use seams::{
    ContainerHandle, LookupError, NodeApiBackend, PreparedVolumes, VolumeError, VolumeFacts, Volumes,
};

#[cfg(test)]
mod tests;
