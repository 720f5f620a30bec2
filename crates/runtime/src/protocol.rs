//! What the daemon and a Pod's process say to each other: frames of a little-endian length and JSON over a local
//! stream socket, with descriptors beside them where streams are handed over.
//!
//! The protocol carries a version. A daemon speaks every version that was released; a Pod's process speaks its own.

use std::os::fd::OwnedFd;

use cri::runtime::TerminalSize;
use serde::{Deserialize, Serialize};

use crate::spec::{ExecSpec, SandboxSpec};

/// The version spoken by this build.
pub const VERSION: u32 = 1;

/// Frames are small; command lines are the largest part.
pub const FRAME_BYTES_MAX: usize = 4 << 20;

/// From the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Repeated in the answer.
    pub id: u64,
    /// What to do.
    pub body: RequestBody,
}

/// What the daemon asks.
#[derive(Debug, Serialize, Deserialize)]
pub enum RequestBody {
    /// First on a connection to a process that was started by an earlier daemon. Answer: [`Answer::State`].
    Hello {
        /// The newest version that the daemon speaks.
        version: u32,
    },
    /// First on the connection that the process was started with: namespaces. Answer: [`Answer::Done`].
    Prepare(Box<SandboxSpec>),
    /// Host name, sysctls and the process with id 1, if the Pod has one. Answer: [`Answer::Done`].
    Configure {
        /// Host name of the Pod; empty leaves it.
        hostname: String,
        /// Namespaced kernel settings.
        sysctls: Vec<(String, String)>,
        /// Whether the containers share a PID namespace, which needs a first process of its own.
        shared_pid_namespace: bool,
    },
    /// Starts a container from the specification file. Answer: [`Answer::Started`].
    Start {
        /// Container.
        container: String,
        /// Path of the `ContainerSpec`.
        spec: String,
    },
    /// Sends a signal. Answer: [`Answer::Done`].
    Signal {
        /// Container.
        container: String,
        /// Number.
        signal: i32,
        /// To all its processes.
        all: bool,
    },
    /// Attaches to a container's first process. Answer: [`Answer::Streams`] with descriptors in the order of its
    /// flags.
    Attach {
        /// Container.
        container: String,
        /// Connect these.
        stdin: bool,
        /// Connect stdout.
        stdout: bool,
        /// Connect stderr.
        stderr: bool,
    },
    /// New terminal size of a container. Answer: [`Answer::Done`].
    Resize {
        /// Container.
        container: String,
        /// Size.
        size: TerminalSize,
    },
    /// Reopens a container's log. Answer: [`Answer::Done`].
    ReopenLog {
        /// Container.
        container: String,
    },
    /// Runs a command in a container. Answer: [`Answer::Streams`], later [`Event::ExecEnded`].
    Exec(Box<ExecSpec>),
    /// Kills a command. Answer: [`Answer::Done`].
    KillExec {
        /// The command's id.
        exec: String,
    },
    /// A TCP socket of the Pod's network namespace. Answer: [`Answer::Streams`] with one descriptor.
    Socket {
        /// IPv6 instead of IPv4.
        ipv6: bool,
    },
    /// Forgets an ended container. Answer: [`Answer::Done`].
    Forget {
        /// Container.
        container: String,
    },
    /// Kills all containers and ends. The connection closes.
    ShutDown,
}

/// To the daemon.
#[derive(Debug, Serialize, Deserialize)]
pub enum Message {
    /// The answer to a request.
    Answer {
        /// The request's id.
        id: u64,
        /// The answer, or words of an error.
        body: Result<Answer, String>,
    },
    /// Something happened.
    Event(Event),
}

/// What a request brings.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    Done,
    /// All containers of this process.
    State {
        /// Protocol version it speaks.
        version: u32,
        /// Containers.
        containers: Vec<(String, Run)>,
    },
    /// The container runs.
    Started(Run),
    /// Descriptors come with this message, in this order, for each flag that is set.
    Streams {
        /// Standard input (or a socket).
        stdin: bool,
        /// Standard output.
        stdout: bool,
        /// Standard error.
        stderr: bool,
        /// The one descriptor is a terminal for everything.
        terminal: bool,
    },
}

/// What happened.
#[derive(Debug, Serialize, Deserialize)]
pub enum Event {
    /// A container ended.
    Exited {
        /// Container.
        container: String,
        /// How.
        run: Run,
    },
    /// A command of [`RequestBody::Exec`] ended.
    ExecEnded {
        /// The command's id.
        exec: String,
        /// Exit code.
        code: i32,
    },
}

/// The run of a container, as far as it got; written to the state directory at start and end.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Process id on the node; 0 once ended.
    pub pid: i32,
    /// Start, ns since the epoch; 0 if it never ran.
    pub started_at_ns: i64,
    /// End, ns since the epoch; 0 while it runs.
    pub finished_at_ns: i64,
    /// Exit status, or 128 + signal.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    /// Words of a start error.
    pub message: String,
    /// (uid, gid, groups) of the first process.
    pub user: Option<(i64, i64, Vec<i64>)>,
}

/// Encodes a frame.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, value).map_err(|error| error.to_string())?;
    let length = frame.len() - 4;
    if length > FRAME_BYTES_MAX {
        return Err(format!("message of {length} bytes is above the limit of {FRAME_BYTES_MAX}"));
    }
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// Gathers bytes and descriptors into frames.
#[derive(Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    /// Descriptors that came with the bytes gathered so far, in order.
    pub descriptors: Vec<OwnedFd>,
}

impl Decoder {
    /// How many bytes may be read next without reading past the present frame, so that descriptors are never taken
    /// for another frame's.
    pub fn wanted(&self) -> usize {
        if self.bytes.len() < 4 { 4 - self.bytes.len() } else { 4 + self.length() - self.bytes.len() }
    }

    fn length(&self) -> usize {
        let mut length = [0; 4];
        length.copy_from_slice(&self.bytes[..4]);
        u32::from_le_bytes(length) as usize
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= 4 && self.length() > FRAME_BYTES_MAX {
            return Err(format!("frame of {} bytes is above the limit of {FRAME_BYTES_MAX}", self.length()));
        }
        Ok(())
    }

    /// Takes a whole frame, if there is one, with its descriptors.
    pub fn take<T: for<'a> Deserialize<'a>>(&mut self) -> Result<Option<(T, Vec<OwnedFd>)>, String> {
        if self.bytes.len() < 4 || self.bytes.len() < 4 + self.length() {
            return Ok(None);
        }
        let value = serde_json::from_slice(&self.bytes[4..]).map_err(|error| error.to_string())?;
        self.bytes = Vec::new();
        Ok(Some((value, std::mem::take(&mut self.descriptors))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_any_cut() {
        let request = Request { id: 7, body: RequestBody::Hello { version: 1 } };
        let frame = encode(&request).unwrap();
        for step in 1..frame.len() {
            let mut decoder = Decoder::default();
            let mut at = 0;
            while at < frame.len() {
                let end = (at + step.min(decoder.wanted())).min(frame.len());
                decoder.add(&frame[at..end]).unwrap();
                at = end;
            }
            let (decoded, _) = decoder.take::<Request>().unwrap().expect("a whole frame");
            assert_eq!(decoded.id, 7);
            assert!(decoder.take::<Request>().unwrap().is_none());
        }
    }

    #[test]
    fn oversized_and_garbled_frames_are_errors() {
        assert!(Decoder::default().add(&u32::MAX.to_le_bytes()).is_err());
        let mut decoder = Decoder::default();
        decoder.add(&[2, 0, 0, 0, b'{', b'x']).unwrap();
        assert!(decoder.take::<Request>().is_err());
    }
}
