//! Which server, as whom, in which namespace: the kubeconfig files in kubectl's order, then a Pod's own service
//! account, then flags over all of it.

use std::path::PathBuf;
use std::sync::Arc;

use client::Transport;
use client::kubeconfig::{self, Cluster, Kubeconfig, User};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::context::Context;
use crate::failure::{Failure, message};
use crate::flags::Values;

/// Where a Pod finds its account.
const ACCOUNT_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What a kubeconfig came to.
pub struct Loaded {
    /// The files merged.
    pub config: Kubeconfig,
    /// Files that are read, in order; the first one is written to.
    pub paths: Vec<PathBuf>,
}

/// The kubeconfig files in the order of their weight: `--kubeconfig` alone, or `$KUBECONFIG`, or `~/.kube/config`.
pub fn paths(context: &Context, values: &Values) -> Vec<PathBuf> {
    let explicit = values.global("kubeconfig");
    if !explicit.is_empty() {
        return vec![PathBuf::from(explicit)];
    }
    if let Some(list) = context.variable("KUBECONFIG") {
        return list.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
    }
    context.home.iter().map(|home| home.join(".kube/config")).collect()
}

/// Reads and merges the kubeconfig files. Only a file named by `--kubeconfig` must exist.
pub fn load(context: &Context, values: &Values) -> Result<Loaded, Failure> {
    let paths = paths(context, values);
    let mut config = Kubeconfig::default();
    for path in &paths {
        if !path.exists() {
            if values.given("kubeconfig") {
                let path = path.display();
                return Err(message(format!("stat {path}: no such file or directory")));
            }
            continue;
        }
        config.merge(Kubeconfig::read(path).map_err(|error| message(error.to_string()))?);
    }
    Ok(Loaded { config, paths })
}

/// The context that counts: `--context` or the current one.
fn chosen<'a>(
    config: &'a Kubeconfig,
    values: &'a Values,
) -> Result<Option<&'a kubeconfig::Context>, Failure> {
    let name = values.global("context");
    let found = config.context(name);
    let wanted = if name.is_empty() { config.current_context.as_str() } else { name };
    if found.is_none() && !wanted.is_empty() {
        if name.is_empty() {
            return Err(Failure::Plain(format!(
                "Error in configuration: context was not found for specified context: {wanted}"
            )));
        }
        return Err(message(format!("context {wanted:?} does not exist")));
    }
    Ok(found)
}

/// The namespace of a command, and whether it was given on the command line.
pub fn namespace(context: &Context, values: &Values) -> Result<(String, bool), Failure> {
    let given = values.global("namespace");
    if !given.is_empty() {
        return Ok((given.to_owned(), true));
    }
    if context.transport.is_some() {
        return Ok(("default".into(), false));
    }
    let loaded = load(context, values)?;
    let own = chosen(&loaded.config, values)?.and_then(|chosen| chosen.namespace.clone());
    let own = own.filter(|namespace| !namespace.is_empty()).or_else(|| {
        let in_pod =
            loaded.config.clusters.is_empty() && context.variable("KUBERNETES_SERVICE_HOST").is_some();
        let text =
            in_pod.then(|| std::fs::read_to_string(format!("{ACCOUNT_DIRECTORY}/namespace")).ok())??;
        Some(text.trim().to_owned())
    });
    Ok((own.unwrap_or_else(|| "default".into()), false))
}

/// The transport that kubeconfig, environment and flags lead to.
pub fn transport(context: &Context, values: &Values) -> Result<Arc<dyn Transport>, Failure> {
    if let Some(transport) = &context.transport {
        return Ok(transport.clone());
    }
    let loaded = load(context, values)?;
    let (mut cluster, mut user) = cluster_and_user(context, values, &loaded.config)?;
    override_with_flags(values, &mut cluster, &mut user);
    if !cluster.server.contains("://") {
        cluster.server = format!("http://{}", cluster.server);
    }
    let mut headers = impersonation(values)?;
    let agent = format!("{}/v1.36.2 (linux/amd64)", context.program);
    headers.insert(http::header::USER_AGENT, header(&agent)?);
    let failed = |error: client::transport::Error| message(error.to_string());
    Ok(Arc::new(kubeconfig::transport(&cluster, &user, headers).map_err(failed)?))
}

fn cluster_and_user(
    context: &Context,
    values: &Values,
    config: &Kubeconfig,
) -> Result<(Cluster, User), Failure> {
    let chosen = chosen(config, values)?;
    let named = |flag: &str, own: Option<&String>| match values.global(flag) {
        "" => own.cloned().unwrap_or_default(),
        name => name.to_owned(),
    };
    let cluster_name = named("cluster", chosen.map(|chosen| &chosen.cluster));
    let user_name = named("user", chosen.map(|chosen| &chosen.user));
    let cluster = config.cluster(&cluster_name).cloned();
    if cluster.is_none() && !values.global("cluster").is_empty() {
        return Err(message(format!("cluster {cluster_name:?} does not exist")));
    }
    let user = config.user(&user_name).cloned();
    if user.is_none() && !values.global("user").is_empty() {
        return Err(message(format!("auth info {user_name:?} does not exist")));
    }
    match cluster {
        Some(cluster) => Ok((cluster, user.unwrap_or_default())),
        None => {
            let own = in_cluster(context).filter(|_| values.global("server").is_empty());
            // kubectl's last resort, which tells people without a kubeconfig what to look for.
            let fallback = || {
                (
                    Cluster { server: "http://localhost:8080".into(), ..Cluster::default() },
                    user.unwrap_or_default(),
                )
            };
            Ok(own.unwrap_or_else(fallback))
        }
    }
}

/// A Pod's own account.
fn in_cluster(context: &Context) -> Option<(Cluster, User)> {
    let host = context.variable("KUBERNETES_SERVICE_HOST")?;
    let port = context.variable("KUBERNETES_SERVICE_PORT")?;
    let token = PathBuf::from(format!("{ACCOUNT_DIRECTORY}/token"));
    let authority = PathBuf::from(format!("{ACCOUNT_DIRECTORY}/ca.crt"));
    if !token.exists() {
        return None;
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let cluster = Cluster {
        server: format!("https://{host}:{port}"),
        certificate_authority: Some(authority),
        ..Cluster::default()
    };
    Some((cluster, User { token_file: Some(token), ..User::default() }))
}

fn override_with_flags(values: &Values, cluster: &mut Cluster, user: &mut User) {
    let text = |name: &str| Some(values.global(name).to_owned()).filter(|text| !text.is_empty());
    if let Some(server) = text("server") {
        cluster.server = server;
    }
    if let Some(insecure) = crate::flags::parse::boolean(values.global("insecure-skip-tls-verify"))
        && values.given("insecure-skip-tls-verify")
    {
        cluster.insecure_skip_tls_verify = insecure;
        if cluster.insecure_skip_tls_verify {
            cluster.certificate_authority = None;
            cluster.certificate_authority_data = None;
        }
    }
    if let Some(file) = text("certificate-authority") {
        cluster.certificate_authority = Some(file.into());
        cluster.certificate_authority_data = None;
    }
    if let Some(name) = text("tls-server-name") {
        cluster.tls_server_name = Some(name);
    }
    if let Some(file) = text("client-certificate") {
        user.client_certificate = Some(file.into());
        user.client_certificate_data = None;
    }
    if let Some(file) = text("client-key") {
        user.client_key = Some(file.into());
        user.client_key_data = None;
    }
    if let Some(token) = text("token") {
        user.token = Some(token);
    }
    if let Some(name) = text("username") {
        user.username = Some(name);
        user.password = text("password");
    }
}

fn header(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|_| message(format!("net/http: invalid header field value {text:?}")))
}

fn impersonation(values: &Values) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    let user = values.text("as");
    let groups = values.texts("as-group");
    if user.is_empty() {
        if !groups.is_empty() || values.given("as-uid") || values.given("as-user-extra") {
            return Err(message(
                "requesting uid, groups or user-extra for impersonation without impersonating a user",
            ));
        }
        return Ok(headers);
    }
    headers.insert("Impersonate-User", header(user)?);
    for group in groups {
        headers.append("Impersonate-Group", header(&group)?);
    }
    if values.given("as-uid") {
        headers.insert("Impersonate-Uid", header(values.text("as-uid"))?);
    }
    for extra in values.texts("as-user-extra") {
        let (key, value) = extra.split_once('=').unwrap_or((&extra, ""));
        let name = format!("impersonate-extra-{}", client::options::encode_component(&key.to_lowercase()));
        let name = HeaderName::try_from(name).map_err(|error| message(error.to_string()))?;
        headers.append(name, header(value)?);
    }
    Ok(headers)
}
