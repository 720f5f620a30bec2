//! Certificate authority, certificates, and signed tokens. Keys are ECDSA P-256 throughout.

pub mod authority;
pub mod identity;
pub mod token;
mod verified;

pub use authority::{Authority, Issued, Profile};
pub use token::{Claims, TokenSigner};

/// What can go wrong with certificates, keys and tokens.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// File.
        path: String,
        /// Cause.
        error: std::io::Error,
    },
    /// A certificate or key is broken.
    #[error("{what}: {error}")]
    Broken {
        /// What it is, with its file if it has one.
        what: String,
        /// Cause.
        error: String,
    },
}

impl Error {
    fn broken(what: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::Broken { what: what.into(), error: error.to_string() }
    }
}
