//! ServiceAccount: a Pod runs as an account of its namespace, and gets that account's token as a volume.

use std::sync::Arc;

use async_trait::async_trait;
use model::tree::TreeExt;
use model::{GroupResource, Status};
use resources::Resource;
use serde_json::{Value, json};
use stdx::entropy::Entropy;

use crate::admission::{forbidden, is_core};
use crate::seams::{Admission, AdmissionRequest, ObjectReader, Operation};

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// What makes the kubelet's tokens recognisable: an hour and a bit.
const TOKEN_LIFE_S: i64 = 3607;

/// The plug-in.
pub struct ServiceAccount {
    reader: Arc<dyn ObjectReader>,
    entropy: Entropy,
}

impl ServiceAccount {
    /// Reads accounts through `reader`.
    pub fn new(reader: Arc<dyn ObjectReader>, entropy: Entropy) -> Self {
        Self { reader, entropy }
    }

    async fn account(&self, request: &AdmissionRequest, name: &str) -> Result<Arc<Value>, Status> {
        let resource = GroupResource::new("", "serviceaccounts");
        let found = self.reader.get(&resource, &request.namespace, name).await?;
        found.ok_or_else(|| {
            let namespace = &request.namespace;
            let why = format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            );
            forbidden(request, why)
        })
    }
}

/// What a mirror Pod must not have.
fn check_mirror(request: &AdmissionRequest) -> Result<(), Status> {
    let pod = &request.object;
    if !pod.text(&["spec", "serviceAccountName"]).is_empty() {
        return Err(forbidden(request, "a mirror pod may not reference service accounts"));
    }
    for volume in pod.items(&["spec", "volumes"]) {
        if volume.get("secret").is_some() {
            return Err(forbidden(request, "a mirror pod may not reference secrets"));
        }
        for source in volume.items(&["projected", "sources"]) {
            if source.get("serviceAccountToken").is_some() {
                let why = "a mirror pod may not use ServiceAccountToken volume projections";
                return Err(forbidden(request, why));
            }
        }
    }
    Ok(())
}

fn should_mount(account: &Value, pod: &Value) -> bool {
    let asked = |value: &Value, path: &[&str]| value.at(path).and_then(Value::as_bool);
    asked(pod, &["spec", "automountServiceAccountToken"])
        .or_else(|| asked(account, &["automountServiceAccountToken"]))
        .unwrap_or(true)
}

fn token_volume(name: &str) -> Value {
    json!({"name": name, "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_LIFE_S, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
    ]}})
}

/// Adds the token's volume, and a mount to each container that has nothing at its place.
fn mount_token(pod: &mut Value, entropy: &Entropy) {
    let present = pod.items(&["spec", "volumes"]).iter();
    let present =
        present.map(|volume| volume.text(&["name"])).find(|name| name.starts_with("kube-api-access-"));
    let name = present.map_or_else(|| format!("kube-api-access-{}", entropy.name_suffix(5)), str::to_owned);
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let Some(containers) = pod.at_mut(&["spec"]).get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers {
            let mut mounts = container.items(&["volumeMounts"]).to_vec();
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT_PATH) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
            container.set(&["volumeMounts"], mounts);
            needed = true;
        }
    }
    let volumes = pod.items(&["spec", "volumes"]);
    if needed && !volumes.iter().any(|volume| volume["name"] == name.as_str()) {
        let all = [volumes, &[token_volume(&name)]].concat();
        pod.set(&["spec", "volumes"], all);
    }
}

#[async_trait]
impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, operation: Operation, row: &Resource, subresource: Option<&str>) -> bool {
        operation == Operation::Create && is_core(row, "pods") && subresource.is_none()
    }

    async fn mutate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if request.object.at(&["metadata", "annotations", MIRROR]).is_some() {
            return check_mirror(request);
        }
        if request.object.text(&["spec", "serviceAccountName"]).is_empty() {
            request.object.set(&["spec", "serviceAccountName"], "default");
        }
        let name = request.object.text(&["spec", "serviceAccountName"]).to_owned();
        request.object.set(&["spec", "serviceAccount"], name.as_str());
        let account = self.account(request, &name).await?;
        if should_mount(&account, &request.object) {
            mount_token(&mut request.object, &self.entropy);
        }
        let secrets = account.items(&["imagePullSecrets"]);
        if request.object.items(&["spec", "imagePullSecrets"]).is_empty() && !secrets.is_empty() {
            request.object.set(&["spec", "imagePullSecrets"], secrets.to_vec());
        }
        Ok(())
    }
}
