//! The node's devices, which privileged containers have, too.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::spec::DeviceSpec;

const KIND: u32 = 0o170_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const BLOCK_DEVICE: u32 = 0o060_000;

/// Directories of `/dev` that a container has of its own, and those of others' containers.
const OWN_DIRECTORIES: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
/// More than any machine has; the rest is left out.
const NODES_MAX: usize = 4096;

/// Every device below a directory, at the path that it has there, in the order of paths. Links are not followed, and what
/// goes away meanwhile is left out.
pub fn all(directory: &Path) -> Vec<DeviceSpec> {
    let mut found = Vec::new();
    collect(directory, &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

fn collect(directory: &Path, found: &mut Vec<DeviceSpec>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let (name, Ok(metadata)) = (entry.file_name(), entry.metadata()) else { continue };
        if metadata.is_dir() {
            if !OWN_DIRECTORIES.iter().any(|own| name == *own) {
                collect(&entry.path(), found);
            }
        } else if name != "console" && found.len() < NODES_MAX {
            found.extend(node(entry.path(), &metadata));
        }
    }
}

/// The device of this metadata at a path of the container; nothing if it is none.
pub fn node(path: PathBuf, metadata: &Metadata) -> Option<DeviceSpec> {
    if ![CHARACTER_DEVICE, BLOCK_DEVICE].contains(&(metadata.mode() & KIND)) {
        return None;
    }
    let (major, minor) = sys::path::device_parts(metadata.rdev());
    Some(DeviceSpec { path, mode: metadata.mode(), major, minor, uid: metadata.uid(), gid: metadata.gid() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_devices_of_the_node_are_found() {
        let found = all(Path::new("/dev"));
        let null =
            found.iter().find(|device| device.path == Path::new("/dev/null")).expect("it is everywhere");
        assert_eq!((null.major, null.minor, null.mode & KIND), (1, 3, CHARACTER_DEVICE));
        assert!(found.iter().all(|device| !device.path.starts_with("/dev/pts")));
        assert!(found.is_sorted_by_key(|device| &device.path));
    }

    #[test]
    fn links_files_and_the_console_are_none() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("file"), "").expect("a file");
        std::os::unix::fs::symlink("/dev/null", directory.path().join("link")).expect("a link");
        assert_eq!(all(directory.path()), []);
        assert_eq!(all(&directory.path().join("missing")), []);
    }
}
