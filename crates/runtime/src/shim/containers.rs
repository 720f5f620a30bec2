//! Containers: start, output, end.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use sys::epoll::{READABLE, WRITABLE};
use sys::process::{CLONE_NEWNS, CLONE_NEWPID, Ended, Forked};

use super::event_loop::{Loop, Source};
use super::init::{ChildMessage, Stdio, run_container};
use super::logs::{LogWriter, Stream};
use crate::cgroup::Group;
use crate::protocol::{Answer, Decoder, Event, Run};
use crate::spec::{ContainerSpec, PidNamespace};

/// A client's copy of an output.
pub struct Sink {
    descriptor: OwnedFd,
    pending: Vec<u8>,
    token: Option<u64>,
}

/// One output of a container.
struct Output {
    descriptor: OwnedFd,
    token: Option<u64>,
    sinks: Vec<Sink>,
}

/// A child that has not become its program yet.
pub struct Starting {
    /// Where it reports.
    pub socket: OwnedFd,
    /// Frames from it.
    pub decoder: Decoder,
    /// Its registration.
    pub token: u64,
    /// The request that is answered when it is through.
    pub request: u64,
    /// It is about to execute its program.
    pub ready: bool,
    /// It said why it failed.
    pub failure: Option<String>,
}

impl Starting {
    /// How a start came out, once the child's end of the socket is closed.
    pub fn outcome(&mut self) -> Result<(), String> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None if self.ready => Ok(()),
            None => Err("container init exited prematurely (memory limit too low?)".to_owned()),
        }
    }
}

/// A container.
pub struct Container {
    /// How far it got.
    pub run: Run,
    /// Its groups.
    pub group: Group,
    /// A cgroup namespace hides them.
    pub own_group_namespace: bool,
    /// Refers to its first process.
    pub pidfd: OwnedFd,
    /// Which PID namespace.
    pub pid_namespace: PidNamespace,
    starting: Option<Starting>,
    outputs: [Option<Output>; 2],
    log: Option<LogWriter>,
    stdin: Option<OwnedFd>,
    stdin_once: bool,
    terminal: Option<OwnedFd>,
}

impl Container {
    /// Kills all its processes.
    pub fn kill(&self) {
        let _ = sys::process::signal_pidfd(self.pidfd.as_fd(), sys::process::SIGKILL);
        if self.pid_namespace != PidNamespace::Own {
            self.group.kill_all();
        }
    }
}

/// A stopped writer to a container cannot keep the loop busy for ever when the container has ended.
const DRAIN_READS_MAX: usize = 4096;

impl Loop {
    /// Forks the first process. The answer comes when it has become its program.
    pub(super) fn start_container(&mut self, request: u64, id: &str, spec: &str) -> Result<(), String> {
        if self.containers.get(id).is_some_and(|container| container.run.pid != 0) {
            return Err("the container runs already".to_owned());
        }
        let text = std::fs::read(spec).map_err(|error| format!("read {spec}: {error}"))?;
        let spec: ContainerSpec =
            serde_json::from_slice(&text).map_err(|error| format!("read {spec}: {error}"))?;
        let say = |error: io::Error| format!("start container: {error}");
        let log = match &spec.log_path {
            Some(path) => {
                let opened = LogWriter::open(path);
                Some(opened.map_err(|error| format!("open log {}: {error}", path.display()))?)
            }
            None => None,
        };
        let (stdio, stdin, outputs) = streams(&spec).map_err(say)?;
        let (socket, child_socket) = sys::socket::pair().map_err(say)?;
        let group = open_group(&spec.group).map_err(say)?;
        let flags = CLONE_NEWNS | if spec.pid_namespace == PidNamespace::Own { CLONE_NEWPID } else { 0 };
        let namespace = self.namespace_to_join(&spec.pid_namespace)?;
        let forked = fork_into(flags, namespace.as_ref(), group.as_ref()).map_err(say)?;
        let (pid, pidfd) = match forked {
            Forked::Child => {
                drop((socket, outputs, stdin));
                run_container(&spec, &stdio, child_socket.as_fd())
            }
            Forked::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop((child_socket, stdio));
        sys::socket::set_nonblocking(socket.as_fd(), true).map_err(say)?;
        let token = self.watch(socket.as_fd(), READABLE, Source::Child(pid)).map_err(say)?;
        let starting =
            Starting { socket, decoder: Decoder::default(), token, request, ready: false, failure: None };
        let container = Container {
            run: Run { pid, ..Run::default() },
            group: spec.group,
            own_group_namespace: spec.own_group_namespace,
            pidfd,
            pid_namespace: spec.pid_namespace,
            starting: Some(starting),
            outputs: [None, None],
            log,
            stdin,
            stdin_once: spec.stdin_once,
            terminal: None,
        };
        self.containers.insert(id.to_owned(), container);
        for (output, stream) in outputs.into_iter().zip([Stream::Stdout, Stream::Stderr]) {
            self.add_output(id, stream, output).map_err(say)?;
        }
        Ok(())
    }

    /// The process whose PID namespace a container joins.
    fn namespace_to_join(&self, namespace: &PidNamespace) -> Result<Option<OwnedFd>, String> {
        let of = match namespace {
            PidNamespace::Own | PidNamespace::Node => return Ok(None),
            PidNamespace::Pod => self.first_process.as_ref().map(|first| &first.pidfd),
            PidNamespace::Target(id) => {
                self.containers.get(id).filter(|target| target.run.pid != 0).map(|target| &target.pidfd)
            }
        };
        let of = of.ok_or_else(|| "the process whose PID namespace to join does not run".to_owned())?;
        of.try_clone().map(Some).map_err(|error| error.to_string())
    }

    /// Watches an output.
    fn add_output(&mut self, id: &str, stream: Stream, descriptor: OwnedFd) -> io::Result<()> {
        sys::socket::set_nonblocking(descriptor.as_fd(), true)?;
        let token = self.watch(descriptor.as_fd(), READABLE, Source::Output(id.to_owned(), stream))?;
        if let Some(container) = self.containers.get_mut(id) {
            container.outputs[stream.index()] =
                Some(Output { descriptor, token: Some(token), sinks: Vec::new() });
        }
        Ok(())
    }

    /// Reads what a child says on its way, for containers and commands alike.
    pub(super) fn on_child_message(&mut self, pid: i32) {
        let container = self.containers.iter().find(|(_, container)| container.run.pid == pid);
        if let Some(id) = container.map(|(id, _)| id.clone()) {
            self.on_container_message(&id);
        } else {
            self.on_exec_message(pid);
        }
    }

    fn on_container_message(&mut self, id: &str) {
        loop {
            let Some(container) = self.containers.get_mut(id) else { return };
            let Some(starting) = &mut container.starting else { return };
            match next_message(starting) {
                Ok(Some((ChildMessage::User(uid, gid, groups), _))) => {
                    container.run.user = Some((uid, gid, groups));
                }
                Ok(Some((ChildMessage::Terminal, mut descriptors))) => {
                    let Some(master) = descriptors.pop() else { continue };
                    container.terminal = master.try_clone().ok();
                    let _ = self.add_output(id, Stream::Stdout, master);
                }
                Ok(Some((ChildMessage::Ready, _))) => starting.ready = true,
                Ok(Some((ChildMessage::Failed(message), _))) => starting.failure = Some(message),
                Ok(None) => return,
                Err(()) => return self.on_started(id),
            }
        }
    }

    /// The child's end of the socket is closed: it is its program now, or gone.
    fn on_started(&mut self, id: &str) {
        let now_ns = self.now_ns();
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(mut starting) = container.starting.take() else { return };
        let outcome = starting.outcome();
        if outcome.is_ok() {
            container.run.started_at_ns = now_ns;
        }
        let run = container.run.clone();
        self.forget_token(starting.token);
        let body = match outcome {
            Ok(()) => {
                self.record(id, &run);
                Ok(Answer::Started(run))
            }
            Err(message) => Err(self.start_failed(id, format!("error during container init: {message}"))),
        };
        self.answer(starting.request, body, Vec::new());
    }

    /// Notes that a container could not be started, and returns the whole message.
    pub(super) fn start_failed(&mut self, id: &str, message: String) -> String {
        let message = format!("{START_FAILED}{message}");
        let run = Run {
            finished_at_ns: self.now_ns(),
            exit_code: 128,
            reason: "StartError".to_owned(),
            message: message.clone(),
            ..Run::default()
        };
        if let Some(container) = self.containers.get_mut(id) {
            let _ = sys::process::signal_pidfd(container.pidfd.as_fd(), sys::process::SIGKILL);
            container.run = run.clone();
        }
        self.close_outputs(id);
        self.record(id, &run);
        message
    }

    /// A child has ended: a container's first process, a command's, the Pod's, or an orphan.
    pub(super) fn on_ended(&mut self, ended: Ended) {
        if self.first_process.as_ref().is_some_and(|first| first.pid == ended.pid) {
            // The kernel ended all other processes of its PID namespace before it, and nothing can be started there any
            // more: the Pod needs a new sandbox.
            super::note("the Pod's first process has ended, and so does the Pod's process");
            return self.shut_down();
        }
        let container = self.containers.iter().find(|(_, container)| container.run.pid == ended.pid);
        let Some(id) = container.map(|(id, _)| id.clone()) else {
            return self.on_exec_ended(ended);
        };
        // A start that is still open has failed.
        self.on_started(&id);
        let Some(container) = self.containers.get_mut(&id) else { return };
        if container.run.pid == 0 {
            return;
        }
        if container.pid_namespace != PidNamespace::Own {
            // Where the kernel does not end the rest with the first process, we do.
            container.group.kill_all();
        }
        // The kernel counts before it kills, so that the count is there by now.
        let oom = container.group.oom_kills() > 0;
        self.drain(&id);
        let now_ns = self.now_ns();
        let Some(container) = self.containers.get_mut(&id) else { return };
        container.run.pid = 0;
        container.run.exit_code = ended.code;
        container.run.finished_at_ns = now_ns;
        let reason = match (oom, ended.code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        };
        container.run.reason = reason.to_owned();
        container.stdin = None;
        container.terminal = None;
        let run = container.run.clone();
        self.record(&id, &run);
        self.tell(Event::Exited { container: id, run });
    }

    /// Writes the run's record where a later daemon finds it.
    fn record(&self, id: &str, run: &Run) {
        if let Err(error) = crate::state::write_run(&self.records, id, run) {
            super::note(&error.to_string());
        }
    }

    /// Reads what an ended container has left in its outputs.
    fn drain(&mut self, id: &str) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            for _ in 0..DRAIN_READS_MAX {
                if !self.read_output(id, stream) {
                    break;
                }
            }
        }
        self.close_outputs(id);
    }

    fn close_outputs(&mut self, id: &str) {
        let now_ns = self.now_ns();
        let Some(container) = self.containers.get_mut(id) else { return };
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(log) = &mut container.log {
                let _ = log.finish(stream, now_ns);
            }
        }
        container.log = None;
        let outputs: Vec<Output> = container.outputs.iter_mut().filter_map(Option::take).collect();
        for output in outputs {
            self.close_output(output);
        }
    }

    fn close_output(&mut self, output: Output) {
        if let Some(token) = output.token {
            let _ = self.epoll.remove(output.descriptor.as_fd());
            self.forget_token(token);
        }
        for sink in output.sinks {
            // What a slow client has not read yet is still its own.
            if let (false, Some(token)) = (sink.pending.is_empty(), sink.token) {
                let _ = self.epoll.remove(sink.descriptor.as_fd());
                self.forget_token(token);
                if let Ok(token) = self.watch(sink.descriptor.as_fd(), WRITABLE, Source::Leftover) {
                    self.leftovers.insert(token, sink);
                }
            }
        }
    }

    pub(super) fn on_leftover(&mut self, token: u64) {
        let Some(sink) = self.leftovers.get_mut(&token) else { return };
        if !flush(sink) || sink.pending.is_empty() {
            self.forget_token(token);
            self.leftovers.remove(&token);
        }
    }

    pub(super) fn on_output(&mut self, id: &str, stream: Stream) {
        self.read_output(id, stream);
    }

    /// Reads once; returns whether there may be more.
    fn read_output(&mut self, id: &str, stream: Stream) -> bool {
        let now_ns = self.now_ns();
        let Some(container) = self.containers.get_mut(id) else { return false };
        let Some(output) = &mut container.outputs[stream.index()] else { return false };
        let mut buffer = [0; 16 << 10];
        let count = match sys::socket::read(output.descriptor.as_fd(), &mut buffer) {
            Ok(0) => 0,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // A terminal whose other side is closed says EIO.
            Err(_) => 0,
        };
        if count == 0 {
            if let Some(log) = &mut container.log {
                let _ = log.finish(stream, now_ns);
            }
            if let Some(output) = container.outputs[stream.index()].take() {
                self.close_output(output);
            }
            return false;
        }
        if let Some(log) = &mut container.log
            && let Err(error) = log.append(stream, &buffer[..count], now_ns)
        {
            super::note(&format!("write the log of {id}: {error}"));
        }
        let mut slow = false;
        output.sinks.retain_mut(|sink| {
            sink.pending.extend_from_slice(&buffer[..count]);
            let alive = flush(sink);
            slow |= alive && !sink.pending.is_empty();
            alive
        });
        if slow {
            self.pause_output(id, stream);
        }
        true
    }

    /// A client is slower than the container: the container waits for it, as with upstream's runtime.
    fn pause_output(&mut self, id: &str, stream: Stream) {
        let Some(mut output) =
            self.containers.get_mut(id).and_then(|container| container.outputs[stream.index()].take())
        else {
            return;
        };
        if let Some(token) = output.token.take() {
            let _ = self.epoll.remove(output.descriptor.as_fd());
            self.forget_token(token);
        }
        for sink in output.sinks.iter_mut().filter(|sink| !sink.pending.is_empty() && sink.token.is_none()) {
            let source = Source::Client(id.to_owned(), stream);
            sink.token = self.watch(sink.descriptor.as_fd(), WRITABLE, source).ok();
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.outputs[stream.index()] = Some(output);
        }
    }

    /// A slow client can take more.
    pub(super) fn on_client(&mut self, id: &str, stream: Stream) {
        let Some(mut output) =
            self.containers.get_mut(id).and_then(|container| container.outputs[stream.index()].take())
        else {
            return;
        };
        let mut kept = Vec::new();
        for mut sink in output.sinks.drain(..) {
            let alive = flush(&mut sink);
            if (!alive || sink.pending.is_empty())
                && let Some(token) = sink.token.take()
            {
                let _ = self.epoll.remove(sink.descriptor.as_fd());
                self.forget_token(token);
            }
            if alive {
                kept.push(sink);
            }
        }
        output.sinks = kept;
        if output.token.is_none() && output.sinks.iter().all(|sink| sink.pending.is_empty()) {
            let source = Source::Output(id.to_owned(), stream);
            output.token = self.watch(output.descriptor.as_fd(), READABLE, source).ok();
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.outputs[stream.index()] = Some(output);
        }
    }

    /// Connects a client to a container's streams.
    pub(super) fn attach(
        &mut self,
        id: &str,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> Result<(Answer, Vec<OwnedFd>), String> {
        let say = |error: io::Error| format!("attach: {error}");
        let container = self.running(id)?;
        let mut descriptors = Vec::new();
        let terminal = container.terminal.is_some();
        let mut has_stdin = false;
        if stdin {
            let input = match (&container.terminal, container.stdin_once) {
                (Some(terminal), _) => Some(terminal.try_clone().map_err(say)?),
                // The client gets the only writing end: when it leaves, the container sees the end.
                (None, true) => container.stdin.take(),
                (None, false) => container.stdin.as_ref().map(OwnedFd::try_clone).transpose().map_err(say)?,
            };
            has_stdin = input.is_some();
            descriptors.extend(input);
        }
        let mut has = [false, false];
        for (wanted, stream) in [(stdout, Stream::Stdout), (stderr && !terminal, Stream::Stderr)] {
            if let Some(output) = container.outputs[stream.index()].as_mut().filter(|_| wanted) {
                let (read_end, write_end) = sys::socket::pipe().map_err(say)?;
                sys::socket::set_nonblocking(write_end.as_fd(), true).map_err(say)?;
                output.sinks.push(Sink { descriptor: write_end, pending: Vec::new(), token: None });
                descriptors.push(read_end);
                has[stream.index()] = true;
            }
        }
        let answer = Answer::Streams { stdin: has_stdin, stdout: has[0], stderr: has[1], terminal: false };
        Ok((answer, descriptors))
    }

    fn running(&mut self, id: &str) -> Result<&mut Container, String> {
        let container = self.containers.get_mut(id).filter(|container| container.run.pid != 0);
        container.ok_or_else(|| "the container does not run".to_owned())
    }

    /// Sends a signal.
    pub(super) fn signal(&mut self, id: &str, signal: i32, all: bool) -> Result<(), String> {
        let container = self.running(id)?;
        if all && signal == sys::process::SIGKILL {
            container.kill();
            return Ok(());
        }
        if all {
            container.group.signal_all(signal);
            return Ok(());
        }
        sys::process::signal_pidfd(container.pidfd.as_fd(), signal).map_err(|error| error.to_string())
    }

    /// Tells a container's terminal its size.
    pub(super) fn resize(&mut self, id: &str, size: cri::runtime::TerminalSize) -> Result<(), String> {
        match &self.running(id)?.terminal {
            Some(terminal) => sys::pty::resize(terminal.as_fd(), size.width, size.height)
                .map_err(|error| format!("resize: {error}")),
            None => Err("the container has no terminal".to_owned()),
        }
    }

    /// Reopens a log.
    pub(super) fn reopen_log(&mut self, id: &str) -> Result<(), String> {
        match &mut self.running(id)?.log {
            Some(log) => log.reopen().map_err(|error| format!("reopen log: {error}")),
            None => Ok(()),
        }
    }
}

/// What containerd's and runc's messages begin with.
const START_FAILED: &str = "failed to create containerd task: failed to create shim task: OCI runtime create failed: \
                            runc create failed: unable to start container process: ";

/// Writes what is pending; false when the client has gone.
fn flush(sink: &mut Sink) -> bool {
    while !sink.pending.is_empty() {
        match sys::socket::write(sink.descriptor.as_fd(), &sink.pending) {
            Ok(count) => {
                sink.pending.drain(..count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(_) => return false,
        }
    }
    true
}

/// The next message of a child: `Ok(None)` when there is none yet, `Err` at the end of the stream.
pub(super) fn next_message(starting: &mut Starting) -> Result<Option<(ChildMessage, Vec<OwnedFd>)>, ()> {
    let mut buffer = [0; 1024];
    loop {
        if let Some(message) = starting.decoder.take().map_err(|_| ())? {
            return Ok(Some(message));
        }
        let room = starting.decoder.wanted().min(buffer.len());
        let descriptors = &mut starting.decoder.descriptors;
        match sys::socket::receive(starting.socket.as_fd(), &mut buffer[..room], descriptors) {
            Ok(0) => return Err(()),
            Ok(count) => starting.decoder.add(&buffer[..count]).map_err(|_| ())?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(_) => return Err(()),
        }
    }
}

/// Opens the group's directory where the kernel can fork straight into it.
pub(super) fn open_group(group: &Group) -> io::Result<Option<OwnedFd>> {
    if !group.unified {
        return Ok(None);
    }
    let open = |path: &PathBuf| sys::path::open_location(path);
    group.directories.first().map(open).transpose()
}

/// Forks, with the PID namespace of another process if one is given. This process stays in its own: only what its
/// next child gets is changed, and changed back.
pub(super) fn fork_into(
    flags: i32,
    namespace: Option<&OwnedFd>,
    group: Option<&OwnedFd>,
) -> io::Result<Forked> {
    let Some(namespace) = namespace else { return sys::process::fork(flags, group.map(AsFd::as_fd)) };
    let own = std::fs::File::open("/proc/self/ns/pid")?;
    sys::namespace::join(namespace.as_fd(), CLONE_NEWPID)?;
    let forked = sys::process::fork(flags, group.map(AsFd::as_fd));
    if let Ok(Forked::Child) = forked {
        return forked;
    }
    if let Err(error) = sys::namespace::join(own.as_fd(), CLONE_NEWPID) {
        // Anything started from here on would land in the wrong namespace.
        super::note(&format!("cannot return to the own PID namespace: {error}"));
        sys::process::exit_now(1);
    }
    forked
}

type Streams = (Stdio, Option<OwnedFd>, Vec<OwnedFd>);

/// Makes the pipes of a container: the child's ends, the writing end of its input, the reading ends of its outputs.
fn streams(spec: &ContainerSpec) -> io::Result<Streams> {
    if spec.process.terminal {
        return Ok((Stdio::default(), None, Vec::new()));
    }
    let (mut stdio, mut input) = (Stdio::default(), None);
    if spec.process.stdin {
        let (read_end, write_end) = sys::socket::pipe()?;
        stdio.stdin = Some(read_end);
        input = Some(write_end);
    }
    let (stdout, stdout_child) = sys::socket::pipe()?;
    let (stderr, stderr_child) = sys::socket::pipe()?;
    stdio.stdout = Some(stdout_child);
    stdio.stderr = Some(stderr_child);
    Ok((stdio, input, vec![stdout, stderr]))
}
