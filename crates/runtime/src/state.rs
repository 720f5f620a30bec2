//! Records on disk: what a later daemon needs to know of sandboxes and containers.
//!
//! `<state_dir>/VERSION`, `<state_dir>/pods/<sandbox>/sandbox.json`, and for each container `<id>.json` (what it is),
//! `<id>.spec.json` (what its Pod's process is told), `<id>.run.json` and `<id>.end.json` (written by the Pod's process
//! at start and end). A stopped sandbox has a file `stopped`.
//!
//! No file is ever replaced: ext4 writes a replaced file's data out at once, which takes milliseconds.

use std::io;
use std::path::{Path, PathBuf};

use cri::runtime::ContainerConfig;
use cri::sandbox::{PodSandboxConfig, PodSandboxState};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::cgroup::Group;
use crate::protocol::Run;

/// Version of the records.
pub const VERSION: u32 = 1;

/// A sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxRecord {
    /// Id.
    pub id: String,
    /// As given.
    pub config: PodSandboxConfig,
    /// Creation, ns since the epoch.
    pub created_at_ns: i64,
    /// Pod addresses.
    pub ips: Vec<String>,
    /// State.
    pub state: PodSandboxState,
}

/// A container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// Id.
    pub id: String,
    /// Its sandbox.
    pub sandbox: String,
    /// As given, with the resources in force.
    pub config: ContainerConfig,
    /// Creation, ns since the epoch.
    pub created_at_ns: i64,
    /// Image id.
    pub image_id: String,
    /// Image reference for status.
    pub image_ref: String,
    /// Absolute log path; empty for none.
    pub log_path: String,
    /// Signal of a graceful stop.
    pub stop_signal: i32,
    /// Control group.
    pub group: Group,
}

/// Where records are.
#[derive(Debug, Clone)]
pub struct Records {
    root: PathBuf,
}

impl Records {
    /// Opens the directory, making it. Records of a newer version are refused.
    pub fn open(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root.join("pods"))?;
        let file = root.join("VERSION");
        match std::fs::read_to_string(&file) {
            Ok(text) => match text.trim().parse::<u32>() {
                Ok(version) if version <= VERSION => {}
                _ => {
                    return Err(io::Error::other(format!(
                        "{} says version {:?}, this program knows up to {VERSION}; use a newer carob or another data dir",
                        file.display(),
                        text.trim()
                    )));
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::write(&file, VERSION.to_string())?
            }
            Err(error) => return Err(error),
        }
        Ok(Self { root: root.to_owned() })
    }

    /// A sandbox's directory.
    pub fn sandbox_dir(&self, sandbox: &str) -> PathBuf {
        self.root.join("pods").join(sandbox)
    }

    /// A container's specification file.
    pub fn spec_path(&self, sandbox: &str, container: &str) -> PathBuf {
        self.sandbox_dir(sandbox).join(format!("{container}.spec.json"))
    }

    /// Ids of all recorded sandboxes.
    pub fn sandboxes(&self) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.root.join("pods"))?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
    }

    /// Writes a sandbox's record.
    pub fn write_sandbox(&self, record: &SandboxRecord) -> io::Result<()> {
        write(&self.sandbox_dir(&record.id).join("sandbox.json"), record)
    }

    /// Reads a sandbox's record.
    pub fn read_sandbox(&self, sandbox: &str) -> io::Result<SandboxRecord> {
        let directory = self.sandbox_dir(sandbox);
        let mut record: SandboxRecord = read(&directory.join("sandbox.json"))?;
        if directory.join("stopped").exists() {
            record.state = PodSandboxState::NotReady;
        }
        Ok(record)
    }

    /// Writes a container's record.
    pub fn write_container(&self, record: &ContainerRecord) -> io::Result<()> {
        write(&self.sandbox_dir(&record.sandbox).join(format!("{}.json", record.id)), record)
    }

    /// Reads the records of a sandbox's containers. One that cannot be read is named in the second list.
    pub fn read_containers(&self, sandbox: &str) -> (Vec<(ContainerRecord, Option<Run>)>, Vec<String>) {
        let (mut found, mut bad) = (Vec::new(), Vec::new());
        let directory = self.sandbox_dir(sandbox);
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let Some(id) = name.strip_suffix(".json").filter(|id| !id.contains('.') && *id != "sandbox")
            else {
                continue;
            };
            match read::<ContainerRecord>(&entry.path()) {
                Ok(record) => {
                    let run = |suffix: &str| read(&directory.join(format!("{id}.{suffix}.json"))).ok();
                    found.push((record, run("end").or_else(|| run("run"))));
                }
                Err(error) => bad.push(format!("{}: {error}", entry.path().display())),
            }
        }
        (found, bad)
    }

    /// Writes how a container ended, where its Pod's process could not.
    pub fn write_run(&self, sandbox: &str, container: &str, run: &Run) -> io::Result<()> {
        write_run(&self.sandbox_dir(sandbox), container, run)
    }

    /// Notes that a sandbox is not ready any more.
    pub fn write_stopped(&self, sandbox: &str) -> io::Result<()> {
        std::fs::write(self.sandbox_dir(sandbox).join("stopped"), "")
    }

    /// Removes a container's records.
    pub fn remove_container(&self, sandbox: &str, container: &str) {
        // The main record goes first: what is left without it is nothing to a later daemon.
        for suffix in ["json", "spec.json", "run.json", "end.json"] {
            let _ = std::fs::remove_file(self.sandbox_dir(sandbox).join(format!("{container}.{suffix}")));
        }
    }

    /// Removes a sandbox's records.
    pub fn remove_sandbox(&self, sandbox: &str) -> io::Result<()> {
        let directory = self.sandbox_dir(sandbox);
        let _ = std::fs::remove_file(directory.join("sandbox.json"));
        sys::tree::remove(&directory)
    }
}

/// Writes how far a container's run got.
pub fn write_run(directory: &Path, container: &str, run: &Run) -> io::Result<()> {
    let suffix = if run.finished_at_ns == 0 { "run" } else { "end" };
    write(&directory.join(format!("{container}.{suffix}.json")), run)
}

/// Writes a file as a whole or not at all.
pub fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, text)
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|error| io::Error::new(error.kind(), format!("write {}: {error}", path.display())))
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_records_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        Records::open(directory.path()).unwrap();
        Records::open(directory.path()).unwrap();
        std::fs::write(directory.path().join("VERSION"), "99").unwrap();
        let error = Records::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("VERSION") && error.contains("99"), "{error}");
    }
}
