//! Commands in running containers.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use sys::epoll::READABLE;
use sys::process::{Ended, Forked};

use super::containers::{Starting, fork_into, next_message, open_group};
use super::event_loop::{Loop, Source};
use super::init::{ChildMessage, Stdio, run_exec};
use crate::protocol::{Answer, Decoder, Event};
use crate::spec::{ExecSpec, PidNamespace};

/// A command.
pub struct Exec {
    pid: i32,
    pidfd: OwnedFd,
    starting: Option<Starting>,
    /// Our ends of its streams, on their way to the daemon.
    streams: Vec<OwnedFd>,
    answer: Option<Answer>,
}

impl Loop {
    /// Forks the command. The answer comes when it has become its program.
    pub(super) fn start_exec(&mut self, request: u64, spec: &ExecSpec) -> Result<(), String> {
        let say = |error: io::Error| format!("exec failed: {error}");
        let container =
            self.containers.get(&spec.container).filter(|container| container.run.started_at_ns != 0);
        let container = container
            .filter(|container| container.run.pid != 0)
            .ok_or_else(|| "cannot exec in a stopped container".to_owned())?;
        let (stdio, streams, answer) = streams(spec).map_err(say)?;
        let (socket, child_socket) = sys::socket::pair().map_err(say)?;
        let group = open_group(&container.group).map_err(say)?;
        let namespace = match container.pid_namespace {
            PidNamespace::Node => None,
            _ => Some(&container.pidfd),
        };
        let forked = fork_into(0, namespace, group.as_ref()).map_err(say)?;
        let (pid, pidfd) = match forked {
            Forked::Child => run_exec(
                spec,
                container.pidfd.as_fd(),
                &container.group,
                container.own_group_namespace,
                &stdio,
                child_socket.as_fd(),
            ),
            Forked::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop((child_socket, stdio));
        sys::socket::set_nonblocking(socket.as_fd(), true).map_err(say)?;
        let token = self.watch(socket.as_fd(), READABLE, Source::Child(pid)).map_err(say)?;
        let starting =
            Starting { socket, decoder: Decoder::default(), token, request, ready: false, failure: None };
        let exec = Exec { pid, pidfd, starting: Some(starting), streams, answer: Some(answer) };
        self.execs.insert(spec.id.clone(), exec);
        Ok(())
    }

    pub(super) fn on_exec_message(&mut self, pid: i32) {
        let Some((id, exec)) = self.execs.iter_mut().find(|(_, exec)| exec.pid == pid) else { return };
        let id = id.clone();
        let Some(starting) = &mut exec.starting else { return };
        loop {
            match next_message(starting) {
                Ok(Some((ChildMessage::User(..), _))) => {}
                Ok(Some((ChildMessage::Terminal, descriptors))) => exec.streams = descriptors,
                Ok(Some((ChildMessage::Ready, _))) => starting.ready = true,
                Ok(Some((ChildMessage::Failed(message), _))) => starting.failure = Some(message),
                Ok(None) => return,
                Err(()) => break,
            }
        }
        self.on_exec_started(&id);
    }

    fn on_exec_started(&mut self, id: &str) {
        let Some(exec) = self.execs.get_mut(id) else { return };
        let Some(mut starting) = exec.starting.take() else { return };
        let streams = std::mem::take(&mut exec.streams);
        let body = match (starting.outcome(), exec.answer.take()) {
            (Ok(()), Some(answer)) => Ok(answer),
            (Ok(()), None) => Err("exec answered twice".to_owned()),
            (Err(message), _) => Err(message),
        };
        self.forget_token(starting.token);
        if body.is_err() {
            self.execs.remove(id);
            self.answer(starting.request, body, Vec::new());
        } else {
            self.answer(starting.request, body, streams);
        }
    }

    /// A child that was no container's first process has ended.
    pub(super) fn on_exec_ended(&mut self, ended: Ended) {
        let exec = self.execs.iter().find(|(_, exec)| exec.pid == ended.pid);
        let Some(id) = exec.map(|(id, _)| id.clone()) else { return };
        self.on_exec_started(&id);
        if self.execs.remove(&id).is_some() {
            self.tell(Event::ExecEnded { exec: id, code: ended.code });
        }
    }

    /// Kills a command.
    pub(super) fn kill_exec(&mut self, id: &str) -> Result<(), String> {
        match self.execs.get(id) {
            Some(exec) => sys::process::signal_pidfd(exec.pidfd.as_fd(), sys::process::SIGKILL)
                .map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }
}

/// Makes the pipes of a command: its ends, ours in the order of the answer's flags, the answer.
fn streams(spec: &ExecSpec) -> io::Result<(Stdio, Vec<OwnedFd>, Answer)> {
    let (mut stdio, mut ours) = (Stdio::default(), Vec::new());
    let terminal = spec.process.terminal;
    let wanted = |wanted: bool| wanted && !terminal;
    let (stdin, stdout, stderr) = (wanted(spec.process.stdin), wanted(spec.stdout), wanted(spec.stderr));
    if stdin {
        let (read_end, write_end) = sys::socket::pipe()?;
        stdio.stdin = Some(read_end);
        ours.push(write_end);
    }
    for (wanted, place) in [(stdout, &mut stdio.stdout), (stderr, &mut stdio.stderr)] {
        if wanted {
            let (read_end, write_end) = sys::socket::pipe()?;
            *place = Some(write_end);
            ours.push(read_end);
        }
    }
    Ok((stdio, ours, Answer::Streams { stdin, stdout, stderr, terminal }))
}
