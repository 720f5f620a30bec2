//! Installs the programs that the tests run, where they are missing.

use std::path::Path;
use std::process::Command;

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
