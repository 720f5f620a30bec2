//! The WebSocket handshake (RFC 6455) as headers, and connections over any stream.

use http::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
};
use http::header::{SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

/// Longest message taken.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Why an upgrade is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No upgrade at all.
    #[error("you must specify at least 1 of stdin, stdout, stderr")]
    NoStreams,
    /// The headers are no WebSocket handshake.
    #[error("not a websocket handshake: {0}")]
    NoHandshake(&'static str),
    /// None of the client's protocols is known here.
    #[error("unable to upgrade: unsupported protocol, the client offered {offered:?}")]
    NoProtocol {
        /// What was offered.
        offered: Vec<String>,
    },
}

fn has_token(headers: &HeaderMap, name: http::header::HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Whether a request asks for a WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, CONNECTION, "upgrade") && has_token(headers, UPGRADE, "websocket")
}

/// Protocols that a client offers, in its order.
pub fn offered(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|part| part.trim().to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

/// Headers of the 101 answer, and the protocol chosen: the client's first one that is supported. `""` is supported
/// where clients may name none.
///
/// # Errors
/// When the handshake is none, or no protocol fits.
pub fn accept(headers: &HeaderMap, supported: &[&'static str]) -> Result<(HeaderMap, &'static str), Refusal> {
    if !is_upgrade(headers) {
        return Err(Refusal::NoHandshake("the Upgrade header is missing"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::NoHandshake("Sec-WebSocket-Version is not 13"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or(Refusal::NoHandshake("Sec-WebSocket-Key is missing"))?;
    let offered = offered(headers);
    let known = |name: &str| supported.iter().find(|own| **own == name).copied();
    let chosen = if offered.is_empty() { known("") } else { offered.iter().find_map(|name| known(name)) };
    let chosen = chosen.ok_or(Refusal::NoProtocol { offered })?;
    let mut answer = HeaderMap::new();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    answer.insert(
        SEC_WEBSOCKET_ACCEPT,
        accept.map_err(|_| Refusal::NoHandshake("Sec-WebSocket-Key is broken"))?,
    );
    if !chosen.is_empty() {
        answer.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(chosen));
    }
    Ok((answer, chosen))
}

/// Headers of a client's request. `key`: 24 characters of base64, at random.
pub fn request(key: &str, protocols: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    for (name, value) in [(SEC_WEBSOCKET_KEY, key.to_owned()), (SEC_WEBSOCKET_PROTOCOL, protocols.join(", "))]
    {
        if value.is_empty() {
            continue;
        }
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    headers
}

/// The protocol that a server chose; `None` if its answer is not the one to this key.
pub fn accepted(status: StatusCode, headers: &HeaderMap, key: &str) -> Option<String> {
    let expected = derive_accept_key(key.as_bytes());
    let proof = headers.get(SEC_WEBSOCKET_ACCEPT)?.to_str().ok()?;
    let protocol =
        headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    (status == StatusCode::SWITCHING_PROTOCOLS && proof == expected).then(|| protocol.to_owned())
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
}

/// The server's end of an upgraded connection.
pub async fn server<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await
}

/// The client's end of an upgraded connection.
pub async fn client<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    WebSocketStream::from_raw_socket(io, Role::Client, Some(config())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_agree() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let asked = request(key, &["v5.channel.k8s.io", "v4.channel.k8s.io"]);
        let (answer, chosen) = accept(&asked, &["v4.channel.k8s.io"]).unwrap();
        assert_eq!(chosen, "v4.channel.k8s.io");
        assert_eq!(answer[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(accepted(StatusCode::SWITCHING_PROTOCOLS, &answer, key), Some("v4.channel.k8s.io".into()));
        assert_eq!(accepted(StatusCode::SWITCHING_PROTOCOLS, &answer, "other"), None);
        assert!(accept(&asked, &["other", ""]).is_err());
        let (answer, chosen) = accept(&request(key, &[]), &["other", ""]).unwrap();
        assert_eq!((chosen, answer.contains_key(SEC_WEBSOCKET_PROTOCOL)), ("", false));
        assert!(accept(&HeaderMap::new(), &["v4.channel.k8s.io"]).is_err());
    }
}
