//! Sessions over SPDY: the client opens one stream for each direction.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use streams::channels::{STDERR, STDOUT};
use streams::spdy::{Connection, Stream, StreamWriter};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;

use super::remote::{Output, Remote, Wanted};
use crate::node_api::upgrade::Io;

/// How long a client may take to open its streams (upstream's `DefaultStreamCreationTimeout`).
const CREATION_TIMEOUT: Duration = Duration::from_secs(30);

/// The streams of a client, by type.
#[derive(Default)]
struct Streams {
    error: Option<Stream>,
    stdin: Option<Stream>,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
    resize: Option<Stream>,
}

impl Streams {
    fn place(&mut self, kind: &str) -> Option<&mut Option<Stream>> {
        match kind {
            "error" => Some(&mut self.error),
            "stdin" => Some(&mut self.stdin),
            "stdout" => Some(&mut self.stdout),
            "stderr" => Some(&mut self.stderr),
            "resize" => Some(&mut self.resize),
            _ => None,
        }
    }
}

/// Waits until the client has opened what it asked for; `None` if it left before.
async fn collect(connection: &mut Connection, mut expected: usize) -> Option<Streams> {
    let mut streams = Streams::default();
    while expected > 0 {
        let stream = connection.accept().await?;
        let kind = stream.header("streamType").unwrap_or_default().to_owned();
        match streams.place(&kind) {
            Some(place) if place.is_none() => {
                stream.reply().await.ok()?;
                *place = Some(stream);
                expected -= 1;
            }
            _ => {
                tracing::debug!(kind, "a client opened a stream that nobody needs");
                stream.writer().reset().await.ok()?;
            }
        }
    }
    Some(streams)
}

struct Writers {
    error: Option<StreamWriter>,
    stdout: Option<StreamWriter>,
    stderr: Option<StreamWriter>,
    /// Asks the task that keeps the connection to end it, and waits for that.
    end: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
}

#[async_trait]
impl Output for Writers {
    async fn write(&self, channel: u8, data: &[u8]) -> io::Result<()> {
        let writer = match channel {
            STDOUT => &self.stdout,
            STDERR => &self.stderr,
            _ => &None,
        };
        match writer {
            Some(writer) => writer.write(data).await,
            None => Ok(()),
        }
    }

    async fn finish(&self, status: &[u8]) {
        if let Some(error) = &self.error
            && !status.is_empty()
            && error.write(status).await.is_err()
        {
            return;
        }
        for writer in [&self.stdout, &self.stderr, &self.error].into_iter().flatten() {
            if writer.close().await.is_err() {
                return;
            }
        }
        if let Some((ask, done)) = self.end.lock().await.take()
            && ask.send(()).is_ok()
        {
            // The task drops its side when it is done.
            let _ = done.await;
        }
    }
}

fn pieces(stream: Stream) -> BoxStream<'static, Bytes> {
    let read = |mut stream: Stream| async move { stream.read().await.map(|data| (data, stream)) };
    futures::stream::unfold(stream, read).boxed()
}

/// The client's end of a session over SPDY; `None` if it left, or did not open its streams in time.
pub async fn remote(io: Io, resizes: bool, wanted: Wanted) -> Option<Remote> {
    let mut connection = Connection::server(io);
    let resizes = wanted.tty && resizes;
    let expected =
        1 + [wanted.stdin, wanted.stdout, wanted.stderr, resizes].iter().filter(|one| **one).count();
    let streams = match timeout(CREATION_TIMEOUT, collect(&mut connection, expected)).await {
        Ok(streams) => streams?,
        Err(_) => {
            tracing::debug!("timed out waiting for client to create streams");
            return None;
        }
    };
    let writer = |stream: &Option<Stream>| stream.as_ref().map(Stream::writer);
    let (ask, asked) = oneshot::channel();
    let (finished, done) = oneshot::channel();
    let output = Writers {
        error: writer(&streams.error),
        stdout: writer(&streams.stdout),
        stderr: writer(&streams.stderr),
        end: Mutex::new(Some((ask, done))),
    };
    let gone = CancellationToken::new();
    let left = gone.clone();
    tokio::spawn(async move {
        let end = async {
            while let Some(stream) = connection.accept().await {
                // A late stream is of no use any more.
                if stream.writer().reset().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = end => left.cancel(),
            _ = asked => {
                connection.close().await;
                // Whoever asked may have left.
                let _ = finished.send(());
            }
        }
    });
    Some(Remote {
        stdin: streams.stdin.map(pieces),
        resize: streams.resize.map(pieces),
        output: Arc::new(output),
        gone,
    })
}
