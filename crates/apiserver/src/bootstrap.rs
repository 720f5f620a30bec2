//! What a cluster has from its first moment: the system's namespaces and priority classes, the bootstrap policy, and
//! the Service that leads to the API server. Made once; what is there is left alone (but the Service's endpoints).

use std::net::IpAddr;

use client::{Client, Path};
use futures::StreamExt;
use http::Method;
use model::tree::TreeExt;
use model::{Reason, Status};
use serde_json::{Value, json};

/// What the objects are made from.
#[derive(Debug, Clone)]
pub struct Options {
    /// Cluster IP of the `kubernetes` Service, per family.
    pub service_ips: Vec<IpAddr>,
    /// Addresses at which Pods reach the API server.
    pub endpoints: Vec<IpAddr>,
    /// The API server's port.
    pub port: u16,
    /// CA of client certificates, as PEM.
    pub client_authority_pem: String,
}

/// The system's namespaces. Those before the rest, as objects go into them.
const NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "default"];

/// System priority classes: (name, value, description).
const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

/// Requests in flight at once: enough to share the store's commits.
const CONCURRENCY: usize = 32;

/// Makes what is missing.
///
/// # Errors
/// The first refusal other than "already exists".
pub async fn ensure(client: &Client, options: &Options) -> Result<(), Status> {
    let namespaces =
        NAMESPACES.map(|name| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    create_all(client, namespaces.to_vec()).await?;
    let mut objects = rbac::policy::objects();
    objects.extend(PRIORITY_CLASSES.map(|(name, value, description)| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name},
            "value": value, "description": description})
    }));
    // Upstream leaves it to whoever installs the cluster to let the API server in at the nodes.
    objects.push(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "carob:kubelet-api-admin"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "kube-apiserver-kubelet-client"}],
    }));
    objects.push(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {"client-ca-file": options.client_authority_pem},
    }));
    create_all(client, objects).await?;
    api_service(client, options).await
}

/// Where an object of the table above is created.
fn collection(object: &Value) -> Path {
    let (group, version) = model::gvk::split_api_version(object.api_version());
    let kind = object.kind().to_lowercase();
    let plural = match kind.as_str() {
        "priorityclass" => "priorityclasses".into(),
        _ => format!("{kind}s"),
    };
    let namespace = Some(object.namespace()).filter(|namespace| !namespace.is_empty());
    Path::collection(group, version, &plural, namespace)
}

async fn create_all(client: &Client, objects: Vec<Value>) -> Result<(), Status> {
    let requests = objects.into_iter().map(|object| async move { create(client, &object).await });
    let mut answers = futures::stream::iter(requests).buffer_unordered(CONCURRENCY);
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

/// Creates an object; one that is there already is fine.
async fn create(client: &Client, object: &Value) -> Result<(), Status> {
    match client.call::<Value>(Method::POST, collection(object).as_str(), Some(object)).await {
        Err(status) if !status.is(Reason::AlreadyExists) => {
            Err(Status { message: format!("{} {:?}: {status}", object.kind(), object.name()), ..status })
        }
        _ => Ok(()),
    }
}

/// The `kubernetes` Service, its Endpoints and its EndpointSlice. The addresses may have changed since the last start.
async fn api_service(client: &Client, options: &Options) -> Result<(), Status> {
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let ips: Vec<String> = options.service_ips.iter().map(ToString::to_string).collect();
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
        "spec": {
            "clusterIP": ips.first(), "clusterIPs": ips, "type": "ClusterIP", "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": options.port}],
        },
    });
    // Asked for first: creating it again would find its address taken before it finds its name taken.
    let path = collection(&service).join("kubernetes");
    match client.call::<Value>(Method::GET, path.as_str(), None).await {
        Err(status) if status.is(Reason::NotFound) => create(client, &service).await?,
        found => drop(found?),
    }
    let addresses: Vec<Value> = options.endpoints.iter().map(|ip| json!({"ip": ip.to_string()})).collect();
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default",
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": addresses, "ports": [{"name": "https", "port": options.port, "protocol": "TCP"}]}],
    });
    replace(client, "endpoints", &endpoints).await?;
    let addresses: Vec<String> = options.endpoints.iter().map(ToString::to_string).collect();
    let ipv6 = options.endpoints.first().is_some_and(IpAddr::is_ipv6);
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": if ipv6 { "IPv6" } else { "IPv4" },
        "endpoints": [{"addresses": addresses, "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": options.port, "protocol": "TCP"}],
    });
    replace(client, "endpointslices", &slice).await
}

/// Creates an object, or puts it in the place of the one that is there.
async fn replace(client: &Client, plural: &str, object: &Value) -> Result<(), Status> {
    let (group, version) = model::gvk::split_api_version(object.api_version());
    let path = Path::collection(group, version, plural, Some(object.namespace()));
    match client.call::<Value>(Method::POST, path.as_str(), Some(object)).await {
        Err(status) if status.is(Reason::AlreadyExists) => {
            let path = path.join(object.name());
            client.call::<Value>(Method::PUT, path.as_str(), Some(object)).await.map(drop)
        }
        answer => answer.map(drop),
    }
}
