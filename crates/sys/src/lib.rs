//! Every kernel call and all `unsafe` code: small safe wrappers that return `std::io::Error` and say in their names
//! what they do. Callers add which object was concerned.

pub mod capability;
pub mod cgroup_bpf;
pub mod epoll;
pub mod memfd;
pub mod mount;
pub mod namespace;
pub mod netns;
pub mod path;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod tree;

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Turns a C return value into a result; -1 means `errno`.
fn check(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// The same for raw system calls.
fn check_long(value: libc::c_long) -> io::Result<libc::c_long> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// A path for the kernel; a NUL byte inside is an error.
fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "path contains a NUL byte"))
}

/// A string for the kernel; a NUL byte inside is an error.
fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "text contains a NUL byte"))
}
