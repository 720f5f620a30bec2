//! Writable roots of containers: an upper and a work directory over the image's layers, or, where overlayfs cannot be
//! used, a copy of all layers.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cri::image::{PreparedRoot, RootMount};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};
use rustix::mount::{MountFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use crate::archive::unpack::{
    OPAQUE_NAME, OPAQUE_XATTR, UnpackOptions, WHITEOUT_PREFIX, descriptor_link, file_type, is_whiteout,
    status,
};
use crate::files::{self, Scratch};
use crate::layers::{copy_attributes, copy_file, times_of};

/// Version of the file beside a root.
const VERSION: u32 = 1;
/// What a root's folder says of itself.
const RECORD: &str = "root.json";

#[derive(Serialize, Deserialize)]
struct RootRecord {
    version: u32,
    root: PreparedRoot,
}

/// Tries whether overlayfs works in a folder, as containers will use it.
///
/// # Errors
/// Says why not.
pub fn probe_overlay(folder: &Path) -> io::Result<()> {
    let scratch = Scratch::new(folder.join(files::unique_name(".probe-")));
    let path = |name: &str| scratch.path().join(name);
    for name in ["bottom", "top", "upper", "work", "merged"] {
        files::make_directory(&path(name))?;
    }
    fs::write(path("bottom/hidden"), "")?;
    let hidden = path("top/hidden");
    rustix::fs::mknodat(rustix::fs::CWD, &hidden, FileType::CharacterDevice, Mode::empty(), 0)?;
    rustix::fs::setxattr(path("top"), OPAQUE_XATTR, b"n", rustix::fs::XattrFlags::empty())?;
    rustix::fs::removexattr(path("top"), OPAQUE_XATTR)?;
    let data = format!(
        "lowerdir={}:{},upperdir={},workdir={}",
        path("top").display(),
        path("bottom").display(),
        path("upper").display(),
        path("work").display()
    );
    let data = std::ffi::CString::new(data)?;
    let merged = path("merged");
    rustix::mount::mount("overlay", &merged, "overlay", MountFlags::empty(), data.as_c_str())?;
    let seen = merged.join("hidden").symlink_metadata().is_ok();
    let written = fs::write(merged.join("written"), "");
    rustix::mount::unmount(&merged, UnmountFlags::DETACH)?;
    written?;
    if seen { Err(io::Error::other("whiteouts have no effect")) } else { Ok(()) }
}

/// Whether a container id can be a folder's name.
pub fn is_container_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 200
        && !id.starts_with('.')
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Makes the upper and work directories of a container. Fast: a few system calls, nothing is waited for.
///
/// # Errors
/// Names the path.
pub fn make_overlay(folder: &Path, lower: Vec<PathBuf>, privileged: bool) -> io::Result<RootMount> {
    let (upper, work) = (folder.join("upper"), folder.join("work"));
    files::make_directory(&upper)?;
    files::make_directory(&work)?;
    // The container sees the upper directory's attributes as those of `/`.
    let attributes = lower.first().map(fs::metadata).transpose()?;
    let mode = attributes.as_ref().map_or(0o755, |found| found.permissions().mode() & 0o7777);
    fs::set_permissions(&upper, fs::Permissions::from_mode(mode))?;
    if let Some(found) = attributes.filter(|_| privileged) {
        use std::os::unix::fs::MetadataExt;
        if found.uid() != 0 || found.gid() != 0 {
            std::os::unix::fs::chown(&upper, Some(found.uid()), Some(found.gid()))?;
        }
    }
    Ok(RootMount::Overlay { lower, upper, work })
}

/// Copies all layers (bottom first) into one directory.
///
/// # Errors
/// Names the path.
pub fn make_copy(folder: &Path, layers: &[PathBuf], options: &UnpackOptions) -> io::Result<RootMount> {
    files::make_directory(folder)?;
    let root = folder.join("rootfs");
    let temporary = Scratch::new(folder.join(files::unique_name(".rootfs-")));
    files::make_directory(temporary.path())?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let to = rustix::fs::open(temporary.path(), flags, Mode::empty())?;
    for layer in layers {
        let from = rustix::fs::open(layer, flags, Mode::empty())
            .map_err(|error| files::with_path("open layer", layer, error.into()))?;
        let mut copier = Copier { options, links: std::collections::HashMap::new(), root: &to };
        copier
            .directory(&from, &to, &mut Vec::new())
            .map_err(|error| files::with_path("copy layer", layer, error))?;
    }
    files::remove_tree(&root)?;
    fs::rename(temporary.path(), &root)?;
    temporary.keep();
    Ok(RootMount::Directory { path: root })
}

/// Writes down what a root is, so that a restarted daemon knows which layers are in use.
///
/// # Errors
/// Names the path.
pub fn save(folder: &Path, root: &PreparedRoot) -> io::Result<()> {
    let record = RootRecord { version: VERSION, root: root.clone() };
    let bytes = serde_json::to_vec(&record).map_err(io::Error::other)?;
    let temporary = folder.join(".root.json");
    // Not synced: after a crash of the machine no container is left to use it.
    fs::write(&temporary, bytes)
        .and_then(|()| fs::rename(&temporary, folder.join(RECORD)))
        .map_err(|error| files::with_path("write", &temporary, error))
}

/// Reads what [`save`] wrote; `None` if there is none or it is not whole.
pub fn load(folder: &Path) -> Option<PreparedRoot> {
    let record: RootRecord = serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()?;
    (record.version == VERSION).then_some(record.root)
}

/// Copies one layer over what lies below. Directories are walked by descriptor: no link is followed.
struct Copier<'a> {
    options: &'a UnpackOptions,
    /// First copy of each file that has several names in the layer.
    links: std::collections::HashMap<(u64, u64), Vec<u8>>,
    root: &'a OwnedFd,
}

impl Copier<'_> {
    fn directory(&mut self, from: &OwnedFd, to: &OwnedFd, path: &mut Vec<Vec<u8>>) -> io::Result<()> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for entry in Dir::read_from(from)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        let opaque = rustix::fs::getxattr(descriptor_link(from), OPAQUE_XATTR, &mut [0_u8; 4]).is_ok()
            || names.iter().any(|name| name == OPAQUE_NAME.as_bytes());
        if opaque {
            clear(to)?;
        }
        // Whiteouts speak of the layers below, so they come before what this layer brings.
        let (hidden, made): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| name.starts_with(WHITEOUT_PREFIX.as_bytes()));
        for name in &hidden {
            if name != OPAQUE_NAME.as_bytes() {
                sys::tree::remove_at(to, os(&name[WHITEOUT_PREFIX.len()..]))?;
            }
        }
        for name in made {
            path.push(name.clone());
            self.entry(from, to, &name, path)?;
            path.pop();
        }
        let found = rustix::fs::fstat(from)?;
        copy_attributes(from, &found, to, self.options)
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &[u8],
        path: &mut Vec<Vec<u8>>,
    ) -> io::Result<()> {
        let Some(found) = status(from, name)? else { return Ok(()) };
        let kind = file_type(&found);
        let below = status(to, name)?;
        let merged = kind == FileType::Directory
            && below.as_ref().is_some_and(|below| file_type(below) == FileType::Directory);
        if below.is_some() && !merged {
            sys::tree::remove_at(to, os(name))?;
        }
        if is_whiteout(&found) {
            return Ok(());
        }
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            if !merged {
                rustix::fs::mkdirat(to, os(name), Mode::from_raw_mode(0o700))?;
            }
            let from = rustix::fs::openat(from, os(name), flags, Mode::empty())?;
            let to = rustix::fs::openat(to, os(name), flags, Mode::empty())?;
            return self.directory(&from, &to, path);
        }
        if found.st_nlink > 1 {
            let key = (found.st_dev, found.st_ino);
            if let Some(first) = self.links.get(&key) {
                rustix::fs::linkat(self.root, os(first), to, os(name), AtFlags::empty())?;
                return Ok(());
            }
            self.links.insert(key, path.join(&b'/'));
        }
        self.leaf(from, to, name, &found)
    }

    fn leaf(&self, from: &OwnedFd, to: &OwnedFd, name: &[u8], found: &rustix::fs::Stat) -> io::Result<()> {
        match file_type(found) {
            FileType::RegularFile => {
                let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let create =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let source = rustix::fs::openat(from, os(name), read, Mode::empty())?;
                let target = rustix::fs::openat(to, os(name), create, Mode::from_raw_mode(0o600))?;
                copy_file(&fs::File::from(source.try_clone()?), &fs::File::from(target.try_clone()?))?;
                return copy_attributes(&source, found, &target, self.options);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, os(name), Vec::new())?;
                rustix::fs::symlinkat(target.as_c_str(), to, os(name))?;
            }
            kind => {
                rustix::fs::mknodat(
                    to,
                    os(name),
                    kind,
                    Mode::from_raw_mode(found.st_mode & 0o7777),
                    found.st_rdev,
                )?;
                rustix::fs::chmodat(
                    to,
                    os(name),
                    Mode::from_raw_mode(found.st_mode & 0o7777),
                    AtFlags::empty(),
                )?;
            }
        }
        if self.options.privileged {
            rustix::fs::chownat(
                to,
                os(name),
                Some(Uid::from_raw(found.st_uid)),
                Some(Gid::from_raw(found.st_gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        rustix::fs::utimensat(to, os(name), &times_of(found), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }
}

fn clear(directory: &OwnedFd) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            sys::tree::remove_at(directory, os(name))?;
        }
    }
    Ok(())
}

fn os(bytes: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}
