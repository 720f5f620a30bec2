//! Descriptors handed over by a Pod's process, as asynchronous streams.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A pipe or terminal. Clones share the descriptor; it is closed with the last.
#[derive(Clone)]
pub struct Stream(Arc<AsyncFd<OwnedFd>>);

impl Stream {
    /// Wraps a descriptor.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        sys::socket::set_nonblocking(descriptor.as_fd(), true)?;
        Ok(Self(Arc::new(watch(descriptor)?)))
    }

    /// The descriptor.
    pub fn get(&self) -> &OwnedFd {
        self.0.get_ref()
    }
}

/// Registers a descriptor with the asynchronous runtime.
pub fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // Deprecated for types that could close their descriptor early; an `OwnedFd` cannot, and the replacement is unsafe.
    #[allow(deprecated)]
    AsyncFd::new(descriptor)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            let read = guard.try_io(|descriptor| sys::socket::read(descriptor.get_ref().as_fd(), space));
            match read {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // The other side of a terminal is closed: its end.
                Ok(Err(error)) if error.raw_os_error() == Some(5) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            match guard.try_io(|descriptor| sys::socket::write(descriptor.get_ref().as_fd(), data)) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A pipe ends when it is closed, which is what dropping does.
        Poll::Ready(Ok(()))
    }
}
