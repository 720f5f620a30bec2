//! Connections: one task reads and hands bytes to streams, one writes. Queues are bounded: a stream whose reader is slow
//! holds the connection back.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::frame::Frame;
use super::headers::{Compressor, Decompressor, Headers};

/// Chunks that wait for a stream's reader.
const CHUNKS_MAX: usize = 32;
/// Frames that wait to be written.
const FRAMES_MAX: usize = 64;
/// How long the other end may take to hang up once all is said.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams that wait to be accepted.
const ACCEPTS_MAX: usize = 128;
/// Streams at once.
const STREAMS_MAX: usize = 4096;
const DATA_BYTES_MAX: usize = 32 << 10;

/// What the writing task writes.
enum Out {
    Plain(Frame),
    Syn {
        stream: u32,
        headers: Headers,
        fin: bool,
    },
    Reply {
        stream: u32,
        headers: Headers,
    },
    /// Nothing comes after this.
    Last,
}

type Streams = Arc<Mutex<HashMap<u32, mpsc::Sender<Bytes>>>>;

/// A connection.
pub struct Connection {
    accepts: mpsc::Receiver<Stream>,
    opener: Opener,
    tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Opener {
    out: mpsc::Sender<Out>,
    streams: Streams,
    next: Arc<AtomicU32>,
}

/// A stream within a connection.
pub struct Stream {
    /// Its number.
    pub id: u32,
    /// Headers that it was opened with.
    pub headers: Headers,
    data: mpsc::Receiver<Bytes>,
    writer: StreamWriter,
}

/// The writing side of a stream.
#[derive(Clone)]
pub struct StreamWriter {
    id: u32,
    out: mpsc::Sender<Out>,
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the connection is gone")
}

impl Connection {
    /// The server's end: the other one opens odd streams.
    pub fn server<S: AsyncRead + AsyncWrite + Send + 'static>(io: S) -> Self {
        Self::start(io, 2)
    }

    /// The client's end.
    pub fn client<S: AsyncRead + AsyncWrite + Send + 'static>(io: S) -> Self {
        Self::start(io, 1)
    }

    fn start<S: AsyncRead + AsyncWrite + Send + 'static>(io: S, first: u32) -> Self {
        let (reader, writer) = tokio::io::split(io);
        let (out, frames) = mpsc::channel(FRAMES_MAX);
        let (accepted, accepts) = mpsc::channel(ACCEPTS_MAX);
        let streams = Streams::default();
        let opener =
            Opener { out: out.clone(), streams: streams.clone(), next: Arc::new(AtomicU32::new(first)) };
        let mut tasks = JoinSet::new();
        tasks.spawn(write_all(writer, frames));
        let reading =
            Reading { streams, out, accepted, decompressor: Decompressor::default(), odd: first % 2 == 1 };
        tasks.spawn(reading.run(reader));
        Self { accepts, opener, tasks }
    }

    /// The next stream that the other end opens; `None` when the connection is gone.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.accepts.recv().await
    }

    /// Ends the connection in order: what was written before goes out, and the other end hangs up. Streams must have
    /// been dropped, or be read on meanwhile.
    pub async fn close(mut self) {
        self.accepts.close();
        let Self { mut tasks, opener, .. } = self;
        let ended = async {
            // A writer that is gone has nothing to say.
            let _ = opener.out.send(Out::Last).await;
            while tasks.join_next().await.is_some() {}
        };
        // The other end may never hang up; the connection goes then as it is.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, ended).await;
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn open(&self, headers: Headers, fin: bool) -> io::Result<Stream> {
        let Opener { out, streams, next } = &self.opener;
        let (sender, data) = mpsc::channel(CHUNKS_MAX);
        // The lock is held until the frame is queued: numbers must be sent in order.
        let mut streams = streams.lock().await;
        let id = next.fetch_add(2, Ordering::Relaxed);
        streams.insert(id, sender);
        out.send(Out::Syn { stream: id, headers: headers.clone(), fin }).await.map_err(|_| gone())?;
        Ok(Stream { id, headers, data, writer: StreamWriter { id, out: out.clone() } })
    }
}

impl Stream {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The next bytes; `None` when the other end is done with the stream.
    pub async fn read(&mut self) -> Option<Bytes> {
        self.data.recv().await
    }

    /// Accepts the stream.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn reply(&self) -> io::Result<()> {
        let reply = Out::Reply { stream: self.id, headers: Headers::new() };
        self.writer.out.send(reply).await.map_err(|_| gone())
    }

    /// The writing side, to be used beside the reading one.
    pub fn writer(&self) -> StreamWriter {
        self.writer.clone()
    }
}

impl StreamWriter {
    /// Sends bytes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn write(&self, data: &[u8]) -> io::Result<()> {
        for chunk in data.chunks(DATA_BYTES_MAX) {
            let frame = Frame::Data { stream: self.id, fin: false, data: Bytes::copy_from_slice(chunk) };
            self.out.send(Out::Plain(frame)).await.map_err(|_| gone())?;
        }
        Ok(())
    }

    /// Tells that nothing more comes.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn close(&self) -> io::Result<()> {
        let frame = Frame::Data { stream: self.id, fin: true, data: Bytes::new() };
        self.out.send(Out::Plain(frame)).await.map_err(|_| gone())
    }

    /// Ends the stream at once.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn reset(&self) -> io::Result<()> {
        const CANCEL: u32 = 5;
        self.out.send(Out::Plain(Frame::Reset { stream: self.id, status: CANCEL })).await.map_err(|_| gone())
    }
}

async fn write_all<S: AsyncWrite>(mut writer: WriteHalf<S>, mut frames: mpsc::Receiver<Out>) {
    let mut compressor = Compressor::default();
    let mut buffer = BytesMut::new();
    let mut last = false;
    while let (false, Some(first)) = (last, frames.recv().await) {
        let mut next = Some(first);
        // What waits already goes out together.
        while let Some(out) = next {
            let frame = match out {
                Out::Plain(frame) => frame,
                Out::Syn { stream, headers, fin } => {
                    Frame::SynStream { stream, fin, block: compressor.compress(&headers).into() }
                }
                Out::Reply { stream, headers } => {
                    Frame::SynReply { stream, fin: false, block: compressor.compress(&headers).into() }
                }
                Out::Last => {
                    last = true;
                    Frame::GoAway { last_stream: 0 }
                }
            };
            frame.write(&mut buffer);
            if last {
                break;
            }
            next = if buffer.len() < 4 * DATA_BYTES_MAX { frames.try_recv().ok() } else { None };
        }
        if writer.write_all(&buffer).await.is_err() || writer.flush().await.is_err() {
            return;
        }
        buffer.clear();
    }
    // The other end learns that this one is done; it may be gone already.
    let _ = writer.shutdown().await;
}

struct Reading {
    streams: Streams,
    out: mpsc::Sender<Out>,
    accepted: mpsc::Sender<Stream>,
    decompressor: Decompressor,
    /// This end opens odd streams.
    odd: bool,
}

impl Reading {
    async fn run<S: AsyncRead>(mut self, mut reader: ReadHalf<S>) {
        let mut buffer = BytesMut::with_capacity(DATA_BYTES_MAX);
        loop {
            match Frame::read(&mut buffer) {
                Ok(Some(frame)) => {
                    if let Err(error) = self.take(frame).await {
                        tracing::debug!(error, "a SPDY connection ends");
                        break;
                    }
                }
                Ok(None) => match reader.read_buf(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(_) => {}
                },
                Err(error) => {
                    tracing::debug!(%error, "a SPDY connection ends");
                    break;
                }
            }
        }
        // Readers of streams see their end.
        self.streams.lock().await.clear();
    }

    async fn take(&mut self, frame: Frame) -> Result<(), &'static str> {
        match frame {
            Frame::SynStream { stream, fin, block } => self.opened(stream, fin, &block).await?,
            Frame::SynReply { fin, block, stream } | Frame::Headers { fin, block, stream } => {
                self.decompressor.decompress(&block)?;
                if fin {
                    self.streams.lock().await.remove(&stream);
                }
            }
            Frame::Data { stream, fin, data } => {
                let sender = self.streams.lock().await.get(&stream).cloned();
                let mut left = false;
                if let (Some(sender), false) = (sender, data.is_empty()) {
                    // A reader that left does not want the rest.
                    left = sender.send(data).await.is_err();
                }
                if fin || left {
                    self.streams.lock().await.remove(&stream);
                }
            }
            Frame::Reset { stream, .. } => drop(self.streams.lock().await.remove(&stream)),
            Frame::Ping { id } if (id % 2 == 1) != self.odd => {
                self.out.send(Out::Plain(Frame::Ping { id })).await.map_err(|_| "the writer is gone")?;
            }
            Frame::Ping { .. } | Frame::GoAway { .. } | Frame::Ignored => {}
        }
        Ok(())
    }

    async fn opened(&mut self, id: u32, fin: bool, block: &[u8]) -> Result<(), &'static str> {
        let headers = self.decompressor.decompress(block)?;
        if (id % 2 == 1) == self.odd {
            return Err("the other end opened a stream with a number of this end");
        }
        let (sender, data) = mpsc::channel(CHUNKS_MAX);
        let mut streams = self.streams.lock().await;
        if streams.len() >= STREAMS_MAX {
            return Err("too many streams");
        }
        if !fin {
            streams.insert(id, sender);
        }
        drop(streams);
        let writer = StreamWriter { id, out: self.out.clone() };
        self.accepted.send(Stream { id, headers, data, writer }).await.map_err(|_| "nobody accepts streams")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn streams_carry_bytes_both_ways() {
        let (near, far) = tokio::io::duplex(1024);
        let client = Connection::client(near);
        let mut server = Connection::server(far);
        let serving = tokio::spawn(async move {
            while let Some(mut stream) = server.accept().await {
                stream.reply().await.unwrap();
                assert_eq!(stream.header("streamType"), Some("data"));
                while let Some(data) = stream.read().await {
                    stream.writer().write(&data).await.unwrap();
                }
                stream.writer().close().await.unwrap();
            }
        });
        for size in [1usize, 100_000] {
            let mut stream = client.open(vec![("streamType".into(), "data".into())], false).await.unwrap();
            let writer = stream.writer();
            let sent = vec![7; size];
            let expected = sent.clone();
            let writing = tokio::spawn(async move {
                writer.write(&sent).await.unwrap();
                writer.close().await.unwrap();
            });
            let mut received = Vec::new();
            while let Some(data) = stream.read().await {
                received.extend_from_slice(&data);
            }
            writing.await.unwrap();
            assert!(received == expected);
        }
        drop(client);
        serving.await.unwrap();
    }
}
