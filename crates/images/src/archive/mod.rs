//! Tar archives: a bounded reader, a confined unpacker, a deterministic writer.

pub mod stream;
pub mod unpack;
pub mod write;

/// Why an archive cannot be read or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive breaks the format or a bound.
    #[error("{0}")]
    Invalid(String),
    /// One entry cannot be unpacked.
    #[error("archive entry {path:?}: {reason}")]
    Entry {
        /// The entry's path as the archive writes it.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The archive cannot be read, or the disk cannot be written.
    #[error("{action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl ArchiveError {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    pub(crate) fn entry(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry { path: String::from_utf8_lossy(path).into_owned(), reason: reason.into() }
    }
}
