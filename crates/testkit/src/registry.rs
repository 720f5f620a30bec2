//! Debian's `docker-registry` on loopback, filled by `skopeo`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::command::succeed;
use crate::images;

/// Name and password of the registry that wants one, with the line of its password file (bcrypt).
pub const USER: &str = "reader";
/// Its password.
pub const PASSWORD: &str = "secret";
const PASSWORD_LINE: &str = "reader:$2y$05$bnRD6koxi2sxZtdGqVBumOCJiX8qZvUlqxAYbTLfGIL.o1n07cmUS\n";

/// Registries whose images the mirror holds.
const MIRRORED: [&str; 4] = ["docker.io", "ghcr.io", "registry.k8s.io", "quay.io"];

/// A running registry; ended when dropped.
pub struct Registry {
    child: Child,
    /// `127.0.0.1:<port>`.
    pub address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// A registry with all images of [`images`].
    ///
    /// # Panics
    /// If it cannot be had; the text names the cause.
    pub fn start() -> Self {
        serve(&images::storage().expect("images"), None).expect("a registry")
    }

    /// The same behind a name and a password ([`USER`], [`PASSWORD`]).
    ///
    /// # Panics
    /// As [`Registry::start`].
    pub fn start_with_password() -> Self {
        serve(&images::storage().expect("images"), Some(PASSWORD_LINE)).expect("a registry")
    }

    /// `registries.yaml` that sends all registries' names here.
    pub fn mirrors(&self) -> String {
        let mut text = String::from("mirrors:\n");
        for name in MIRRORED {
            text += &format!("  {name}:\n    endpoint: [\"http://{}\"]\n", self.address);
        }
        text + &self.plain()
    }

    /// `registries.yaml`'s entry for this registry under its own name, by plain HTTP.
    fn plain(&self) -> String {
        format!("  \"{0}\":\n    endpoint: [\"http://{0}\"]\n", self.address)
    }

    /// `registries.yaml` for this registry under its own name only.
    pub fn itself(&self) -> String {
        format!("mirrors:\n{}", self.plain())
    }

    /// A copy of an image under another name: `push(archive, "library/busybox:1.28")`.
    pub fn push(&self, archive: &Path, name: &str) -> anyhow::Result<()> {
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"]);
        command.arg(format!("docker-archive:{}", archive.display()));
        command.arg(format!("docker://{}/{name}", self.address));
        succeed(&mut command).map(drop)
    }
}

/// Serves a directory.
pub(crate) fn serve(storage: &Path, passwords: Option<&str>) -> anyhow::Result<Registry> {
    let folder = tempfile::tempdir()?;
    fs::create_dir_all(storage)?;
    let auth = match passwords {
        Some(text) => {
            let file = folder.path().join("htpasswd");
            fs::write(&file, text)?;
            format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display())
        }
        None => String::new(),
    };
    let config = folder.path().join("config.yml");
    let text = format!(
        "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{auth}",
        storage.display()
    );
    fs::write(&config, text)?;
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().context("docker-registry is not installed: run `make setup`")?;
    let mut lines = BufReader::new(child.stderr.take().context("no pipe")?).lines();
    let address = loop {
        let line = lines.next().context("docker-registry ended at once")??;
        if let Some((_, rest)) = line.split_once("listening on ") {
            break rest.split(['"', ' ', ',']).next().unwrap_or_default().to_owned();
        }
    };
    // Its log is read on, so that it never waits for a reader.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    Ok(Registry { child, address, _folder: folder })
}
