//! The daemon's control socket: a request is one line of JSON, an answer is lines of JSON, the last of which says how it
//! ended. Only root reaches it; it is no part of the cluster's API.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use images::ImageStore;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use crate::arguments::BuildArguments;
use crate::image;
use crate::settings::Settings;

/// Longest request line.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What the daemon itself has to do.
pub enum Request {
    /// End all Pods, then the daemon.
    Down {
        /// Seconds that Pods get.
        grace_s: i64,
    },
}

/// What can be asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Call {
    /// `carob down`.
    Down {
        /// Seconds that Pods get.
        grace_s: i64,
    },
    /// Returns when everything that the first steps need is there.
    Settled,
    /// `carob image ls`.
    ImageList,
    /// `carob image pull`.
    ImagePull {
        /// Name.
        name: String,
    },
    /// `carob image import`.
    ImageImport {
        /// Archive; the daemon reads it.
        file: PathBuf,
    },
    /// `carob image build`.
    ImageBuild(BuildArguments),
    /// `carob image rm`.
    ImageRemove {
        /// Names or ids.
        names: Vec<String>,
    },
}

/// A line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// Something to show.
    Text(String),
    /// Bytes done, and of how many (0: unknown).
    Progress(u64, u64),
    /// It worked.
    Done,
    /// It did not.
    Failed(String),
}

/// Opens the socket.
pub fn bind(settings: &Settings) -> anyhow::Result<UnixListener> {
    let path = settings.instance.admin_socket();
    // What a killed daemon left.
    let _ = std::fs::remove_file(&path);
    UnixListener::bind(&path).with_context(|| format!("opening the control socket {}", path.display()))
}

/// Serves until dropped.
pub async fn serve(
    listener: UnixListener,
    images: Arc<ImageStore>,
    requests: mpsc::Sender<Request>,
    settled: watch::Receiver<bool>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                drop(tokio::spawn(answer(stream, images.clone(), requests.clone(), settled.clone())))
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket failed");
                return;
            }
        }
    }
}

async fn answer(
    stream: UnixStream,
    images: Arc<ImageStore>,
    requests: mpsc::Sender<Request>,
    mut settled: watch::Receiver<bool>,
) {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    use tokio::io::AsyncReadExt;
    let mut reader = tokio::io::BufReader::new(reader.take(LINE_BYTES_MAX));
    if reader.read_line(&mut line).await.is_err() {
        return;
    }
    let (lines, mut answers) = mpsc::channel::<Line>(64);
    let work = tokio::spawn(async move {
        let result = match serde_json::from_str(&line) {
            Ok(Call::Settled) => {
                settled.wait_for(|settled| *settled).await.map(drop).context("the daemon is ending")
            }
            Ok(call) => perform(call, &images, &requests, &lines).await,
            Err(error) => Err(anyhow::anyhow!("the request cannot be read: {error}")),
        };
        let last = match result {
            Ok(()) => Line::Done,
            Err(error) => Line::Failed(format!("{error:#}")),
        };
        // The caller may be gone.
        let _ = lines.send(last).await;
    });
    while let Some(line) = answers.recv().await {
        let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
        bytes.push(b'\n');
        if writer.write_all(&bytes).await.is_err() {
            return;
        }
    }
    if let Err(error) = work.await {
        tracing::warn!(%error, "a control request failed");
    }
}

async fn perform(
    call: Call,
    images: &Arc<ImageStore>,
    requests: &mpsc::Sender<Request>,
    lines: &mpsc::Sender<Line>,
) -> anyhow::Result<()> {
    match call {
        Call::Down { grace_s } => {
            requests.send(Request::Down { grace_s }).await.context("the daemon is ending already")
        }
        other => image::perform(other, images, lines).await,
    }
}

/// Sends a call to the daemon and hands each line of its answer to `show`.
pub fn call(socket: &std::path::Path, call: &Call, mut show: impl FnMut(Line)) -> anyhow::Result<()> {
    let mut stream =
        BlockingStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
    let mut bytes = serde_json::to_vec(call)?;
    bytes.push(b'\n');
    stream.write_all(&bytes)?;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line?)? {
            Line::Done => return Ok(()),
            Line::Failed(error) => bail!("{error}"),
            other => show(other),
        }
    }
    bail!("the daemon ended before it answered")
}
