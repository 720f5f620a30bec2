//! A data directory: its version, and the lock that keeps a second process out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The newest format of a data directory that this release reads and the one it writes. 1: the database alone; 2: a journal
/// before it, which who does not know it would leave out.
pub const FORMAT_VERSION: u32 = 2;

/// A locked data directory. Dropping it unlocks.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if need be, locks it and checks its version.
    ///
    /// # Errors
    /// [`Error::DataDirLocked`] with the holder's process id, [`Error::DataDirNewer`] with the version found.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |file: &Path| {
            let file = file.to_owned();
            move |error: io::Error| from_io(&file, &error)
        };
        fs::create_dir_all(path).map_err(failed(path))?;
        let lock_path = path.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder may not have written its id yet.
                let _ = lock.take(32).read_to_string(&mut holder);
                let holder = Some(holder.trim().to_owned()).filter(|holder| !holder.is_empty());
                return Err(Error::DataDirLocked { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(from_io(&lock_path, &error)),
        }
        let write_holder = |lock: &mut File| {
            lock.set_len(0)?;
            lock.seek(SeekFrom::Start(0))?;
            writeln!(lock, "{}", std::process::id())
        };
        // On a full disk the lock still holds, only without a name.
        let _ = write_holder(&mut lock);
        check_version(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Refuses a newer format; marks a fresh directory, or one of an older format, with this release's.
fn check_version(path: &Path) -> Result<()> {
    let file = path.join("version");
    let found = match fs::read_to_string(&file) {
        Ok(text) => Some(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(from_io(&file, &error)),
    };
    match found.as_ref().map(|text| text.parse::<u32>()) {
        Some(Ok(FORMAT_VERSION)) => return Ok(()),
        Some(Ok(..FORMAT_VERSION)) | None => {}
        Some(_) => {
            let (path, found) = (path.to_owned(), found.unwrap_or_default());
            return Err(Error::DataDirNewer { path, found, known: FORMAT_VERSION });
        }
    }
    let write = || {
        let fresh = path.join("version.new");
        let mut version = File::create(&fresh)?;
        writeln!(version, "{FORMAT_VERSION}")?;
        version.sync_all()?;
        fs::rename(&fresh, &file)?;
        File::open(path)?.sync_all()
    };
    write().map_err(|error| from_io(&file, &error))
}

/// The store's error for one of the system.
pub(crate) fn from_io(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path: path.to_owned() },
        _ => Error::Io { path: path.to_owned(), message: error.to_string() },
    }
}
