//! An instance of its own directory and ports, started as a user starts it: `carob up`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use client::kubeconfig::{self, Cluster, Kubeconfig, User};
use client::{Client, WatchEvent, WatchOptions};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Node;
use sha2::{Digest, Sha256};

/// Longest wait until the node is ready.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often an instance is asked to end.
const DOWN_ATTEMPTS: usize = 500;
/// How often the administrator's credentials are looked for, which are written when the API answers.
const LOOK: Duration = Duration::from_millis(1);

/// A running instance.
pub struct Instance {
    binary: PathBuf,
    folder: tempfile::TempDir,
    /// Its id: names of control groups and directories.
    pub id: String,
    /// From `carob up` until the node is ready, as a watch shows it.
    pub started_in: Duration,
    ended: bool,
}

impl Instance {
    /// Starts an instance with an empty data directory.
    pub async fn start(binary: &Path) -> anyhow::Result<Self> {
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
        up.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let begin = tokio::time::Instant::now();
        let child = up.spawn().context("starting carob")?;
        let ready = tokio::time::timeout(PATIENCE, instance.ready()).await;
        instance.started_in = begin.elapsed();
        // The command goes on until the first steps can be taken: the demonstration image is there then, too.
        let output = child.wait_with_output().context("waiting for carob up")?;
        if !output.status.success() {
            bail!("carob up: {}\n{}", String::from_utf8_lossy(&output.stderr), instance.log_tail());
        }
        ready.context("the node was not ready in time")??;
        Ok(instance)
    }

    /// Returns when a watch shows the node as ready.
    async fn ready(&self) -> anyhow::Result<()> {
        let file = self.folder.path().join("var/lib/carob/admin.kubeconfig");
        while !file.exists() {
            tokio::time::sleep(LOOK).await;
        }
        let (cluster, user) = credentials(&file)?;
        let client = Client::new(Arc::new(kubeconfig::transport(&cluster, &user, http::HeaderMap::new())?));
        let events = client.watch::<Node>(None, &WatchOptions::default()).await;
        let mut events = events.map_err(|status| anyhow!("watching nodes: {}", status.message))?;
        while let Some(event) = events.next().await {
            let event = event.map_err(|status| anyhow!("watching nodes: {}", status.message))?;
            if let WatchEvent::Added(node) | WatchEvent::Modified(node) = event
                && is_ready(&node)
            {
                return Ok(());
            }
        }
        bail!("the watch of nodes ended")
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
        credentials(&self.kubeconfig_path())
    }

    /// A client with the administrator's rights, to prepare what is measured.
    pub fn administrator(&self) -> anyhow::Result<Client> {
        let (cluster, user) = self.credentials()?;
        Ok(Client::new(Arc::new(kubeconfig::transport(&cluster, &user, http::HeaderMap::new())?)))
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
        let mut said = String::new();
        for _ in 0..DOWN_ATTEMPTS {
            let output = self.command("down").args(["--purge", "--grace", "1s"]).output()?;
            if output.status.success() {
                return Ok(());
            }
            // A daemon that is just being ended may hold its files a moment longer.
            said = String::from_utf8_lossy(&output.stderr).into_owned();
        }
        bail!("carob down: {said}")
    }
}

fn credentials(file: &Path) -> anyhow::Result<(Cluster, User)> {
    let config = Kubeconfig::read(file)?;
    let context = config.context("").context("no context")?;
    let cluster = config.cluster(&context.cluster).context("no cluster")?;
    let user = config.user(&context.user).context("no user")?;
    Ok((cluster.clone(), user.clone()))
}

/// Ready, and no longer closed to Pods.
fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let tainted = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    conditions.into_iter().any(|own| own.type_ == "Ready" && own.status == "True")
        && !tainted.into_iter().any(|own| own.key == "node.kubernetes.io/not-ready")
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
