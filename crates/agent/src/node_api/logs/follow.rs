//! Reads a log file to its end and, if asked to, goes on until the container ended, over rotations of the file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bytes::Bytes;
use cri::ErrorKind;
use cri::runtime::ContainerState;
use tokio::sync::{mpsc, watch};

use super::Source;
use super::format::{Flow, Formatter};
use super::options::Options;
use super::tail;
use crate::node_api::serve::Server;

/// Read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Runs what may block elsewhere.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| format!("reading a log failed: {error}"))
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".into(),
        io::ErrorKind::PermissionDenied => "permission denied".into(),
        _ => error.to_string(),
    }
}

fn open(path: &Path, tail_lines: Option<u64>) -> Result<File, String> {
    let shown = path.display().to_string();
    let mut file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("failed to try resolving symlinks in path {shown:?}: lstat {shown}: {}", words(&error))
        }
        _ => format!("failed to open log file {shown:?}: open {shown}: {}", words(&error)),
    })?;
    if let Some(lines) = tail_lines {
        let failed =
            |error: io::Error| format!("failed to tail {lines} lines of log file {shown:?}: {error}");
        let start = tail::start(&mut file, lines).map_err(failed)?;
        file.seek(SeekFrom::Start(start)).map_err(failed)?;
    }
    Ok(file)
}

/// One reading.
struct Reading<'a> {
    source: &'a Source,
    formatter: Formatter,
    sender: &'a mpsc::Sender<Bytes>,
    /// `None` only while a read is under way.
    file: Option<File>,
}

/// How reading to the end went.
#[derive(PartialEq, Eq)]
enum Progress {
    /// All is out that the file has.
    End,
    /// Nobody wants more.
    Done,
}

impl Reading<'_> {
    /// Shows what the file has; returns at its end.
    async fn drain(&mut self) -> Result<Progress, String> {
        loop {
            let Some(mut file) = self.file.take() else { return Ok(Progress::Done) };
            let (file, chunk) = blocking(move || {
                let mut chunk = vec![0; CHUNK_BYTES];
                let count = file.read(&mut chunk);
                (
                    file,
                    count.map(|count| {
                        chunk.truncate(count);
                        chunk
                    }),
                )
            })
            .await?;
            self.file = Some(file);
            let path = &self.source.path;
            let chunk = chunk.map_err(|error| format!("failed to read log file {path:?}: {error}"))?;
            if chunk.is_empty() {
                return Ok(Progress::End);
            }
            let mut out = Vec::with_capacity(chunk.len());
            let flow = self.formatter.feed(&chunk, &mut out);
            if self.send(out).await == Progress::Done {
                return Ok(Progress::Done);
            }
            match flow {
                Flow::More => {}
                Flow::Enough => return Ok(Progress::Done),
                Flow::Broken(message) => return Err(message),
            }
        }
    }

    async fn send(&self, out: Vec<u8>) -> Progress {
        if !out.is_empty() && self.sender.send(out.into()).await.is_err() {
            return Progress::Done;
        }
        Progress::End
    }

    async fn finish(&mut self) -> Result<(), String> {
        let mut out = Vec::new();
        let flow = self.formatter.finish(&mut out);
        self.send(out).await;
        if let Flow::Broken(message) = flow { Err(message) } else { Ok(()) }
    }

    /// Goes over to the file that is now at the path, if it is another one.
    async fn reopen(&mut self) -> Result<bool, String> {
        let Some(file) = &self.file else { return Ok(false) };
        let own = file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
        let path = self.source.path.clone();
        let other = blocking(move || {
            let file = File::open(path).ok()?;
            let metadata = file.metadata().ok()?;
            (Some((metadata.dev(), metadata.ino())) != own).then_some(file)
        })
        .await?;
        let Some(other) = other else { return Ok(false) };
        // What was written to the old one between the last read and its renaming.
        if self.drain().await? == Progress::Done {
            return Ok(false);
        }
        self.formatter.other_file();
        self.file = Some(other);
        Ok(true)
    }
}

async fn is_running(server: &Server, id: &str) -> bool {
    match server.backend.runtime().container_status(id).await {
        Ok(status) => status.state == ContainerState::Running,
        // A runtime that does not answer says nothing about the container.
        Err(error) => error.kind == ErrorKind::Unavailable,
    }
}

/// Writes a log to a client.
///
/// # Errors
/// What the client is told.
pub async fn write(
    server: &Server,
    source: &Source,
    options: &Options,
    formatter: Formatter,
    sender: &mpsc::Sender<Bytes>,
) -> Result<(), String> {
    let (path, lines) = (source.path.clone(), options.tail_lines);
    let file = blocking(move || open(&path, lines)).await??;
    let mut reading = Reading { source, formatter, sender, file: Some(file) };
    if options.tail_lines == Some(0) && !options.follow {
        return Ok(());
    }
    if !options.follow {
        return if reading.drain().await? == Progress::End { reading.finish().await } else { Ok(()) };
    }
    let folder = source.path.parent().unwrap_or(Path::new("/"));
    let failed = |error: io::Error| format!("failed to watch directory {folder:?}: {error}");
    let watcher = server.watcher.as_ref().ok_or("failed to create fsnotify watcher: too many open files")?;
    let changes = watcher.follow(folder).map_err(failed)?;
    follow(server, &mut reading, changes).await
}

async fn follow(
    server: &Server,
    reading: &mut Reading<'_>,
    mut changes: watch::Receiver<u64>,
) -> Result<(), String> {
    let id = &reading.source.id;
    let mut ends = server.ends.subscribe(id);
    let mut running = is_running(server, id).await;
    loop {
        changes.mark_unchanged();
        if reading.drain().await? == Progress::Done {
            return Ok(());
        }
        if reading.reopen().await? {
            continue;
        }
        if !running {
            return reading.finish().await;
        }
        tokio::select! {
            _ = changes.changed() => {}
            _ = ends.changed() => running = is_running(server, id).await,
            () = reading.sender.closed() => return Ok(()),
        }
    }
}
