//! `/portForward`: connections to ports of a Pod, over SPDY (raw, or in a WebSocket) or over WebSocket channels
//! (k8s.io/cri-streaming/pkg/streaming/portforward).

mod channels;
mod copy;
mod spdy;

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use streams::channels::Codec;
use streams::tunnel::Tunnel;
use streams::{PORT_FORWARD, PORT_FORWARD_TUNNEL};

use super::answer::{Answer, not_found, text};
use super::query::Query;
use super::route::Target;
use super::serve::Server;
use super::upgrade::{self, Kind};
use crate::seams::LookupError;

/// Ports in one request over channels: each takes two channels of 256.
const PORTS_MAX: usize = 127;
const CHANNEL_PROTOCOLS: [&str; 3] = ["v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""];

/// What connections are made to.
#[derive(Clone)]
pub(super) struct Sandbox {
    /// The runtime's id.
    pub id: String,
    /// The runtime.
    pub runtime: Arc<dyn cri::runtime::RuntimeService>,
}

/// Reads a port.
///
/// # Errors
/// Upstream's text when it is none.
fn port(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(0) => Err(format!("port {text:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(_) => {
            let why = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
                "value out of range"
            } else {
                "invalid syntax"
            };
            Err(format!("unable to parse {text:?} as a port: strconv.ParseUint: parsing {text:?}: {why}"))
        }
    }
}

fn is_tunnel(request: &Request<Incoming>) -> bool {
    streams::websocket::offered(request.headers()).iter().any(|offer| offer == PORT_FORWARD_TUNNEL)
}

/// The ports that a request over channels names; none for other requests, which name them stream by stream.
///
/// # Errors
/// Upstream's text.
pub fn ports(request: &Request<Incoming>, query: &Query) -> Result<Vec<u16>, String> {
    if !streams::websocket::is_upgrade(request.headers()) || is_tunnel(request) {
        return Ok(Vec::new());
    }
    named_ports(query)
}

fn named_ports(query: &Query) -> Result<Vec<u16>, String> {
    // Kubelet's parameter, and the API server's.
    let values: Vec<&str> = query.all("port").chain(query.all("ports")).collect();
    if values.is_empty() {
        return Err("query parameter \"port\" is required".into());
    }
    if values.iter().any(|value| value.is_empty()) {
        return Err("query parameter \"port\" cannot be empty".into());
    }
    let ports: Vec<u16> =
        values.iter().flat_map(|value| value.split(',')).map(port).collect::<Result<_, _>>()?;
    if ports.len() > PORTS_MAX {
        Err(format!("at most {PORTS_MAX} ports can be forwarded at once"))
    } else {
        Ok(ports)
    }
}

async fn find(server: &Server, target: &Target) -> Result<Sandbox, Box<Answer>> {
    let Target { namespace, pod, uid, .. } = target;
    if server.backend.find_pod(namespace, pod, None).is_none() {
        return Err(Box::new(not_found("pod does not exist")));
    }
    if uid.as_deref().is_some_and(|uid| server.backend.find_pod(namespace, pod, Some(uid)).is_none()) {
        return Err(Box::new(not_found("pod not found")));
    }
    match server.backend.find_sandbox(namespace, pod).await {
        Ok(id) => Ok(Sandbox { id, runtime: server.backend.runtime() }),
        Err(LookupError::PodNotFound) => Err(Box::new(not_found("pod does not exist"))),
        Err(_) => {
            let message = format!("pod not found (\"{pod}_{namespace}\")");
            Err(Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, message)))
        }
    }
}

/// What both ends agreed on.
enum Transport {
    Spdy,
    Tunnel,
    Channels(Codec),
}

/// Answers a port-forward.
pub async fn answer(
    server: &Arc<Server>,
    target: &Target,
    ports: Vec<u16>,
    request: Request<Incoming>,
) -> Answer {
    let sandbox = match find(server, target).await {
        Ok(sandbox) => sandbox,
        Err(answer) => return *answer,
    };
    let (headers, transport) = match negotiate(&request) {
        Ok(agreed) => agreed,
        Err(answer) => return *answer,
    };
    let started = server.spawn(async move {
        let Some(io) = upgrade::upgraded(request).await else { return };
        match transport {
            Transport::Spdy => spdy::serve(io, sandbox).await,
            Transport::Tunnel => {
                spdy::serve(Tunnel::new(streams::websocket::server(io).await), sandbox).await
            }
            Transport::Channels(codec) => channels::serve(io, codec, sandbox, &ports).await,
        }
    });
    match started {
        Ok(()) => upgrade::switching(headers),
        Err(answer) => *answer,
    }
}

fn negotiate(request: &Request<Incoming>) -> Result<(http::HeaderMap, Transport), Box<Answer>> {
    let headers = request.headers();
    match upgrade::kind(headers)? {
        Kind::Spdy => {
            let protocol = upgrade::spdy_protocol(headers, &[PORT_FORWARD])?;
            Ok((upgrade::spdy_headers(protocol), Transport::Spdy))
        }
        Kind::WebSocket => {
            let tunnel = is_tunnel(request);
            let supported = if tunnel { &[PORT_FORWARD_TUNNEL][..] } else { &CHANNEL_PROTOCOLS };
            let (answer, protocol) = streams::websocket::accept(headers, supported)
                .map_err(|refusal| Box::new(upgrade::refused(&refusal)))?;
            let codec = if protocol.contains("base64") { Codec::Base64 } else { Codec::Binary };
            Ok((answer, if tunnel { Transport::Tunnel } else { Transport::Channels(codec) }))
        }
    }
}

/// What clients are told of a connection that failed.
fn failure(port: u16, sandbox: &Sandbox, error: &str) -> String {
    format!("error forwarding port {port} to pod {}, uid : {error}", sandbox.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let check = |text: &str, expected: Result<Vec<u16>, &str>| {
            let found = named_ports(&Query::parse(Some(text)));
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        };
        check("port=80", Ok(vec![80]));
        check("ports=80,443&ports=22", Ok(vec![80, 443, 22]));
        check("", Err("query parameter \"port\" is required"));
        check("port=", Err("query parameter \"port\" cannot be empty"));
        check("port=0", Err("port \"0\" must be > 0"));
        let text = "unable to parse \"x\" as a port: strconv.ParseUint: parsing \"x\": invalid syntax";
        check("port=x", Err(text));
        let text =
            "unable to parse \"70000\" as a port: strconv.ParseUint: parsing \"70000\": value out of range";
        check("port=70000", Err(text));
    }
}
