//! Channels within a WebSocket (`v4.channel.k8s.io`, `v5.channel.k8s.io`): the first byte of each binary message says
//! which. v5 adds a channel that closes another (KEP-4006).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Standard input.
pub const STDIN: u8 = 0;
/// Standard output.
pub const STDOUT: u8 = 1;
/// Standard error.
pub const STDERR: u8 = 2;
/// How it ended: a `metav1.Status`.
pub const ERROR: u8 = 3;
/// Terminal sizes, `{"Width":80,"Height":24}`.
pub const RESIZE: u8 = 4;
/// v5: closes the channel named by the next byte.
pub const CLOSE: u8 = 255;

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Bytes of a channel.
    Data(u8, Bytes),
    /// A channel is at its end.
    Closed(u8),
}

/// How messages are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Codec {
    /// Binary messages: the channel's number as a byte, then the bytes.
    #[default]
    Binary,
    /// Text messages (`base64.channel.k8s.io`): the channel's number as a digit, then the bytes in base64.
    Base64,
}

/// The reading half.
pub struct Receiver<S>(SplitStream<WebSocketStream<S>>, Codec);

/// The writing half.
pub struct Sender<S>(SplitSink<WebSocketStream<S>, Message>, Codec);

/// Splits a connection into its halves.
pub fn split<S: AsyncRead + AsyncWrite + Unpin>(stream: WebSocketStream<S>) -> (Sender<S>, Receiver<S>) {
    split_as(stream, Codec::Binary)
}

/// Splits a connection whose messages are written so.
pub fn split_as<S: AsyncRead + AsyncWrite + Unpin>(
    stream: WebSocketStream<S>,
    codec: Codec,
) -> (Sender<S>, Receiver<S>) {
    let (sink, stream) = stream.split();
    (Sender(sink, codec), Receiver(stream, codec))
}

/// Undoes the base64 form; `None` for a message that is broken, which is passed over as upstream does.
fn from_base64(message: &[u8]) -> Option<Bytes> {
    let (digit, text) = message.split_first()?;
    let mut plain = vec![digit.checked_sub(b'0')?];
    plain.extend(STANDARD.decode(text).ok()?);
    Some(plain.into())
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    /// The next input; `None` when the other end is gone. Empty messages, which open channels, are passed over.
    pub async fn next(&mut self) -> Option<Input> {
        loop {
            let data: Bytes = match self.0.next().await? {
                Ok(Message::Binary(data)) => data,
                Ok(Message::Text(text)) => Bytes::copy_from_slice(text.as_str().as_bytes()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => continue,
            };
            let data = match self.1 {
                Codec::Binary => data,
                Codec::Base64 => from_base64(&data).unwrap_or_default(),
            };
            match (data.first(), data.len()) {
                (Some(&CLOSE), 2) => return Some(Input::Closed(data[1])),
                (Some(&channel), length) if length > 1 => return Some(Input::Data(channel, data.slice(1..))),
                _ => {}
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Sender<S> {
    /// Sends bytes on a channel.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn send(&mut self, channel: u8, data: &[u8]) -> Result<(), Error> {
        if self.1 == Codec::Base64 {
            let text = format!("{}{}", char::from(b'0' + channel), STANDARD.encode(data));
            return self.0.send(Message::Text(text.into())).await;
        }
        let mut message = Vec::with_capacity(data.len() + 1);
        message.push(channel);
        message.extend_from_slice(data);
        self.0.send(Message::Binary(message.into())).await
    }

    /// v5: tells that nothing more comes on a channel.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn close_channel(&mut self, channel: u8) -> Result<(), Error> {
        self.0.send(Message::Binary(vec![CLOSE, channel].into())).await
    }

    /// Ends the connection in order (code 1000): clients take anything else for a failure.
    ///
    /// # Errors
    /// When the other end is gone.
    pub async fn close(&mut self) -> Result<(), Error> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        self.0.send(Message::Close(Some(frame))).await?;
        self.0.close().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn base64_is_undone() {
        let (near, far) = tokio::io::duplex(1024);
        let (mut sender, _keep) = split_as(crate::websocket::client(near).await, Codec::Base64);
        let (_far_sender, mut receiver) = split_as(crate::websocket::server(far).await, Codec::Base64);
        sender.send(STDIN, b"foo\n").await.unwrap();
        assert_eq!(receiver.next().await, Some(Input::Data(STDIN, Bytes::from_static(b"foo\n"))));
        assert_eq!(from_base64(b"0Zm9vCg=="), Some(Bytes::from_static(b"\0foo\n")));
        assert_eq!((from_base64(b"0%"), from_base64(b"")), (None, None));
    }

    #[tokio::test]
    async fn channels_carry_bytes_and_closings() {
        let (near, far) = tokio::io::duplex(1024);
        let (mut sender, _keep) = split(crate::websocket::client(near).await);
        let (_far_sender, mut receiver) = split(crate::websocket::server(far).await);
        sender.send(STDIN, b"").await.unwrap();
        sender.send(STDIN, b"ls\n").await.unwrap();
        sender.close_channel(STDIN).await.unwrap();
        sender.close().await.unwrap();
        assert_eq!(receiver.next().await, Some(Input::Data(STDIN, Bytes::from_static(b"ls\n"))));
        assert_eq!(receiver.next().await, Some(Input::Closed(STDIN)));
        assert_eq!(receiver.next().await, None);
    }
}
