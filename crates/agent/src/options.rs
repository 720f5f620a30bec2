//! What an agent is started with.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use client::Client;
use cri::image::ImageService;
use cri::runtime::RuntimeService;
use stdx::clock::Clock;
use stdx::entropy::Entropy;

use crate::config::KubeletConfig;
use crate::seams::Volumes;

/// Where the agent keeps files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// `/var/lib/kubelet`.
    pub root: PathBuf,
    /// `/var/log/pods`.
    pub pod_logs: PathBuf,
    /// `/var/log/containers`.
    pub container_links: PathBuf,
}

impl Default for Directories {
    fn default() -> Self {
        Self {
            root: "/var/lib/kubelet".into(),
            pod_logs: "/var/log/pods".into(),
            container_links: "/var/log/containers".into(),
        }
    }
}

/// What an agent is started with.
#[derive(Clone)]
pub struct Options {
    /// Name of the Node object.
    pub node_name: String,
    /// Addresses of the node, the primary one first; at most one per family.
    pub node_ips: Vec<IpAddr>,
    /// The API, as `system:node:<name>`. `None`: static Pods only.
    pub client: Option<Client>,
    /// Containers.
    pub runtime: Arc<dyn RuntimeService>,
    /// Images.
    pub images: Arc<dyn ImageService>,
    /// Volumes.
    pub volumes: Arc<dyn Volumes>,
    /// Where files are kept.
    pub directories: Directories,
    /// `/carob-<id>`: the parent of `kubepods`.
    pub cgroup_root: String,
    /// Configuration.
    pub config: KubeletConfig,
    /// Labels to register with besides those that every node has.
    pub node_labels: BTreeMap<String, String>,
    /// Port of the node's API server, for `status.daemonEndpoints`.
    pub kubelet_port: u16,
    /// `v1.36.2+carob0.1.0`.
    pub version: String,
    /// Time of day.
    pub clock: Clock,
    /// Randomness.
    pub entropy: Entropy,
}
