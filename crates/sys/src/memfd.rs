//! Sealed copies of files in memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::{c_string, check};

/// Copies a file into memory and seals it: nobody can change it any more.
pub fn sealed_copy(source: &mut File, name: &str) -> io::Result<OwnedFd> {
    let name = c_string(name)?;
    // SAFETY: a terminated string.
    let descriptor =
        check(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) })?;
    // SAFETY: a new descriptor that nobody else owns.
    let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let mut file = File::from(descriptor);
    io::copy(source, &mut file)?;
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: a valid descriptor and plain flags.
    check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })?;
    Ok(file.into())
}
