//! The Pod network as the runtime sees it, in the shape of CNI's ADD, DEL and CHECK (https://www.cni.dev/docs/spec/).

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use async_trait::async_trait;

use crate::Result;
use crate::sandbox::PortMapping;

/// What is attached to the network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Sandbox id; addresses and host ports are held in its name.
    pub sandbox_id: String,
    /// Host ports that lead to the Pod.
    pub port_mappings: Vec<PortMapping>,
    /// Pod namespace, for messages.
    pub pod_namespace: String,
    /// Pod name, for messages.
    pub pod_name: String,
}

/// The Pod network.
#[async_trait]
pub trait PodNetwork: Send + Sync {
    /// Gives the network namespace a loopback, an `eth0`, addresses and routes, and opens the host ports. Returns the
    /// Pod's addresses, the primary one first. Idempotent: a second call for the same sandbox returns the same.
    async fn attach(&self, namespace: BorrowedFd<'_>, attachment: &Attachment) -> Result<Vec<IpAddr>>;
    /// Takes away what `attach` gave; nothing attached is no error.
    async fn detach(&self, sandbox_id: &str) -> Result<()>;
    /// Forgets (and cleans up after) every sandbox that is not in `live`: called once at start.
    async fn retain(&self, live: &[String]) -> Result<()>;
}
