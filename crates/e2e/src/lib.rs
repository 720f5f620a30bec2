//! Tests that need root: real containers, networks and clients. What several of them share: manifests in short form,
//! and requests with them.

pub mod chaos;
pub mod golden;
pub mod isolation;
mod masks;
pub mod parity;
pub mod transcript;

use client::Client;
use http::Method;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use model::Status;
use serde_json::{Value, json};

/// Kinds that tests create, with their paths.
const PATHS: [(&str, &str); 14] = [
    ("Pod", "/api/v1/namespaces/NS/pods"),
    ("ConfigMap", "/api/v1/namespaces/NS/configmaps"),
    ("Secret", "/api/v1/namespaces/NS/secrets"),
    ("Service", "/api/v1/namespaces/NS/services"),
    ("ServiceAccount", "/api/v1/namespaces/NS/serviceaccounts"),
    ("LimitRange", "/api/v1/namespaces/NS/limitranges"),
    ("ResourceQuota", "/api/v1/namespaces/NS/resourcequotas"),
    ("Namespace", "/api/v1/namespaces"),
    ("Role", "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/roles"),
    ("RoleBinding", "/apis/rbac.authorization.k8s.io/v1/namespaces/NS/rolebindings"),
    ("ClusterRole", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
    ("ClusterRoleBinding", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"),
    ("ReplicaSet", "/apis/apps/v1/namespaces/NS/replicasets"),
    ("PriorityClass", "/apis/scheduling.k8s.io/v1/priorityclasses"),
];

/// Creates an object of one of the kinds above; in the namespace `default` unless it names another.
///
/// # Errors
/// As the API answers.
pub async fn try_create(client: &Client, object: &Value) -> Result<Value, Status> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let path = PATHS.iter().find(|(own, _)| *own == kind).map(|(_, path)| *path);
    let path = path.unwrap_or_else(|| panic!("no path for {kind:?}"));
    let path = path.replace("NS", object["metadata"]["namespace"].as_str().unwrap_or("default"));
    client.call(Method::POST, &path, Some(object)).await
}

/// As [`try_create`], for what has to be accepted.
///
/// # Panics
/// If it is refused.
pub async fn create(client: &Client, object: &Value) -> Value {
    match try_create(client, object).await {
        Ok(made) => made,
        Err(status) => panic!("{}: {}", object["metadata"]["name"], status.message),
    }
}

/// A Pod of one busybox container with this script. It ends at once when told to.
pub fn script(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "main", "image": "busybox:1.28", "command": ["sh", "-c", script] }],
        },
    })
}

/// A Pod of one busybox container that runs this script once.
pub fn once(name: &str, text: &str) -> Value {
    with(script(name, text), json!({ "spec": { "restartPolicy": "Never" } }))
}

/// A Pod that sleeps until it is deleted.
pub fn sleeper(name: &str) -> Value {
    script(name, "trap 'exit 0' TERM; sleep 100000 & wait")
}

/// Whether every container of a Pod has ended.
pub fn every_container_ended(pod: &Pod) -> bool {
    let mut statuses = pod.status.iter().flat_map(|own| own.container_statuses.iter().flatten());
    statuses.all(|own| own.state.as_ref().is_some_and(|state| state.terminated.is_some()))
}

/// The object with these fields added (a JSON merge patch).
#[must_use]
pub fn with(mut object: Value, change: Value) -> Value {
    merge(&mut object, change);
    object
}

/// The Pod with these fields added to its first container.
#[must_use]
pub fn with_container(mut pod: Value, change: Value) -> Value {
    merge(&mut pod["spec"]["containers"][0], change);
    pod
}

fn merge(own: &mut Value, change: Value) {
    match (own, change) {
        (Value::Object(own), Value::Object(change)) => {
            for (key, value) in change {
                merge(own.entry(key).or_insert(Value::Null), value);
            }
        }
        (own, change) => *own = change,
    }
}

/// A ConfigMap or a Secret with these texts.
pub fn texts(kind: &str, name: &str, pairs: &[(&str, &str)]) -> Value {
    let field = if kind == "Secret" { "stringData" } else { "data" };
    let map: serde_json::Map<String, Value> =
        pairs.iter().map(|(key, text)| ((*key).to_owned(), json!(text))).collect();
    json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name }, field: map })
}

/// The status of a Pod's container of this name.
pub fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = [&status.container_statuses, &status.init_container_statuses];
    all.into_iter().flatten().flatten().find(|own| own.name == name)
}

/// How often a Pod's first container was restarted.
pub fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref().and_then(|own| own.container_statuses.as_ref());
    status.and_then(|own| own.first()).map_or(0, |own| own.restart_count)
}

/// Exit code and reason of the end of a container: the present state, or the last.
pub fn ended(pod: &Pod, name: &str) -> Option<(i32, String)> {
    let status = container(pod, name)?;
    let states = [status.state.as_ref(), status.last_state.as_ref()];
    let end = states.into_iter().flatten().find_map(|own| own.terminated.as_ref())?;
    Some((end.exit_code, end.reason.clone().unwrap_or_default()))
}

/// Reason and message of a container's waiting.
pub fn waiting(pod: &Pod, name: &str) -> Option<(String, String)> {
    let waiting = container(pod, name)?.state.as_ref()?.waiting.as_ref()?;
    Some((waiting.reason.clone().unwrap_or_default(), waiting.message.clone().unwrap_or_default()))
}

/// The Pod's first address.
///
/// # Panics
/// If it has none.
pub fn address(pod: &Pod) -> String {
    pod.status.as_ref().and_then(|own| own.pod_ip.clone()).expect("the Pod has an address")
}
