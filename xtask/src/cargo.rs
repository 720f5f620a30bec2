//! Cargo, called from a program that cargo itself runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;

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

/// What `cargo metadata` says with these arguments besides the version of its format.
pub fn metadata<T: DeserializeOwned>(arguments: &[&str]) -> anyhow::Result<T> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1"]).args(arguments);
    let output = command.output().context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Where cargo puts what it builds for this platform, with a folder for each profile: `<target>/<platform>`. The project's
/// configuration always names a platform.
pub fn platform_directory() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("finding this program")?;
    platform_of(&program).map(Path::to_owned).context("this program is in no target directory")
}

/// Cargo's target directory.
pub fn target_directory() -> anyhow::Result<PathBuf> {
    let platform = platform_directory()?;
    platform.parent().map(Path::to_owned).context("this program is in no target directory")
}

/// This program is `<target>/<platform>/debug/xtask`.
fn platform_of(program: &Path) -> Option<&Path> {
    program.ancestors().nth(2)
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

    #[test]
    fn the_target_directory_is_above_that_of_the_triple() {
        let root = Path::new("/carob/target");
        let program = root.join("x86_64-unknown-linux-gnu/debug/xtask");
        let found = platform_of(&program).and_then(Path::parent);
        assert_eq!(found, Some(root));
    }
}
