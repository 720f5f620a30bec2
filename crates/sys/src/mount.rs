//! Mounts, by descriptor wherever a path could lead astray (the mount interface of Linux 5.2 and later).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use crate::{c_path, c_string, check, check_long};

/// Attributes of a mount (`MOUNT_ATTR_*`).
pub mod attribute {
    /// Read-only.
    pub const READ_ONLY: u64 = 0x1;
    /// Set-user-id bits are ignored.
    pub const NO_SUID: u64 = 0x2;
    /// Devices cannot be opened.
    pub const NO_DEV: u64 = 0x4;
    /// Nothing can be executed.
    pub const NO_EXEC: u64 = 0x8;
    /// Access times are always kept.
    pub const STRICT_ATIME: u64 = 0x20;
}

/// Propagation types for [`set_attributes`] and [`set_propagation`].
pub use libc::{MS_PRIVATE, MS_SHARED, MS_SLAVE};

#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const OPEN_TREE_CLONE: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;

fn owned(descriptor: libc::c_long) -> OwnedFd {
    // SAFETY: called with descriptors that the kernel has just made.
    unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) }
}

/// Makes a mount of a new file system instance, not attached anywhere. An option with an empty value is a flag.
pub fn make(kind: &str, options: &[(&str, &str)], attributes: u64) -> io::Result<OwnedFd> {
    let name = c_string(kind)?;
    // SAFETY: a terminated string and flags.
    let context = owned(check_long(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), 1) })?);
    // Named hierarchies of cgroup version 1 are the one kind that takes no source.
    let source = if kind == "cgroup" { None } else { Some(("source", kind)) };
    for (key, value) in source.iter().chain(options) {
        let key = c_string(key)?;
        let (command, value) = if value.is_empty() {
            (FSCONFIG_SET_FLAG, None)
        } else {
            (FSCONFIG_SET_STRING, Some(c_string(value)?))
        };
        let value_pointer = value.as_ref().map_or(std::ptr::null(), |value| value.as_ptr());
        // SAFETY: terminated strings that outlive the call.
        check_long(unsafe {
            libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key.as_ptr(), value_pointer, 0)
        })?;
    }
    let null = std::ptr::null::<u8>();
    // SAFETY: creates the instance; no strings are needed.
    check_long(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, null, null, 0)
    })?;
    // SAFETY: a valid context and plain flags.
    let mount = check_long(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, attributes) })?;
    Ok(owned(mount))
}

/// A copy of the mount at `path` (with everything below, if asked), not attached anywhere.
pub fn copy(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    copy_from(libc::AT_FDCWD, &path, recursive, 0)
}

/// The same for an open location.
pub fn copy_at(location: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    copy_from(location.as_raw_fd(), c"", recursive, libc::AT_EMPTY_PATH as u32)
}

fn copy_from(directory: RawFd, path: &std::ffi::CStr, recursive: bool, flags: u32) -> io::Result<OwnedFd> {
    let recursive = if recursive { libc::AT_RECURSIVE as u32 } else { 0 };
    let flags = flags | recursive | OPEN_TREE_CLONE | libc::O_CLOEXEC as u32;
    // SAFETY: a terminated path and plain flags.
    Ok(owned(check_long(unsafe { libc::syscall(libc::SYS_open_tree, directory, path.as_ptr(), flags) })?))
}

/// Attaches a detached mount at an open location.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: valid descriptors, empty terminated paths.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    })?;
    Ok(())
}

/// Sets attributes and, if not 0, propagation of a mount, with everything below it if asked.
pub fn set_attributes(mount: BorrowedFd<'_>, set: u64, propagation: u64, recursive: bool) -> io::Result<()> {
    let attributes = MountAttributes { set, clear: 0, propagation, user_namespace: 0 };
    let recursive = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure outlives the call and the size is its own.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })?;
    Ok(())
}

/// Sets the propagation of `/` and everything below.
pub fn set_propagation(propagation: u64) -> io::Result<()> {
    let flags = propagation | libc::MS_REC;
    // SAFETY: terminated strings; the other arguments are unused here.
    check(unsafe {
        libc::mount(std::ptr::null(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null())
    })?;
    Ok(())
}

/// The classic mount call, for file systems with one option string.
pub fn mount(kind: &str, target: &Path, options: &str) -> io::Result<()> {
    let (name, target, options) = (c_string(kind)?, c_path(target)?, c_string(options)?);
    // SAFETY: terminated strings that outlive the call.
    check(unsafe { libc::mount(name.as_ptr(), target.as_ptr(), name.as_ptr(), 0, options.as_ptr().cast()) })?;
    Ok(())
}

/// Makes the current directory the root of this mount namespace and lets go of the old one.
pub fn pivot_into_current_directory() -> io::Result<()> {
    // SAFETY: terminated strings. The old root ends up on top of the new one and is then detached (pivot_root(2)).
    unsafe {
        check_long(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
        // What is unmounted here must not be unmounted on the node.
        check(libc::mount(
            std::ptr::null(),
            c".".as_ptr(),
            std::ptr::null(),
            libc::MS_SLAVE | libc::MS_REC,
            std::ptr::null(),
        ))?;
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
        check(libc::chdir(c"/".as_ptr()))?;
    }
    Ok(())
}

/// Unmounts, leaving it to those who still use it. Nothing mounted there, or no such path, is no error.
pub fn unmount(path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a terminated path.
    match check(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) }) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Ok(()),
        other => other.map(|_| ()),
    }
}
