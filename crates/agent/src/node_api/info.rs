//! `/pods`, `/runningpods/`, `/configz`, `/run` and the refusal of `/checkpoint`.

use std::collections::BTreeMap;

use cri::runtime::{ContainerState, ContainerStatus};
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use podlogic::{labels, pod};
use serde_json::{Value, json};

use super::answer::{Answer, json as json_answer, not_found, runtime_error, text};
use super::query::Query;
use super::route::Target;
use super::serve::Server;

fn pod_list(items: Vec<Value>) -> Answer {
    json_answer(
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
            .to_string()
            .into_bytes(),
    )
}

/// An item of a list, which has no kind of its own.
fn item(pod: &Pod) -> Option<Value> {
    let mut tree = serde_json::to_value(pod).ok()?;
    if let Some(fields) = tree.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    Some(tree)
}

/// The Pods of the node, as it is meant to be.
pub fn pods(server: &Server) -> Answer {
    pod_list(server.backend.pods().iter().filter_map(item).collect())
}

/// Pods by what runs: name, namespace, UID and running containers.
fn running(containers: &[ContainerStatus]) -> Vec<Value> {
    let mut pods: BTreeMap<(&str, &str, &str), Vec<Value>> = BTreeMap::new();
    for own in containers.iter().filter(|own| own.state == ContainerState::Running) {
        let label = |name: &str| own.labels.get(name).map_or("", String::as_str);
        let key = (label(labels::POD_NAMESPACE), label(labels::POD_NAME), label(labels::POD_UID));
        let container = json!({"name": own.metadata.name, "image": own.image, "resources": {}});
        pods.entry(key).or_default().push(container);
    }
    let pods = pods.into_iter().map(|((namespace, name, uid), containers)| {
        json!({"metadata": {"name": name, "namespace": namespace, "uid": uid},
            "spec": {"containers": containers}, "status": {}})
    });
    pods.collect()
}

/// The Pods of the node, as they run.
pub async fn running_pods(server: &Server) -> Answer {
    match server.backend.runtime().list_containers(None).await {
        Ok(containers) => pod_list(running(&containers)),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.message),
    }
}

/// The configuration in force, as far as the node shows it.
pub fn config(server: &Server) -> Answer {
    let node = server.backend.node();
    let status = node.as_ref().and_then(|node| node.status.as_ref());
    let port = status
        .and_then(|status| status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref())
        .map_or(10_250, |endpoint| endpoint.port);
    let pods = status.and_then(|status| status.capacity.as_ref()?.get("pods"));
    let pods = pods.and_then(|quantity| quantity.0.parse::<i64>().ok());
    let config = json!({"kubeletconfig": {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "enableServer": true,
        "port": port, "maxPods": pods.unwrap_or(110), "enableDebuggingHandlers": true,
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}},
        "authorization": {"mode": "Webhook"},
    }});
    json_answer(config.to_string().into_bytes())
}

/// Runs a command and gives its output.
pub async fn run(server: &Server, target: &Target, query: &Query) -> Answer {
    let Target { namespace, pod, uid, container } = target;
    if server.backend.find_pod(namespace, pod, None).is_none() {
        return not_found("pod does not exist");
    }
    let missing = || text(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found ({container:?})"));
    if uid.as_deref().is_some_and(|uid| server.backend.find_pod(namespace, pod, Some(uid)).is_none()) {
        return missing();
    }
    let handle = match server.backend.find_container(namespace, pod, container, false).await {
        Ok(handle) if handle.running => handle,
        _ => return missing(),
    };
    // This path's command is one text, split at blanks.
    let command: Vec<String> = query.get("cmd").unwrap_or_default().split(' ').map(str::to_owned).collect();
    match server.backend.runtime().exec_sync(&handle.id, &command, 0).await {
        Ok(output) if output.exit_code == 0 => json_answer([output.stdout, output.stderr].concat()),
        Ok(output) => {
            let words = command.join(" ");
            let message = format!(
                "command '{words}' exited with {}: {}",
                output.exit_code,
                String::from_utf8_lossy(&output.stderr)
            );
            text(StatusCode::INTERNAL_SERVER_ERROR, message)
        }
        Err(error) => runtime_error(&error),
    }
}

/// Checkpoints are nothing this runtime makes.
pub fn checkpoint(server: &Server, target: &Target) -> Answer {
    let Target { namespace, pod, container, .. } = target;
    let Some(found) = server.backend.find_pod(namespace, pod, None) else {
        return not_found("pod does not exist");
    };
    if pod::find_container(&found, container).is_none() {
        return not_found(format!("container {container} does not exist"));
    }
    let why = "rpc error: code = Unimplemented desc = checkpointing containers is not supported";
    let message = format!("checkpointing of {namespace}/{pod}/{container} failed ({why})");
    text(StatusCode::INTERNAL_SERVER_ERROR, message)
}
