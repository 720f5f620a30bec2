//! Containers: the CRI runtime service.

use std::pin::Pin;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Result;
use crate::sandbox::{
    LinuxContainerResources, NamespaceOption, PodSandboxConfig, PodSandboxState, PodSandboxStatus, StringMap,
};

/// `ContainerMetadata`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContainerMetadata {
    /// Container name in the Pod.
    pub name: String,
    /// Restart count of the container.
    pub attempt: u32,
}

/// `MountPropagation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountPropagation {
    /// `private`.
    #[default]
    Private,
    /// `rslave`.
    HostToContainer,
    /// `rshared`.
    Bidirectional,
}

/// `Mount`: a bind mount into the container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Path in the container; never trusted (resolved inside the root).
    pub container_path: String,
    /// Path on the host.
    pub host_path: String,
    /// Mounted read-only.
    pub readonly: bool,
    /// With `readonly`: submounts too.
    pub recursive_read_only: bool,
    /// Relabel (SELinux); not acted on.
    pub selinux_relabel: bool,
    /// Propagation.
    pub propagation: MountPropagation,
}

/// `Device`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path in the container.
    pub container_path: String,
    /// Path on the host.
    pub host_path: String,
    /// `r`, `w`, `m`.
    pub permissions: String,
}

/// `SecurityProfile`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompProfile {
    /// The runtime's default profile.
    RuntimeDefault,
    /// No filter.
    #[default]
    Unconfined,
    /// A profile file on the host.
    Localhost(String),
}

/// `LinuxContainerSecurityContext`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LinuxContainerSecurityContext {
    /// Capabilities to add, without `CAP_`; `ALL` is all.
    pub add_capabilities: Vec<String>,
    /// Capabilities to drop, without `CAP_`; `ALL` is all.
    pub drop_capabilities: Vec<String>,
    /// Full access to the node.
    pub privileged: bool,
    /// Namespaces.
    pub namespace_options: NamespaceOption,
    /// User id; with `run_as_username` both unset the image's user is taken.
    pub run_as_user: Option<i64>,
    /// Group id; needs a user.
    pub run_as_group: Option<i64>,
    /// User name in the image.
    pub run_as_username: String,
    /// Root file system is read-only.
    pub readonly_rootfs: bool,
    /// Further groups.
    pub supplemental_groups: Vec<i64>,
    /// `supplementalGroupsPolicy: Strict`: the image's `/etc/group` does not add groups.
    pub strict_supplemental_groups: bool,
    /// `no_new_privs`.
    pub no_new_privs: bool,
    /// Paths to hide; the agent passes upstream's default list (none when privileged or `procMount: Unmasked`).
    pub masked_paths: Vec<String>,
    /// Paths to make read-only; as above.
    pub readonly_paths: Vec<String>,
    /// Seccomp.
    pub seccomp: SeccompProfile,
}

/// `ContainerConfig`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Name parts.
    pub metadata: ContainerMetadata,
    /// Image: reference or id, present locally.
    pub image: String,
    /// What the user wrote as image, for status.
    pub user_specified_image: String,
    /// Replaces the image's entrypoint (and its cmd).
    pub command: Vec<String>,
    /// Replaces the image's cmd.
    pub args: Vec<String>,
    /// Replaces the image's working directory.
    pub working_dir: String,
    /// Environment, later entries win over the image's.
    pub envs: Vec<(String, String)>,
    /// Bind mounts.
    pub mounts: Vec<Mount>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Labels.
    pub labels: StringMap,
    /// Annotations.
    pub annotations: StringMap,
    /// Log file relative to the sandbox's log directory, as `name/0.log`.
    pub log_path: String,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close standard input when the first attached client leaves.
    pub stdin_once: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// Resources.
    pub resources: LinuxContainerResources,
    /// Identity and isolation.
    pub security_context: LinuxContainerSecurityContext,
    /// Signal for a graceful stop, `SIGTERM`; empty: the image's, else SIGTERM.
    pub stop_signal: String,
}

/// `ContainerState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Created, not started.
    Created,
    /// Running.
    Running,
    /// Exited.
    Exited,
    /// Not known any more.
    Unknown,
}

/// `ContainerStatus`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// 64 hex digits.
    pub id: String,
    /// The sandbox it belongs to.
    pub pod_sandbox_id: String,
    /// Name parts.
    pub metadata: ContainerMetadata,
    /// State.
    pub state: ContainerState,
    /// Creation time, ns since the epoch.
    pub created_at_ns: i64,
    /// Start time, ns since the epoch; 0 if never started.
    pub started_at_ns: i64,
    /// End, ns since the epoch; 0 while it runs.
    pub finished_at_ns: i64,
    /// Exit code: the status, or 128 + signal.
    pub exit_code: i32,
    /// What the user wrote as image.
    pub image: String,
    /// Image id (config digest).
    pub image_id: String,
    /// Repo digest or id, for `imageID`.
    pub image_ref: String,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`.
    pub reason: String,
    /// Further words (start errors).
    pub message: String,
    /// Labels.
    pub labels: StringMap,
    /// Annotations.
    pub annotations: StringMap,
    /// Mounts as configured.
    pub mounts: Vec<Mount>,
    /// Absolute log file path.
    pub log_path: String,
    /// Resources in force.
    pub resources: LinuxContainerResources,
    /// Numeric identity of the first process, once created: (uid, gid, supplemental groups).
    pub user: Option<(i64, i64, Vec<i64>)>,
    /// Process id of the first process on the node while it runs; 0 otherwise.
    pub pid: i32,
}

/// `ContainerStats`, the parts the node reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerStats {
    /// Container id.
    pub id: String,
    /// Container name.
    pub name: String,
    /// When taken, ns since the epoch.
    pub timestamp_ns: i64,
    /// CPU time used, ns.
    pub cpu_usage_ns: u64,
    /// Memory used less inactive page cache, bytes.
    pub memory_working_set_bytes: u64,
    /// Memory used, bytes.
    pub memory_usage_bytes: u64,
}

/// `ContainerEventType` with what it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // the fields are ids of what the variant names
pub enum Event {
    /// A container was created.
    ContainerCreated { sandbox_id: String, container_id: String, pod_uid: String },
    /// A container runs.
    ContainerStarted { sandbox_id: String, container_id: String, pod_uid: String },
    /// A container ended; its status says how.
    ContainerStopped { sandbox_id: String, container_id: String, pod_uid: String },
    /// A container was removed.
    ContainerDeleted { sandbox_id: String, container_id: String, pod_uid: String },
    /// The sandbox ended by itself (its process was killed) or was stopped.
    SandboxStopped { sandbox_id: String, pod_uid: String },
    /// Events were lost; list everything.
    Overflow,
}

impl Event {
    /// The Pod concerned; `None` for [`Event::Overflow`].
    pub fn pod_uid(&self) -> Option<&str> {
        match self {
            Event::ContainerCreated { pod_uid, .. }
            | Event::ContainerStarted { pod_uid, .. }
            | Event::ContainerStopped { pod_uid, .. }
            | Event::ContainerDeleted { pod_uid, .. }
            | Event::SandboxStopped { pod_uid, .. } => Some(pod_uid),
            Event::Overflow => None,
        }
    }
}

/// Readable half of a stream.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// Writable half of a stream.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// What to run in a container.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// Container.
    pub container_id: String,
    /// Command line.
    pub command: Vec<String>,
    /// Give it a terminal; there is no stderr then.
    pub tty: bool,
    /// Connect these.
    pub stdin: bool,
    /// Connect stdout.
    pub stdout: bool,
    /// Connect stderr.
    pub stderr: bool,
}

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// A running command, or an attachment to a container's first process.
pub struct StreamSession {
    /// To its standard input; dropping it closes the input.
    pub stdin: Option<Writer>,
    /// Its standard output; ends when the process closed it.
    pub stdout: Option<Reader>,
    /// Its standard error.
    pub stderr: Option<Reader>,
    /// Sends a new terminal size.
    pub resize: Option<tokio::sync::mpsc::Sender<TerminalSize>>,
    /// The exit code, once ended: the status, or 128 + signal.
    pub exit: tokio::sync::oneshot::Receiver<Result<i32>>,
}

/// `ExecSyncResponse`.
#[derive(Debug, Clone, Default)]
pub struct ExecOutput {
    /// Standard output, at most 16 MiB.
    pub stdout: Vec<u8>,
    /// Standard error, at most 16 MiB.
    pub stderr: Vec<u8>,
    /// Exit code.
    pub exit_code: i32,
}

/// `runtime.v1.RuntimeService`.
#[async_trait]
pub trait RuntimeService: Send + Sync {
    /// (name, version) as in `containerd://1.2.3`; ours is `carob`.
    fn version(&self) -> (String, String);
    /// Makes and starts a sandbox: namespaces, cgroup, network. Returns its id.
    async fn run_pod_sandbox(&self, config: &PodSandboxConfig, runtime_handler: &str) -> Result<String>;
    /// Kills what runs in it and gives its network back. Idempotent.
    async fn stop_pod_sandbox(&self, sandbox_id: &str) -> Result<()>;
    /// Removes it and its containers. Idempotent.
    async fn remove_pod_sandbox(&self, sandbox_id: &str) -> Result<()>;
    /// One sandbox.
    async fn pod_sandbox_status(&self, sandbox_id: &str) -> Result<PodSandboxStatus>;
    /// All sandboxes, or those in one state.
    async fn list_pod_sandboxes(&self, state: Option<PodSandboxState>) -> Result<Vec<PodSandboxStatus>>;

    /// Makes a container in a sandbox. Returns its id.
    async fn create_container(
        &self,
        sandbox_id: &str,
        config: &ContainerConfig,
        sandbox_config: &PodSandboxConfig,
    ) -> Result<String>;
    /// Starts it. The error's text is containerd 2 with runc's (`failed to create containerd task: … exec: "x":
    /// executable file not found in $PATH`); the container is then `Exited` with `StartError`.
    async fn start_container(&self, container_id: &str) -> Result<()>;
    /// Sends the stop signal, and SIGKILL after `timeout_s` (0: at once). Returns when it has ended. Idempotent.
    async fn stop_container(&self, container_id: &str, timeout_s: i64) -> Result<()>;
    /// Removes it, killing it if need be. Idempotent.
    async fn remove_container(&self, container_id: &str) -> Result<()>;
    /// One container.
    async fn container_status(&self, container_id: &str) -> Result<ContainerStatus>;
    /// All containers, or a sandbox's.
    async fn list_containers(&self, sandbox_id: Option<&str>) -> Result<Vec<ContainerStatus>>;
    /// Changes limits in place.
    async fn update_container_resources(
        &self,
        container_id: &str,
        resources: &LinuxContainerResources,
    ) -> Result<()>;
    /// Reopens the log file after it was renamed.
    async fn reopen_container_log(&self, container_id: &str) -> Result<()>;
    /// Usage of all containers, or of a sandbox's.
    async fn list_container_stats(&self, sandbox_id: Option<&str>) -> Result<Vec<ContainerStats>>;

    /// Runs a command to its end; `timeout_ms` 0 is none. On timeout the command is killed and the error is
    /// [`crate::ErrorKind::DeadlineExceeded`] with containerd's words (`command timed out: …`).
    async fn exec_sync(&self, container_id: &str, command: &[String], timeout_ms: u64) -> Result<ExecOutput>;
    /// Runs a command with streams.
    async fn exec(&self, request: &ExecRequest) -> Result<StreamSession>;
    /// Attaches to the container's first process.
    async fn attach(&self, request: &ExecRequest) -> Result<StreamSession>;
    /// Connects to a TCP port on the sandbox's loopback (`localhost` in the Pod, IPv4 first, then IPv6).
    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<(Reader, Writer)>;

    /// Events from now on. The queue is bounded; a receiver that falls behind gets [`Event::Overflow`].
    fn events(&self) -> tokio::sync::mpsc::Receiver<Event>;
}
