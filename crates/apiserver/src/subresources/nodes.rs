//! What a node answers: logs, exec, attach, portforward of its Pods, and its own API by proxy. The API server checks
//! the options, opens a connection and hands bytes on, both ways unchanged.

use std::sync::Arc;

use client::Body;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use model::tree::TreeExt;
use model::{GroupResource, Reason, Status};
use serde_json::Value;

use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::seams::ObjectReader;

/// Where a node's API is.
struct Endpoint {
    node: String,
    host: String,
    port: u16,
}

/// Finds a node's address, as upstream's `--kubelet-preferred-address-types` prefers them.
async fn endpoint(context: &Context, node: &str) -> Result<Endpoint, Status> {
    let resource = GroupResource::new("", "nodes");
    let found = context.server.objects().get(&resource, "", node).await?;
    let object = found.ok_or_else(|| Status::not_found(&resource, node))?;
    let addresses = object.items(&["status", "addresses"]);
    let preferred = ["Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"];
    // Addresses before names: nobody has to resolve them.
    let order = ["InternalIP", "ExternalIP"].iter().chain(&preferred);
    let address = order.filter_map(|kind| addresses.iter().find(|address| address["type"] == **kind)).next();
    let Some(host) = address.map(|address| address.text(&["address"]).to_owned()) else {
        let text =
            format!("no preferred addresses found; known addresses: {}", Value::from(addresses.to_vec()));
        return Err(Status::internal(text));
    };
    let port = object.integer(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"]);
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).unwrap_or(10_250);
    Ok(Endpoint { node: node.to_owned(), host, port })
}

/// Sends a request to a node and answers with what it answers; an upgrade is tunnelled.
pub async fn forward(
    context: &Arc<Context>,
    node: &str,
    method: Method,
    path_and_query: &str,
    body: Body,
) -> Result<Answer, Status> {
    let Some(connector) = &context.server.options.nodes else {
        let text = "the server cannot reach nodes";
        return Err(Status::new(503, Reason::ServiceUnavailable, text));
    };
    let endpoint = endpoint(context, node).await?;
    let failed = |why: String| {
        let url = format!("https://{}:{}{path_and_query}", endpoint.host, endpoint.port);
        let text = format!("Get \"{url}\": {why}");
        Status::new(500, Reason::Unknown, text)
    };
    let io = connector.connect(&endpoint.node, &endpoint.host, endpoint.port).await.map_err(failed)?;
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_buf_size(1 << 20);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(io)).await.map_err(|error| failed(error.to_string()))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a node ended");
        }
    });
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = path_and_query.parse().map_err(Status::internal)?;
    copy_headers(context, &endpoint, request.headers_mut())?;
    let response = sender.send_request(request).await.map_err(|error| failed(error.to_string()))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel(context, response);
    }
    if response.status().as_u16() >= 400 && context.route.subresource != "proxy" {
        return Err(node_error(context, response).await);
    }
    let (mut parts, body) = response.into_parts();
    strip_hop_headers(&mut parts.headers);
    Ok(Answer::Response(Response::from_parts(parts, body.map_err(Into::into).boxed_unsync())))
}

/// Headers of one connection only.
fn strip_hop_headers(headers: &mut http::HeaderMap) {
    for name in ["connection", "keep-alive", "proxy-authenticate", "te", "trailer", "transfer-encoding"] {
        headers.remove(name);
    }
}

/// The client's headers without its credentials.
fn copy_headers(context: &Context, endpoint: &Endpoint, headers: &mut http::HeaderMap) -> Result<(), Status> {
    let upgrades = context.headers.contains_key(UPGRADE);
    for (name, value) in &context.headers {
        let text = name.as_str();
        let secret = matches!(text, "authorization" | "cookie") || text.starts_with("impersonate-");
        let hop = matches!(text, "host" | "keep-alive" | "te" | "transfer-encoding" | "content-length");
        if !secret && !hop && (upgrades || text != "connection") {
            headers.append(name.clone(), value.clone());
        }
    }
    let host = format!("{}:{}", endpoint.host, endpoint.port);
    headers.insert(HOST, HeaderValue::from_str(&host).map_err(Status::internal)?);
    Ok(())
}

/// Joins client and node until either ends.
fn tunnel(context: &Arc<Context>, mut response: Response<hyper::body::Incoming>) -> Result<Answer, Status> {
    let Some(upgrade) = context.upgrade.lock().take() else {
        return Err(Status::bad_request("you must specify an upgradable connection"));
    };
    let node = hyper::upgrade::on(&mut response);
    let mut answer = Response::new(client::full_body(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    answer.headers_mut().entry(CONNECTION).or_insert(HeaderValue::from_static("Upgrade"));
    tokio::spawn(async move {
        let (near, far) = tokio::join!(upgrade.take(), node);
        if let (Ok(mut near), Ok(far)) = (near, far) {
            let ended = tokio::io::copy_bidirectional(&mut near, &mut TokioIo::new(far)).await;
            if let Err(error) = ended {
                tracing::debug!(%error, "tunnel to a node ended");
            }
        }
    });
    Ok(Answer::Response(answer))
}

/// What a node's refusal means to the client (`rest.GenericHttpResponseChecker`).
async fn node_error(context: &Context, response: Response<hyper::body::Incoming>) -> Status {
    const BODY_BYTES_MAX: usize = 50 * 1024;
    let code = response.status().as_u16();
    let body = http_body_util::Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
    let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let tree: Option<Value> = serde_json::from_slice(&bytes).ok();
    if let Some(status) = tree.as_ref().and_then(Status::from_value) {
        return status;
    }
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        400 => Status::bad_request(text),
        404 => {
            let resource =
                GroupResource::new("", format!("{}/{}", context.route.plural, context.route.subresource));
            let text = format!(
                "the server could not find the requested resource ({resource} {})",
                context.route.name
            );
            Status::new(404, Reason::NotFound, text)
        }
        _ => Status::internal(text),
    }
}

/// Percent-encodes a segment of a path.
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
