//! Processes of their own for single attempts, and their outcomes.

use std::fmt;

/// Seconds after which an attempt that hangs counts as allowed: nothing refused it.
const PATIENCE_S: u32 = 5;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Allowed,
    /// This `errno`.
    Refused(i32),
    /// This signal ended it.
    Killed(i32),
}

impl Outcome {
    /// The same, but errors that show that the permission was there count as allowed. So does the alarm.
    pub(crate) fn or_permitted(self, errors: &[i32]) -> Self {
        match self {
            Self::Refused(number) if errors.contains(&number) => Self::Allowed,
            Self::Killed(libc::SIGALRM) => Self::Allowed,
            own => own,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed => out.write_str("allowed"),
            Self::Refused(number) => match ERRORS.iter().find(|(own, _)| own == number) {
                Some((_, name)) => write!(out, "refused {name}"),
                None => write!(out, "refused errno {number}"),
            },
            Self::Killed(number) => write!(out, "killed by signal {number}"),
        }
    }
}

/// Names of the errors that attempts meet.
const ERRORS: [(i32, &str); 25] = [
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::ESRCH, "ESRCH"),
    (libc::EIO, "EIO"),
    (libc::ENXIO, "ENXIO"),
    (libc::EBADF, "EBADF"),
    (libc::EACCES, "EACCES"),
    (libc::EFAULT, "EFAULT"),
    (libc::EBUSY, "EBUSY"),
    (libc::EEXIST, "EEXIST"),
    (libc::ENODEV, "ENODEV"),
    (libc::ENOTDIR, "ENOTDIR"),
    (libc::EISDIR, "EISDIR"),
    (libc::EINVAL, "EINVAL"),
    (libc::ENOTTY, "ENOTTY"),
    (libc::ETXTBSY, "ETXTBSY"),
    (libc::EROFS, "EROFS"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::ELOOP, "ELOOP"),
    (libc::EOVERFLOW, "EOVERFLOW"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
    (libc::ENOKEY, "ENOKEY"),
    (libc::ENODATA, "ENODATA"),
];

/// The error of the call just made.
pub(crate) fn last_error() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// A raw system call.
///
/// Only for the tables of this crate: every argument there is a number or points to something that lives for ever or
/// outlives the call.
pub(crate) fn call(number: libc::c_long, arguments: &[i64]) -> Result<i64, i32> {
    let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
    // SAFETY: see above; calls that read nonsense run in a process of their own, which ends after them.
    let result = unsafe { libc::syscall(number, at(0), at(1), at(2), at(3), at(4), at(5)) };
    if result < 0 { Err(last_error()) } else { Ok(result) }
}

/// Runs this in a child and says what became of it.
pub(crate) fn separately(run: impl FnOnce() -> Result<(), i32>) -> Outcome {
    // SAFETY: this program has one thread, so the child may run ordinary code.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Outcome::Refused(last_error());
    }
    if pid == 0 {
        // SAFETY: plain number.
        unsafe { libc::alarm(PATIENCE_S) };
        let code = run().err().unwrap_or(0);
        end(code)
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        if last_error() != libc::EINTR {
            return Outcome::Refused(last_error());
        }
    }
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => Outcome::Allowed,
        (true, number) => Outcome::Refused(number),
        (false, _) => Outcome::Killed(libc::WTERMSIG(status)),
    }
}

/// Ends this process at once, without what a program does at its end.
pub(crate) fn end(code: i32) -> ! {
    // SAFETY: plain number.
    unsafe { libc::_exit(code) }
}
