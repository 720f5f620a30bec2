//! Watches over WebSocket: each event is a text message, in protobuf a binary one (base64 in the `base64.binary.k8s.io` protocol is
//! bytes in text). What clients send is read and ignored, except that they leave.

use std::sync::Arc;

use base64::Engine;
use client::{Body, full_body};
use futures::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use model::Status;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::pipeline::context::Context;
use crate::verbs::watch::Events;

const BASE64: &str = "base64.binary.k8s.io";
const PLAIN: &str = "binary.k8s.io";

/// Whether a request asks for a WebSocket.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    text(CONNECTION).to_ascii_lowercase().contains("upgrade")
        && text(UPGRADE).eq_ignore_ascii_case("websocket")
}

/// The events of a chunk: lines, or frames without their length.
fn split(chunk: &[u8], binary: bool) -> Vec<&[u8]> {
    if !binary {
        return chunk.split_inclusive(|byte| *byte == b'\n').collect();
    }
    let mut events = Vec::new();
    let mut rest = chunk;
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((event, after)) = after.split_at_checked(length) else { break };
        events.push(event);
        rest = after;
    }
    events
}

/// Answers 101 and sends the events.
///
/// # Errors
/// 400 when the handshake is incomplete.
pub async fn serve_watch(context: &Arc<Context>, mut events: Events) -> Result<Response<Body>, Status> {
    let key = context.header(SEC_WEBSOCKET_KEY.as_str()).to_owned();
    let upgrade = context.upgrade.lock().take();
    let (Some(upgrade), false) = (upgrade, key.is_empty()) else {
        return Err(Status::bad_request("unable to upgrade: missing websocket handshake headers"));
    };
    let offered = context.header(SEC_WEBSOCKET_PROTOCOL.as_str());
    let protocol = offered.split(',').map(str::trim).find(|name| [BASE64, PLAIN].contains(name));
    let base64 = protocol == Some(BASE64);
    let mut response = Response::new(full_body(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_str(protocol).unwrap_or(HeaderValue::from_static("")),
        );
    }
    tokio::spawn(async move {
        let Ok(io) = upgrade.take().await else { return };
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        let (mut sink, mut source) = socket.split();
        loop {
            let chunk = tokio::select! {
                chunk = events.next_chunk() => chunk,
                message = source.next() => match message {
                    Some(Ok(message)) if !message.is_close() => continue,
                    _ => return,
                },
            };
            let Some(chunk) = chunk else { break };
            for event in split(&chunk, events.is_binary()) {
                let message = match (base64, events.is_binary()) {
                    (true, _) => Message::text(base64::engine::general_purpose::STANDARD.encode(event)),
                    (false, true) => Message::binary(event.to_vec()),
                    (false, false) => Message::text(String::from_utf8_lossy(event).into_owned()),
                };
                if sink.send(message).await.is_err() {
                    return;
                }
            }
        }
        // The client learns that the watch is over.
        let _ = sink.close().await;
    });
    Ok(response)
}
