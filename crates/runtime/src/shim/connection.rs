//! A connection to a daemon: frames in, frames and descriptors out, never blocking.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::protocol::{Decoder, Message, Request, encode};

/// A daemon that does not read this much is cut off; it learns the state when it connects again.
const QUEUE_MESSAGES_MAX: usize = 1024;

struct Outgoing {
    frame: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

/// The connection.
pub struct Connection {
    socket: OwnedFd,
    decoder: Decoder,
    queue: VecDeque<Outgoing>,
}

impl Connection {
    /// Wraps a connected socket.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        sys::socket::set_nonblocking(socket.as_fd(), true)?;
        Ok(Self { socket, decoder: Decoder::default(), queue: VecDeque::new() })
    }

    /// The socket, for registration.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether something waits to be sent.
    pub fn has_outgoing(&self) -> bool {
        !self.queue.is_empty()
    }

    /// The next request, if one has arrived as a whole.
    pub fn next_request(&mut self) -> io::Result<Option<Request>> {
        let mut buffer = [0; 4096];
        loop {
            if let Some((request, _)) = self.decoder.take().map_err(io::Error::other)? {
                return Ok(Some(request));
            }
            let room = self.decoder.wanted().min(buffer.len());
            match sys::socket::receive(
                self.socket.as_fd(),
                &mut buffer[..room],
                &mut self.decoder.descriptors,
            ) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.decoder.add(&buffer[..count]).map_err(io::Error::other)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Queues a message and sends what can be sent.
    pub fn send(&mut self, message: &Message, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        if self.queue.len() == QUEUE_MESSAGES_MAX {
            return Err(io::Error::other("the daemon does not read"));
        }
        let frame = encode(message).map_err(io::Error::other)?;
        self.queue.push_back(Outgoing { frame, sent: 0, descriptors });
        self.flush()
    }

    /// Sends what can be sent.
    pub fn flush(&mut self) -> io::Result<()> {
        while let Some(first) = self.queue.front_mut() {
            let descriptors: Vec<BorrowedFd<'_>> = first.descriptors.iter().map(AsFd::as_fd).collect();
            match sys::socket::send(self.socket.as_fd(), &first.frame[first.sent..], &descriptors) {
                Ok(count) => {
                    drop(descriptors);
                    first.sent += count;
                    // They went with the first byte.
                    first.descriptors.clear();
                    if first.sent == first.frame.len() {
                        self.queue.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
