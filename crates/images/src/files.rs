//! File helpers of the store: atomic writes, and removal of trees that containers may have made hard to remove.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, IFlags, Mode, OFlags};
use rustix::io::Errno;

/// Directories removed by recursion; deeper ones are moved up first, so that no tree needs more descriptors.
const RECURSION_MAX: usize = 64;

/// Numbers temporary names within this process; leftovers of another are removed when the store opens.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A name that nothing else in this process uses.
pub fn unique_name(prefix: &str) -> String {
    format!("{prefix}{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// Replaces a file by `bytes`: whole or not at all, on disk when this returns. Mode 0600.
///
/// # Errors
/// Names the path.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = folder.join(unique_name(".tmp-"));
    let written = (|| {
        let mut options = fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.write(true).create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(folder)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        with_path("write", path, error)
    })
}

/// Makes the names in a directory durable.
///
/// # Errors
/// Names the path.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| with_path("sync", path, error))
}

/// Adds what was tried to an error.
pub fn with_path(action: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{action} {}: {error}", path.display()))
}

/// Makes a directory and those above it; 0700.
///
/// # Errors
/// Names the path.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path).map_err(|error| with_path("make directory", path, error))
}

/// Removes a file or a tree; what is not there is removed already. Immutable marks are taken off, links are not
/// followed, mounts are not entered by force (a busy directory is an error).
///
/// # Errors
/// Names the path.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(with_path("remove", path, io::ErrorKind::InvalidInput.into()));
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(with_path("remove", path, error.into())),
    };
    remove_at(&folder, name).map_err(|error| with_path("remove", path, error))
}

/// [`remove_tree`] of a name within an open directory.
///
/// # Errors
/// The system's answer.
pub fn remove_at(folder: impl AsFd, name: &OsStr) -> io::Result<()> {
    let mut moved_up: Vec<OsString> = Vec::new();
    remove_one(folder.as_fd(), name, folder.as_fd(), 0, &mut moved_up)?;
    while let Some(name) = moved_up.pop() {
        remove_one(folder.as_fd(), &name, folder.as_fd(), 0, &mut moved_up)?;
    }
    Ok(())
}

fn remove_one(
    folder: std::os::fd::BorrowedFd<'_>,
    name: &OsStr,
    top: std::os::fd::BorrowedFd<'_>,
    depth: usize,
    moved_up: &mut Vec<OsString>,
) -> io::Result<()> {
    match unlink(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    if depth >= RECURSION_MAX {
        let shelter = OsString::from(unique_name(".removed-"));
        rustix::fs::renameat(folder, name, top, &shelter)?;
        moved_up.push(shelter);
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory: OwnedFd = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(folder, name, Mode::from_raw_mode(0o700), AtFlags::empty())?;
            rustix::fs::openat(folder, name, flags, Mode::empty())?
        }
        Err(error) => return Err(error.into()),
    };
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let inner = entry.file_name();
        if inner.to_bytes() == b"." || inner.to_bytes() == b".." {
            continue;
        }
        let inner = std::os::unix::ffi::OsStrExt::from_bytes(inner.to_bytes());
        remove_one(directory.as_fd(), inner, top, depth + 1, moved_up)?;
    }
    match unlink(folder, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Unlinks; where the system forbids it, takes off immutable and append-only marks and tries again.
fn unlink(folder: std::os::fd::BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(folder, name, flags) {
        Err(Errno::PERM | Errno::ACCESS) => {}
        other => return other,
    }
    clear_marks(folder);
    if let Ok(found) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        let kind = FileType::from_raw_mode(found.st_mode);
        if matches!(kind, FileType::RegularFile | FileType::Directory) {
            let open = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            if let Ok(file) = rustix::fs::openat(folder, name, open, Mode::empty()) {
                clear_marks(file.as_fd());
            }
        }
    }
    rustix::fs::unlinkat(folder, name, flags)
}

fn clear_marks(file: std::os::fd::BorrowedFd<'_>) {
    if let Ok(marks) = rustix::fs::ioctl_getflags(file) {
        let cleared = marks & !(IFlags::IMMUTABLE | IFlags::APPEND);
        if cleared != marks {
            let _ = rustix::fs::ioctl_setflags(file, cleared);
        }
    }
}

/// Removes a path when dropped, unless it was kept.
#[derive(Debug)]
pub struct Scratch(Option<PathBuf>);

impl Scratch {
    /// Guards a path.
    pub fn new(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// The path.
    pub fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Leaves the path where it is (it was renamed, or is wanted).
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = remove_tree(&path)
        {
            tracing::warn!(%error, "temporary files stay until the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_trees_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("deep");
        fs::create_dir(&root).unwrap();
        // Deeper than a path may be long, so made step by step.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let mut current = rustix::fs::open(&root, flags, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&current, "dd", Mode::from_raw_mode(0o755)).unwrap();
            current = rustix::fs::openat(&current, "dd", flags, Mode::empty()).unwrap();
        }
        drop(current);
        remove_tree(&root).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        remove_tree(&root).unwrap();
    }

    #[test]
    fn links_are_removed_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("kept")).unwrap();
        fs::write(folder.path().join("kept/file"), "x").unwrap();
        fs::create_dir(folder.path().join("gone")).unwrap();
        std::os::unix::fs::symlink("../kept", folder.path().join("gone/link")).unwrap();
        remove_tree(&folder.path().join("gone")).unwrap();
        assert!(folder.path().join("kept/file").exists());
    }

    #[test]
    fn writes_replace_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
