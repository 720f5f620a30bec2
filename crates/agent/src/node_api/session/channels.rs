//! Sessions over WebSocket channels.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use streams::channels::{self, Codec, ERROR, Input, RESIZE, STDERR, STDIN, STDOUT};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;

use super::remote::{Output, Remote, Wanted};
use crate::node_api::upgrade::Io;

/// Pieces of input that wait for the process.
const PIECES_MAX: usize = 32;
/// How long a client may take to answer the close of the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// How messages of a protocol are written.
pub fn codec(protocol: &str) -> Codec {
    if protocol.contains("base64") { Codec::Base64 } else { Codec::Binary }
}

struct Channels {
    sender: Mutex<channels::Sender<Io>>,
    /// The reading end saw the connection's end.
    closed: CancellationToken,
    /// The reading end; goes with this one.
    _reader: JoinSet<()>,
}

#[async_trait]
impl Output for Channels {
    async fn write(&self, channel: u8, data: &[u8]) -> io::Result<()> {
        self.sender.lock().await.send(channel, data).await.map_err(io::Error::other)
    }

    async fn finish(&self, status: &[u8]) {
        let mut sender = self.sender.lock().await;
        let told = status.is_empty() || sender.send(ERROR, status).await.is_ok();
        if told && sender.close().await.is_ok() {
            // Going away before the client has read everything could take it from it.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.closed.cancelled()).await;
        }
    }
}

/// A queue of pieces, as a stream.
fn queue(wanted: bool) -> (Option<mpsc::Sender<Bytes>>, Option<futures::stream::BoxStream<'static, Bytes>>) {
    if !wanted {
        return (None, None);
    }
    let (sender, mut receiver) = mpsc::channel(PIECES_MAX);
    let pieces = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    (Some(sender), Some(pieces.boxed()))
}

/// The client's end of a session over channels.
pub async fn remote(io: Io, codec: Codec, wanted: Wanted) -> Remote {
    let socket = streams::websocket::server(io).await;
    let (mut sender, mut receiver) = channels::split_as(socket, codec);
    // An empty message on the lowest channel tells that the connection is made.
    let first = if wanted.stdout {
        STDOUT
    } else if wanted.stderr {
        STDERR
    } else {
        ERROR
    };
    let gone = CancellationToken::new();
    if sender.send(first, b"").await.is_err() {
        gone.cancel();
    }
    let (mut to_stdin, stdin) = queue(wanted.stdin);
    let (mut to_resize, resize) = queue(wanted.tty);
    let left = gone.clone();
    let mut reader = JoinSet::new();
    reader.spawn(async move {
        while let Some(input) = receiver.next().await {
            let (channel, data) = match input {
                Input::Data(channel, data) => (channel, Some(data)),
                Input::Closed(channel) => (channel, None),
            };
            let queue = match channel {
                STDIN => &mut to_stdin,
                RESIZE => &mut to_resize,
                _ => continue,
            };
            // Nobody reads any more, or the client sends no more: what still comes is dropped.
            let open = match (data, &queue) {
                (Some(data), Some(sender)) => sender.send(data).await.is_ok(),
                _ => false,
            };
            if !open {
                *queue = None;
            }
        }
        left.cancel();
    });
    let output = Arc::new(Channels { sender: Mutex::new(sender), closed: gone.clone(), _reader: reader });
    Remote { stdin, resize, output, gone }
}
