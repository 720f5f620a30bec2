//! What the node's API server asks: Pods, containers, sandboxes.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use cri::runtime::{ContainerState, RuntimeService};
use cri::sandbox::PodSandboxState;
use k8s_openapi::api::core::v1::{ContainerStatus, Node, Pod};
use podlogic::{labels, pod};

use crate::seams::{ContainerHandle, LookupError, NodeApiBackend};
use crate::shared::Shared;

/// The agent as a back end of the node's API.
pub struct Backend(pub Arc<Shared>);

impl Backend {
    fn with_status(&self, pod: &Pod) -> Pod {
        let mut pod = pod.clone();
        if let Some(status) = self.0.statuses.get(pod::uid(&pod)) {
            pod.status = Some((*status).clone());
        }
        pod
    }

    fn status<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
        let status = pod.status.as_ref()?;
        let lists = [
            &status.container_statuses,
            &status.init_container_statuses,
            &status.ephemeral_container_statuses,
        ];
        lists.into_iter().flatten().flatten().find(|own| own.name == container)
    }
}

fn waiting_message(pod: &Pod, container: &str, status: Option<&ContainerStatus>) -> String {
    let state = status.and_then(|status| status.state.as_ref());
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let reason = waiting.and_then(|waiting| waiting.reason.clone()).unwrap_or_default();
    let name = pod::name(pod);
    match reason.as_str() {
        "ErrImagePull" | "ImagePullBackOff" => {
            format!(
                "container {container:?} in pod {name:?} is waiting to start: trying and failing to pull image"
            )
        }
        "" => format!("container {container:?} in pod {name:?} is not available"),
        reason => format!("container {container:?} in pod {name:?} is waiting to start: {reason}"),
    }
}

#[async_trait]
impl NodeApiBackend for Backend {
    fn node_name(&self) -> &str {
        &self.0.options.node_name
    }

    fn node(&self) -> Option<Arc<Node>> {
        self.0.node.read().clone()
    }

    fn pods(&self) -> Vec<Pod> {
        let boxes: Vec<_> = self.0.pods.lock().values().cloned().collect();
        boxes.iter().filter_map(|mailbox| mailbox.pod()).map(|pod| self.with_status(&pod)).collect()
    }

    fn find_pod(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<Pod> {
        let boxes: Vec<_> = self.0.pods.lock().values().cloned().collect();
        let mut found = boxes.iter().filter_map(|mailbox| {
            let pod = mailbox.pod()?;
            let mirror = mailbox.inbox.lock().mirror.clone();
            let is_uid = |uid: &str| {
                pod::uid(&pod) == uid || mirror.as_ref().is_some_and(|mirror| pod::uid(mirror) == uid)
            };
            let named = pod::namespace(&pod) == namespace && pod::name(&pod) == name;
            (named && uid.is_none_or(is_uid)).then_some(pod)
        });
        let mut candidates: Vec<_> = found.by_ref().collect();
        // A deleted Pod may still be ending while its successor of the same name runs already.
        candidates.sort_by_key(|pod| pod::is_deleted(pod));
        candidates.first().map(|pod| self.with_status(pod))
    }

    async fn find_container(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Result<ContainerHandle, LookupError> {
        let found = self.find_pod(namespace, pod, None).ok_or(LookupError::PodNotFound)?;
        let Some((_, spec)) = pod::find_container(&found, container) else {
            return Err(LookupError::NoSuchContainer { container: container.into(), pod: pod.into() });
        };
        let status = Self::status(&found, container);
        let state = status.and_then(|status| status.state.as_ref());
        let last =
            status.and_then(|status| status.last_state.as_ref()).and_then(|last| last.terminated.as_ref());
        let own = status
            .and_then(|status| status.container_id.clone())
            .filter(|_| state.is_some_and(|state| state.running.is_some() || state.terminated.is_some()));
        let last_id = last.and_then(|last| last.container_id.clone());
        let id = match (previous, own) {
            (true, _) => last_id.ok_or_else(|| {
                LookupError::NotAvailable(format!(
                    "previous terminated container {container:?} in pod {pod:?} not found"
                ))
            })?,
            (false, Some(id)) => id,
            (false, None) => last_id
                .ok_or_else(|| LookupError::NotAvailable(waiting_message(&found, container, status)))?,
        };
        let id = id.split_once("://").map_or(id.as_str(), |(_, id)| id).to_owned();
        let status = self.0.runtime().container_status(&id).await;
        let status = status.map_err(|error| LookupError::NotAvailable(error.message))?;
        Ok(ContainerHandle {
            running: status.state == ContainerState::Running,
            log_path: PathBuf::from(status.log_path),
            sandbox_id: status.pod_sandbox_id,
            tty: spec.tty == Some(true),
            id,
        })
    }

    async fn find_sandbox(&self, namespace: &str, pod: &str) -> Result<String, LookupError> {
        let found = self.find_pod(namespace, pod, None).ok_or(LookupError::PodNotFound)?;
        let sandboxes = self.0.runtime().list_pod_sandboxes(Some(PodSandboxState::Ready)).await;
        let sandboxes = sandboxes.map_err(|error| LookupError::NotAvailable(error.message))?;
        let own = sandboxes
            .into_iter()
            .find(|own| own.labels.get(labels::POD_UID).is_some_and(|uid| uid == pod::uid(&found)));
        own.map(|own| own.id).ok_or_else(|| {
            LookupError::NotAvailable(format!("failed to find sandbox for pod {:?}", pod::describe(&found)))
        })
    }

    fn runtime(&self) -> Arc<dyn RuntimeService> {
        Arc::clone(self.0.runtime())
    }
}
