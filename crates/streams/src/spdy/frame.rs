//! Frames: eight bytes of head, then the payload.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest payload taken. The format allows 16 MiB; nobody here sends more than some kilobytes at once.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

const VERSION: u16 = 3;
const FLAG_FIN: u8 = 0x01;
const STREAM_MASK: u32 = 0x7fff_ffff;

/// A frame; header blocks are still compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of a stream.
    Data {
        /// Stream.
        stream: u32,
        /// The sender is done with it.
        fin: bool,
        /// Bytes.
        data: Bytes,
    },
    /// Opens a stream.
    SynStream {
        /// Stream.
        stream: u32,
        /// The sender will send nothing.
        fin: bool,
        /// Compressed headers.
        block: Bytes,
    },
    /// Accepts a stream.
    SynReply {
        /// Stream.
        stream: u32,
        /// The sender will send nothing.
        fin: bool,
        /// Compressed headers.
        block: Bytes,
    },
    /// Further headers.
    Headers {
        /// Stream.
        stream: u32,
        /// The sender is done with it.
        fin: bool,
        /// Compressed headers.
        block: Bytes,
    },
    /// Ends a stream at once.
    Reset {
        /// Stream.
        stream: u32,
        /// Why (1 protocol error, 5 cancel …).
        status: u32,
    },
    /// Asks for the same frame back.
    Ping {
        /// Even: the server's, odd: the client's.
        id: u32,
    },
    /// No new streams any more.
    GoAway {
        /// The last stream that was taken.
        last_stream: u32,
    },
    /// Settings, window updates and what else is of no use here.
    Ignored,
}

/// Why a frame cannot be read: the connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another version.
    #[error("SPDY version {0} is not supported")]
    Version(u16),
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("SPDY frame of {0} bytes is too long")]
    TooLong(usize),
    /// Shorter than its kind needs.
    #[error("SPDY frame of kind {0} is too short")]
    TooShort(u16),
}

impl Frame {
    /// Takes a frame off the front of a buffer; `None` until it is all there.
    ///
    /// # Errors
    /// When it is no frame of this protocol.
    pub fn read(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        if buffer.len() < 8 {
            return Ok(None);
        }
        let length = u32::from_be_bytes([0, buffer[5], buffer[6], buffer[7]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong(length));
        }
        if buffer.len() < 8 + length {
            buffer.reserve(8 + length - buffer.len());
            return Ok(None);
        }
        let mut head = buffer.split_to(8);
        let payload = buffer.split_to(length).freeze();
        let (first, flags) = (head.get_u32(), head[0]);
        if first & !STREAM_MASK == 0 {
            return Ok(Some(Frame::Data { stream: first, fin: flags & FLAG_FIN != 0, data: payload }));
        }
        let version = (first >> 16) as u16 & 0x7fff;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        control(first as u16, flags & FLAG_FIN != 0, payload).map(Some)
    }

    /// Writes the frame.
    pub fn write(&self, buffer: &mut BytesMut) {
        let control = |buffer: &mut BytesMut, kind: u16, flags: u8, length: usize| {
            buffer.put_u16(0x8000 | VERSION);
            buffer.put_u16(kind);
            buffer.put_u8(flags);
            buffer.put_uint(length as u64, 3);
        };
        match self {
            Frame::Data { stream, fin, data } => {
                buffer.put_u32(stream & STREAM_MASK);
                buffer.put_u8(u8::from(*fin));
                buffer.put_uint(data.len() as u64, 3);
                buffer.put_slice(data);
            }
            Frame::SynStream { stream, fin, block } => {
                control(buffer, 1, u8::from(*fin), 10 + block.len());
                buffer.put_u32(*stream);
                buffer.put_u32(0);
                buffer.put_u16(0);
                buffer.put_slice(block);
            }
            Frame::SynReply { stream, fin, block } | Frame::Headers { stream, fin, block } => {
                let kind = if matches!(self, Frame::SynReply { .. }) { 2 } else { 8 };
                control(buffer, kind, u8::from(*fin), 4 + block.len());
                buffer.put_u32(*stream);
                buffer.put_slice(block);
            }
            Frame::Reset { stream, status } => {
                control(buffer, 3, 0, 8);
                buffer.put_u32(*stream);
                buffer.put_u32(*status);
            }
            Frame::Ping { id } => {
                control(buffer, 6, 0, 4);
                buffer.put_u32(*id);
            }
            Frame::GoAway { last_stream } => {
                control(buffer, 7, 0, 8);
                buffer.put_u32(*last_stream);
                buffer.put_u32(0);
            }
            Frame::Ignored => {}
        }
    }
}

fn control(kind: u16, fin: bool, mut payload: Bytes) -> Result<Frame, FrameError> {
    let needed = match kind {
        1 => 10,
        2 | 6 | 8 => 4,
        3 | 7 => 8,
        _ => 0,
    };
    if payload.len() < needed {
        return Err(FrameError::TooShort(kind));
    }
    let mut number = || payload.get_u32();
    Ok(match kind {
        1 => {
            let stream = number() & STREAM_MASK;
            payload.advance(6);
            Frame::SynStream { stream, fin, block: payload }
        }
        2 => Frame::SynReply { stream: number() & STREAM_MASK, fin, block: payload },
        8 => Frame::Headers { stream: number() & STREAM_MASK, fin, block: payload },
        3 => Frame::Reset { stream: number() & STREAM_MASK, status: number() },
        6 => Frame::Ping { id: number() },
        7 => Frame::GoAway { last_stream: number() & STREAM_MASK },
        _ => Frame::Ignored,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_are_read_as_written() {
        let block = Bytes::from_static(b"block");
        for frame in [
            Frame::Data { stream: 3, fin: true, data: Bytes::from_static(b"abc") },
            Frame::SynStream { stream: 1, fin: false, block: block.clone() },
            Frame::SynReply { stream: 1, fin: true, block: block.clone() },
            Frame::Headers { stream: 1, fin: false, block },
            Frame::Reset { stream: 5, status: 1 },
            Frame::Ping { id: 2 },
            Frame::GoAway { last_stream: 7 },
        ] {
            let mut buffer = BytesMut::new();
            frame.write(&mut buffer);
            let mut part = BytesMut::from(&buffer[..buffer.len() - 1]);
            assert_eq!(Frame::read(&mut part), Ok(None), "not all there");
            assert_eq!(Frame::read(&mut buffer), Ok(Some(frame)));
            assert!(buffer.is_empty());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Frame::read(&mut buffer) {}
        }
    }
}
