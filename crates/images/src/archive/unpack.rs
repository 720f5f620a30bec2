//! Unpacks one layer into an empty directory, beneath which it stays whatever the archive says: parents are opened
//! with `openat2(RESOLVE_IN_ROOT)`, names are created with `O_EXCL` and `O_NOFOLLOW` on the parent's descriptor.
//!
//! Whiteouts (`.wh.NAME`, `.wh..wh..opq`) become overlayfs' own (character device 0:0, `trusted.overlay.opaque`) or
//! stay as they are, for the copying snapshotter. What depends on the layers below (attributes of directories that the
//! archive does not list, hard links into lower layers) is noted and settled by [`crate::layers`].

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::ArchiveError;
use super::stream::{Entry, EntryKind, TarStream};

/// Folders within folders, at most.
const DEPTH_MAX: usize = 256;
/// Symbolic links followed within one path, at most (the kernel's bound).
const LINKS_MAX: usize = 40;
/// Copy buffer, bytes.
const COPY_BUFFER: usize = 256 << 10;
/// Marks a directory that hides all of the same directory below.
pub const OPAQUE_NAME: &str = ".wh..wh..opq";
/// Marks a name that is hidden.
pub const WHITEOUT_PREFIX: &str = ".wh.";
/// Overlayfs' mark of an opaque directory.
pub const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// How whiteouts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhiteoutForm {
    /// As overlayfs wants them.
    Overlay,
    /// As the archive has them.
    Plain,
}

/// What to unpack and how far.
#[derive(Debug, Clone)]
pub struct UnpackOptions {
    /// Form of whiteouts.
    pub form: WhiteoutForm,
    /// Set owners and make device nodes (needs root).
    pub privileged: bool,
    /// Entries, at most.
    pub entries_max: u64,
    /// Bytes of file content, at most.
    pub bytes_max: u64,
}

/// What an unpacked archive leaves to be settled with the layers below it.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Bytes of file content.
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Directories made only because something lies within them.
    pub implicit_directories: BTreeSet<Vec<u8>>,
    /// The archive lists the root directory itself.
    pub root_listed: bool,
    /// Hard links whose target is not in this layer: name and target, as paths within the root.
    pub foreign_links: Vec<(Vec<u8>, Vec<u8>)>,
    /// Hidden names, as paths within the root.
    pub whiteouts: Vec<Vec<u8>>,
}

/// What the last component of a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum NamePlan<'a> {
    /// An ordinary entry.
    Make(&'a [u8]),
    /// Its directory hides everything below.
    Opaque,
    /// Hides this name below.
    Hide(&'a [u8]),
    /// Bookkeeping of other storage drivers: passed over.
    Skip,
}

/// Decides what a name means in a layer.
///
/// # Errors
/// When a whiteout names nothing that could exist.
pub fn plan_name(name: &[u8]) -> Result<NamePlan<'_>, &'static str> {
    if name == OPAQUE_NAME.as_bytes() {
        return Ok(NamePlan::Opaque);
    }
    match name.strip_prefix(WHITEOUT_PREFIX.as_bytes()) {
        None => Ok(NamePlan::Make(name)),
        Some(hidden) if hidden.starts_with(WHITEOUT_PREFIX.as_bytes()) => Ok(NamePlan::Skip),
        Some(b"" | b"." | b"..") => Err("whiteout of no name"),
        Some(hidden) => Ok(NamePlan::Hide(hidden)),
    }
}

/// Splits a path into its components; a leading slash means the layer's root, `..` is refused.
///
/// # Errors
/// Says which rule the path breaks.
pub fn split_path(path: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    let mut components = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => return Err("path leaves the layer with `..`"),
            _ if component.len() > 255 => return Err("path has a name of more than 255 bytes"),
            _ => components.push(component),
        }
    }
    if components.len() > DEPTH_MAX {
        return Err("path is more than 256 directories deep");
    }
    Ok(components)
}

/// Unpacks an uncompressed archive into the empty directory `root`. On error the directory holds a part of it: the
/// caller removes it.
///
/// # Errors
/// Names the entry and what is wrong with it.
pub fn unpack(
    archive: &mut TarStream<impl Read>,
    root: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked, ArchiveError> {
    let mut unpacker = Unpacker::new(root, options)?;
    while let Some(entry) = archive.next_entry()? {
        unpacker.unpacked.entries += 1;
        if unpacker.unpacked.entries > options.entries_max {
            return Err(ArchiveError::Invalid(format!(
                "archive has more than the limit of {} entries",
                options.entries_max
            )));
        }
        unpacker.entry(&entry, archive)?;
    }
    unpacker.finish()
}

struct Unpacker<'a> {
    root: OwnedFd,
    root_text: Vec<u8>,
    options: &'a UnpackOptions,
    unpacked: Unpacked,
    /// Directories whose mode and times are set at the end, because making entries changes them.
    directories: Vec<(Vec<u8>, Vec<u8>, Entry)>,
    parent: Option<(Vec<u8>, Arc<OwnedFd>)>,
    buffer: Vec<u8>,
}

impl<'a> Unpacker<'a> {
    fn new(root: &Path, options: &'a UnpackOptions) -> Result<Self, ArchiveError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor = rustix::fs::open(root, flags, Mode::empty())
            .map_err(|error| ArchiveError::io(format!("open {}", root.display()))(error.into()))?;
        let root_text = descriptor_path(&descriptor)
            .map_err(|error| ArchiveError::io(format!("find the path of {}", root.display()))(error))?;
        Ok(Self {
            root: descriptor,
            root_text,
            options,
            unpacked: Unpacked::default(),
            directories: Vec::new(),
            parent: None,
            buffer: vec![0; COPY_BUFFER],
        })
    }

    fn entry(&mut self, entry: &Entry, content: &mut impl Read) -> Result<(), ArchiveError> {
        let wrong = |reason: &str| ArchiveError::entry(&entry.path, reason);
        let components = split_path(&entry.path).map_err(wrong)?;
        let Some((name, parents)) = components.split_last() else {
            return self.root_entry(entry);
        };
        let plan = plan_name(name).map_err(wrong)?;
        if plan == NamePlan::Skip {
            return Ok(());
        }
        // Only the last component may be a whiteout: a directory of such a name could not be told from one.
        if parents.iter().any(|parent| parent.starts_with(WHITEOUT_PREFIX.as_bytes())) {
            return if parents.iter().any(|parent| parent.starts_with(b".wh..wh.")) {
                Ok(())
            } else {
                Err(wrong("path lies within a whiteout"))
            };
        }
        let parent =
            self.open_parent(parents).map_err(|error| at_entry(&entry.path, "open its directory", error))?;
        match plan {
            NamePlan::Make(name) => self.make(entry, &parent, parents, name, content),
            NamePlan::Opaque => self.make_opaque(&parent),
            NamePlan::Hide(hidden) => self.hide(&parent, parents, hidden),
            NamePlan::Skip => Ok(()),
        }
        .map_err(|error| at_entry(&entry.path, "make it", error))
    }

    fn root_entry(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        if entry.kind != EntryKind::Directory {
            return Err(ArchiveError::entry(&entry.path, "root of the layer is not a directory"));
        }
        self.unpacked.root_listed = true;
        self.directories.push((Vec::new(), Vec::new(), entry.clone()));
        Ok(())
    }

    /// Opens the directory of an entry, and makes what is missing of it.
    fn open_parent(&mut self, components: &[&[u8]]) -> io::Result<Arc<OwnedFd>> {
        let path = components.join(&b'/');
        if let Some((cached, descriptor)) = &self.parent
            && *cached == path
        {
            return Ok(descriptor.clone());
        }
        let opened = match open_in_root(&self.root, &path, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(descriptor) => descriptor,
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_parents(components)?,
            Err(error) => return Err(error.into()),
        };
        self.check_depth(&opened)?;
        let descriptor = Arc::new(opened);
        self.parent = Some((path, descriptor.clone()));
        Ok(descriptor)
    }

    /// Links within the archive may lead deeper than a path may be long: what is made has to stay removable.
    fn check_depth(&self, directory: &OwnedFd) -> io::Result<()> {
        let path = descriptor_path(directory)?;
        let Some(inner) = path.strip_prefix(self.root_text.as_slice()) else {
            return Err(io::Error::other("directory is outside of the layer"));
        };
        if inner.len() > 4096 || inner.iter().filter(|byte| **byte == b'/').count() > DEPTH_MAX {
            return Err(io::Error::other("path is more than 256 directories deep"));
        }
        Ok(())
    }

    /// Walks the components one by one, resolves links within the root and makes missing directories.
    fn make_parents(&mut self, components: &[&[u8]]) -> io::Result<OwnedFd> {
        let mut pending: Vec<Vec<u8>> = components.iter().rev().map(|component| component.to_vec()).collect();
        let mut resolved: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(component) = pending.pop() {
            match component.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    resolved.pop();
                    continue;
                }
                _ => {}
            }
            if resolved.len() >= DEPTH_MAX {
                return Err(io::Error::other("path is more than 256 directories deep"));
            }
            let directory = self.open_resolved(&resolved)?;
            match status(&directory, &component)? {
                Some(found) if file_type(&found) == FileType::Directory => resolved.push(component),
                Some(found) if file_type(&found) == FileType::Symlink => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::LOOP.into());
                    }
                    let target = rustix::fs::readlinkat(&directory, os(&component), Vec::new())?;
                    let target = target.as_bytes();
                    if target.starts_with(b"/") {
                        resolved.clear();
                    }
                    pending.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                }
                Some(found) if is_whiteout(&found) => {
                    rustix::fs::unlinkat(&directory, os(&component), AtFlags::empty())?;
                    self.make_implicit(&directory, &mut resolved, component)?;
                    let made = self.open_resolved(&resolved)?;
                    self.make_opaque(&made)?;
                }
                Some(_) => return Err(Errno::NOTDIR.into()),
                None => self.make_implicit(&directory, &mut resolved, component)?,
            }
        }
        Ok(self.open_resolved(&resolved)?)
    }

    fn make_implicit(
        &mut self,
        directory: &OwnedFd,
        resolved: &mut Vec<Vec<u8>>,
        component: Vec<u8>,
    ) -> io::Result<()> {
        rustix::fs::mkdirat(directory, os(&component), Mode::from_raw_mode(0o755))?;
        // Whatever the process' umask is.
        rustix::fs::chmodat(directory, os(&component), Mode::from_raw_mode(0o755), AtFlags::empty())?;
        let hidden = self.take_plain_whiteout(directory, &component)?;
        resolved.push(component);
        self.unpacked.implicit_directories.insert(resolved.join(&b'/'));
        if hidden {
            let made = self.open_resolved(resolved)?;
            self.make_opaque(&made)?;
        }
        Ok(())
    }

    fn open_resolved(&self, components: &[Vec<u8>]) -> rustix::io::Result<OwnedFd> {
        let path = components.join(&b'/');
        let path = if path.is_empty() { b".".to_vec() } else { path };
        rustix::fs::openat2(
            &self.root,
            os(&path),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        )
    }

    fn make_opaque(&mut self, directory: &OwnedFd) -> io::Result<()> {
        match self.options.form {
            WhiteoutForm::Overlay => {
                rustix::fs::setxattr(descriptor_link(directory), OPAQUE_XATTR, b"y", XattrFlags::empty())?;
            }
            WhiteoutForm::Plain => make_marker(directory, OPAQUE_NAME.as_bytes())?,
        }
        Ok(())
    }

    /// Hides a name of the layers below. If this layer has the name itself, that already hides it, save for a
    /// directory, which would be merged.
    fn hide(&mut self, parent: &OwnedFd, parents: &[&[u8]], hidden: &[u8]) -> io::Result<()> {
        match status(parent, hidden)? {
            Some(found) if file_type(&found) == FileType::Directory => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = rustix::fs::openat(parent, os(hidden), flags, Mode::empty())?;
                return self.make_opaque(&directory);
            }
            Some(_) => return Ok(()),
            None => {}
        }
        match self.options.form {
            WhiteoutForm::Overlay => {
                rustix::fs::mknodat(parent, os(hidden), FileType::CharacterDevice, Mode::empty(), 0)?;
            }
            WhiteoutForm::Plain => {
                make_marker(parent, &[WHITEOUT_PREFIX.as_bytes(), hidden].concat())?;
            }
        }
        self.unpacked.whiteouts.push(join(parents, hidden));
        Ok(())
    }

    /// Removes the whiteout file of a name that is made now; true if there was one.
    fn take_plain_whiteout(&self, parent: &OwnedFd, name: &[u8]) -> io::Result<bool> {
        if self.options.form != WhiteoutForm::Plain || self.unpacked.whiteouts.is_empty() {
            return Ok(false);
        }
        let marker = [WHITEOUT_PREFIX.as_bytes(), name].concat();
        match rustix::fs::unlinkat(parent, os(&marker), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT | Errno::NAMETOOLONG) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn make(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        parents: &[&[u8]],
        name: &[u8],
        content: &mut impl Read,
    ) -> io::Result<()> {
        let mut opaque = self.take_plain_whiteout(parent, name)?;
        if let Some(found) = status(parent, name)? {
            if entry.kind == EntryKind::Directory && file_type(&found) == FileType::Directory {
                self.unpacked.implicit_directories.remove(&join(parents, name));
                self.directories.push((parents.join(&b'/'), name.to_vec(), entry.clone()));
                return Ok(());
            }
            opaque |= is_whiteout(&found);
            self.parent = None;
            sys::tree::remove_at(parent, os(name))?;
        }
        match entry.kind {
            EntryKind::Regular => return self.make_file(entry, parent, name, content),
            EntryKind::HardLink => return self.make_link(entry, parent, parents, name),
            EntryKind::Directory => {
                rustix::fs::mkdirat(parent, os(name), Mode::from_raw_mode(0o755))?;
                if opaque {
                    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    let made = rustix::fs::openat(parent, os(name), flags, Mode::empty())?;
                    self.make_opaque(&made)?;
                }
                self.directories.push((parents.join(&b'/'), name.to_vec(), entry.clone()));
                return Ok(());
            }
            EntryKind::Symlink => rustix::fs::symlinkat(os(&entry.link), parent, os(name))?,
            EntryKind::CharDevice | EntryKind::BlockDevice | EntryKind::Fifo => {
                if entry.kind != EntryKind::Fifo && !self.options.privileged {
                    return Ok(());
                }
                let kind = match entry.kind {
                    EntryKind::CharDevice => FileType::CharacterDevice,
                    EntryKind::BlockDevice => FileType::BlockDevice,
                    _ => FileType::Fifo,
                };
                let device = rustix::fs::makedev(entry.device.0, entry.device.1);
                rustix::fs::mknodat(parent, os(name), kind, Mode::from_raw_mode(0o600), device)?;
            }
        }
        self.apply_attributes(parent, name, entry)
    }

    fn make_file(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        name: &[u8],
        content: &mut impl Read,
    ) -> io::Result<()> {
        self.unpacked.bytes = self.unpacked.bytes.saturating_add(entry.size);
        if self.unpacked.bytes > self.options.bytes_max {
            return Err(io::Error::other(format!(
                "layer is larger than the limit of {} bytes",
                self.options.bytes_max
            )));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(parent, os(name), flags, Mode::from_raw_mode(0o600))?);
        let mut left = entry.size;
        while left > 0 {
            let wanted = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let count = content.read(&mut self.buffer[..wanted])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_all(&self.buffer[..count])?;
            left -= count as u64;
        }
        if self.options.privileged {
            rustix::fs::fchown(&file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(entry.mode as RawMode))?;
        for (key, value) in kept_xattrs(entry) {
            ignore_unsupported(rustix::fs::fsetxattr(&file, key, value, XattrFlags::empty()))?;
        }
        rustix::fs::futimens(&file, &timestamps(entry))?;
        Ok(())
    }

    fn make_link(
        &mut self,
        entry: &Entry,
        parent: &OwnedFd,
        parents: &[&[u8]],
        name: &[u8],
    ) -> io::Result<()> {
        let components = split_path(&entry.link).map_err(io::Error::other)?;
        let Some((target_name, target_parents)) = components.split_last() else {
            return Err(io::Error::other("hard link to the root of the layer"));
        };
        let directory =
            open_in_root(&self.root, &target_parents.join(&b'/'), OFlags::PATH | OFlags::DIRECTORY);
        let foreign = match directory {
            Ok(directory) => match status(&directory, target_name)? {
                Some(found) if !is_whiteout(&found) => {
                    rustix::fs::linkat(&directory, os(target_name), parent, os(name), AtFlags::empty())?;
                    false
                }
                _ => true,
            },
            Err(Errno::NOENT | Errno::NOTDIR) => true,
            Err(error) => return Err(error.into()),
        };
        if foreign {
            self.unpacked.foreign_links.push((join(parents, name), components.join(&b'/')));
        }
        Ok(())
    }

    /// Owner, mode, attributes and times of anything but regular files. The order matters: a change of owner clears
    /// set-user-id bits and capabilities.
    fn apply_attributes(&self, parent: &OwnedFd, name: &[u8], entry: &Entry) -> io::Result<()> {
        if self.options.privileged {
            rustix::fs::chownat(
                parent,
                os(name),
                Some(Uid::from_raw(entry.uid)),
                Some(Gid::from_raw(entry.gid)),
                AtFlags::SYMLINK_NOFOLLOW,
            )?;
        }
        if entry.kind != EntryKind::Symlink {
            rustix::fs::chmodat(
                parent,
                os(name),
                Mode::from_raw_mode(entry.mode as RawMode),
                AtFlags::empty(),
            )?;
        }
        let mut path = descriptor_link(parent).into_bytes();
        path.push(b'/');
        path.extend_from_slice(name);
        for (key, value) in kept_xattrs(entry) {
            ignore_unsupported(rustix::fs::lsetxattr(os(&path), key, value, XattrFlags::empty()))?;
        }
        rustix::fs::utimensat(parent, os(name), &timestamps(entry), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn finish(mut self) -> Result<Unpacked, ArchiveError> {
        let directories = std::mem::take(&mut self.directories);
        // Inner directories come later in the list: setting from the end leaves the outer times right.
        for (parents, name, entry) in directories.iter().rev() {
            let name: &[u8] = if name.is_empty() { b"." } else { name };
            self.finish_directory(parents, name, entry)
                .map_err(|error| at_entry(&entry.path, "set its attributes", error))?;
        }
        Ok(self.unpacked)
    }

    fn finish_directory(&self, parents: &[u8], name: &[u8], entry: &Entry) -> io::Result<()> {
        let parent = match open_in_root(&self.root, parents, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(parent) => parent,
            // Replaced by a later entry.
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match status(&parent, name)? {
            Some(found) if file_type(&found) == FileType::Directory => {
                self.apply_attributes(&parent, name, entry)
            }
            _ => Ok(()),
        }
    }
}

fn at_entry(path: &[u8], action: &str, error: io::Error) -> ArchiveError {
    ArchiveError::Entry {
        path: String::from_utf8_lossy(path).into_owned(),
        reason: format!("cannot {action}: {error}"),
    }
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

fn join(parents: &[&[u8]], name: &[u8]) -> Vec<u8> {
    let mut path = parents.join(&b'/');
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

/// Opens a path as if `root` were the root directory: links cannot lead out of it.
pub(crate) fn open_in_root(root: impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..8 {
        match rustix::fs::openat2(root.as_fd(), os(path), flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // The kernel saw a rename somewhere while it walked over `..`.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

pub(crate) fn status(directory: impl AsFd, name: &[u8]) -> io::Result<Option<rustix::fs::Stat>> {
    match rustix::fs::statat(directory.as_fd(), os(name), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn file_type(status: &rustix::fs::Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}

/// Overlayfs' whiteout: a character device 0:0.
pub(crate) fn is_whiteout(status: &rustix::fs::Stat) -> bool {
    file_type(status) == FileType::CharacterDevice && status.st_rdev == 0
}

fn make_marker(directory: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, os(name), flags, Mode::from_raw_mode(0o600))?;
    Ok(())
}

pub(crate) fn descriptor_link(descriptor: impl AsFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", descriptor.as_fd().as_raw_fd())
}

fn descriptor_path(descriptor: &OwnedFd) -> io::Result<Vec<u8>> {
    Ok(std::fs::read_link(descriptor_link(descriptor))?.into_os_string().as_encoded_bytes().to_vec())
}

fn timestamps(entry: &Entry) -> Timestamps {
    let time = Timespec { tv_sec: entry.mtime.0, tv_nsec: entry.mtime.1.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// The attributes that an image may set. Those of overlayfs itself are not among them: they would redirect lookups.
fn kept_xattrs(entry: &Entry) -> impl Iterator<Item = (&OsStr, &[u8])> {
    entry.xattrs.iter().filter(|(key, _)| xattr_kept(key)).map(|(key, value)| (os(key), value.as_slice()))
}

pub(crate) fn xattr_kept(key: &[u8]) -> bool {
    !key.contains(&0)
        && (key == b"security.capability"
            || key.starts_with(b"system.posix_acl_")
            || (key.starts_with(b"user.") && !key.starts_with(b"user.overlay.")))
}

/// File systems differ in the attributes they can hold; a layer is no worse for one that its disk cannot keep.
pub(crate) fn ignore_unsupported(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NOTSUP | Errno::PERM | Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_planned() {
        let cases: [(&str, Result<NamePlan<'_>, &str>); 7] = [
            ("file", Ok(NamePlan::Make(b"file"))),
            (".wh..wh..opq", Ok(NamePlan::Opaque)),
            (".wh.file", Ok(NamePlan::Hide(b"file"))),
            (".wh..wh.plnk", Ok(NamePlan::Skip)),
            (".wh.", Err("whiteout of no name")),
            (".wh...", Err("whiteout of no name")),
            (".whatever", Ok(NamePlan::Make(b".whatever"))),
        ];
        for (name, expected) in cases {
            assert_eq!(plan_name(name.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn paths_cannot_leave() {
        assert_eq!(split_path(b"./a//b/").unwrap(), vec![&b"a"[..], b"b"]);
        assert_eq!(split_path(b"/etc/x").unwrap(), vec![&b"etc"[..], b"x"]);
        assert!(split_path(b"/").unwrap().is_empty());
        assert!(split_path(b"a/../b").is_err());
        assert!(split_path(&b"a/".repeat(300)).is_err());
        assert!(split_path(&[b'a'; 300]).is_err());
    }

    #[test]
    fn attributes_of_overlayfs_are_dropped() {
        assert!(xattr_kept(b"security.capability"));
        assert!(xattr_kept(b"user.mime_type"));
        for key in
            ["trusted.overlay.redirect", "trusted.overlay.opaque", "user.overlay.metacopy", "security.ima"]
        {
            assert!(!xattr_kept(key.as_bytes()), "{key}");
        }
    }
}
