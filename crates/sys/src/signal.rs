//! Signals: blocked and read from a descriptor, or put back to what a new program expects.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

/// Blocks every signal and returns a descriptor that becomes readable on SIGCHLD and SIGTERM.
pub fn block_and_watch() -> io::Result<OwnedFd> {
    // SAFETY: all zeroes is a valid set; the calls fill it before it is used.
    let mut watched: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut all: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: valid pointers to sets on the stack.
    let descriptor = unsafe {
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        libc::sigemptyset(&raw mut watched);
        libc::sigaddset(&raw mut watched, libc::SIGCHLD);
        libc::sigaddset(&raw mut watched, libc::SIGTERM);
        check(libc::signalfd(-1, &raw const watched, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?
    };
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Takes one pending signal's number from the descriptor.
pub fn next(descriptor: BorrowedFd<'_>) -> Option<i32> {
    // SAFETY: all zeroes is a valid value.
    let mut information: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is as large as said.
    let read = unsafe { libc::read(descriptor.as_raw_fd(), (&raw mut information).cast(), size) };
    (read == size as isize).then_some(information.ssi_signo as i32)
}

/// Puts every signal back to its default action and unblocks all: what a container's program expects.
pub fn reset_all() {
    for number in 1..=64 {
        // SAFETY: SIG_DFL is always a valid handler; failures (SIGKILL, reserved numbers) do no harm.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // SAFETY: all zeroes is a valid set and is emptied before use.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Ignores a signal.
pub fn ignore(number: i32) {
    // SAFETY: SIG_IGN is a valid handler.
    unsafe { libc::signal(number, libc::SIG_IGN) };
}

fn child_set() -> libc::sigset_t {
    // SAFETY: all zeroes is a valid set and is emptied before use.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        set
    }
}

/// Blocks SIGCHLD, so that [`wait_for_child`] cannot miss one.
pub fn block_child() {
    let set = child_set();
    // SAFETY: a valid set.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Sleeps until a SIGCHLD arrives, or takes one that is pending.
pub fn wait_for_child() {
    let set = child_set();
    let mut number = 0;
    // SAFETY: valid places.
    unsafe { libc::sigwait(&raw const set, &raw mut number) };
}
