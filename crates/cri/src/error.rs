//! Errors of the runtime interface: a gRPC-like kind and the text that ends up in events and container status.

use std::fmt;

/// The gRPC status codes that CRI runtimes answer with and that clients tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The sandbox, container or image does not exist.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The request cannot be fulfilled as given.
    InvalidArgument,
    /// The object is in a state that forbids the call.
    FailedPrecondition,
    /// A registry refused the credentials (or asked for some).
    Unauthenticated,
    /// A part is not there yet, or gone.
    Unavailable,
    /// The deadline passed.
    DeadlineExceeded,
    /// Anything else.
    Unknown,
}

/// An error of the runtime, the image store or the Pod network.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Error {
    /// The kind.
    pub kind: ErrorKind,
    /// containerd's words where it has some (they reach the user in events and in `status.containerStatuses`).
    pub message: String,
}

impl Error {
    /// Makes an error.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// An error of kind [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// An error of kind [`ErrorKind::Unknown`].
    pub fn unknown(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unknown, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

/// Result of a runtime call.
pub type Result<T> = std::result::Result<T, Error>;
