//! Namespaces: leaving, joining, and what is set inside them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::check;

/// Gives this process namespaces of its own (`CLONE_NEW*`).
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: only namespaces are unshared here, not the descriptor table.
    check(unsafe { libc::unshare(flags & !(libc::CLONE_FILES | libc::CLONE_FS)) })?;
    Ok(())
}

/// Joins the namespaces `flags` of a process (a pidfd) or the namespace behind a descriptor of `/proc/<pid>/ns`.
pub fn join(descriptor: BorrowedFd<'_>, flags: i32) -> io::Result<()> {
    // SAFETY: a valid descriptor and plain flags.
    check(unsafe { libc::setns(descriptor.as_raw_fd(), flags) })?;
    Ok(())
}

/// Sets the host name of the current UTS namespace.
pub fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length belong together.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })?;
    Ok(())
}

/// Brings the loopback interface of the current network namespace up.
pub fn loopback_up() -> io::Result<()> {
    // SAFETY: plain numbers.
    let socket = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` is what this ioctl reads.
    let result = check(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) });
    // SAFETY: opened above.
    unsafe { libc::close(socket) };
    result.map(|_| ())
}
