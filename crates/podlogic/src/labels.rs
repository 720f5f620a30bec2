//! Labels and annotations that the agent writes on sandboxes and containers and reads back after a restart; the names
//! are those that CRI clients know.

use cri::runtime::ContainerStatus;
use cri::sandbox::StringMap;
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::json;

use crate::pod;

/// Pod name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Pod namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Pod UID.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Container name.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Hash of what makes a container another one.
pub const HASH: &str = "io.kubernetes.container.hash";
/// Restarts before this one.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Where the termination message is written, in the container.
pub const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// `File` or `FallbackToLogsOnError`.
pub const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// `preStop`, as JSON.
pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";
/// Ports, as JSON.
pub const PORTS: &str = "io.kubernetes.container.ports";
/// The Pod's grace period in seconds.
pub const TERMINATION_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";
/// The grace period of the deletion under way, in seconds.
pub const DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";

/// 32-bit FNV-1a.
pub fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// The hash of the fields whose change means another container: name and image.
pub fn container_hash(container: &Container) -> u64 {
    let picked = json!({"image": container.image.as_deref().unwrap_or_default(), "name": container.name});
    u64::from(fnv32a(picked.to_string().as_bytes()))
}

/// Whether a running container was made from another definition.
pub fn changed(container: &Container, status: &ContainerStatus) -> bool {
    let Some(text) = status.annotations.get(HASH) else { return false };
    u64::from_str_radix(text, 16).is_ok_and(|hash| hash != container_hash(container))
}

/// Restarts before this instance.
pub fn restart_count(status: &ContainerStatus) -> i32 {
    let written = status.annotations.get(RESTART_COUNT).and_then(|text| text.parse().ok());
    written.unwrap_or_else(|| i32::try_from(status.metadata.attempt).unwrap_or(i32::MAX))
}

/// Labels of a sandbox: the Pod's and its identity.
pub fn sandbox_labels(pod: &Pod) -> StringMap {
    let mut labels = pod.metadata.labels.clone().unwrap_or_default();
    labels.extend(identity(pod));
    labels
}

fn identity(pod: &Pod) -> [(String, String); 3] {
    [
        (POD_NAME.into(), pod::name(pod).into()),
        (POD_NAMESPACE.into(), pod::namespace(pod).into()),
        (POD_UID.into(), pod::uid(pod).into()),
    ]
}

/// Labels of a container.
pub fn container_labels(pod: &Pod, container: &Container) -> StringMap {
    let mut labels: StringMap = identity(pod).into();
    labels.insert(CONTAINER_NAME.into(), container.name.clone());
    labels
}

/// Annotations of a container.
pub fn container_annotations(pod: &Pod, container: &Container, restart_count: u32) -> StringMap {
    let path = container.termination_message_path.clone().unwrap_or_default();
    let policy = container.termination_message_policy.clone().unwrap_or_default();
    let mut annotations: StringMap = [
        (HASH.to_owned(), format!("{:x}", container_hash(container))),
        (RESTART_COUNT.to_owned(), restart_count.to_string()),
        (MESSAGE_PATH.to_owned(), path),
        (MESSAGE_POLICY.to_owned(), policy),
    ]
    .into();
    if let Some(grace) = pod.metadata.deletion_grace_period_seconds {
        annotations.insert(DELETION_GRACE.into(), grace.to_string());
    }
    if let Some(grace) = pod::spec(pod).termination_grace_period_seconds {
        annotations.insert(TERMINATION_GRACE.into(), grace.to_string());
    }
    let pre_stop = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    if let Some(text) = pre_stop.and_then(|handler| serde_json::to_string(handler).ok()) {
        annotations.insert(PRE_STOP.into(), text);
    }
    let ports = container.ports.as_ref().filter(|ports| !ports.is_empty());
    if let Some(text) = ports.and_then(|ports| serde_json::to_string(ports).ok()) {
        annotations.insert(PORTS.into(), text);
    }
    annotations
}
