//! An instance of its own directory and ports, started as a user starts it: `carob up`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use client::Client;
use client::kubeconfig::{self, Cluster, Kubeconfig, User};
use sha2::{Digest, Sha256};

/// Longest wait for the demonstration image.
const IMAGE_WAIT: Duration = Duration::from_secs(60);

/// A running instance.
pub struct Instance {
    binary: PathBuf,
    folder: tempfile::TempDir,
    /// Its id: names of control groups and directories.
    pub id: String,
    /// From `carob up` to its end: API server up and node ready.
    pub started_in: Duration,
    ended: bool,
}

impl Instance {
    /// Starts an instance with an empty data directory.
    pub fn start(binary: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("carob-bench-").tempdir()?;
        let data_dir = folder.path().canonicalize()?.join("var/lib/carob");
        let id = hex::encode(&Sha256::digest(data_dir.as_os_str().as_encoded_bytes())[..4]);
        let mut instance =
            Self { binary: binary.to_owned(), folder, id, started_in: Duration::ZERO, ended: false };
        let kubeconfig = instance.kubeconfig_path();
        let mut up = instance.command("up");
        up.args(["--listen", "127.0.0.1:0", "--kubelet-port", "0", "--node-name", "node1"]);
        up.args(["--pod-cidr", "10.198.0.0/16", "--service-cidr", "10.199.0.0/16", "--write-kubeconfig"]);
        up.arg(kubeconfig);
        let begin = tokio::time::Instant::now();
        let output = up.stdin(Stdio::null()).output().context("starting carob")?;
        instance.started_in = begin.elapsed();
        if !output.status.success() {
            bail!("carob up: {}\n{}", String::from_utf8_lossy(&output.stderr), instance.log_tail());
        }
        Ok(instance)
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(verb).arg("--prefix").arg(self.folder.path());
        command
    }

    fn kubeconfig_path(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Where the API server is, and the administrator.
    pub fn credentials(&self) -> anyhow::Result<(Cluster, User)> {
        let config = Kubeconfig::read(&self.kubeconfig_path())?;
        let context = config.context("").context("no context")?;
        let cluster = config.cluster(&context.cluster).context("no cluster")?;
        let user = config.user(&context.user).context("no user")?;
        Ok((cluster.clone(), user.clone()))
    }

    /// A client with the administrator's rights, to prepare what is measured.
    pub fn administrator(&self) -> anyhow::Result<Client> {
        let (cluster, user) = self.credentials()?;
        Ok(Client::new(Arc::new(kubeconfig::transport(&cluster, &user, http::HeaderMap::new())?)))
    }

    /// Returns when an image is there: carob makes the demonstration image after it is up.
    pub async fn wait_for_image(&self, name: &str) -> anyhow::Result<()> {
        let begin = tokio::time::Instant::now();
        let name = name.rsplit('/').next().unwrap_or(name).split(':').next().unwrap_or(name);
        while begin.elapsed() < IMAGE_WAIT {
            let output = self.command("image").arg("ls").output()?;
            if String::from_utf8_lossy(&output.stdout).contains(name) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("the image {name} was not there within {} s", IMAGE_WAIT.as_secs())
    }

    /// The daemon's process.
    pub fn daemon_pid(&self) -> anyhow::Result<u32> {
        let path = format!("/run/carob/{}/daemon.pid", self.id);
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        text.trim().parse().with_context(|| format!("{path}: {text:?}"))
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let path = self.folder.path().join("var/lib/carob/carob.log");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Ends it and deletes its data.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.ended = true;
        self.down()
    }

    fn down(&self) -> anyhow::Result<()> {
        let output = self.command("down").args(["--purge", "--grace", "1s"]).output()?;
        if !output.status.success() {
            bail!("carob down: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if !self.ended
            && let Err(error) = self.down()
        {
            crate::tell(&format!("{error:#}"));
        }
    }
}
