//! Removal of trees that containers may have made hard to remove, without keeping others waiting.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, IFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Directories removed by recursion; deeper ones are moved up first, so that no tree needs more descriptors.
const RECURSION_MAX: usize = 64;

/// Numbers the names of directories that are moved up.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// Removes a file or a tree; what is not there is removed already. Immutable marks are taken off, links are not
/// followed, what is mounted in the tree is left as it is (a busy directory is an error).
///
/// # Errors
/// The system's answer.
pub fn remove(path: &Path) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::empty()) {
        Ok(folder) => remove_at(&folder, name),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// [`remove`] of a name within an open directory.
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
    folder: BorrowedFd<'_>,
    name: &OsStr,
    top: BorrowedFd<'_>,
    depth: usize,
    moved_up: &mut Vec<OsString>,
) -> io::Result<()> {
    match unlink(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    if depth >= RECURSION_MAX {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let shelter = OsString::from(format!(".removed-{}-{serial}", std::process::id()));
        rustix::fs::renameat(folder, name, top, &shelter)?;
        moved_up.push(shelter);
        return Ok(());
    }
    let directory = match enter(folder, name) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(folder, name, Mode::from_raw_mode(0o700), AtFlags::empty())?;
            enter(folder, name)?
        }
        other => other?,
    };
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let inner = entry.file_name();
        if inner.to_bytes() == b"." || inner.to_bytes() == b".." {
            continue;
        }
        remove_one(directory.as_fd(), OsStr::from_bytes(inner.to_bytes()), top, depth + 1, moved_up)?;
    }
    let removed = unlink(folder, name, AtFlags::REMOVEDIR);
    // The kernel frees a directory's blocks when it is closed for the last time. Were that in the call above, which holds
    // the lock of the folder, whoever makes a directory there would wait for a disk that discards blocks.
    drop(directory);
    match removed {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens a directory of the same mount.
fn enter(folder: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        match rustix::fs::openat2(folder, name, flags, Mode::empty(), ResolveFlags::NO_XDEV) {
            // A rename happened meanwhile somewhere on the machine; the kernel wants the call repeated.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // What is mounted belongs to somebody else.
            Err(Errno::XDEV) => return Err(Errno::BUSY),
            other => return other,
        }
    }
}

/// Unlinks; where the system forbids it, takes off immutable and append-only marks and tries again.
fn unlink(folder: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> rustix::io::Result<()> {
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

fn clear_marks(file: BorrowedFd<'_>) {
    if let Ok(marks) = rustix::fs::ioctl_getflags(file) {
        let cleared = marks & !(IFlags::IMMUTABLE | IFlags::APPEND);
        if cleared != marks {
            let _ = rustix::fs::ioctl_setflags(file, cleared);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        remove(&root).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        remove(&root).unwrap();
    }

    #[test]
    fn links_are_removed_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("kept")).unwrap();
        fs::write(folder.path().join("kept/file"), "x").unwrap();
        fs::create_dir(folder.path().join("gone")).unwrap();
        std::os::unix::fs::symlink("../kept", folder.path().join("gone/link")).unwrap();
        remove(&folder.path().join("gone")).unwrap();
        assert!(folder.path().join("kept/file").exists());
    }

    #[test]
    #[ignore = "needs root: run by make test"]
    fn what_is_mounted_in_a_tree_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["kept", "tree/volume"] {
            fs::create_dir_all(path(name)).unwrap();
        }
        fs::write(path("kept/file"), "x").unwrap();
        crate::namespace::unshare(libc::CLONE_NEWNS).unwrap();
        crate::mount::set_propagation(libc::MS_PRIVATE).unwrap();
        let volume = crate::path::open_location(&path("tree/volume")).unwrap();
        let mount = crate::mount::copy(&path("kept"), false).unwrap();
        crate::mount::attach(mount.as_fd(), volume.as_fd()).unwrap();
        let error = remove(&path("tree")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        assert!(path("kept/file").exists());
        crate::mount::unmount(&path("tree/volume")).unwrap();
        remove(&path("tree")).unwrap();
        assert!(path("kept/file").exists());
    }
}
