//! Paths inside a directory tree that is not trusted: every step is resolved below the root, symlinks included, or not
//! followed at all.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Component, Path};

use crate::{c_path, check, check_long};

pub use libc::{O_DIRECTORY, O_NOCTTY, O_PATH, O_RDONLY, O_RDWR};

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_NO_SYMLINKS: u64 = 0x04;
const RESOLVE_BENEATH: u64 = 0x08;
const RESOLVE_IN_ROOT: u64 = 0x10;

/// Opens `path` with `root` as its `/`: neither `..` nor symlinks lead out.
pub fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: i32) -> io::Result<OwnedFd> {
    open_resolved(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
}

/// Opens `path` below `root`; the empty path is `root` itself.
///
/// # Errors
/// `ELOOP` for a symlink anywhere on the way, `EXDEV` for an absolute path or one that leads out.
pub fn open_beneath(root: BorrowedFd<'_>, path: &Path, flags: i32) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    open_resolved(root, path, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
}

fn open_resolved(root: BorrowedFd<'_>, path: &Path, flags: i32, resolve: u64) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: 0, resolve };
    loop {
        // SAFETY: path and structure outlive the call and the size is the structure's.
        let result = check_long(unsafe {
            libc::syscall(
                libc::SYS_openat2,
                root.as_raw_fd(),
                path.as_ptr(),
                &raw const how,
                size_of::<OpenHow>(),
            )
        });
        match result {
            // SAFETY: a new descriptor that nobody else owns.
            Ok(descriptor) => return Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) }),
            // A rename happened meanwhile somewhere on the machine; the kernel wants the call repeated.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Opens a path of the current root as a location only.
pub fn open_location(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: a terminated path.
    let descriptor = check(unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// What a missing last component is made as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A directory.
    Directory,
    /// An empty file; its parents are directories.
    File,
}

/// Opens `path` inside `root` as a location, making what is missing (directories 0755, files 0644).
pub fn open_or_make(root: BorrowedFd<'_>, path: &Path, missing: Missing) -> io::Result<OwnedFd> {
    match open_in_root(root, path, libc::O_PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let names: Vec<&OsStr> = path
        .components()
        .filter_map(|component| if let Component::Normal(name) = component { Some(name) } else { None })
        .collect();
    let mut done = std::path::PathBuf::from("/");
    let mut directory = open_in_root(root, &done, libc::O_PATH | libc::O_DIRECTORY)?;
    for (index, name) in names.iter().enumerate() {
        let last = index + 1 == names.len();
        done.push(name);
        let made = match open_in_root(root, &done, libc::O_PATH) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if last && missing == Missing::File {
                    make_file(&directory, name)?;
                } else {
                    make_directory(&directory, name)?;
                }
                open_in_root(root, &done, libc::O_PATH)
            }
            other => other,
        };
        directory = made?;
    }
    Ok(directory)
}

fn make_directory(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let name = c_path(Path::new(name))?;
    // SAFETY: a valid directory and a terminated name.
    match check(unsafe { libc::mkdirat(parent.as_raw_fd(), name.as_ptr(), 0o755) }) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Makes a directory of exactly this mode below an open one and opens it. One that is there keeps its mode.
///
/// # Errors
/// If it cannot be made, or something else is there: `ELOOP` for a symlink, `ENOTDIR` for a file.
pub fn make_directory_of_mode(parent: BorrowedFd<'_>, name: &Path, mode: u32) -> io::Result<OwnedFd> {
    let terminated = c_path(name)?;
    // SAFETY: a valid directory and a terminated name.
    let made = check(unsafe { libc::mkdirat(parent.as_raw_fd(), terminated.as_ptr(), mode) });
    match &made {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(made.unwrap_err()),
        _ => {}
    }
    let directory = open_beneath(parent, name, libc::O_RDONLY | libc::O_DIRECTORY)?;
    if made.is_ok() {
        // The umask took its part of the mode, and `mkdir` knows no set-group bit.
        // SAFETY: a valid descriptor.
        check(unsafe { libc::fchmod(directory.as_raw_fd(), mode) })?;
    }
    Ok(directory)
}

fn make_file(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let name = c_path(Path::new(name))?;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY | libc::O_CLOEXEC | libc::O_NOFOLLOW;
    // SAFETY: a valid directory and a terminated name.
    match check(unsafe { libc::openat(parent.as_raw_fd(), name.as_ptr(), flags, 0o644) }) {
        Ok(descriptor) => {
            // SAFETY: a new descriptor that nobody else owns; dropping closes it.
            drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a character or block device node (`mode` carries the type) below an open directory.
pub fn make_node(parent: BorrowedFd<'_>, name: &str, mode: u32, device: u64) -> io::Result<()> {
    let name = c_path(Path::new(name))?;
    // SAFETY: a valid directory and a terminated name.
    check(unsafe { libc::mknodat(parent.as_raw_fd(), name.as_ptr(), mode, device) })?;
    Ok(())
}

/// Makes a symlink below an open directory.
pub fn make_symlink(target: &str, parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let (target, name) = (c_path(Path::new(target))?, c_path(Path::new(name))?);
    // SAFETY: a valid directory and terminated strings.
    check(unsafe { libc::symlinkat(target.as_ptr(), parent.as_raw_fd(), name.as_ptr()) })?;
    Ok(())
}

/// Makes a directory below an open directory, if it is not there.
pub fn make_directory_at(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let name = c_path(Path::new(name))?;
    // SAFETY: a valid directory and a terminated name.
    match check(unsafe { libc::mkdirat(parent.as_raw_fd(), name.as_ptr(), 0o755) }) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Whether the open file is a directory.
pub fn is_directory(file: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: all zeroes is a valid value, filled by the call.
    let mut status: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a valid descriptor and place.
    check(unsafe { libc::fstat(file.as_raw_fd(), &raw mut status) })?;
    Ok(status.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

/// Gives an open location to a user.
pub fn set_owner_of_location(location: BorrowedFd<'_>, user: u32, group: u32) -> io::Result<()> {
    // SAFETY: a valid descriptor and an empty terminated path.
    check(unsafe { libc::fchownat(location.as_raw_fd(), c"".as_ptr(), user, group, libc::AT_EMPTY_PATH) })?;
    Ok(())
}

/// Device number from its parts.
pub fn device_number(major: u32, minor: u32) -> u64 {
    libc::makedev(major, minor)
}

/// Parts of a device number.
pub fn device_parts(device: u64) -> (u32, u32) {
    (libc::major(device), libc::minor(device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_beneath_is_found_by_a_link() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("in")).unwrap();
        for (target, link) in [("in", "link"), ("/etc", "out"), ("/nonexistent", "dangling")] {
            std::os::unix::fs::symlink(target, tree.path().join(link)).unwrap();
        }
        let root = open_location(tree.path()).unwrap();
        let root = std::os::fd::AsFd::as_fd(&root);
        let rows = [
            ("", 0),
            ("in", 0),
            ("in/..", 0),
            ("link", libc::ELOOP),
            ("out", libc::ELOOP),
            ("out/passwd", libc::ELOOP),
            ("..", libc::EXDEV),
            ("in/../..", libc::EXDEV),
            ("/etc", libc::EXDEV),
            ("none", libc::ENOENT),
        ];
        for (path, expected) in rows {
            let found = open_beneath(root, Path::new(path), O_RDONLY);
            assert_eq!(found.err().and_then(|error| error.raw_os_error()).unwrap_or(0), expected, "{path}");
        }
        for (name, expected) in [("link", libc::ELOOP), ("dangling", libc::ELOOP), ("made", 0), ("in", 0)] {
            let made = make_directory_of_mode(root, Path::new(name), 0o2777);
            assert_eq!(made.err().and_then(|error| error.raw_os_error()).unwrap_or(0), expected, "{name}");
        }
        use std::os::unix::fs::PermissionsExt;
        let mode =
            |name: &str| std::fs::metadata(tree.path().join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode("made"), 0o2777);
        assert_ne!(mode("in"), 0o2777, "what is there keeps its mode");
    }

    #[test]
    fn symlinks_do_not_lead_out() {
        let tree = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", tree.path().join("link")).unwrap();
        std::os::unix::fs::symlink("../../../../..", tree.path().join("up")).unwrap();
        let root = open_location(tree.path()).unwrap();
        let root = std::os::fd::AsFd::as_fd(&root);
        open_or_make(root, Path::new("/up/new/file"), Missing::File).unwrap();
        assert!(tree.path().join("new/file").is_file());
        let error = open_in_root(root, Path::new("/link/passwd"), O_PATH).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        // A dangling link in the way is an error, never something made elsewhere.
        assert!(open_or_make(root, Path::new("/link/sub/dir"), Missing::Directory).is_err());
        assert!(!Path::new("/etc/sub").exists());
    }
}
