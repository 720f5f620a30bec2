//! `pods/proxy` and `services/proxy`: HTTP to a Pod's or Service's address
//! (pkg/registry/core/pod/strategy.go `ResourceLocation`).

use std::sync::Arc;
use std::time::Duration;

use client::{Body, full_body};
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use model::tree::TreeExt;
use model::{GroupResource, Reason, Status};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::seams::ObjectReader;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Proxies a request.
///
/// # Errors
/// 404; 503 when nobody listens.
pub async fn dispatch(context: &Arc<Context>) -> Result<Answer, Status> {
    let (_scheme, name, port) = split_name(&context.route.name)?;
    let address = match context.route.plural.as_str() {
        "pods" => pod_address(context, name, port).await?,
        "services" => service_address(context, name, port).await?,
        _ => return Err(Status::no_such_resource()),
    };
    let refused = |why: String| {
        let text = format!("error trying to reach service: {why}");
        Status::new(503, Reason::ServiceUnavailable, text)
    };
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&address)).await;
    let stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Err(refused(format!("dial tcp {address}: connect: connection refused")));
        }
        Ok(Err(error)) => return Err(refused(format!("dial tcp {address}: {error}"))),
        Err(_) => return Err(refused(format!("dial tcp {address}: i/o timeout"))),
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| refused(error.to_string()))?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "proxied connection ended");
        }
    });
    let request = request(context, &address)?;
    let response = sender.send_request(request).await.map_err(|error| refused(error.to_string()))?;
    let (mut parts, body) = response.into_parts();
    for name in ["connection", "keep-alive", "transfer-encoding"] {
        parts.headers.remove(name);
    }
    Ok(Answer::Response(Response::from_parts(parts, body.map_err(Into::into).boxed_unsync())))
}

fn request(context: &Context, address: &str) -> Result<Request<Body>, Status> {
    let rest = if context.route.rest.is_empty() { "/" } else { context.route.rest.as_str() };
    let query = context.raw_query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    let body = context.body.lock().take().unwrap_or_else(|| full_body(""));
    let mut request = Request::new(body);
    *request.method_mut() = context.method.clone();
    *request.uri_mut() = format!("{rest}{query}").parse().map_err(Status::internal)?;
    for (name, value) in &context.headers {
        let kept = !matches!(
            name.as_str(),
            "authorization" | "host" | "connection" | "keep-alive" | "te" | "transfer-encoding" | "upgrade"
        );
        if kept && !name.as_str().starts_with("impersonate-") {
            request.headers_mut().append(name.clone(), value.clone());
        }
    }
    request.headers_mut().insert(HOST, HeaderValue::from_str(address).map_err(Status::internal)?);
    Ok(request)
}

/// `[scheme:]name[:port]`.
fn split_name(text: &str) -> Result<(&str, &str, &str), Status> {
    match text.split(':').collect::<Vec<_>>().as_slice() {
        [name] => Ok(("", name, "")),
        [name, port] => Ok(("", name, port)),
        [scheme, name, port] => Ok((scheme, name, port)),
        _ => Err(Status::bad_request(format!("invalid service request {text:?}"))),
    }
}

fn host_port(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

async fn read(context: &Context, plural: &str, name: &str) -> Result<Arc<Value>, Status> {
    let resource = GroupResource::new("", plural);
    let found = context.server.objects().get(&resource, &context.route.namespace, name).await?;
    found.ok_or_else(|| Status::not_found(&resource, name))
}

async fn pod_address(context: &Context, name: &str, port: &str) -> Result<String, Status> {
    let pod = read(context, "pods", name).await?;
    let containers = pod.items(&["spec", "containers"]).iter();
    let mut ports = containers.flat_map(|container| container.items(&["ports"]));
    let port = match port {
        "" => ports.next().and_then(|port| port.integer(&["containerPort"])).unwrap_or(80).to_string(),
        text if text.parse::<u16>().is_ok() => text.to_owned(),
        text => {
            let named = ports.find(|port| port.text(&["name"]) == text);
            let found = named.and_then(|port| port.integer(&["containerPort"]));
            found
                .ok_or_else(|| Status::bad_request(format!("no port named {text:?} in pod {name}")))?
                .to_string()
        }
    };
    match pod.text(&["status", "podIP"]) {
        "" => Err(Status::bad_request("address not allowed")),
        address => Ok(host_port(address, port)),
    }
}

async fn service_address(context: &Context, name: &str, port: &str) -> Result<String, Status> {
    let service = read(context, "services", name).await?;
    let none = || {
        let text = format!("no endpoints available for service {name:?}");
        Status::new(503, Reason::ServiceUnavailable, text)
    };
    let ports = service.items(&["spec", "ports"]);
    let wanted = match port {
        "" if ports.len() == 1 => ports.first(),
        "" => ports.iter().find(|own| own.text(&["name"]).is_empty()),
        text => ports.iter().find(|own| {
            own.text(&["name"]) == text
                || own.integer(&["port"]).is_some_and(|number| number.to_string() == text)
        }),
    };
    let wanted = wanted.ok_or_else(none)?;
    let resource = GroupResource::new("discovery.k8s.io", "endpointslices");
    let slices = context.server.objects().list(&resource, Some(&context.route.namespace)).await?;
    let own = |slice: &&Arc<Value>| slice["metadata"]["labels"]["kubernetes.io/service-name"] == name;
    for slice in slices.iter().filter(own) {
        let named = |port: &&Value| port.text(&["name"]) == wanted.text(&["name"]);
        let Some(target) =
            slice.items(&["ports"]).iter().find(named).and_then(|port| port.integer(&["port"]))
        else {
            continue;
        };
        let ready =
            slice.items(&["endpoints"]).iter().find(|endpoint| endpoint["conditions"]["ready"] != false);
        if let Some(address) =
            ready.and_then(|endpoint| endpoint.items(&["addresses"]).first()).and_then(Value::as_str)
        {
            return Ok(host_port(address, target));
        }
    }
    Err(none())
}
