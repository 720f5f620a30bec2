//! Netlink framing (RFC 3549): requests built attribute by attribute, several in one send, and their answers read
//! back. The same code serves rtnetlink and nfnetlink.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, netlink::SocketAddrNetlink, sockopt};
use sys::netns::NetlinkProtocol;

/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`.
pub const ACK: u16 = 0x4;
/// `NLM_F_DUMP`.
pub const DUMP: u16 = 0x300;
/// `NLM_F_REPLACE`.
pub const REPLACE: u16 = 0x100;
/// `NLM_F_EXCL`.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`.
pub const APPEND: u16 = 0x800;

/// `NLM_F_DUMP_INTR`: the objects changed while they were listed.
const DUMP_INTERRUPTED: u16 = 0x10;
/// `NLM_F_CAPPED`: the answer leaves out the request.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`: the answer carries attributes, such as a text.
const ANSWER_ATTRIBUTES: u16 = 0x200;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// Bits of an attribute's type that are flags.
const TYPE_FLAGS: u16 = 0xc000;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NLMSG_DONE`.
const DONE: u16 = 3;
/// Bytes of `nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// `NLMSGERR_ATTR_MSG`.
const ANSWER_TEXT: u16 = 1;

/// Longest answer taken at once: the kernel's dumps come in pieces of at most 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;
/// The kernel answers while it handles the request; this only keeps a broken kernel from holding a thread for ever.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a dump is repeated when the objects change meanwhile.
const DUMP_ATTEMPTS: usize = 8;

/// A request in the making.
#[derive(Debug, Clone)]
pub struct Message {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Message {
    /// A request with its fixed header (`ifinfomsg`, `nfgenmsg` …).
    pub fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut message = Self { kind, flags: REQUEST | flags, body: Vec::with_capacity(128) };
        message.body.extend_from_slice(header);
        message.pad();
        message
    }

    /// Adds an attribute.
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.push(kind, value);
        self
    }

    /// Adds a number in the machine's byte order (rtnetlink's way).
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// Adds a number in network byte order (nfnetlink's way).
    pub fn network(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Adds a text with its final zero.
    pub fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.bytes(kind, &bytes)
    }

    /// Adds an attribute made of attributes.
    pub fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.body.len();
        self.body.extend_from_slice(&[0; 4]);
        let mut filled = fill(self);
        let length = filled.body.len() - start;
        filled.body[start..start + 2].copy_from_slice(&short(length).to_ne_bytes());
        filled.body[start + 2..start + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
        filled
    }

    /// Adds bytes as they are: a header inside an attribute.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.body.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Everything behind the `nlmsghdr`, for tests of requests.
    #[cfg(test)]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Asks for an answer also if all goes well.
    pub fn acknowledged(mut self) -> Self {
        self.flags |= ACK;
        self
    }

    fn push(&mut self, kind: u16, value: &[u8]) {
        self.body.extend_from_slice(&short(value.len() + 4).to_ne_bytes());
        self.body.extend_from_slice(&kind.to_ne_bytes());
        self.body.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.body.resize(self.body.len().next_multiple_of(4), 0);
    }

    fn write(&self, sequence: u32, out: &mut Vec<u8>) {
        let length = u32::try_from(HEADER_BYTES + self.body.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_ne_bytes());
        out.extend_from_slice(&self.kind.to_ne_bytes());
        out.extend_from_slice(&self.flags.to_ne_bytes());
        out.extend_from_slice(&sequence.to_ne_bytes());
        out.extend_from_slice(&0u32.to_ne_bytes());
        out.extend_from_slice(&self.body);
    }
}

/// # Panics
/// When an attribute is longer than its length field can say: callers split long lists.
fn short(length: usize) -> u16 {
    u16::try_from(length).expect("a netlink attribute holds at most 65,535 bytes")
}

/// One message from the kernel.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Message type.
    pub kind: u16,
    /// Port of the socket whose request caused it, for events.
    pub port: u32,
    /// Everything behind the `nlmsghdr`.
    pub body: Vec<u8>,
}

/// The kernel's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    /// `errno`, positive.
    pub code: i32,
    /// The kernel's explanation, often empty.
    pub text: String,
}

impl KernelError {
    /// Whether it is this error.
    pub fn is(&self, errno: rustix::io::Errno) -> bool {
        self.code == errno.raw_os_error()
    }
}

impl std::error::Error for KernelError {}

impl fmt::Display for KernelError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", io::Error::from_raw_os_error(self.code))?;
        if self.text.is_empty() { Ok(()) } else { write!(out, ": {}", self.text) }
    }
}

impl From<io::Error> for KernelError {
    fn from(error: io::Error) -> Self {
        let text = if error.raw_os_error().is_some() { String::new() } else { error.to_string() };
        Self { code: error.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error()), text }
    }
}

impl From<rustix::io::Errno> for KernelError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self { code: errno.raw_os_error(), text: String::new() }
    }
}

/// The kernel's answer to a request.
pub type Answer<T = ()> = Result<T, KernelError>;

/// A blocking netlink socket, bound to the network namespace it was opened in.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens one in the calling thread's network namespace.
    pub fn open(protocol: NetlinkProtocol) -> io::Result<Self> {
        let descriptor = sys::netns::netlink_socket(protocol, 0)?;
        sockopt::set_socket_timeout(&descriptor, sockopt::Timeout::Recv, Some(RECEIVE_TIMEOUT))?;
        Ok(Self { descriptor, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// The socket's port, by which events tell who caused them.
    pub fn port(&self) -> u32 {
        let address = rustix::net::getsockname(&self.descriptor).ok();
        address
            .and_then(|address| SocketAddrNetlink::try_from(address).ok())
            .map_or(0, |address| address.pid())
    }

    /// Sends several requests at once and returns the kernel's answer to each.
    pub fn perform(&mut self, messages: &[Message]) -> Answer<Vec<Answer>> {
        let first = self.sequence.wrapping_add(1);
        let mut out = Vec::new();
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            message.clone().acknowledged().write(self.sequence, &mut out);
        }
        self.send(&out)?;
        let mut answers: Vec<Option<Answer>> = vec![None; messages.len()];
        while answers.iter().any(Option::is_none) {
            for frame in self.receive()? {
                let index = frame.sequence.wrapping_sub(first) as usize;
                if frame.kind == ERROR
                    && let Some(slot) = answers.get_mut(index)
                {
                    *slot = Some(frame.answer());
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Sends one request.
    pub fn request(&mut self, message: &Message) -> Answer {
        self.perform(std::slice::from_ref(message))?.pop().unwrap_or(Ok(()))
    }

    /// Sends a request whose answer is one object; `None` if there is no such object.
    pub fn get(&mut self, message: &Message) -> Answer<Option<Reply>> {
        let sequence = self.send_one(message)?;
        loop {
            for frame in self.receive()? {
                if frame.sequence != sequence {
                    continue;
                }
                if frame.kind != ERROR {
                    return Ok(Some(frame.into_reply()));
                }
                return match frame.answer() {
                    Ok(()) => Ok(None),
                    Err(error) if is_missing(&error) => Ok(None),
                    Err(error) => Err(error),
                };
            }
        }
    }

    /// Lists objects; a list of something that does not exist is empty.
    pub fn dump(&mut self, message: &Message) -> Answer<Vec<Reply>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(replies) = self.dump_once(message)? {
                return Ok(replies);
            }
        }
        Err(KernelError {
            code: rustix::io::Errno::INTR.raw_os_error(),
            text: "objects keep changing".into(),
        })
    }

    /// `None` if the objects changed meanwhile.
    fn dump_once(&mut self, message: &Message) -> Answer<Option<Vec<Reply>>> {
        let mut message = message.clone();
        message.flags |= DUMP;
        let sequence = self.send_one(&message)?;
        let (mut replies, mut interrupted) = (Vec::new(), false);
        loop {
            for frame in self.receive()? {
                if frame.sequence != sequence {
                    continue;
                }
                interrupted |= frame.flags & DUMP_INTERRUPTED != 0;
                match frame.kind {
                    DONE => return Ok((!interrupted).then_some(replies)),
                    ERROR => match frame.answer() {
                        Err(error) if is_missing(&error) => return Ok(Some(Vec::new())),
                        Err(error) if error.is(rustix::io::Errno::INTR) => return Ok(None),
                        Err(error) => return Err(error),
                        Ok(()) => {}
                    },
                    _ => replies.push(frame.into_reply()),
                }
            }
        }
    }

    /// Sends a transaction: the last message asks for an answer, the others answer only if they fail. The kernel has
    /// answered when the send returns, so what is there is all.
    pub fn transact(&mut self, messages: &[Message]) -> Answer {
        let first = self.sequence.wrapping_add(1);
        let mut out = Vec::new();
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            message.write(self.sequence, &mut out);
        }
        self.send(&out)?;
        let mut answered = false;
        loop {
            let frames = match self.receive_with(RecvFlags::DONTWAIT) {
                Err(error) if error.is(rustix::io::Errno::AGAIN) => break,
                frames => frames?,
            };
            for frame in frames.into_iter().filter(|frame| frame.kind == ERROR) {
                if frame.sequence.wrapping_sub(first) as usize >= messages.len() {
                    continue;
                }
                answered = true;
                // What else the kernel had to say is not taken for an answer to the next request: that has other
                // sequence numbers.
                frame.answer()?;
            }
        }
        let silent = || KernelError { code: rustix::io::Errno::IO.raw_os_error(), text: "no answer".into() };
        if answered { Ok(()) } else { Err(silent()) }
    }

    fn send_one(&mut self, message: &Message) -> Answer<u32> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut out = Vec::new();
        message.write(self.sequence, &mut out);
        self.send(&out)?;
        Ok(self.sequence)
    }

    fn send(&self, bytes: &[u8]) -> Answer {
        rustix::io::retry_on_intr(|| rustix::net::send(&self.descriptor, bytes, SendFlags::empty()))?;
        Ok(())
    }

    fn receive(&mut self) -> Answer<Vec<Frame>> {
        self.receive_with(RecvFlags::empty())
    }

    fn receive_with(&mut self, flags: RecvFlags) -> Answer<Vec<Frame>> {
        let (_, length) =
            rustix::io::retry_on_intr(|| rustix::net::recv(&self.descriptor, &mut self.buffer[..], flags))?;
        Ok(frames(&self.buffer[..length.min(self.buffer.len())]))
    }
}

/// A non-blocking socket that hears events.
#[derive(Debug)]
pub struct EventSocket {
    descriptor: OwnedFd,
}

impl EventSocket {
    /// Opens one for a bit mask of multicast groups.
    pub fn open(protocol: NetlinkProtocol, groups: u32) -> io::Result<Self> {
        Ok(Self { descriptor: sys::netns::netlink_socket(protocol, groups)? })
    }

    /// Reads what is there; `WouldBlock` if nothing is. Events may be lost (`ENOBUFS`): an error says so.
    pub fn read(&self) -> io::Result<Vec<Reply>> {
        let mut buffer = vec![0; RECEIVE_BYTES];
        let (_, length) = rustix::net::recv(&self.descriptor, &mut buffer[..], RecvFlags::DONTWAIT)?;
        Ok(frames(&buffer[..length.min(RECEIVE_BYTES)]).into_iter().map(Frame::into_reply).collect())
    }
}

impl AsFd for EventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl std::os::fd::AsRawFd for EventSocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.descriptor.as_raw_fd()
    }
}

fn is_missing(error: &KernelError) -> bool {
    error.is(rustix::io::Errno::NOENT) || error.is(rustix::io::Errno::NODEV)
}

#[derive(Debug)]
struct Frame {
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
    body: Vec<u8>,
}

impl Frame {
    fn into_reply(self) -> Reply {
        Reply { kind: self.kind, port: self.port, body: self.body }
    }

    /// What an `NLMSG_ERROR` says.
    fn answer(&self) -> Answer {
        let code = self.body.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(-5, i32::from_ne_bytes);
        if code == 0 {
            return Ok(());
        }
        let mut text = String::new();
        if self.flags & ANSWER_ATTRIBUTES != 0 {
            let request = if self.flags & CAPPED != 0 {
                HEADER_BYTES
            } else {
                read_u32(&self.body, 4).map_or(HEADER_BYTES, |length| (length as usize).next_multiple_of(4))
            };
            let rest = self.body.get(4 + request..).unwrap_or_default();
            text = find(rest, ANSWER_TEXT).map(read_text).unwrap_or_default();
        }
        Err(KernelError { code: code.wrapping_neg(), text })
    }
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(length) = read_u32(bytes, 0) {
        let length = length as usize;
        let Some(body) = bytes.get(HEADER_BYTES..length) else { break };
        frames.push(Frame {
            kind: read_u16(bytes, 4).unwrap_or(0),
            flags: read_u16(bytes, 6).unwrap_or(0),
            sequence: read_u32(bytes, 8).unwrap_or(0),
            port: read_u32(bytes, 12).unwrap_or(0),
            body: body.to_vec(),
        });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    frames
}

/// Walks over attributes; ends at the first that is malformed.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(bytes, 0)?);
        let kind = read_u16(bytes, 2)? & !TYPE_FLAGS;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of a type.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A text up to its final zero.
pub fn read_text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A number in the machine's byte order.
pub fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// A number in the machine's byte order.
pub fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// A number in network byte order.
pub fn read_network_u32(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.try_into().ok().map(u32::from_be_bytes)
}

/// A number in network byte order.
pub fn read_network_u64(bytes: &[u8]) -> Option<u64> {
    bytes.get(..8)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let message = Message::new(16, CREATE, &[0; 5])
            .text(3, "eth0")
            .nest(18, |nest| nest.text(1, "veth").number(2, 7))
            .network(4, 9);
        let mut out = Vec::new();
        message.write(42, &mut out);
        let frames = frames(&out);
        assert_eq!((frames.len(), frames[0].kind, frames[0].sequence), (1, 16, 42));
        let body = &frames[0].body[8..];
        assert_eq!(find(body, 3).map(read_text).as_deref(), Some("eth0"));
        let nest = find(body, 18).unwrap();
        assert_eq!(find(nest, 1).map(read_text).as_deref(), Some("veth"));
        assert_eq!(read_u32(find(nest, 2).unwrap(), 0), Some(7));
        assert_eq!(find(body, 4).and_then(read_network_u32), Some(9));
        assert_eq!(find(body, 5), None);
    }

    #[test]
    fn broken_input_ends_quietly() {
        for bytes in [&[][..], &[1], &[255, 255, 0, 0, 1], &[3, 0, 1, 0], &[0; 64]] {
            assert_eq!(attributes(bytes).count(), 0, "{bytes:?}");
            assert!(frames(bytes).is_empty(), "{bytes:?}");
        }
        let frame = Frame { kind: ERROR, flags: ANSWER_ATTRIBUTES, sequence: 1, port: 0, body: vec![1] };
        assert!(frame.answer().is_err());
    }
}
