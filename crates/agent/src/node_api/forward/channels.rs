//! Port-forward over WebSocket channels: two for each port, data and errors, each beginning with the port.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use streams::channels::{self, Codec, Input};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};

use super::{Sandbox, copy, failure};
use crate::node_api::upgrade::Io;

/// Pieces that wait for a port.
const PIECES_MAX: usize = 32;
/// How long a client may take to answer the close of the connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

type Sender = Arc<Mutex<channels::Sender<Io>>>;

async fn send(sender: &Sender, channel: u8, data: &[u8]) -> io::Result<()> {
    sender.lock().await.send(channel, data).await.map_err(io::Error::other)
}

/// Serves the ports until all their connections ended, or the client left.
pub async fn serve(io: Io, codec: Codec, sandbox: Sandbox, ports: &[u16]) {
    let socket = streams::websocket::server(io).await;
    let (sender, mut receiver) = channels::split_as(socket, codec);
    let sender = Arc::new(Mutex::new(sender));
    let mut queues = Vec::new();
    let mut forwards = JoinSet::new();
    for (channel, port) in (0u8..).step_by(2).zip(ports.iter().copied()) {
        for channel in [channel, channel + 1] {
            if send(&sender, channel, &port.to_le_bytes()).await.is_err() {
                return;
            }
        }
        let (queue, pieces) = mpsc::channel(PIECES_MAX);
        queues.push(Some(queue));
        forwards.spawn(forward(Arc::clone(&sender), channel, port, sandbox.clone(), pieces));
    }
    let reading = async {
        while let Some(input) = receiver.next().await {
            let (channel, data) = match input {
                Input::Data(channel, data) => (channel, Some(data)),
                Input::Closed(channel) => (channel, None),
            };
            let Some(queue) = queues.get_mut(usize::from(channel / 2)).filter(|_| channel % 2 == 0) else {
                continue;
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
    };
    tokio::pin!(reading);
    let mut left = false;
    while !left {
        tokio::select! {
            () = &mut reading => left = true,
            ended = forwards.join_next() => match ended {
                Some(Err(error)) => tracing::error!(%error, "a forwarded connection failed"),
                Some(Ok(())) => {}
                None => break,
            },
        }
    }
    if !left && sender.lock().await.close().await.is_ok() {
        // The client may never answer.
        let _ = timeout(CLOSE_TIMEOUT, reading).await;
    }
}

async fn forward(
    sender: Sender,
    channel: u8,
    port: u16,
    sandbox: Sandbox,
    mut pieces: mpsc::Receiver<Bytes>,
) {
    match sandbox.runtime.port_forward(&sandbox.id, port).await {
        Ok(connection) => {
            let from_client = futures::stream::poll_fn(move |context| pieces.poll_recv(context));
            copy::both(connection, from_client, |data| {
                let sender = Arc::clone(&sender);
                async move { send(&sender, channel, &data).await }
            })
            .await;
        }
        Err(reason) => {
            let message = failure(port, &sandbox, &reason.message);
            if let Err(error) = send(&sender, channel + 1, message.as_bytes()).await {
                tracing::debug!(%error, message, "a client left before it could be told");
            }
        }
    }
}
