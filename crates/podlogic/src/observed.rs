//! What the runtime says of one Pod.

use cri::runtime::{ContainerState, ContainerStatus};
use cri::sandbox::{NamespaceMode, PodSandboxState, PodSandboxStatus};
use k8s_openapi::api::core::v1::Pod;

use crate::pod;

/// A Pod's sandboxes and containers, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Sandboxes, newest first.
    pub sandboxes: Vec<PodSandboxStatus>,
    /// Containers of all its sandboxes, newest first.
    pub containers: Vec<ContainerStatus>,
}

/// What has to be done about the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxVerdict {
    /// A new sandbox is needed.
    pub changed: bool,
    /// The attempt number of the sandbox to use (or to make).
    pub attempt: u32,
    /// The newest sandbox, if there is one.
    pub id: Option<String>,
}

impl Observed {
    /// Sorts what the runtime answered.
    pub fn new(mut sandboxes: Vec<PodSandboxStatus>, mut containers: Vec<ContainerStatus>) -> Self {
        sandboxes.sort_by(|left, right| {
            (right.created_at_ns, right.metadata.attempt).cmp(&(left.created_at_ns, left.metadata.attempt))
        });
        containers.sort_by(|left, right| {
            (right.created_at_ns, right.metadata.attempt).cmp(&(left.created_at_ns, left.metadata.attempt))
        });
        Self { sandboxes, containers }
    }

    /// The newest container of a name.
    pub fn latest(&self, name: &str) -> Option<&ContainerStatus> {
        self.containers.iter().find(|status| status.metadata.name == name)
    }

    /// The newest sandbox, if it is ready.
    pub fn ready_sandbox(&self) -> Option<&PodSandboxStatus> {
        self.sandboxes.first().filter(|sandbox| sandbox.state == PodSandboxState::Ready)
    }

    /// The Pod's addresses.
    pub fn ips(&self) -> Vec<String> {
        self.ready_sandbox().map(|sandbox| sandbox.ips.clone()).unwrap_or_default()
    }

    /// Containers of the newest sandbox that are created or running.
    pub fn active(&self) -> impl Iterator<Item = &ContainerStatus> {
        let newest = self.sandboxes.first().map(|sandbox| sandbox.id.as_str());
        self.containers
            .iter()
            .filter(move |status| Some(status.pod_sandbox_id.as_str()) == newest && is_active(status.state))
    }

    /// Whether any container runs.
    pub fn is_running(&self) -> bool {
        self.containers.iter().any(|status| status.state == ContainerState::Running)
    }

    /// Whether a main container was ever created (in any sandbox).
    pub fn has_main_container(&self, pod: &Pod) -> bool {
        pod::spec(pod).containers.iter().any(|container| self.latest(&container.name).is_some())
    }

    /// Whether the Pod needs a new sandbox, and which number it gets.
    pub fn sandbox_verdict(&self, pod: &Pod) -> SandboxVerdict {
        let Some(newest) = self.sandboxes.first() else {
            return SandboxVerdict { changed: true, attempt: 0, id: None };
        };
        let ready = self.sandboxes.iter().filter(|sandbox| sandbox.state == PodSandboxState::Ready).count();
        let next = newest.metadata.attempt + 1;
        let id = Some(newest.id.clone());
        if ready > 1 || newest.state != PodSandboxState::Ready {
            return SandboxVerdict { changed: true, attempt: next, id };
        }
        let host = pod::is_host_network(pod);
        let wanted = if host { NamespaceMode::Node } else { NamespaceMode::Pod };
        if newest.namespace_options.network != wanted {
            return SandboxVerdict { changed: true, attempt: next, id: None };
        }
        if !host && newest.ips.is_empty() {
            return SandboxVerdict { changed: true, attempt: next, id };
        }
        SandboxVerdict { changed: false, attempt: newest.metadata.attempt, id }
    }
}

/// Created or running.
pub fn is_active(state: ContainerState) -> bool {
    matches!(state, ContainerState::Created | ContainerState::Running)
}
