//! Moves bytes between a process and a client, until the process ended and all its output is out.

use std::sync::Arc;

use bytes::Bytes;
use cri::runtime::{Reader, StreamSession, TerminalSize, Writer};
use futures::StreamExt;
use futures::stream::BoxStream;
use serde::Deserialize;
use streams::channels::{STDERR, STDOUT};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::remote::{Output, Remote};
use super::status::{Outcome, Task};

const CHUNK_BYTES: usize = 32 << 10;
/// What is read of a process whose client left, as much as pipes would hold; it waits then, but lives.
const LEFTOVER_BYTES: usize = 128 << 10;
/// Longest piece of JSON with a terminal's size.
const SIZE_BYTES_MAX: usize = 4096;

/// A size as clients write it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    #[serde(default, alias = "width")]
    width: u16,
    #[serde(default, alias = "height")]
    height: u16,
}

/// Takes whole sizes off the front of a buffer.
fn sizes(buffer: &mut Vec<u8>) -> Vec<TerminalSize> {
    let mut found = Vec::new();
    let mut read = serde_json::Deserializer::from_slice(buffer).into_iter::<Size>();
    let mut end = 0;
    let mut broken = false;
    loop {
        match read.next() {
            Some(Ok(Size { width, height })) => {
                found.push(TerminalSize { width, height });
                end = read.byte_offset();
            }
            Some(Err(error)) => {
                broken = !error.is_eof();
                break;
            }
            None => break,
        }
    }
    if broken || buffer.len() - end > SIZE_BYTES_MAX {
        buffer.clear();
    } else {
        buffer.drain(..end);
    }
    found
}

async fn resize(mut pieces: BoxStream<'static, Bytes>, terminal: mpsc::Sender<TerminalSize>) {
    let mut buffer = Vec::new();
    while let Some(piece) = pieces.next().await {
        buffer.extend_from_slice(&piece);
        for size in sizes(&mut buffer) {
            if terminal.send(size).await.is_err() {
                return;
            }
        }
    }
}

async fn input(mut pieces: BoxStream<'static, Bytes>, mut process: Writer) {
    while let Some(piece) = pieces.next().await {
        if process.write_all(&piece).await.is_err() || process.flush().await.is_err() {
            // The process closed its input; what comes is read and dropped, so that the connection goes on.
            while pieces.next().await.is_some() {}
            return;
        }
    }
    // The process sees the end of its input. Some have ended by now.
    let _ = process.shutdown().await;
}

async fn output(process: Option<Reader>, channel: u8, client: Arc<dyn Output>, gone: CancellationToken) {
    let Some(mut process) = process else { return };
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut leftover = LEFTOVER_BYTES;
    loop {
        let count = process.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        if !gone.is_cancelled() && client.write(channel, &buffer[..count]).await.is_err() {
            gone.cancel();
        }
        if gone.is_cancelled() {
            leftover = leftover.saturating_sub(count);
            if leftover == 0 {
                // Keeps the pipe open without reading it.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Runs a session to its end.
pub async fn run(session: StreamSession, remote: &mut Remote, task: Task) -> Outcome {
    let StreamSession { stdin, stdout, stderr, resize: terminal, exit } = session;
    let gone = remote.gone.clone();
    let has_output = stdout.is_some() || stderr.is_some();
    let inputs = {
        let (pieces, sizes) = (remote.stdin.take(), remote.resize.take());
        async move {
            tokio::join!(
                async {
                    if let (Some(pieces), Some(process)) = (pieces, stdin) {
                        input(pieces, process).await;
                    }
                },
                async {
                    if let (Some(pieces), Some(terminal)) = (sizes, terminal) {
                        resize(pieces, terminal).await;
                    }
                },
            )
        }
    };
    let outputs = {
        let (client, gone) = (Arc::clone(&remote.output), gone.clone());
        let other = (Arc::clone(&remote.output), gone.clone());
        async move { tokio::join!(output(stdout, STDOUT, client, gone), output(stderr, STDERR, other.0, other.1)) }
    };
    tokio::pin!(inputs, outputs);
    let mut exit = exit;
    let (mut outcome, mut written, mut read) = (None, !has_output, false);
    loop {
        match (&outcome, task) {
            (Some(_), _) if written || gone.is_cancelled() => break,
            // A client that left, or has nothing more to send and nothing to see, is not attached.
            (None, Task::Attach)
                if gone.is_cancelled() || (has_output && written) || (!has_output && read) =>
            {
                outcome = Some(Outcome::Exit(0));
                break;
            }
            _ => {}
        }
        tokio::select! {
            ended = &mut exit, if outcome.is_none() => outcome = Some(match ended {
                Ok(Ok(code)) => Outcome::Exit(code),
                Ok(Err(error)) => Outcome::Failed(error.message),
                Err(_) => Outcome::Failed("the runtime lost sight of the process".into()),
            }),
            _ = &mut outputs, if !written => written = true,
            _ = &mut inputs, if !read => read = true,
            () = gone.cancelled(), if !gone.is_cancelled() => {}
        }
    }
    outcome.unwrap_or(Outcome::Exit(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_in_pieces() {
        let mut buffer = br#"{"Width":80,"Height":24}{"Width":100,"#.to_vec();
        assert_eq!(sizes(&mut buffer), [TerminalSize { width: 80, height: 24 }]);
        buffer.extend_from_slice(br#""Height":50}"#);
        assert_eq!(sizes(&mut buffer), [TerminalSize { width: 100, height: 50 }]);
        assert!(buffer.is_empty());
        buffer.extend_from_slice(b"nonsense");
        assert!(sizes(&mut buffer).is_empty() && buffer.is_empty());
    }
}
