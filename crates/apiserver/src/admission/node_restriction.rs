//! NodeRestriction (https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction): a
//! node changes itself and the Pods that run on it, and nothing else.

use std::sync::Arc;

use async_trait::async_trait;
use model::tree::TreeExt;
use model::{GroupResource, Status};
use resources::Resource;
use serde_json::Value;

use crate::admission::forbidden;
use crate::seams::{Admission, AdmissionRequest, ObjectReader, Operation};

const MIRROR: &str = "kubernetes.io/config.mirror";
/// Labels under these suffixes are not a node's to set, but for those below.
const GUARDED: [&str; 2] = ["kubernetes.io", "k8s.io"];
/// Labels that a node sets about itself.
const OWN_LABELS: [&str; 14] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "node.kubernetes.io/windows-build",
];
const OWN_PREFIXES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

/// The plug-in.
pub struct NodeRestriction {
    reader: Arc<dyn ObjectReader>,
}

impl NodeRestriction {
    /// Reads Pods through `reader`.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }

    async fn pod(&self, request: &AdmissionRequest) -> Result<Arc<Value>, Status> {
        let resource = GroupResource::new("", "pods");
        let found = self.reader.get(&resource, &request.namespace, &request.name).await?;
        found.ok_or_else(|| Status::not_found(&resource, &request.name))
    }

    async fn admit_pod(&self, node: &str, request: &AdmissionRequest) -> Result<(), Status> {
        match (request.operation, request.subresource.as_deref()) {
            (Operation::Create, None) => check_mirror(node, request),
            (Operation::Delete, None) => {
                self.own(node, request, "delete pods with spec.nodeName set to itself").await
            }
            (Operation::Update, Some("status")) => {
                let old = request.old.clone().unwrap_or_default();
                if old.text(&["spec", "nodeName"]) != node {
                    let what = "update pod status for pods with spec.nodeName set to itself";
                    return Err(forbidden(request, format!("node {node:?} can only {what}")));
                }
                if old["metadata"]["labels"] != request.object["metadata"]["labels"] {
                    let why = format!("node {node:?} cannot update labels through pod status");
                    return Err(forbidden(request, why));
                }
                Ok(())
            }
            (Operation::Create, Some("eviction")) => {
                self.own(node, request, "evict pods with spec.nodeName set to itself").await
            }
            (_, None) => {
                Err(forbidden(request, format!("unexpected operation {:?}", request.operation.as_str())))
            }
            (_, Some(other)) => Err(forbidden(
                request,
                format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"),
            )),
        }
    }

    async fn own(&self, node: &str, request: &AdmissionRequest, what: &str) -> Result<(), Status> {
        let pod = match &request.old {
            Some(old) => Arc::new(old.clone()),
            None => self.pod(request).await?,
        };
        if pod.text(&["spec", "nodeName"]) == node {
            return Ok(());
        }
        Err(forbidden(request, format!("node {node:?} can only {what}")))
    }

    async fn admit_token(&self, node: &str, request: &AdmissionRequest) -> Result<(), Status> {
        let reference = &request.object["spec"]["boundObjectRef"];
        if reference["kind"] != "Pod" || reference["apiVersion"] != "v1" {
            return Err(forbidden(request, "node requested token not bound to a pod"));
        }
        let name = reference.text(&["name"]);
        let resource = GroupResource::new("", "pods");
        let pod = self.reader.get(&resource, &request.namespace, name).await?;
        let pod = pod.ok_or_else(|| Status::not_found(&resource, name))?;
        if pod.uid() != reference.text(&["uid"]) {
            let why = "the UID in the bound object reference does not match the UID in record";
            return Err(forbidden(request, why));
        }
        if pod.text(&["spec", "nodeName"]) != node {
            return Err(forbidden(
                request,
                "node requested token bound to a pod scheduled on a different node",
            ));
        }
        Ok(())
    }
}

/// A Pod that a node creates: the mirror of a static one, its own, and without access to anything.
fn check_mirror(node: &str, request: &AdmissionRequest) -> Result<(), Status> {
    let pod = &request.object;
    let refuse = |why: String| Err(forbidden(request, why));
    if pod.at(&["metadata", "annotations", MIRROR]).is_none() {
        return refuse(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if pod.text(&["spec", "nodeName"]) != node {
        return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    match pod.items(&["metadata", "ownerReferences"]) {
        [] => {}
        [owner] if owner["kind"] == "Node" && owner["apiVersion"] == "v1" && owner["name"] == node => {
            if owner["controller"] != true {
                return refuse(format!(
                    "node {node:?} can only create pods with a controller owner reference set to itself"
                ));
            }
        }
        [_] => {
            return refuse(format!(
                "node {node:?} can only create pods with an owner reference set to itself"
            ));
        }
        _ => {
            return refuse(format!(
                "node {node:?} can only create pods with a single owner reference set to itself"
            ));
        }
    }
    if !pod.text(&["spec", "serviceAccountName"]).is_empty() {
        return refuse(format!("node {node:?} can not create pods that reference a service account"));
    }
    for (kind, plural) in [
        ("secret", "secrets"),
        ("configMap", "configmaps"),
        ("persistentVolumeClaim", "persistentvolumeclaims"),
    ] {
        if pod.items(&["spec", "volumes"]).iter().any(|volume| volume.get(kind).is_some()) {
            return refuse(format!("node {node:?} can not create pods that reference {plural}"));
        }
    }
    Ok(())
}

/// Labels that a node may not set or change.
fn guarded_label(key: &str) -> bool {
    let Some((namespace, _)) = key.split_once('/') else { return false };
    let under = |suffix: &str| {
        namespace == suffix || namespace.strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'))
    };
    if under("node-restriction.kubernetes.io") {
        return true;
    }
    GUARDED.into_iter().any(under) && !OWN_LABELS.contains(&key) && !OWN_PREFIXES.into_iter().any(under)
}

fn check_node(node: &str, request: &AdmissionRequest) -> Result<(), Status> {
    let name = if request.name.is_empty() { request.object.name() } else { &request.name };
    if name != node {
        return Err(forbidden(request, format!("node {node:?} is not allowed to modify node {name:?}")));
    }
    let empty = Value::Null;
    let (old, new) = (request.old.as_ref().unwrap_or(&empty), &request.object);
    match request.operation {
        Operation::Delete => {
            return Err(forbidden(request, format!("node {node:?} cannot delete node {name:?}")));
        }
        Operation::Update if old["spec"]["taints"] != new["spec"]["taints"] => {
            return Err(forbidden(request, format!("node {node:?} is not allowed to modify taints")));
        }
        _ => {}
    }
    if new["metadata"]["ownerReferences"] != old["metadata"]["ownerReferences"] {
        return Err(forbidden(request, format!("node {node:?} is not allowed to modify ownerReferences")));
    }
    let labels = |value: &Value| value["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let (before, after) = (labels(old), labels(new));
    let mut changed: Vec<&str> = before
        .keys()
        .chain(after.keys())
        .filter(|key| before.get(*key) != after.get(*key) && guarded_label(key))
        .map(String::as_str)
        .collect();
    changed.sort_unstable();
    changed.dedup();
    if changed.is_empty() {
        return Ok(());
    }
    let verb = if request.operation == Operation::Create { "set" } else { "modify" };
    Err(forbidden(request, format!("is not allowed to {verb} the following labels: {}", changed.join(", "))))
}

#[async_trait]
impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, operation: Operation, row: &Resource, _subresource: Option<&str>) -> bool {
        operation != Operation::Connect
            && matches!(
                (row.group.as_str(), row.plural.as_str()),
                ("", "pods" | "nodes" | "serviceaccounts") | ("coordination.k8s.io", "leases")
            )
    }

    async fn mutate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let user = request.user.clone();
        if !user.in_group("system:nodes") {
            return Ok(());
        }
        let Some(node) = user.node_name() else {
            let why = format!("could not determine node from user {:?}", user.username);
            return Err(forbidden(request, why));
        };
        match request.row.plural.as_str() {
            "pods" => self.admit_pod(node, request).await,
            "nodes" => check_node(node, request),
            "serviceaccounts" if request.subresource.as_deref() == Some("token") => {
                self.admit_token(node, request).await
            }
            "leases" if request.namespace == "kube-node-lease" && request.object.is_object() => {
                if request.object.name() == node {
                    return Ok(());
                }
                Err(forbidden(
                    request,
                    "can only access node lease with the same name as the requesting node",
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::guarded_label;

    #[test]
    fn labels_are_guarded_as_upstream_does() {
        for (key, guarded) in [
            ("app", false),
            ("example.com/x", false),
            ("kubernetes.io/hostname", false),
            ("kubernetes.io/x", true),
            ("foo.kubernetes.io/x", true),
            ("node.kubernetes.io/x", false),
            ("x.node-restriction.kubernetes.io/y", true),
            ("node-role.kubernetes.io/control-plane", true),
            ("k8s.io/x", true),
            ("notk8s.io/x", false),
        ] {
            assert_eq!(guarded_label(key), guarded, "{key}");
        }
    }
}
