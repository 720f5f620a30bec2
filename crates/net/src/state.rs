//! What outlives the daemon: one small file per attached sandbox, the addresses handed out last, and the Services.
//! Each file is replaced as a whole. Nothing is forced to disk: after a power cut there are no sandboxes either.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use netplan::record::{RECORD_VERSION, Record};
use netplan::service::Service;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// Longest sandbox id taken, in bytes: it becomes a file name.
const SANDBOX_ID_MAX: usize = 128;

/// Size of the file with the addresses handed out last: longer than two addresses can be.
const CURSOR_BYTES: usize = 128;

/// The directory with the state files.
#[derive(Debug, Clone)]
pub struct StateFiles {
    root: PathBuf,
}

impl StateFiles {
    /// Uses a directory, made if need be.
    pub fn open(root: PathBuf) -> Result<Self> {
        let files = Self { root };
        let sandboxes = files.sandboxes();
        fs::create_dir_all(&sandboxes).map_err(failed("create", &sandboxes))?;
        Ok(files)
    }

    /// Every record, by sandbox id. A file that cannot be read as one is reported by name and put aside: the Pod it
    /// belonged to gets a new sandbox.
    pub fn records(&self) -> Result<BTreeMap<String, Record>> {
        let mut records = BTreeMap::new();
        let sandboxes = self.sandboxes();
        let entries = fs::read_dir(&sandboxes).map_err(failed("list", &sandboxes))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                // A temporary file of a writer that died.
                remove(&path)?;
                continue;
            }
            match read::<Record>(&path)? {
                Some(record) if record.version > RECORD_VERSION => {
                    return Err(Error::Newer { path, version: record.version, known: RECORD_VERSION });
                }
                Some(record) => {
                    records.insert(record.sandbox_id.clone(), record);
                }
                None => remove(&path)?,
            }
        }
        Ok(records)
    }

    /// Writes a record.
    pub fn write_record(&self, record: &Record) -> Result<()> {
        write(&self.record_path(&record.sandbox_id), record)
    }

    /// Deletes a record; a missing one is no error.
    pub fn delete_record(&self, sandbox_id: &str) -> Result<()> {
        remove(&self.record_path(sandbox_id))
    }

    /// The addresses handed out last, one per family.
    pub fn cursor(&self) -> Result<Vec<IpAddr>> {
        Ok(read(&self.root.join("cursor.json"))?.unwrap_or_default())
    }

    /// Writes the addresses handed out last.
    pub fn write_cursor(&self, cursor: &[IpAddr]) -> Result<()> {
        let path = self.root.join("cursor.json");
        let mut bytes = serde_json::to_vec(cursor).map_err(|error| failed("encode", &path)(error.into()))?;
        bytes.resize(bytes.len().max(CURSOR_BYTES), b' ');
        // In place and of one length: file systems flush files that are replaced or cut, which takes longer than all
        // the rest. A damaged one costs nothing but the order of addresses.
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        file.and_then(|mut file| file.write_all(&bytes)).map_err(failed("write", &path))
    }

    /// The Services.
    pub fn services(&self) -> Result<Vec<Service>> {
        Ok(read(&self.root.join("services.json"))?.unwrap_or_default())
    }

    /// Writes the Services.
    pub fn write_services(&self, services: &[Service]) -> Result<()> {
        write(&self.root.join("services.json"), &services)
    }

    /// Deletes everything.
    pub fn purge(&self) -> Result<()> {
        sys::tree::remove(&self.root).map_err(failed("delete", &self.root))
    }

    fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    fn record_path(&self, sandbox_id: &str) -> PathBuf {
        self.sandboxes().join(format!("{sandbox_id}.json"))
    }
}

/// Whether a sandbox id can be a file name.
pub fn check_sandbox_id(sandbox_id: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !sandbox_id.is_empty() && sandbox_id.len() <= SANDBOX_ID_MAX && sandbox_id.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::Option(format!(
        "sandbox id {sandbox_id:?} is not made of 1 to {SANDBOX_ID_MAX} letters and digits"
    )))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { action, path, source }
}

/// `None` if the file is missing or holds something else.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(failed("read", path))?,
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "ignoring a damaged state file of the pod network");
            Ok(None)
        }
    }
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let bytes = serde_json::to_vec(value).map_err(|error| failed("encode", path)(error.into()))?;
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, bytes).map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("replace", path))
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("delete", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, version: u32) -> Record {
        Record {
            version,
            sandbox_id: id.into(),
            pod_namespace: "default".into(),
            pod_name: "web".into(),
            host_link: "veth0".into(),
            addresses: vec!["10.42.0.2".parse().unwrap()],
            port_mappings: vec![],
        }
    }

    #[test]
    fn survives_a_restart_and_damage() {
        let directory = tempfile::tempdir().unwrap();
        let files = StateFiles::open(directory.path().join("net")).unwrap();
        files.write_record(&record("a", 1)).unwrap();
        files.write_record(&record("b", 1)).unwrap();
        files.delete_record("b").unwrap();
        files.delete_record("b").unwrap();
        fs::write(files.record_path("broken"), "{").unwrap();
        fs::write(files.sandboxes().join("c.tmp"), "{}").unwrap();
        let files = StateFiles::open(directory.path().join("net")).unwrap();
        assert_eq!(files.records().unwrap(), BTreeMap::from([("a".into(), record("a", 1))]));
        assert_eq!(
            fs::read_dir(files.sandboxes()).unwrap().count(),
            1,
            "damaged and temporary files are gone"
        );
        assert_eq!(files.cursor().unwrap(), [] as [IpAddr; 0]);
        for cursor in [vec!["10.42.0.200", "fd00::1234"], vec!["10.42.0.2"]] {
            let cursor: Vec<IpAddr> = cursor.iter().map(|address| address.parse().unwrap()).collect();
            files.write_cursor(&cursor).unwrap();
            assert_eq!(files.cursor().unwrap(), cursor, "a shorter one leaves nothing of a longer one");
        }
        files.purge().unwrap();
        assert!(!directory.path().join("net").exists());
    }

    #[test]
    fn refuses_a_newer_format() {
        let directory = tempfile::tempdir().unwrap();
        let files = StateFiles::open(directory.path().to_owned()).unwrap();
        files.write_record(&record("a", 2)).unwrap();
        let error = files.records().unwrap_err().to_string();
        assert!(
            error.ends_with("a.json has version 2, this release knows 1: start the newer release again"),
            "{error}"
        );
    }

    #[test]
    fn sandbox_ids() {
        for (id, want) in [("0a1b", true), ("pod-1_x", true), ("", false), ("../x", false), ("a/b", false)] {
            assert_eq!(check_sandbox_id(id).is_ok(), want, "{id:?}");
        }
        assert!(check_sandbox_id(&"a".repeat(129)).is_err());
    }
}
