//! Port-forward over SPDY: each connection is a pair of streams (data, error) with the same request id.

use std::collections::HashMap;

use futures::stream;
use streams::spdy::{Connection, Stream, StreamWriter};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant};

use super::{Sandbox, copy, failure, port};

/// How long a stream may wait for its fellow (upstream's `DefaultStreamCreationTimeout`).
const CREATION_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once; each takes two streams.
const CONNECTIONS_MAX: usize = 1024;

/// A stream without its fellow.
struct Half {
    stream: Stream,
    since: Instant,
}

/// Checks what a stream was opened with; gives its port and whether it carries data.
fn check(stream: &Stream) -> Result<(u16, bool), String> {
    let number = stream.header("port").filter(|text| !text.is_empty());
    let number = port(number.ok_or("\"port\" header is required")?)?;
    match stream.header("streamType").unwrap_or_default() {
        "data" => Ok((number, true)),
        "error" => Ok((number, false)),
        "" => Err("\"streamType\" header is required".into()),
        other => Err(format!("invalid stream type {other:?}")),
    }
}

/// The id that pairs streams; clients without ids open the error stream right before the data stream.
fn request_id(stream: &Stream, is_data: bool) -> String {
    match stream.header("requestID").filter(|id| !id.is_empty()) {
        Some(id) => id.to_owned(),
        None if is_data => stream.id.saturating_sub(2).to_string(),
        None => stream.id.to_string(),
    }
}

/// Serves connections until the client leaves.
pub async fn serve<S: AsyncRead + AsyncWrite + Send + 'static>(io: S, sandbox: Sandbox) {
    let mut connection = Connection::server(io);
    let mut halves: HashMap<(String, bool), Half> = HashMap::new();
    let mut forwards = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = connection.accept() => match stream {
                Some(stream) => stream,
                None => return,
            },
            Some(ended) = forwards.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a forwarded connection failed");
                }
                continue;
            }
        };
        let (port, is_data) = match check(&stream) {
            Ok(found) if forwards.len() < CONNECTIONS_MAX => found,
            refused => {
                tracing::debug!(?refused, "a stream of a port-forward is refused");
                if stream.writer().reset().await.is_err() {
                    return;
                }
                continue;
            }
        };
        if stream.reply().await.is_err() {
            return;
        }
        halves.retain(|_, half| half.since.elapsed() < CREATION_TIMEOUT);
        let id = request_id(&stream, is_data);
        match halves.remove(&(id.clone(), !is_data)) {
            Some(Half { stream: other, .. }) => {
                let (data, error) = if is_data { (stream, other) } else { (other, stream) };
                forwards.spawn(forward(sandbox.clone(), port, data, error.writer()));
            }
            None if halves.len() < CONNECTIONS_MAX => {
                halves.insert((id, is_data), Half { stream, since: Instant::now() });
            }
            None => drop(stream.writer().reset().await),
        }
    }
}

async fn forward(sandbox: Sandbox, port: u16, data: Stream, error: StreamWriter) {
    let writer = data.writer();
    match sandbox.runtime.port_forward(&sandbox.id, port).await {
        Ok(connection) => {
            let read = |mut stream: Stream| async move { stream.read().await.map(|data| (data, stream)) };
            let from_client = Box::pin(stream::unfold(data, read));
            copy::both(connection, from_client, |data| {
                let writer = writer.clone();
                async move { writer.write(&data).await }
            })
            .await;
            // A client that left needs no end.
            let _ = writer.close().await;
            let _ = error.close().await;
        }
        Err(reason) => {
            let message = failure(port, &sandbox, &reason.message);
            tracing::debug!(message, "a connection was not forwarded");
            if error.write(message.as_bytes()).await.is_ok() && error.close().await.is_ok() {
                // The connection's end says the same.
                let _ = writer.reset().await;
            }
        }
    }
}
