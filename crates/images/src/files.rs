//! File helpers of the store: atomic writes, temporary names.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers temporary names within this process; leftovers of another are removed when the store opens.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A name that nothing else in this process uses.
pub fn unique_name(prefix: &str) -> String {
    format!("{prefix}{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// Replaces a file by `bytes`: whole or not at all, on disk when this returns. Mode 0600.
///
/// # Errors
/// Names the path.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = folder.join(unique_name(".tmp-"));
    let written = (|| {
        let mut options = fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.write(true).create_new(true).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        sync_directory(folder)
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        with_path("write", path, error)
    })
}

/// Makes the names in a directory durable.
///
/// # Errors
/// Names the path.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| with_path("sync", path, error))
}

/// Adds what was tried to an error.
pub fn with_path(action: &str, path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{action} {}: {error}", path.display()))
}

/// Makes a directory and those above it; 0700.
///
/// # Errors
/// Names the path.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path).map_err(|error| with_path("make directory", path, error))
}

/// Removes a file or a tree, as [`sys::tree::remove`] does.
///
/// # Errors
/// Names the path.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    sys::tree::remove(path).map_err(|error| with_path("remove", path, error))
}

/// Removes a path when dropped, unless it was kept.
#[derive(Debug)]
pub struct Scratch(Option<PathBuf>);

impl Scratch {
    /// Guards a path.
    pub fn new(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// The path.
    pub fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    /// Leaves the path where it is (it was renamed, or is wanted).
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = remove_tree(&path)
        {
            tracing::warn!(%error, "temporary files stay until the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_replace_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
