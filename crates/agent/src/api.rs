//! Small helpers around API objects.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use podlogic::ContainerKind;
use podlogic::pod;

/// A reference to a Pod, for events. Static Pods are referred to by their hash.
pub fn pod_reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: None,
    }
}

/// A reference to a container of a Pod: `spec.containers{name}`.
pub fn container_reference(pod: &Pod, kind: ContainerKind, container: &str) -> ObjectReference {
    ObjectReference {
        field_path: Some(format!("spec.{}{{{container}}}", kind.field())),
        ..pod_reference(pod)
    }
}

/// A reference to a container found by name.
pub fn reference_by_name(pod: &Pod, container: &str) -> ObjectReference {
    match pod::find_container(pod, container) {
        Some((kind, _)) => container_reference(pod, kind, container),
        None => pod_reference(pod),
    }
}
