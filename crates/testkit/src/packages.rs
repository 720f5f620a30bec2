//! Debian packages, fetched by `apt-get download` and unpacked into a directory: nothing is installed on the host.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::cache;
use crate::command::succeed;

/// Parts of packages that no program here reads.
const DROPPED: [&str; 6] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/bug",
];
/// Packages that libraries name and that programs run without.
const UNWANTED: [&str; 7] =
    ["libpam-runtime", "libaprutil1-dbd", "libaprutil1-ldap", "libgl1", "libgtk", "libnginx-mod", "libc-bin"];

/// The packages and the libraries that they need, with versions: `name=version`.
pub fn with_libraries(names: &[&str]) -> anyhow::Result<Vec<String>> {
    let name = format!("packages-{}", cache::key(&names.join(" ")));
    let text = cache::in_this_run(&name, || Ok(find_with_libraries(names)?.join(" ")))?;
    Ok(text.split(' ').map(str::to_owned).collect())
}

fn find_with_libraries(names: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut known: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut fresh: Vec<String> = known.iter().cloned().collect();
    while !fresh.is_empty() {
        let mut command = Command::new("apt-cache");
        command.args(["depends", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks"]);
        command.args(["--no-replaces", "--no-enhances"]).args(&fresh);
        let text = succeed(&mut command)?;
        fresh.clear();
        for name in libraries_named_in(&text) {
            if known.insert(name.clone()) {
                fresh.push(name);
            }
        }
    }
    pinned(&known)
}

/// Dependencies that are libraries; of alternatives (`|Depends`) the first.
fn libraries_named_in(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut in_alternatives = false;
    for line in text.lines().map(str::trim_start) {
        let Some((kind, name)) = line.split_once("Depends: ") else { continue };
        let skip = in_alternatives;
        in_alternatives = kind.starts_with('|');
        let library = name.starts_with("lib") || name == "zlib1g";
        if !skip && library && !UNWANTED.iter().any(|own| name.starts_with(own)) {
            names.push(name.trim().to_owned());
        }
    }
    names
}

/// Names with the versions that apt would fetch.
fn pinned(names: &BTreeSet<String>) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new("apt-cache");
    let text = succeed(command.arg("policy").args(names))?;
    let (mut pinned, mut name) = (Vec::new(), "");
    for line in text.lines() {
        if let Some(head) = line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            name = head;
        } else if let Some(version) = line.trim().strip_prefix("Candidate: ") {
            if version == "(none)" {
                bail!("apt knows no package {name}: run `apt-get update`");
            }
            pinned.push(format!("{name}={version}"));
        }
    }
    if pinned.len() != names.len() {
        bail!("apt knows {} of the packages {names:?} only: run `apt-get update`", pinned.len());
    }
    Ok(pinned)
}

/// Fetches packages (`name=version`) and unpacks them into `root`.
pub fn unpack(pinned: &[String], root: &Path) -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(cache::root()?)?;
    // apt fetches as its own user where it can; in a private directory it cannot, and says so.
    let mut download = Command::new("apt-get");
    download
        .args(["download", "-qq", "-o", "APT::Sandbox::User=root"])
        .args(pinned)
        .current_dir(folder.path());
    succeed(&mut download)?;
    fs::create_dir_all(root)?;
    for entry in fs::read_dir(folder.path())? {
        let file = entry?.path();
        succeed(Command::new("dpkg-deb").arg("-x").arg(&file).arg(root))
            .with_context(|| format!("unpacking {}", file.display()))?;
    }
    for part in DROPPED {
        let _ = fs::remove_dir_all(root.join(part));
    }
    Ok(())
}

/// A directory with these packages and their libraries, kept in the cache.
pub fn tree(name: &str, packages: &[&str]) -> anyhow::Result<PathBuf> {
    let pinned = with_libraries(packages)?;
    let name = format!("{name}-{}", cache::key(&pinned.join(" ")));
    cache::once(&name, |folder| unpack(&pinned, folder))
}

/// A command that runs a program of such a directory with the libraries there.
pub fn program_in(tree: &Path, program: &str) -> Command {
    let mut command = Command::new(tree.join("lib64/ld-linux-x86-64.so.2"));
    let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"].map(|part| tree.join(part));
    let list = libraries.map(|path| path.display().to_string()).join(":");
    command.arg("--library-path").arg(list).arg(tree.join(program));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_alternatives_the_first_is_taken() {
        let text = "nginx\n  Depends: libc6\n |Depends: libssl3\n  Depends: libssl-other\n  PreDepends: zlib1g\n  \
                    Depends: perl\n  Depends: <libvirtual>\n";
        assert_eq!(libraries_named_in(text), ["libc6", "libssl3", "zlib1g"]);
    }
}
