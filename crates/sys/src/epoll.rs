//! Waiting for many descriptors at once.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::check;

/// Readable (or ended).
pub const READABLE: u32 = libc::EPOLLIN as u32;
/// Writable.
pub const WRITABLE: u32 = libc::EPOLLOUT as u32;
/// The other side is gone; always reported.
pub const HUNG_UP: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;

/// A set of watched descriptors, each with a token.
pub struct Epoll(OwnedFd);

/// One report: the token and what happened.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// As given on registration.
    pub token: u64,
    /// [`READABLE`], [`WRITABLE`], [`HUNG_UP`].
    pub events: u32,
}

impl Epoll {
    /// An empty set.
    pub fn new() -> io::Result<Self> {
        // SAFETY: plain flags.
        let descriptor = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: a new descriptor that nobody else owns.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }

    fn control(&self, operation: i32, descriptor: BorrowedFd<'_>, events: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: valid descriptors, and `event` outlives the call.
        check(unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), operation, descriptor.as_raw_fd(), &raw mut event)
        })?;
        Ok(())
    }

    /// Watches a descriptor.
    pub fn add(&self, descriptor: BorrowedFd<'_>, events: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, descriptor, events, token)
    }

    /// Changes what is watched.
    pub fn modify(&self, descriptor: BorrowedFd<'_>, events: u32, token: u64) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, descriptor, events, token)
    }

    /// Stops watching.
    pub fn remove(&self, descriptor: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, descriptor, 0, 0)
    }

    /// Waits without limit for up to 32 reports.
    pub fn wait(&self, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 32];
        // SAFETY: the buffer holds as many events as said.
        let count = match check(unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 32, -1) })
        {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        ready.clear();
        ready.extend(events[..count].iter().map(|event| Ready { token: event.u64, events: event.events }));
        Ok(())
    }
}
