//! Starting Pods' processes: the program itself, from a read-only view of its file, so that nothing in a container can
//! change it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use crate::POD_PROCESS_ARGUMENT;

/// Starts processes.
pub struct Launcher {
    program: OwnedFd,
}

impl Launcher {
    /// Prepares the program: a detached read-only mount of its file, or where the kernel refuses that, a sealed copy.
    pub fn open(executable: &Path) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("open program {}: {error}", executable.display()))
        };
        // The link itself could come to mean something else.
        let path = std::fs::canonicalize(executable).map_err(named)?;
        let mounted = sys::mount::copy(&path, false).and_then(|mount| {
            sys::mount::set_attributes(
                mount.as_fd(),
                sys::mount::attribute::READ_ONLY,
                sys::mount::MS_PRIVATE,
                false,
            )?;
            Ok(mount)
        });
        let program = match mounted {
            Ok(mount) => mount,
            Err(error) => {
                tracing::warn!("no read-only view of the program ({error}); using a copy in memory");
                let mut file = File::open(executable).map_err(named)?;
                sys::memfd::sealed_copy(&mut file, "carob").map_err(named)?
            }
        };
        Ok(Self { program })
    }

    /// Starts a process; returns our end of its connection and its id. It is reaped by the asynchronous runtime.
    pub fn start(&self, error_log: &Path) -> io::Result<(OwnedFd, i32)> {
        let (ours, theirs) = sys::socket::pair()?;
        let log = File::options().create(true).append(true).open(error_log)?;
        // No working directory is asked for (the process sees to it): with one, the library would fork, which copies
        // the daemon's page tables, instead of borrowing its memory until the program is there.
        // Resolved by the child before its close-on-exec descriptors are closed.
        let program = format!("/proc/self/fd/{}", self.program.as_raw_fd());
        let child = tokio::process::Command::new(program)
            .arg0("carob")
            .arg(POD_PROCESS_ARGUMENT)
            .env_clear()
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(log))
            .spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        Ok((ours, pid))
    }
}
