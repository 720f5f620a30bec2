//! Numbers that instances hold while they live, so that tests that run side by side never share a block of addresses.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Instances that one machine can hold.
const SLOTS: u8 = 60;

/// A number that nobody else holds. The kernel frees it when the process ends, however it ends.
pub struct Slot {
    number: u8,
    file: File,
}

impl Slot {
    /// Takes the first free number, and says whose it was if its holder did not give it back: that holder's prefix.
    pub fn take() -> anyhow::Result<(Self, Option<PathBuf>)> {
        let folder = std::env::temp_dir().join("carob-testkit");
        fs::create_dir_all(&folder)?;
        for number in 0..SLOTS {
            let path = folder.join(number.to_string());
            let mut options = OpenOptions::new();
            let mut file = options.create(true).truncate(false).read(true).write(true).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => continue,
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
            let mut before = String::new();
            file.read_to_string(&mut before)?;
            let before = (!before.is_empty()).then(|| PathBuf::from(before));
            return Ok((Self { number, file }, before));
        }
        bail!("{SLOTS} instances run already")
    }

    /// Notes the prefix; `None` when it is cleared up.
    pub fn note(&mut self, prefix: Option<&Path>) -> anyhow::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        if let Some(prefix) = prefix {
            self.file.write_all(prefix.as_os_str().as_encoded_bytes())?;
        }
        Ok(())
    }

    /// The block of Pod addresses.
    pub fn pod_cidr(&self) -> String {
        format!("10.{}.0.0/16", 64 + self.number)
    }

    /// The block of Service addresses.
    pub fn service_cidr(&self) -> String {
        format!("10.{}.0.0/16", 128 + self.number)
    }
}
