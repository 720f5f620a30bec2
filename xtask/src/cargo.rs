//! Cargo, called from a program that cargo itself runs.

use std::path::Path;
use std::process::Command;

/// What `cargo run` tells a program about its package.
const OF_PACKAGE: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];

/// Cargo at the root of the workspace, with the environment of a shell. Build scripts that watch what cargo says of a package
/// (ring's does) would run again otherwise, and all that stands on theirs would be built again, each time that somebody
/// changes between a chore and a cargo of their own.
pub fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_of_package) {
            command.env_remove(&name);
        }
    }
    if let Some(root) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        command.current_dir(root);
    }
    command
}

fn is_of_package(name: &str) -> bool {
    OF_PACKAGE.iter().any(|own| name.starts_with(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_sets_stays() {
        for name in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_PRIMARY_PACKAGE"] {
            assert!(is_of_package(name), "{name}");
        }
        for name in ["CARGO_TARGET_DIR", "CARGO_INCREMENTAL", "CARGO_HOME", "PATH"] {
            assert!(!is_of_package(name), "{name}");
        }
    }
}
