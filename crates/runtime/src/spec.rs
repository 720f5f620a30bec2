//! What the Pod's process is told about sandboxes, containers and commands: everything is decided by the daemon, so
//! that the small process only performs it.

use std::path::PathBuf;

use cri::image::RootMount;
use serde::{Deserialize, Serialize};

use crate::cgroup::Group;

/// Namespaces and surroundings of a Pod's process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Sandbox id.
    pub sandbox: String,
    /// Where it listens for later daemons.
    pub socket: PathBuf,
    /// The cgroup of the process itself.
    pub group: Group,
    /// A network (and UTS) namespace of its own.
    pub own_network: bool,
    /// An IPC namespace of its own.
    pub own_ipc: bool,
    /// Directory for the runs' records.
    pub records: PathBuf,
}

/// Which PID namespace a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidNamespace {
    /// Its own.
    Own,
    /// The Pod's.
    Pod,
    /// The node's.
    Node,
    /// That of another container.
    Target(String),
}

/// A mount, attached in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountSpec {
    /// Where, inside the root.
    pub target: PathBuf,
    /// What.
    pub source: MountSource,
    /// `MOUNT_ATTR_*` of the mount.
    pub attributes: u64,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A new file system instance.
    FileSystem {
        /// Type.
        kind: String,
        /// Options; an empty value is a flag.
        options: Vec<(String, String)>,
    },
    /// A path of the node with what is mounted below it.
    Bind {
        /// The path.
        path: PathBuf,
        /// `MS_PRIVATE`, `MS_SLAVE` or `MS_SHARED`.
        propagation: u64,
        /// The attributes hold for submounts too.
        recursive_attributes: bool,
    },
    /// The container's control groups.
    ControlGroups,
}

/// A device node that is made, or bound where making it fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSpec {
    /// Path in the container.
    pub path: PathBuf,
    /// File type and mode.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Who the process is, before names are looked up in the image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSpec {
    /// `uid`, `name`, `uid:gid`, `name:group`; empty is root.
    pub user: String,
    /// Further groups.
    pub supplemental_groups: Vec<u32>,
    /// The image's `/etc/group` adds none.
    pub strict: bool,
}

/// What a process in a container is: the first one, or a command run later.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessSpec {
    /// Command line.
    pub arguments: Vec<String>,
    /// Environment, `NAME=value`.
    pub environment: Vec<String>,
    /// Working directory.
    pub directory: PathBuf,
    /// With a terminal.
    pub terminal: bool,
    /// With an open standard input.
    pub stdin: bool,
    /// Capabilities, one bit each.
    pub capabilities: u64,
    /// `no_new_privs`.
    pub no_new_privileges: bool,
    /// Seccomp program.
    pub seccomp: Option<Vec<u64>>,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i64>,
}

/// A container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Format of this file; see `state::VERSION`.
    pub version: u32,
    /// Container id.
    pub id: String,
    /// Its root.
    pub root: RootMount,
    /// An empty directory where the root is attached, seen by the container's first process only.
    pub staging: PathBuf,
    /// The root is read-only.
    pub readonly_root: bool,
    /// PID namespace.
    pub pid_namespace: PidNamespace,
    /// Control group.
    pub group: Group,
    /// Whether a control group namespace hides the groups above.
    pub own_group_namespace: bool,
    /// Mounts.
    pub mounts: Vec<MountSpec>,
    /// Devices.
    pub devices: Vec<DeviceSpec>,
    /// The usual links and files of `/dev` are made (not when something else is mounted there).
    pub populate_dev: bool,
    /// Hidden paths.
    pub masked_paths: Vec<String>,
    /// Read-only paths.
    pub readonly_paths: Vec<String>,
    /// Identity.
    pub user: UserSpec,
    /// The process.
    pub process: ProcessSpec,
    /// Standard input is closed when the first client leaves.
    pub stdin_once: bool,
    /// Absolute path of the log; `None` keeps none.
    pub log_path: Option<PathBuf>,
}

/// A command in a running container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// Its id, 64 hex digits.
    pub id: String,
    /// The container.
    pub container: String,
    /// Identity.
    pub user: UserSpec,
    /// The process.
    pub process: ProcessSpec,
    /// Connect stdout.
    pub stdout: bool,
    /// Connect stderr.
    pub stderr: bool,
}
