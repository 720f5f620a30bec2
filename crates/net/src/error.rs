//! What can go wrong, as facts.

use std::io;
use std::path::PathBuf;

use netplan::overlap::Overlap;
use netplan::pool::PoolError;
use netplan::ports::PortTaken;
use rustix::io::Errno;

use crate::netlink::KernelError;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the Pod network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error("cannot {action}: {source}")]
    Kernel {
        /// What was asked, as an infinitive with its object.
        action: String,
        /// Its answer.
        source: KernelError,
    },
    /// A socket, a namespace or a thread failed.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried, as an infinitive with its object.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A state file failed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// `read`, `write` …
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A state file of a newer release.
    #[error("{} has version {version}, this release knows {known}: start the newer release again", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The newest version known.
        known: u32,
    },
    /// An option is wrong.
    #[error("{0}")]
    Option(String),
    /// Addresses are taken on this machine.
    #[error(transparent)]
    Overlap(#[from] Overlap),
    /// No address is free.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A host port is taken.
    #[error(transparent)]
    PortTaken(#[from] PortTaken),
}

impl Error {
    /// Whether the kernel does not know an object of the request.
    pub(crate) fn is_missing(&self) -> bool {
        let missing = [Errno::NODEV, Errno::NOENT, Errno::NXIO, Errno::INVAL];
        matches!(self, Self::Kernel { source, .. } if missing.iter().any(|errno| source.is(*errno)))
    }

    /// For `map_err` on kernel answers.
    pub(crate) fn kernel(action: impl Into<String>) -> impl FnOnce(KernelError) -> Self {
        let action = action.into();
        move |source| Self::Kernel { action, source }
    }

    /// For `map_err` on system calls.
    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::System { action, source }
    }
}

impl From<Error> for cri::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Option(_) | Error::Newer { .. } => cri::ErrorKind::InvalidArgument,
            Error::Overlap(_) | Error::PortTaken(_) => cri::ErrorKind::FailedPrecondition,
            Error::Pool(_) => cri::ErrorKind::Unavailable,
            Error::Kernel { .. } | Error::System { .. } | Error::File { .. } => cri::ErrorKind::Unknown,
        };
        Self::new(kind, error.to_string())
    }
}
