//! As much of protocol buffers and gRPC as asking a container runtime takes: messages of texts, numbers and messages,
//! and calls of one request and one answer over a socket of the file system.

use std::path::Path;

use anyhow::{Context, bail};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};

/// A message that is being written. Fields are numbered as in CRI's `api.proto`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a number or a flag. Zero is what is not there.
    #[must_use]
    pub fn number(mut self, field: u64, value: u64) -> Self {
        if value != 0 {
            varint(&mut self.0, field << 3);
            varint(&mut self.0, value);
        }
        self
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    /// Adds each text of a list.
    #[must_use]
    pub fn texts<S: AsRef<str>>(self, field: u64, values: &[S]) -> Self {
        values.iter().fold(self, |message, value| message.text(field, value.as_ref()))
    }

    /// Adds a message.
    #[must_use]
    pub fn message(self, field: u64, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        varint(&mut self.0, field << 3 | 2);
        varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The first text (or message) of this field in an answer.
pub fn field(mut bytes: &[u8], wanted: u64) -> Option<Vec<u8>> {
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        match key & 7 {
            0 => {
                take_varint(&mut bytes)?;
            }
            2 => {
                let length = usize::try_from(take_varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                if key >> 3 == wanted {
                    return Some(value.to_vec());
                }
                bytes = rest;
            }
            _ => return None,
        }
    }
    None
}

/// Makes one call: `path` is `/package.Service/Method`.
pub async fn call(socket: &Path, path: &str, message: &Message) -> anyhow::Result<Vec<u8>> {
    let stream = tokio::net::UnixStream::connect(socket).await.context("connecting")?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.0.len())?.to_be_bytes());
    body.extend_from_slice(&message.0);
    let request = Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let early = status(response.headers());
    let collected = response.into_body().collect().await?;
    let late = collected.trailers().and_then(status);
    driver.abort();
    if let Some(problem) = early.or(late) {
        bail!("{path}: {problem}");
    }
    let bytes = collected.to_bytes();
    Ok(bytes.get(5..).context("an answer without a message")?.to_vec())
}

/// What is wrong, if anything.
fn status(headers: &http::HeaderMap) -> Option<String> {
    let text =
        |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let code = text("grpc-status")?;
    (code != "0").then(|| format!("{code} {}", text("grpc-message").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_and_read() {
        let inner = Message::new().number(1, 300).text(2, "x");
        let message = Message::new().text(1, "a").number(2, 0).message(3, &inner).texts(4, &["p", "q"]);
        assert_eq!(message.0, b"\x0a\x01a\x1a\x06\x08\xac\x02\x12\x01x\x22\x01p\x22\x01q");
        let found = field(&message.0, 3).expect("a message");
        assert_eq!(field(&found, 2).as_deref(), Some(b"x".as_slice()));
        assert_eq!(field(&message.0, 4).as_deref(), Some(b"p".as_slice()));
        assert_eq!(field(&message.0, 5), None);
        assert_eq!(field(b"\x0a\x7fshort", 1), None);
    }
}
