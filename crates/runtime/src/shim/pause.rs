//! The first process of a PID namespace that a Pod's containers share: it reaps, and does nothing else.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use sys::process::{CLONE_NEWNS, CLONE_NEWPID, Forked};

/// The process.
pub struct FirstProcess {
    /// Process id on the node.
    pub pid: i32,
    /// Refers to it, and to its namespaces.
    pub pidfd: OwnedFd,
}

impl FirstProcess {
    /// Starts it.
    pub fn start() -> Result<Self, String> {
        match sys::process::fork(CLONE_NEWPID | CLONE_NEWNS, None) {
            Ok(Forked::Parent { pid, pidfd }) => Ok(Self { pid, pidfd }),
            Ok(Forked::Child) => run(),
            Err(error) => Err(format!("start the Pod's first process: {error}")),
        }
    }
}

fn run() -> ! {
    // Containers of the Pod see this process: it must have nothing that they could take.
    let outcome = give_up_everything();
    if outcome.is_err() || sys::process::close_from(0).is_err() {
        sys::process::exit_now(1);
    }
    loop {
        while sys::process::wait_blocking().is_ok() {}
        sys::signal::wait_for_child();
    }
}

fn give_up_everything() -> std::io::Result<()> {
    let _ = sys::process::set_parent_death_signal(sys::process::SIGKILL);
    let _ = sys::process::set_name(c"pause");
    sys::mount::set_propagation(sys::mount::MS_PRIVATE)?;
    let empty = sys::mount::make(
        "tmpfs",
        &[("mode", "755")],
        sys::mount::attribute::READ_ONLY | sys::mount::attribute::NO_EXEC | sys::mount::attribute::NO_SUID,
    )?;
    let target = sys::path::open_location(Path::new("/proc"))?;
    sys::mount::attach(empty.as_fd(), target.as_fd())?;
    sys::process::change_directory(empty.as_fd())?;
    sys::mount::pivot_into_current_directory()?;
    sys::process::set_dumpable(false)?;
    sys::signal::reset_all();
    sys::signal::block_child();
    sys::process::set_no_new_privileges()?;
    sys::capability::limit_bounding_set(0)?;
    sys::process::set_identity(65_535, 65_535, &[65_535])?;
    sys::capability::set(0, 0, 0)?;
    let _ = sys::process::set_parent_death_signal(sys::process::SIGKILL);
    Ok(())
}
