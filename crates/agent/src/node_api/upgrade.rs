//! Upgrades: which protocol a client asks for, the 101 answer, and the connection afterwards.

use client::full_body;
use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::answer::{Answer, bad_request, text};

/// Protocol versions that a SPDY client offers.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// Protocol versions that would do.
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");

/// An upgraded connection.
pub type Io = TokioIo<hyper::upgrade::Upgraded>;

/// How a client wants to stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// WebSocket.
    WebSocket,
    /// SPDY/3.1.
    Spdy,
}

fn lists(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let parts = values.flat_map(|value| value.split(',')).map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

/// What a request asks for.
///
/// # Errors
/// The answer to a request that asks for no upgrade, or for another one.
pub fn kind(headers: &HeaderMap) -> Result<Kind, Box<Answer>> {
    let connection = lists(headers, &CONNECTION);
    if !connection.iter().any(|part| part.eq_ignore_ascii_case("upgrade")) {
        return Err(Box::new(text(StatusCode::INTERNAL_SERVER_ERROR, "Upgrade request required\n")));
    }
    let upgrade = lists(headers, &UPGRADE);
    let asks = |name: &str| upgrade.iter().any(|part| part.eq_ignore_ascii_case(name));
    if asks("websocket") {
        return Ok(Kind::WebSocket);
    }
    if asks("SPDY/3.1") {
        return Ok(Kind::Spdy);
    }
    let message = format!("unable to upgrade: missing upgrade headers in request: {}\n", upgrade.join(","));
    Err(Box::new(bad_request(message)))
}

/// The protocol of a SPDY connection: the client's first one that is supported.
///
/// # Errors
/// 400 without any, 403 with the list of those that would do.
pub fn spdy_protocol(headers: &HeaderMap, supported: &[&'static str]) -> Result<&'static str, Box<Answer>> {
    let name = "X-Stream-Protocol-Version";
    if !headers.contains_key(&STREAM_PROTOCOL) {
        let count = headers.keys_len();
        let message =
            format!("unable to upgrade: header {name} does not exist in request with {count} headers\n");
        return Err(Box::new(bad_request(message)));
    }
    let offered = lists(headers, &STREAM_PROTOCOL);
    let known = |offer: &String| supported.iter().find(|own| *own == offer).copied();
    if let Some(chosen) = offered.iter().find_map(known) {
        return Ok(chosen);
    }
    let message = format!(
        "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]\n",
        offered.join(" "),
        supported.join(" ")
    );
    let mut answer = text(StatusCode::FORBIDDEN, message);
    for own in supported {
        answer.headers_mut().append(ACCEPTED_PROTOCOLS, HeaderValue::from_static(own));
    }
    Err(Box::new(answer))
}

/// The 101 of a SPDY upgrade.
pub fn spdy_headers(protocol: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    headers
}

/// Why a WebSocket is refused, as an answer: a protocol that is not known has no text upstream.
pub fn refused(refusal: &streams::websocket::Refusal) -> Answer {
    match refusal {
        streams::websocket::Refusal::NoProtocol { .. } => text(StatusCode::FORBIDDEN, ""),
        other => bad_request(other.to_string()),
    }
}

/// A 101 with these headers.
pub fn switching(headers: HeaderMap) -> Answer {
    let mut answer = Response::new(full_body(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = headers;
    answer
}

/// The connection once the 101 is out; `None` if the client went away.
pub async fn upgraded(request: Request<Incoming>) -> Option<Io> {
    match hyper::upgrade::on(request).await {
        Ok(io) => Some(TokioIo::new(io)),
        Err(error) => {
            tracing::debug!(%error, "a client left during its upgrade");
            None
        }
    }
}
