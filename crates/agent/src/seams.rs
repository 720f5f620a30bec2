//! What the agent asks of volumes, and what the node's API server asks of the agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cri::runtime::{Mount, RuntimeService};
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use model::quantity::Quantity;

/// Facts that volumes may show in files.
#[derive(Debug, Clone, Copy)]
pub struct VolumeFacts<'a> {
    /// The node's addresses, the primary one first.
    pub host_ips: &'a [String],
    /// What the node can give: limits of containers that have none.
    pub allocatable: &'a BTreeMap<String, Quantity>,
}

/// Why volumes are not ready. The Pod stays as it is and is tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct VolumeError {
    /// Event reason: `FailedMount`, `FailedMapVolume` …
    pub reason: &'static str,
    /// Event message: `MountVolume.SetUp failed for volume "v" : configmap "x" not found`.
    pub message: String,
}

/// Volumes of a Pod that are in place: volume name → directory (or file) on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreparedVolumes {
    /// Host path by volume name.
    pub paths: BTreeMap<String, PathBuf>,
}

/// Makes a Pod's volumes. Every method may be called again and again.
#[async_trait]
pub trait Volumes: Send + Sync {
    /// Puts all volumes of the Pod in place and keeps their contents current from then on. Called before the sandbox
    /// is made and at every later decision about the Pod, so what is in place already must cost nothing.
    async fn prepare(&self, pod: &Pod, facts: VolumeFacts<'_>) -> Result<PreparedVolumes, VolumeError>;

    /// Bind mounts of one container, `subPath` and `subPathExpr` (with the container's environment) resolved safely.
    /// The error is the message of `CreateContainerConfigError`.
    async fn container_mounts(
        &self,
        pod: &Pod,
        container: &Container,
        envs: &[(String, String)],
        prepared: &PreparedVolumes,
    ) -> Result<Vec<Mount>, String>;

    /// Takes the Pod's volumes away once all its containers are gone.
    async fn teardown(&self, pod_uid: &str) -> Result<(), VolumeError>;

    /// Takes away what Pods left that are not in `live`: called once after a start.
    async fn retain(&self, live: &[String]);
}

/// Why a container was not found; the texts are those of upstream's node API.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No such Pod on this node.
    #[error("pod does not exist")]
    PodNotFound,
    /// The Pod has no such container.
    #[error("container {container:?} is not valid for pod {pod:?}")]
    NoSuchContainer {
        /// Container name asked for.
        container: String,
        /// Pod name.
        pod: String,
    },
    /// It was not started (or with `previous`, not ended) yet; says why: `container "c" in pod "p" is waiting to
    /// start: ContainerCreating`.
    #[error("{0}")]
    NotAvailable(String),
}

/// A container as the node's API server needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerHandle {
    /// Runtime id, without `carob://`.
    pub id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// Absolute path of its log file (rotated ones lie beside it).
    pub log_path: PathBuf,
    /// Whether it runs: a log may still grow.
    pub running: bool,
    /// Whether it has a terminal.
    pub tty: bool,
}

/// What the node's API server (`/containerLogs`, `/exec`, `/attach`, `/portForward`, `/pods`, `/stats`) needs.
#[async_trait]
pub trait NodeApiBackend: Send + Sync {
    /// Name of the node.
    fn node_name(&self) -> &str;
    /// The Node object as last reported, if the agent has a server.
    fn node(&self) -> Option<Arc<Node>>;
    /// All Pods of the node, with their present status.
    fn pods(&self) -> Vec<Pod>;
    /// A Pod by name, with its present status; with `uid` only that one. Mirror Pods lead to their static Pod.
    fn find_pod(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Pod>;
    /// A container's present instance (or with `previous` the one before).
    async fn find_container(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Result<ContainerHandle, LookupError>;
    /// The Pod's ready sandbox.
    async fn find_sandbox(&self, namespace: &str, pod: &str) -> Result<String, LookupError>;
    /// Exec, attach and port-forward go straight to the runtime.
    fn runtime(&self) -> Arc<dyn RuntimeService>;
}
