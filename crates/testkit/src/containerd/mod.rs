//! Debian's containerd and runc as a reference, in namespaces of their own: with the first process there, everything ends
//! that they started, and nothing of it was ever seen on the machine.

pub mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use wire::{Message, call, field};

use crate::command::{Running, succeed};

/// How long it may take until the runtime answers, and how often it is asked.
const START_TRIES: u32 = 600;
const START_PAUSE: Duration = Duration::from_millis(100);
/// How often a control group is removed again whose processes are just ending.
const REMOVE_TRIES: u32 = 100;

/// What a container of the reference is, in CRI's terms.
#[derive(Debug, Clone, Default)]
pub struct ContainerSettings {
    /// A name of its own.
    pub name: String,
    /// Its command line.
    pub command: Vec<String>,
    /// `LinuxContainerSecurityContext`.
    pub security: Message,
    /// `NamespaceOption` of sandbox and container.
    pub namespaces: Message,
    /// The sandbox may hold a privileged container.
    pub privileged: bool,
    /// The sandbox's network is the node's.
    pub node_network: bool,
}

/// A running container of the reference.
pub struct Started {
    id: String,
    log: PathBuf,
}

/// A running containerd.
pub struct Containerd {
    folder: tempfile::TempDir,
    process: Running,
    cgroup: String,
    image: String,
}

impl Containerd {
    /// Starts it, with the image of this archive as the only one, for sandboxes too.
    ///
    /// # Errors
    /// If it cannot run here; the text holds what it said.
    pub async fn start(archive: &Path, image: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("carob-reference-").tempdir()?;
        let cgroup = format!("/carob-reference-{}", std::process::id());
        let work = folder.path().display().to_string();
        fs::write(folder.path().join("config.toml"), config(&work, image))?;
        fs::create_dir_all(folder.path().join("cni"))?;
        fs::write(folder.path().join("cni/10-reference.conflist"), network(&work))?;
        // The directories below /run and /var/lib/cni that it fills cannot be configured.
        let script = "mount -t tmpfs tmpfs /run && mkdir -p /var/lib/cni && mount -t tmpfs tmpfs /var/lib/cni && \
                      ip link set lo up && readlink /proc/self/ns/* > \"$0/namespaces\" && \
                      exec containerd -c \"$0/config.toml\" 2> \"$0/log\"";
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            script,
        ]);
        let process = Running::start(command.arg(&work))?;
        let own = Self { folder, process, cgroup, image: image.to_owned() };
        own.wait_until_ready().await?;
        let mut import = Command::new("ctr");
        import
            .arg("-a")
            .arg(own.socket())
            .args(["-n", "k8s.io", "images", "import", "--no-unpack"])
            .arg(archive);
        succeed(&mut import)?;
        Ok(own)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("containerd.sock")
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let mut problem = String::new();
        for _ in 0..START_TRIES {
            match self.ask("Version", &Message::new()).await {
                Ok(_) => return Ok(()),
                Err(error) => problem = format!("{error:#}"),
            }
            // Nothing announces it: the socket is there before the service is.
            tokio::time::sleep(START_PAUSE).await;
        }
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        bail!("containerd does not answer: {problem}\n{log}");
    }

    async fn ask(&self, method: &str, message: &Message) -> anyhow::Result<Vec<u8>> {
        call(&self.socket(), &format!("/runtime.v1.RuntimeService/{method}"), message).await
    }

    /// The namespaces that its containers share if they have none of their own, as links read.
    pub fn namespaces(&self) -> anyhow::Result<Vec<String>> {
        let text = fs::read_to_string(self.folder.path().join("namespaces"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Makes a sandbox and starts a container in it.
    pub async fn run(&self, settings: &ContainerSettings) -> anyhow::Result<Started> {
        let metadata = Message::new().text(1, &settings.name).text(2, &settings.name).text(3, "default");
        let mut security = Message::new().message(1, &settings.namespaces);
        if settings.privileged {
            security = security.number(6, 1);
        }
        let linux = Message::new().text(1, &self.cgroup).message(2, &security);
        let logs = self.folder.path().join("logs").join(&settings.name);
        fs::create_dir_all(&logs)?;
        let hostname = if settings.node_network { "" } else { &settings.name };
        let sandbox = Message::new()
            .message(1, &metadata)
            .text(2, hostname)
            .text(3, &logs.display().to_string())
            .message(8, &linux);
        let answer = self.ask("RunPodSandbox", &Message::new().message(1, &sandbox)).await?;
        let sandbox_id = id_in(&answer)?;
        // The kubelet's own mounts.
        let mut mounts = Vec::new();
        for (name, path) in [("hosts", "/etc/hosts"), ("termination", "/dev/termination-log")] {
            let file = logs.join(name);
            fs::write(&file, "")?;
            mounts.push(Message::new().text(1, path).text(2, &file.display().to_string()));
        }
        let container = mounts.iter().fold(Message::new(), |container, mount| container.message(7, mount));
        let container = container
            .message(1, &Message::new().text(1, "main"))
            .message(2, &Message::new().text(1, &self.image))
            .texts(3, &settings.command)
            .text(11, "main.log")
            // As the kubelet sets it for containers of the lowest class.
            .message(
                15,
                &Message::new()
                    .message(1, &Message::new().number(3, 2).number(5, 1000))
                    .message(2, &settings.security),
            );
        let create = Message::new().text(1, &sandbox_id).message(2, &container).message(3, &sandbox);
        let id = id_in(&self.ask("CreateContainer", &create).await?)?;
        self.ask("StartContainer", &Message::new().text(1, &id)).await?;
        Ok(Started { id, log: logs.join("main.log") })
    }

    /// What the container printed up to a line that is `end`.
    pub async fn output_until(&self, container: &Started, end: &str) -> anyhow::Result<Vec<String>> {
        for _ in 0..START_TRIES {
            let text = fs::read_to_string(&container.log).unwrap_or_default();
            // CRI's format: time, stream, F, text.
            let lines: Vec<String> =
                text.lines().filter_map(|line| line.splitn(4, ' ').nth(3)).map(str::to_owned).collect();
            if lines.iter().any(|line| line == end) {
                return Ok(lines);
            }
            tokio::time::sleep(START_PAUSE).await;
        }
        bail!("the container printed no {end:?}: {:?}", fs::read_to_string(&container.log))
    }

    /// Runs a command in a container; its standard output.
    pub async fn exec(&self, container: &Started, command: &[String]) -> anyhow::Result<String> {
        let request = Message::new().text(1, &container.id).texts(2, command).number(3, 120);
        let answer = self.ask("ExecSync", &request).await?;
        Ok(String::from_utf8_lossy(&field(&answer, 1).unwrap_or_default()).into_owned())
    }
}

impl Drop for Containerd {
    #[allow(clippy::disallowed_methods)] // nothing announces that a control group of version 1 is empty
    fn drop(&mut self) {
        // The first process of the namespace takes all others with it.
        self.process.kill();
        let groups = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for hierarchy in groups.chain([PathBuf::from("/sys/fs/cgroup")]) {
            let group = hierarchy.join(self.cgroup.trim_start_matches('/'));
            for _ in 0..REMOVE_TRIES {
                if !group.exists() || remove_groups(&group).is_ok() {
                    break;
                }
                std::thread::sleep(START_PAUSE);
            }
        }
    }
}

/// Removes a control group and those below it.
fn remove_groups(group: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(group)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_groups(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

fn id_in(answer: &[u8]) -> anyhow::Result<String> {
    Ok(String::from_utf8(field(answer, 1).context("an answer without an id")?)?)
}

/// The namespaces of a process, as the links below `/proc/<pid>/ns` read.
pub fn namespaces_of(pid: &str) -> anyhow::Result<Vec<String>> {
    let mut links = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/ns"))? {
        links.push(fs::read_link(entry?.path())?.display().to_string());
    }
    links.sort();
    links.dedup();
    Ok(links)
}

fn config(work: &str, image: &str) -> String {
    format!(
        r#"version = 2
root = "/run/reference/root"
state = "/run/reference/state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
  address = "{work}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{work}/cni"
"#
    )
}

fn network(work: &str) -> String {
    format!(
        r#"{{"cniVersion": "0.4.0", "name": "reference", "plugins": [{{"type": "ptp", "ipam": {{"type": "host-local",
"dataDir": "{work}/addresses", "subnet": "192.0.2.0/24"}}}}]}}"#
    )
}
