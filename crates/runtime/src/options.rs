//! What the runtime is opened with.

use std::path::PathBuf;

use stdx::clock::Clock;
use stdx::entropy::Entropy;

/// Options of [`crate::Runtime::open`].
#[derive(Debug, Clone)]
pub struct Options {
    /// For sockets and what does not survive a reboot; short, because socket paths are limited to 108 bytes.
    pub run_dir: PathBuf,
    /// For records of sandboxes and containers.
    pub state_dir: PathBuf,
    /// Root of all control groups, e.g. `/carob-1a2b3c4d`.
    pub cgroup_root: String,
    /// The program that becomes a Pod's process when its first argument is [`crate::POD_PROCESS_ARGUMENT`]; usually
    /// `/proc/self/exe`.
    pub executable: PathBuf,
    /// Move the calling process into the group `daemon` below the root.
    pub enter_daemon_cgroup: bool,
    /// How many sandboxes to keep prepared.
    pub prepared_sandboxes: usize,
    /// Wall clock.
    pub clock: Clock,
    /// Randomness, for ids.
    pub entropy: Entropy,
}
