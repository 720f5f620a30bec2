//! Version 2: one directory, controllers enabled from the top down.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use cri::sandbox::LinuxContainerResources;
use sys::cgroup_bpf::Rule;

use super::{Group, plan, write_file};

const CONTROLLERS: [&str; 6] = ["cpu", "memory", "pids", "cpuset", "hugetlb", "io"];

/// Makes a directory and those above it. The controllers that the machine has are enabled for children on the way
/// down; the group itself stays a leaf until something is made below it.
pub fn make(mount: &Path, directory: &Path) -> io::Result<()> {
    let relative = directory.strip_prefix(mount).map_err(io::Error::other)?;
    let mut here = mount.to_owned();
    for component in relative.components() {
        enable(&here);
        here.push(component);
        match std::fs::create_dir(&here) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(io::Error::new(error.kind(), format!("make cgroup {}: {error}", here.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

fn enable(directory: &Path) {
    let file = directory.join("cgroup.subtree_control");
    let enabled = std::fs::read_to_string(&file).unwrap_or_default();
    let available = std::fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    for controller in available.split_whitespace().filter(|name| CONTROLLERS.contains(name)) {
        if !enabled.split_whitespace().any(|name| name == controller) {
            // One by one: a controller that cannot be enabled must not keep the others out.
            let _ = write_file(&file, &format!("+{controller}"));
        }
    }
}

/// Writes limits. A controller that the machine lacks is passed over, as is swap without swap accounting.
pub fn apply(group: &Group, resources: &LinuxContainerResources) -> io::Result<()> {
    let Some(directory) = group.directory("") else { return Ok(()) };
    for (controller, file, value) in plan::v2(resources) {
        let path = directory.join(&file);
        if !controller.is_empty() && !path.exists() {
            continue;
        }
        write_file(&path, &value)?;
    }
    Ok(())
}

/// Attaches the device program.
pub fn restrict_devices(group: &Group, rules: &[Rule]) -> io::Result<()> {
    let Some(directory) = group.directory("") else { return Ok(()) };
    let attached = File::open(directory)
        .and_then(|opened| sys::cgroup_bpf::attach(opened.as_fd(), &sys::cgroup_bpf::compile(rules)));
    attached.map_err(|error| {
        let named = format!("restrict devices of {}: {error}", directory.display());
        io::Error::new(error.kind(), named)
    })
}
