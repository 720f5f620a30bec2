//! Pod sandboxes: the configuration and state of a Pod's shared namespaces (CRI `PodSandbox*` messages).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Labels and annotations, ordered so that what is written down is stable.
pub type StringMap = BTreeMap<String, String>;

/// `PodSandboxMetadata`: what a sandbox's name is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodSandboxMetadata {
    /// Pod name.
    pub name: String,
    /// Pod UID (static Pods: the hash that stands for it).
    pub uid: String,
    /// Pod namespace.
    pub namespace: String,
    /// How many sandboxes this Pod had before.
    pub attempt: u32,
}

/// `PodSandboxConfig`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PodSandboxConfig {
    /// Name parts.
    pub metadata: PodSandboxMetadata,
    /// Host name inside the Pod; empty with the host's network (the host's name stays).
    pub hostname: String,
    /// Where the containers' logs go: `/var/log/pods/<namespace>_<name>_<uid>`; made by the agent.
    pub log_directory: String,
    /// `/etc/resolv.conf` of the sandbox. `None`: the host's.
    pub dns_config: Option<DnsConfig>,
    /// Host ports.
    pub port_mappings: Vec<PortMapping>,
    /// Labels (`io.kubernetes.pod.name` …).
    pub labels: StringMap,
    /// Annotations.
    pub annotations: StringMap,
    /// Linux settings.
    pub linux: LinuxPodSandboxConfig,
}

/// `DNSConfig`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DnsConfig {
    /// Name servers' addresses.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// Options, as `ndots:5`.
    pub options: Vec<String>,
}

/// Transport protocol of a port.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// `PortMapping`: a host port that leads to the Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port in the Pod.
    pub container_port: u16,
    /// Port of the host.
    pub host_port: u16,
    /// Host address to bind; empty means all.
    pub host_ip: String,
}

/// `LinuxPodSandboxConfig`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LinuxPodSandboxConfig {
    /// The Pod's cgroup, relative to the cgroup root, e.g. `/carob-1a2b3c4d/kubepods/burstable/pod<uid>`.
    pub cgroup_parent: String,
    /// Namespaces and identity.
    pub security_context: LinuxSandboxSecurityContext,
    /// Namespaced kernel settings.
    pub sysctls: StringMap,
    /// Limits of the Pod's cgroup (the sum of its containers', where each has one); applied to `cgroup_parent`.
    pub resources: LinuxContainerResources,
}

/// `LinuxSandboxSecurityContext`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LinuxSandboxSecurityContext {
    /// Which namespaces are the Pod's own.
    pub namespace_options: NamespaceOption,
    /// Supplemental groups.
    pub supplemental_groups: Vec<i64>,
    /// Whether a container of the Pod is privileged.
    pub privileged: bool,
}

/// `NamespaceMode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// Shared by the Pod's containers.
    #[default]
    Pod,
    /// One per container.
    Container,
    /// The node's.
    Node,
    /// Another container's (see `target_id`).
    Target,
}

/// `NamespaceOption`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceOption {
    /// Network namespace: `Pod` or `Node`.
    pub network: NamespaceMode,
    /// PID namespace: `Container` (usual), `Pod` (`shareProcessNamespace`), `Node`, `Target`.
    pub pid: NamespaceMode,
    /// IPC namespace: `Pod` or `Node`.
    pub ipc: NamespaceMode,
    /// Container whose PID namespace to join when `pid` is `Target`.
    pub target_id: String,
}

/// `LinuxContainerResources`: zero means unset.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LinuxContainerResources {
    /// CFS period in microseconds.
    pub cpu_period_us: i64,
    /// CFS quota in microseconds; -1 is unlimited.
    pub cpu_quota_us: i64,
    /// Relative weight (v1 scale, 2–262144).
    pub cpu_shares: i64,
    /// Memory limit in bytes.
    pub memory_limit_bytes: i64,
    /// Memory and swap limit in bytes.
    pub memory_swap_limit_bytes: i64,
    /// `oom_score_adj` of the container's processes.
    pub oom_score_adj: i64,
    /// CPUs allowed.
    pub cpuset_cpus: String,
    /// Memory nodes allowed.
    pub cpuset_mems: String,
    /// Limits of huge pages: (page size such as `2MB`, bytes).
    pub hugepage_limits: Vec<(String, u64)>,
    /// Maximum number of processes; 0 is unset. (Not in CRI; the agent's pod PID limit.)
    pub pids_limit: i64,
    /// cgroup v2 files to write as they are.
    pub unified: StringMap,
}

/// `PodSandboxState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PodSandboxState {
    /// Its namespaces are held and it can take containers.
    Ready,
    /// Stopped or lost.
    NotReady,
}

/// `PodSandboxStatus`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PodSandboxStatus {
    /// 64 hex digits.
    pub id: String,
    /// Name parts.
    pub metadata: PodSandboxMetadata,
    /// State.
    pub state: PodSandboxState,
    /// Creation time in nanoseconds since the epoch.
    pub created_at_ns: i64,
    /// Pod addresses, the first is the primary; empty with the host's network.
    pub ips: Vec<String>,
    /// Namespaces.
    pub namespace_options: NamespaceOption,
    /// Labels.
    pub labels: StringMap,
    /// Annotations.
    pub annotations: StringMap,
}
