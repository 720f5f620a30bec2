//! Root and mounts of a container. Sources are opened in the node's mount namespace as detached copies; targets are
//! resolved inside the root, whatever symlinks an image has.

use std::io::Error;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use cri::image::RootMount;
use sys::mount::attribute::{NO_DEV, NO_EXEC, NO_SUID, READ_ONLY};
use sys::path::{Missing, O_DIRECTORY, O_PATH};

use super::{Step, context, words};
use crate::spec::{ContainerSpec, MountSource, MountSpec};

/// Options longer than this do not fit the page that the classic mount call takes.
const OPTION_BYTES_MAX: usize = 4000;

/// What was opened for one mount, in the order of the specification.
pub enum Opened {
    /// A new file system: made when it is attached, inside the new namespaces.
    Later,
    /// A detached copy.
    Copy(OwnedFd),
    /// Version 1 control groups: (directory name, detached copy).
    Groups(Vec<(String, OwnedFd)>),
}

/// Copies every bind source. Must run before the propagation of `/` changes, so that shared mounts stay peers.
pub fn open_sources(spec: &ContainerSpec) -> Step<Vec<Opened>> {
    spec.mounts
        .iter()
        .map(|mount| match &mount.source {
            MountSource::FileSystem { .. } => Ok(Opened::Later),
            MountSource::Bind { path, .. } => {
                let copy = sys::mount::copy(path, true);
                copy.map(Opened::Copy).map_err(|error| failed(mount, Some(path), &error))
            }
            MountSource::ControlGroups if spec.group.unified => Ok(Opened::Later),
            MountSource::ControlGroups => {
                let pairs = spec.group.controllers.iter().zip(&spec.group.directories);
                let copies = pairs.map(|(name, directory)| {
                    let copy = sys::mount::copy(directory, false);
                    copy.map(|copy| (name.clone(), copy))
                        .map_err(|error| failed(mount, Some(directory), &error))
                });
                copies.collect::<Step<Vec<_>>>().map(Opened::Groups)
            }
        })
        .collect()
}

fn failed(mount: &MountSpec, source: Option<&Path>, error: &std::io::Error) -> String {
    let source = source.map_or_else(
        || match &mount.source {
            MountSource::FileSystem { kind, .. } => kind.clone(),
            MountSource::Bind { path, .. } => path.display().to_string(),
            MountSource::ControlGroups => "cgroup".to_owned(),
        },
        |path| path.display().to_string(),
    );
    let target = mount.target.display().to_string();
    format!("error mounting {source:?} to rootfs at {target:?}: {}", words(error))
}

/// Mounts the root at the staging directory and opens it.
pub fn mount_root(spec: &ContainerSpec) -> Step<OwnedFd> {
    let doing = || "error preparing rootfs".to_owned();
    let staging = &spec.staging;
    match &spec.root {
        RootMount::Directory { path } => {
            let copy = context(sys::mount::copy(path, false), doing)?;
            context(sys::mount::set_attributes(copy.as_fd(), 0, sys::mount::MS_PRIVATE, false), doing)?;
            let target = context(sys::path::open_location(staging), doing)?;
            context(sys::mount::attach(copy.as_fd(), target.as_fd()), doing)?;
        }
        RootMount::Overlay { lower, upper, work } => {
            let joined: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
            let (upper, work) = (upper.display().to_string(), work.display().to_string());
            let options = format!("index=off,lowerdir={},upperdir={upper},workdir={work}", joined.join(":"));
            if options.len() <= OPTION_BYTES_MAX {
                context(sys::mount::mount("overlay", staging, &options), doing)?;
            } else {
                let mut options: Vec<(&str, &str)> = vec![("index", "off")];
                options.extend(joined.iter().map(|layer| ("lowerdir+", layer.as_str())));
                options.extend([("upperdir", upper.as_str()), ("workdir", work.as_str())]);
                let made = context(sys::mount::make("overlay", &options, 0), doing)?;
                let target = context(sys::path::open_location(staging), doing)?;
                context(sys::mount::attach(made.as_fd(), target.as_fd()), doing)?;
            }
        }
    }
    context(sys::path::open_location(staging), doing)
}

/// Attaches every mount.
pub fn mount_all(spec: &ContainerSpec, root: BorrowedFd<'_>, sources: Vec<Opened>) -> Step<()> {
    for (mount, opened) in spec.mounts.iter().zip(sources) {
        let result = match (&mount.source, opened) {
            (MountSource::FileSystem { kind, options }, _) => {
                let options: Vec<(&str, &str)> =
                    options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                make_at(mount, root, kind, &options)
            }
            (MountSource::Bind { propagation, recursive_attributes, .. }, Opened::Copy(copy)) => {
                bind_at(mount, root, &copy, *propagation, *recursive_attributes)
            }
            (MountSource::ControlGroups, Opened::Groups(groups)) => groups_at(mount, root, groups),
            (MountSource::ControlGroups, _) => make_at(mount, root, "cgroup2", &[]),
            (MountSource::Bind { .. }, _) => Ok(()),
        };
        result.map_err(|error| failed(mount, None, &error))?;
    }
    Ok(())
}

fn make_at(
    mount: &MountSpec,
    root: BorrowedFd<'_>,
    kind: &str,
    options: &[(&str, &str)],
) -> std::io::Result<()> {
    let made = sys::mount::make(kind, options, mount.attributes)?;
    let target = sys::path::open_or_make(root, &mount.target, Missing::Directory)?;
    let target = if ORDINARY.contains(&kind) {
        let path = mount.target.strip_prefix("/").unwrap_or(&mount.target);
        sys::path::open_beneath(root, path, O_PATH | O_DIRECTORY)
            .map_err(|_| Error::other(format!("filesystem {kind:?} must be mounted on ordinary directory")))?
    } else {
        target
    };
    sys::mount::attach(made.as_fd(), target.as_fd())
}

/// Kinds whose place may not be found by links of the image: one that changes later would show another place to whatever
/// hides and protects paths below (CVE-2019-19921).
const ORDINARY: [&str; 2] = ["proc", "sysfs"];

/// Files below `/proc` that may be covered: those that file systems of containers imitate.
const COVERED_BELOW_PROC: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// Refuses a mount over or below `/proc`, as upstream's runtime does: what is hidden and protected there would be that of
/// the volume. `target` is a path in the container whose links are followed.
fn refuse_over_proc(target: &Path, source: BorrowedFd<'_>) -> std::io::Result<()> {
    let Ok(inner) = target.strip_prefix("/proc") else { return Ok(()) };
    let shown = target.display().to_string();
    if inner.as_os_str().is_empty() {
        let kind = rustix::fs::fstatfs(source)?.f_type;
        return if kind == rustix::fs::PROC_SUPER_MAGIC {
            Ok(())
        } else {
            Err(Error::other(format!("{shown:?} cannot be mounted because it is not of type proc")))
        };
    }
    if COVERED_BELOW_PROC.iter().any(|path| inner == Path::new(path)) {
        return Ok(());
    }
    Err(Error::other(format!("{shown:?} cannot be mounted because it is inside /proc")))
}

/// Where an open place of the container lies in it.
fn place_of(root: BorrowedFd<'_>, place: BorrowedFd<'_>) -> std::io::Result<PathBuf> {
    let path_of = |own: BorrowedFd<'_>| std::fs::read_link(format!("/proc/self/fd/{}", own.as_raw_fd()));
    let (root, place) = (path_of(root)?, path_of(place)?);
    let inner = place.strip_prefix(&root).map_err(|_| Error::other("it is outside of the container"))?;
    Ok(Path::new("/").join(inner))
}

fn bind_at(
    mount: &MountSpec,
    root: BorrowedFd<'_>,
    copy: &OwnedFd,
    propagation: u64,
    recursive_attributes: bool,
) -> std::io::Result<()> {
    sys::mount::set_attributes(copy.as_fd(), 0, propagation, true)?;
    if mount.attributes != 0 {
        sys::mount::set_attributes(copy.as_fd(), mount.attributes, 0, recursive_attributes)?;
    }
    let missing = if sys::path::is_directory(copy.as_fd())? { Missing::Directory } else { Missing::File };
    refuse_over_proc(&mount.target, copy.as_fd())?;
    let target = sys::path::open_or_make(root, &mount.target, missing)?;
    refuse_over_proc(&place_of(root, target.as_fd())?, copy.as_fd())?;
    sys::mount::attach(copy.as_fd(), target.as_fd())
}

/// Version 1: a small tmpfs with each of the container's groups bound into it.
fn groups_at(mount: &MountSpec, root: BorrowedFd<'_>, groups: Vec<(String, OwnedFd)>) -> std::io::Result<()> {
    let strict = NO_SUID | NO_EXEC | NO_DEV;
    let base = sys::mount::make("tmpfs", &[("mode", "755")], strict)?;
    let target = sys::path::open_or_make(root, &mount.target, Missing::Directory)?;
    sys::mount::attach(base.as_fd(), target.as_fd())?;
    for (name, copy) in groups {
        let target = sys::path::open_or_make(root, &mount.target.join(&name), Missing::Directory)?;
        sys::mount::set_attributes(copy.as_fd(), mount.attributes, sys::mount::MS_PRIVATE, false)?;
        sys::mount::attach(copy.as_fd(), target.as_fd())?;
        for alias in name.split(',').filter(|alias| *alias != name) {
            sys::path::make_symlink(&name, base.as_fd(), alias)?;
        }
    }
    sys::mount::set_attributes(base.as_fd(), mount.attributes & READ_ONLY, 0, false)
}

/// Masked and read-only paths and the read-only root, once `/` is the container's.
pub fn hide(spec: &ContainerSpec) -> Step<()> {
    for path in &spec.readonly_paths {
        let result = make_readonly(Path::new(path));
        context(result, || format!("can't make {path:?} readonly"))?;
    }
    let mut empty = None;
    for path in &spec.masked_paths {
        let result = mask(Path::new(path), &mut empty);
        context(result, || format!("can't mask path {path:?}"))?;
    }
    if spec.readonly_root {
        let make = || {
            let root = sys::path::open_location(Path::new("/"))?;
            sys::mount::set_attributes(root.as_fd(), READ_ONLY, 0, false)
        };
        context(make(), || "make rootfs readonly".to_owned())?;
    }
    Ok(())
}

/// Opens a path to be covered; one that is not there needs no covering.
fn open_existing(path: &Path) -> std::io::Result<Option<OwnedFd>> {
    match sys::path::open_location(path) {
        Ok(location) => Ok(Some(location)),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn make_readonly(path: &Path) -> std::io::Result<()> {
    let Some(target) = open_existing(path)? else { return Ok(()) };
    let copy = sys::mount::copy_at(target.as_fd(), true)?;
    sys::mount::set_attributes(copy.as_fd(), READ_ONLY, 0, false)?;
    sys::mount::attach(copy.as_fd(), target.as_fd())
}

/// Covers a file with `/dev/null` and a directory with an empty read-only one.
fn mask(path: &Path, empty: &mut Option<OwnedFd>) -> std::io::Result<()> {
    let Some(target) = open_existing(path)? else { return Ok(()) };
    if !sys::path::is_directory(target.as_fd())? {
        let null = sys::mount::copy_at(super::devices::null()?.as_fd(), false)?;
        return sys::mount::attach(null.as_fd(), target.as_fd());
    }
    // One empty file system serves all, once it is attached somewhere it can be copied from.
    let cover = match empty {
        Some(first) => sys::mount::copy_at(first.as_fd(), false)?,
        None => {
            sys::mount::make("tmpfs", &[("mode", "755"), ("nr_inodes", "1")], READ_ONLY | NO_SUID | NO_DEV)?
        }
    };
    sys::mount::attach(cover.as_fd(), target.as_fd())?;
    empty.get_or_insert(cover);
    Ok(())
}
