//! The daemon's side of the connection to a Pod's process.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cri::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::io::unix::AsyncFd;
use tokio::sync::{oneshot, watch};

use crate::protocol::{Answer, Decoder, Event, Message, Request, RequestBody, encode};

type Reply = (std::result::Result<Answer, String>, Vec<OwnedFd>);

/// Requests under way; `None` once the connection is gone.
type Pending = Mutex<Option<HashMap<u64, oneshot::Sender<Reply>>>>;

/// A connection.
pub struct Client {
    socket: Arc<AsyncFd<OwnedFd>>,
    writing: tokio::sync::Mutex<()>,
    pending: Arc<Pending>,
    next: AtomicU64,
    reader: tokio::task::AbortHandle,
    closed: watch::Receiver<bool>,
    /// Process id of the other side.
    pub pid: i32,
}

/// What is told about a connection: events, and in the end `None`.
pub type Listener = Box<dyn Fn(Option<Event>) + Send + Sync>;

impl Client {
    /// Wraps a connected socket. `pid` is the peer's where the caller knows it.
    pub fn new(socket: OwnedFd, pid: i32, listener: Listener) -> io::Result<Arc<Self>> {
        sys::socket::set_nonblocking(socket.as_fd(), true)?;
        let socket = Arc::new(crate::streams::watch(socket)?);
        let pending: Arc<Pending> = Arc::new(Mutex::new(Some(HashMap::new())));
        let (closing, closed) = watch::channel(false);
        let task = {
            let (socket, pending) = (socket.clone(), pending.clone());
            tokio::spawn(async move {
                if let Err(error) = read(&socket, &pending, &listener).await
                    && error.kind() != io::ErrorKind::UnexpectedEof
                {
                    tracing::warn!("connection to a pod process: {error}");
                }
                pending.lock().take();
                listener(None);
                let _ = closing.send(true);
            })
        };
        Ok(Arc::new(Self {
            socket,
            writing: tokio::sync::Mutex::new(()),
            pending,
            next: AtomicU64::new(1),
            reader: task.abort_handle(),
            closed,
            pid,
        }))
    }

    /// Connects to a process that an earlier daemon has started.
    pub async fn connect(path: &Path, listener: Listener) -> io::Result<Arc<Self>> {
        let stream = tokio::net::UnixStream::connect(path).await?.into_std()?;
        let socket = OwnedFd::from(stream);
        let pid = sys::socket::peer_pid(socket.as_fd())?;
        Self::new(socket, pid, listener)
    }

    /// Sends a request and waits for the answer.
    pub async fn call(&self, body: RequestBody) -> Result<(Answer, Vec<OwnedFd>)> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let frame =
            encode(&Request { id, body }).map_err(|error| Error::new(ErrorKind::InvalidArgument, error))?;
        let (sender, receiver) = oneshot::channel();
        match &mut *self.pending.lock() {
            Some(pending) => pending.insert(id, sender),
            None => return Err(gone()),
        };
        self.write(&frame).await.map_err(|_| gone())?;
        let (body, descriptors) = receiver.await.map_err(|_| gone())?;
        body.map(|answer| (answer, descriptors)).map_err(Error::unknown)
    }

    async fn write(&self, frame: &[u8]) -> io::Result<()> {
        let _turn = self.writing.lock().await;
        let mut at = 0;
        while at < frame.len() {
            let mut guard = self.socket.writable().await?;
            match guard.try_io(|socket| sys::socket::send(socket.get_ref().as_fd(), &frame[at..], &[])) {
                Ok(count) => at += count?,
                Err(_would_block) => {}
            }
        }
        Ok(())
    }

    /// Waits until the other side has closed the connection.
    pub async fn wait_closed(&self) {
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Unavailable, "the pod's process is gone")
}

async fn read(socket: &AsyncFd<OwnedFd>, pending: &Pending, listener: &Listener) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 16 << 10];
    loop {
        while let Some((message, descriptors)) = decoder.take::<Message>().map_err(io::Error::other)? {
            match message {
                Message::Answer { id, body } => {
                    let waiting = pending.lock().as_mut().and_then(|pending| pending.remove(&id));
                    if let Some(waiting) = waiting {
                        let _ = waiting.send((body, descriptors));
                    }
                }
                Message::Event(event) => listener(Some(event)),
            }
        }
        let mut guard = socket.readable().await?;
        let room = decoder.wanted().min(buffer.len());
        let received = guard.try_io(|socket| {
            sys::socket::receive(socket.get_ref().as_fd(), &mut buffer[..room], &mut decoder.descriptors)
        });
        match received {
            Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Ok(count)) => decoder.add(&buffer[..count]).map_err(io::Error::other)?,
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
}
