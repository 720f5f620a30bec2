//! Processes: fork with namespaces and a cgroup, exec, wait, signals by pidfd, and per-process settings.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use crate::{check, check_long};

/// Flags for [`fork`]: which namespaces the child gets of its own.
pub use libc::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUTS, SIGKILL, SIGTERM,
};

/// Which side of a [`fork`] is running.
pub enum Forked {
    /// The parent: the child's process id and a descriptor for it.
    Parent {
        /// Process id in the caller's namespace.
        pid: i32,
        /// Refers to the child even after its id was reused.
        pidfd: OwnedFd,
    },
    /// The child.
    Child,
}

#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Forks with `flags` (namespaces) and, on cgroup v2, straight into the cgroup whose directory is given.
///
/// Fails when the process has more than one thread: the child could then find locks held for ever.
pub fn fork(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    if thread_count()? != 1 {
        return Err(io::Error::other("fork in a process with several threads"));
    }
    let mut pidfd: RawFd = -1;
    let mut arguments = CloneArguments {
        flags: u64::from(flags.cast_unsigned()) | CLONE_PIDFD,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArguments::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments live across the call; without CLONE_VM the child has its own copy of this single-threaded
    // process, so that it may go on running ordinary code.
    let pid = check_long(unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_mut(&mut arguments), size_of::<CloneArguments>())
    })?;
    if pid == 0 {
        return Ok(Forked::Child);
    }
    // SAFETY: the kernel stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Forked::Parent { pid: pid as i32, pidfd })
}

/// Number of threads of this process.
fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Replaces the program. Returns only on failure.
pub fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let list = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (list(arguments), list(environment));
    // SAFETY: both lists end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its process id.
    pub pid: i32,
    /// The exit status, or 128 + signal.
    pub code: i32,
}

/// Takes one ended child, if there is one.
pub fn wait_any() -> io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    match check(unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) }) {
        Ok(0) => Ok(None),
        Ok(pid) => Ok(Some(Ended { pid, code: decode(status) })),
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits until some child has ended.
pub fn wait_blocking() -> io::Result<Ended> {
    let mut status = 0;
    // SAFETY: as above.
    let pid = check(unsafe { libc::waitpid(-1, &raw mut status, 0) })?;
    Ok(Ended { pid, code: decode(status) })
}

fn decode(status: i32) -> i32 {
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

/// Opens a descriptor for a process.
pub fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers; the result is a new descriptor.
    let descriptor = check_long(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}

/// Sends a signal to the process behind a descriptor.
pub fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers and a null pointer, which means default information.
    check_long(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, std::ptr::null::<u8>(), 0)
    })?;
    Ok(())
}

/// Sends a signal to a process id (positive only, so that no group is hit by mistake).
pub fn signal_pid(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: plain numbers.
    check(unsafe { libc::kill(pid, signal) })?;
    Ok(())
}

/// One of the one-argument `prctl` settings.
fn prctl(option: i32, argument: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the options used here take numbers only.
    check(unsafe { libc::prctl(option, argument, 0, 0, 0) })?;
    Ok(())
}

/// Names the process as `ps` shows it (15 bytes).
pub fn set_name(name: &CStr) -> io::Result<()> {
    // SAFETY: the kernel reads at most 16 bytes of a terminated string.
    check(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) })?;
    Ok(())
}

/// Orphaned descendants become children of this process.
pub fn become_subreaper() -> io::Result<()> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// Sends this process a signal when its parent ends.
pub fn set_parent_death_signal(signal: i32) -> io::Result<()> {
    prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong)
}

/// No exec can raise privileges any more.
pub fn set_no_new_privileges() -> io::Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Keeps permitted capabilities over a change of user.
pub fn keep_capabilities(keep: bool) -> io::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, libc::c_ulong::from(keep))
}

/// Whether other processes of the same user may inspect this one.
pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    prctl(libc::PR_SET_DUMPABLE, libc::c_ulong::from(dumpable))
}

/// Starts a session.
pub fn start_session() -> io::Result<()> {
    // SAFETY: no arguments.
    check(unsafe { libc::setsid() })?;
    Ok(())
}

/// Sets the file mode mask.
pub fn set_umask(mask: u32) {
    // SAFETY: a plain number; cannot fail.
    unsafe { libc::umask(mask) };
}

/// Changes to an open directory.
pub fn change_directory(directory: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a valid descriptor.
    check(unsafe { libc::fchdir(directory.as_raw_fd()) })?;
    Ok(())
}

/// Sets groups, then the primary group, then the user.
pub fn set_identity(user: u32, group: u32, groups: &[u32]) -> io::Result<()> {
    // The raw calls, because the C library's would signal all threads, and there is one.
    // SAFETY: the list and its length match.
    check_long(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
    // SAFETY: plain numbers.
    check_long(unsafe { libc::syscall(libc::SYS_setresgid, group, group, group) })?;
    // SAFETY: plain numbers.
    check_long(unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) })?;
    Ok(())
}

/// Makes `descriptor` the given number (standard input, output, error) in this process, without close-on-exec.
pub fn install_descriptor(descriptor: BorrowedFd<'_>, number: RawFd) -> io::Result<()> {
    if descriptor.as_raw_fd() == number {
        // SAFETY: a valid descriptor.
        check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) })?;
        return Ok(());
    }
    // SAFETY: a valid source; the target number is one that the caller gives up.
    check(unsafe { libc::dup2(descriptor.as_raw_fd(), number) })?;
    Ok(())
}

/// Takes ownership of an inherited descriptor, such as standard input.
///
/// Fails when the number is not open. Must be called once per number, before anything else opens files.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: asks only.
    check(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // A copy with close-on-exec, so that a wrapper's idea of who owns the low numbers does no harm.
    // SAFETY: a valid descriptor.
    let copy = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: plain numbers; nothing is closed now.
    check_long(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) })?;
    Ok(())
}

/// Closes every descriptor from `first` on. Only for a forked child that goes on without any of its parent's objects
/// and ends with [`exit_now`].
pub fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: the forked child never touches the objects that own these again (see above).
    check_long(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })?;
    Ok(())
}

/// Closes every descriptor above the three streams but one. Only for a forked child, as [`close_from`]; none of the
/// objects that own the closed ones may be dropped any more.
pub fn close_all_but(kept: BorrowedFd<'_>) -> io::Result<()> {
    let kept = kept.as_raw_fd().cast_unsigned();
    for (first, last) in [(3, kept.saturating_sub(1)), (kept.max(2) + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: as in `close_from`.
            check_long(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
    }
    Ok(())
}

/// Whether the working directory lies below the root: a descriptor from elsewhere may have led out of it.
pub fn directory_is_below_root() -> io::Result<bool> {
    // The kernel's own answer: C libraries search on when it is no path.
    Ok(rustix::process::getcwd(Vec::new())?.as_bytes().starts_with(b"/"))
}

/// Ends the process without running destructors or exit handlers.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// Sets a resource limit (`libc::RLIMIT_*`).
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` outlives the call.
    check(unsafe { libc::setrlimit(resource, &raw const limit) })?;
    Ok(())
}

/// Returns free memory of the allocator to the system.
pub fn trim_memory() {
    // SAFETY: always allowed.
    unsafe { libc::malloc_trim(0) };
}

/// Leaves the inherited session keyring for a new one, so that keys of the node stay out of reach.
pub fn join_new_session_keyring(name: &CStr) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a terminated string.
    check_long(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    Ok(())
}

/// Whether the effective user may execute the file; the error is the reason.
pub fn may_execute(path: &CStr) -> io::Result<()> {
    // SAFETY: a terminated path.
    check(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) })?;
    Ok(())
}
