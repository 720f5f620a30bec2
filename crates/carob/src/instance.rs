//! Where an instance's files are, and its identity: two instances on one machine never meet.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::arguments::InstanceOptions;

/// Version of the data directory. A later one is refused.
const VERSION: u32 = 1;

/// Paths and identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// What every default path is below.
    pub prefix: PathBuf,
    /// The instance's data.
    pub data_dir: PathBuf,
    /// 8 hex digits of the data directory's path.
    pub id: String,
}

impl Instance {
    /// Finds (and makes) the data directory.
    pub fn open(options: &InstanceOptions) -> anyhow::Result<Self> {
        let prefix = options.prefix.clone().unwrap_or_else(|| PathBuf::from("/"));
        let data_dir = match &options.data_dir {
            Some(data_dir) => data_dir.clone(),
            None => below(&prefix, "/var/lib/carob"),
        };
        make_private(&data_dir)?;
        let data_dir =
            data_dir.canonicalize().with_context(|| format!("data directory {}", data_dir.display()))?;
        let prefix = if prefix == Path::new("/") { prefix } else { prefix.canonicalize().unwrap_or(prefix) };
        let digest = Sha256::digest(data_dir.as_os_str().as_encoded_bytes());
        let id = hex::encode(&digest[..4]);
        let instance = Self { prefix, data_dir, id };
        instance.check_version()?;
        Ok(instance)
    }

    /// The directory is of this version, or new.
    fn check_version(&self) -> anyhow::Result<()> {
        let path = self.data_dir.join("version");
        match fs::read_to_string(&path) {
            Ok(text) => {
                let found: u32 =
                    text.trim().parse().with_context(|| format!("{} is damaged", path.display()))?;
                if found > VERSION {
                    bail!(
                        "data directory {} is of version {found}, this program knows {VERSION}: use the newer program, or another --data-dir",
                        self.data_dir.display()
                    );
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                pki::authority::write_public(&path, format!("{VERSION}\n").as_bytes())?;
            }
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        }
        Ok(())
    }

    /// A default path, below the prefix.
    pub fn path(&self, absolute: &str) -> PathBuf {
        below(&self.prefix, absolute)
    }

    /// Something in the data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.data_dir.join(name)
    }

    /// Sockets and namespaces. Not below the prefix: paths of sockets have at most 108 bytes.
    pub fn run_dir(&self) -> PathBuf {
        PathBuf::from("/run/carob").join(&self.id)
    }

    /// Root of the instance's control groups.
    pub fn cgroup_root(&self) -> String {
        format!("/carob-{}", self.id)
    }

    /// Where the daemon notes its process id.
    pub fn pid_file(&self) -> PathBuf {
        self.run_dir().join("daemon.pid")
    }

    /// The daemon's control socket.
    pub fn admin_socket(&self) -> PathBuf {
        self.run_dir().join("admin.sock")
    }

    /// The daemon's log when it runs in the background.
    pub fn log_file(&self) -> PathBuf {
        self.data("carob.log")
    }

    /// The process id of a living daemon of this instance.
    pub fn daemon_pid(&self) -> Option<i32> {
        let text = fs::read_to_string(self.pid_file()).ok()?;
        let pid: i32 = text.trim().parse().ok()?;
        // The id may be another program's by now: only ours holds the lock.
        (is_locked(&self.data("lock")) && Path::new("/proc").join(pid.to_string()).exists()).then_some(pid)
    }
}

/// `absolute` below `prefix`, as DESTDIR does it.
fn below(prefix: &Path, absolute: &str) -> PathBuf {
    prefix.join(absolute.trim_start_matches('/'))
}

/// Makes a directory that only its owner may enter.
pub fn make_private(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("making directory {}", path.display()))
}

/// Held while a daemon runs; the kernel lets go of it when the process ends, however it ends.
pub struct Lock(#[allow(dead_code)] fs::File);

/// Takes the lock of a directory for one process.
pub fn lock(path: &Path) -> anyhow::Result<Option<Lock>> {
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

fn is_locked(path: &Path) -> bool {
    path.exists() && matches!(lock(path), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_paths_are_below_the_prefix() {
        let folder = tempfile::tempdir().unwrap();
        let options = InstanceOptions { prefix: Some(folder.path().to_owned()), data_dir: None };
        let instance = Instance::open(&options).unwrap();
        let root = folder.path().canonicalize().unwrap();
        assert_eq!(instance.data_dir, root.join("var/lib/carob"));
        assert_eq!(instance.path("/etc/kubernetes/manifests"), root.join("etc/kubernetes/manifests"));
        assert_eq!(instance.id.len(), 8);
        fs::write(instance.data("version"), "99").unwrap();
        let error = Instance::open(&options).unwrap_err().to_string();
        assert!(error.contains("is of version 99"), "{error}");
    }

    #[test]
    fn a_lock_is_held_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(held.is_some() && is_locked(&path));
        drop(held);
        assert!(!is_locked(&path));
    }
}
