//! Version 1: a directory per hierarchy.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cri::sandbox::LinuxContainerResources;
use sys::cgroup_bpf::{MKNOD, READ, Rule, WRITE};

use super::{Group, plan, write_file};

/// Controllers that are used where mounted. Each costs every new container a directory and a move, so those that
/// matter to few containers take part only where a limit asks for them.
pub const CONTROLLERS: [&str; 8] =
    ["cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "pids"];

/// The group's directories.
pub fn group(mounts: &BTreeMap<String, PathBuf>, path: &str, limits: &LinuxContainerResources) -> Group {
    let wanted = |controller: &str| match controller {
        "cpuset" => !limits.cpuset_cpus.is_empty() || !limits.cpuset_mems.is_empty(),
        "hugetlb" => !limits.hugepage_limits.is_empty(),
        _ => true,
    };
    let mut by_mount: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
    for (controller, mount) in mounts {
        if wanted(controller) {
            by_mount.entry(mount).or_default().push(controller);
        }
    }
    Group {
        directories: by_mount.keys().map(|mount| mount.join(path)).collect(),
        unified: false,
        controllers: by_mount.values().map(|names| names.join(",")).collect(),
    }
}

/// Makes the directories. A new cpuset group is empty until it gets its parent's CPUs.
pub fn make(group: &Group) -> io::Result<()> {
    for (directory, controllers) in group.directories.iter().zip(&group.controllers) {
        if controllers.split(',').any(|name| name == "cpuset") {
            make_cpuset(directory)?;
        } else {
            std::fs::create_dir_all(directory).map_err(|error| {
                io::Error::new(error.kind(), format!("make cgroup {}: {error}", directory.display()))
            })?;
        }
    }
    Ok(())
}

fn make_cpuset(directory: &Path) -> io::Result<()> {
    if directory.exists() {
        return Ok(());
    }
    let Some(parent) = directory.parent() else { return Ok(()) };
    make_cpuset(parent)?;
    std::fs::create_dir(directory)?;
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = std::fs::read_to_string(parent.join(file))?;
        write_file(&directory.join(file), value.trim())?;
    }
    Ok(())
}

/// Writes limits. The two memory limits depend on each other: whichever order fails, the other one works.
pub fn apply(group: &Group, resources: &LinuxContainerResources) -> io::Result<()> {
    let mut failed: Vec<(PathBuf, String)> = Vec::new();
    for (controller, file, value) in plan::v1(resources) {
        let Some(directory) = group.directory(controller) else { continue };
        let path = directory.join(&file);
        // Swap accounting may be off.
        if file.contains(".memsw.") && !path.exists() {
            continue;
        }
        if let Err(error) = write_file(&path, &value) {
            if !file.starts_with("memory.") && !file.starts_with("cpu.cfs") {
                return Err(error);
            }
            failed.push((path, value));
        }
    }
    failed.iter().rev().try_for_each(|(path, value)| write_file(path, value))
}

/// Denies all, then applies the rules in order.
pub fn restrict_devices(group: &Group, rules: &[Rule]) -> io::Result<()> {
    let Some(directory) = group.directory("devices") else { return Ok(()) };
    write_file(&directory.join("devices.deny"), "a")?;
    for rule in rules {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        write_file(&directory.join(file), &device_line(rule))?;
    }
    Ok(())
}

fn device_line(rule: &Rule) -> String {
    if rule.kind == b'a' {
        return "a".to_owned();
    }
    let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
    let access: String = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| rule.access & bit != 0)
        .map(|(_, letter)| *letter)
        .collect();
    format!("{} {}:{} {access}", char::from(rule.kind), number(rule.major), number(rule.minor))
}

/// Freezes, so that nothing forks meanwhile, signals everything, and thaws so that the signals take effect.
pub fn kill_all(group: &Group) {
    let state = group.directory("freezer").map(|directory| directory.join("freezer.state"));
    if let Some(state) = &state {
        let _ = write_file(state, "FROZEN");
    }
    group.signal_all(sys::process::SIGKILL);
    if let Some(state) = &state {
        let _ = write_file(state, "THAWED");
    }
    // A fork that was under way when the freezer came has finished by now and is seen in this pass.
    group.signal_all(sys::process::SIGKILL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_rules_are_written_as_the_kernel_reads_them() {
        let rule = Rule { allow: true, kind: b'c', major: Some(1), minor: None, access: READ | WRITE };
        assert_eq!(device_line(&rule), "c 1:* rw");
        assert_eq!(device_line(&Rule { kind: b'a', ..rule }), "a");
    }
}
