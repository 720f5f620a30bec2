//! The user that makes the load: a service account with a token and just the rights it needs.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use base64::Engine;
use client::kubeconfig::{self, Cluster};
use client::{Client, Path};
use http::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

use crate::instance::Instance;

/// The namespace of everything that is measured.
pub const NAMESPACE: &str = "bench";

/// A user with a token, and how it reaches the API server.
pub struct User {
    /// A client for single requests.
    pub client: Client,
    /// The token, for requests made by hand.
    pub token: String,
    /// `127.0.0.1:6443`.
    pub address: String,
    /// Trust in the cluster's CA.
    pub tls: Arc<rustls::ClientConfig>,
}

impl User {
    /// Makes the namespace, the account, its rights and its token.
    pub async fn authorized(instance: &Instance) -> anyhow::Result<Self> {
        let administrator = instance.administrator()?;
        let meta = json!({"name": "bench"});
        let rule = json!({"apiGroups": [""], "resources": ["pods", "configmaps"],
            "verbs": ["get", "list", "watch", "create", "delete", "deletecollection"]});
        let subject = json!({"kind": "ServiceAccount", "name": "bench", "namespace": NAMESPACE});
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "bench"});
        let access = "rbac.authorization.k8s.io";
        let objects = [
            (
                "",
                "namespaces",
                None,
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
            ),
            (
                "",
                "serviceaccounts",
                Some(NAMESPACE),
                json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),
            ),
            (
                access,
                "roles",
                Some(NAMESPACE),
                json!({"apiVersion": format!("{access}/v1"), "kind": "Role", "metadata": meta, "rules": [rule]}),
            ),
            (
                access,
                "rolebindings",
                Some(NAMESPACE),
                json!({"apiVersion": format!("{access}/v1"), "kind": "RoleBinding",
                "metadata": meta, "subjects": [subject], "roleRef": role}),
            ),
        ];
        for (group, plural, namespace, object) in &objects {
            let path = Path::collection(group, "v1", plural, *namespace);
            call(&administrator, Method::POST, path.as_str(), Some(object)).await?;
        }
        let path = Path::collection("", "v1", "serviceaccounts", Some(NAMESPACE)).join("bench/token");
        let wanted = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": 7200}});
        let answer = call(&administrator, Method::POST, path.as_str(), Some(&wanted)).await?;
        let token = answer["status"]["token"].as_str().context("no token in the answer")?.to_owned();
        let (cluster, _) = instance.credentials()?;
        Self::of(&cluster, token)
    }

    fn of(cluster: &Cluster, token: String) -> anyhow::Result<Self> {
        let user = kubeconfig::User { token: Some(token.clone()), ..kubeconfig::User::default() };
        let client = Client::new(Arc::new(kubeconfig::transport(cluster, &user, http::HeaderMap::new())?));
        let data = cluster.certificate_authority_data.as_ref().context("no CA in the kubeconfig")?;
        let pem = base64::engine::general_purpose::STANDARD.decode(data)?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate?)?;
        }
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let address = cluster.server.trim_start_matches("https://").to_owned();
        Ok(Self { client, token, address, tls: Arc::new(tls) })
    }
}

/// A request with a JSON answer.
pub async fn call(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<Value> {
    let answer = client.call(method.clone(), path, body).await;
    answer.map_err(|status| anyhow!("{method} {path}: {}", status.message))
}
