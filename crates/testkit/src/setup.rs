//! Installs the programs that the tests run, where they are missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::command::succeed;

/// A program that tests run, and Debian's package of it.
const PROGRAMS: [(&str, &str); 14] = [
    ("/usr/bin/docker-registry", "docker-registry"),
    ("/usr/bin/skopeo", "skopeo"),
    ("/usr/sbin/nft", "nftables"),
    ("/usr/bin/curl", "curl"),
    ("/usr/bin/tmux", "tmux"),
    ("/usr/bin/cpio", "cpio"),
    ("/usr/bin/strip", "binutils"),
    ("/usr/bin/xz", "xz-utils"),
    ("/usr/bin/npm", "npm"),
    ("/usr/bin/python3", "python3-venv"),
    ("/usr/bin/containerd", "containerd"),
    ("/usr/sbin/runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("/usr/bin/ip", "iproute2"),
];

/// Free bytes that the tests want: images, registries and data directories of two instances at a time.
const ROOM_BYTES: u64 = 3 << 30;

/// Checks that the disks of the target directory and of temporary files have room for the tests: halfway through a run,
/// a full disk shows itself as a hundred failures that name something else.
///
/// # Errors
/// When one of them has not; the text says how much is missing.
pub fn check_room() -> anyhow::Result<()> {
    for folder in [crate::cache::target()?, std::env::temp_dir()] {
        let disk = rustix::fs::statvfs(&folder).with_context(|| folder.display().to_string())?;
        let free = disk.f_bavail * disk.f_frsize;
        if free < ROOM_BYTES {
            let (wanted, free) = (ROOM_BYTES >> 20, free >> 20);
            bail!(
                "{}: {free} MiB are free, the tests want {wanted} MiB: make room on this disk",
                folder.display()
            );
        }
    }
    Ok(())
}

/// Installs what is missing. Needs root; says nothing if there is nothing to do.
pub fn install() -> anyhow::Result<Vec<&'static str>> {
    let missing: Vec<&str> = PROGRAMS
        .into_iter()
        .filter(|(program, _)| !Path::new(program).exists())
        .map(|(_, package)| package)
        .collect();
    if missing.is_empty() {
        return Ok(missing);
    }
    crate::require_root();
    succeed(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&missing);
    succeed(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    Ok(missing)
}
