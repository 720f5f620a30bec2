//! Bytes of one forwarded connection, both ways.

use bytes::Bytes;
use cri::runtime::{Reader, Writer};
use futures::Stream;
use futures::StreamExt;
use std::io;
use std::pin::Pin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, timeout};

const CHUNK_BYTES: usize = 32 << 10;
/// How long one direction may go on once the other ended.
const LINGER: Duration = Duration::from_secs(1);

/// Copies until both directions ended, or one did and the other takes too long. `send` sends to the client.
pub async fn both<F>(
    (mut from_pod, mut to_pod): (Reader, Writer),
    mut from_client: impl Stream<Item = Bytes> + Unpin,
    mut send: impl FnMut(Bytes) -> F,
) where
    F: Future<Output = io::Result<()>>,
{
    let inward = async {
        while let Some(data) = from_client.next().await {
            if to_pod.write_all(&data).await.is_err() || to_pod.flush().await.is_err() {
                return;
            }
        }
        // The Pod's process may have hung up already.
        let _ = to_pod.shutdown().await;
    };
    let outward = async {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match from_pod.read(&mut buffer).await {
                Ok(count) if count > 0 => {
                    if send(Bytes::copy_from_slice(&buffer[..count])).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    let (mut inward, mut outward): (Pin<&mut _>, Pin<&mut _>) =
        (std::pin::pin!(inward), std::pin::pin!(outward));
    tokio::select! {
        () = &mut inward => drop(timeout(LINGER, outward).await),
        () = &mut outward => drop(timeout(LINGER, inward).await),
    }
}
