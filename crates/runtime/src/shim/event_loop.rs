//! The loop: waits for the daemon, children, outputs and clients, and hands each to its part.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use stdx::clock::Clock;
use sys::epoll::{Epoll, HUNG_UP, READABLE, Ready, WRITABLE};

use super::connection::Connection;
use super::containers::{Container, Sink};
use super::exec::Exec;
use super::logs::Stream;
use super::pause::FirstProcess;
use crate::protocol::{Answer, Event, Message};

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The signal descriptor.
    Signals,
    /// Later daemons connect here.
    Listener,
    /// The daemon.
    Daemon,
    /// A container's output.
    Output(String, Stream),
    /// A client that could not take all of a container's output.
    Client(String, Stream),
    /// A client of a container that has ended; what is left for it is still delivered.
    Leftover,
    /// A child on its way to its program: its process id.
    Child(i32),
}

/// Everything a Pod's process knows.
pub struct Loop {
    pub(super) epoll: Epoll,
    sources: BTreeMap<u64, Source>,
    next_token: u64,
    signals: OwnedFd,
    listener: Option<UnixListener>,
    daemon: Option<(u64, Connection)>,
    pub(super) clock: Clock,
    pub(super) records: PathBuf,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) execs: BTreeMap<String, Exec>,
    pub(super) leftovers: BTreeMap<u64, Sink>,
    pub(super) first_process: Option<FirstProcess>,
    pub(super) ending: bool,
}

impl Loop {
    /// Starts with the connection to the daemon.
    pub fn new(signals: OwnedFd, connection: OwnedFd) -> io::Result<Self> {
        let mut this = Self {
            epoll: Epoll::new()?,
            sources: BTreeMap::new(),
            next_token: 1,
            signals,
            listener: None,
            daemon: None,
            clock: Clock::system(),
            records: PathBuf::new(),
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            leftovers: BTreeMap::new(),
            first_process: None,
            ending: false,
        };
        let token = this.token(Source::Signals);
        this.epoll.add(this.signals.as_fd(), READABLE, token)?;
        this.set_daemon(Connection::new(connection)?)?;
        Ok(this)
    }

    /// Runs until the daemon says to end.
    pub fn run(mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        while !self.ending {
            self.epoll.wait(&mut ready)?;
            for report in &ready {
                // An earlier report may have removed it.
                if let Some(source) = self.sources.get(&report.token).cloned() {
                    self.dispatch(source, *report);
                }
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, source: Source, report: Ready) {
        match source {
            Source::Signals => self.on_signal(),
            Source::Listener => self.on_connect(),
            Source::Daemon => self.on_daemon(report),
            Source::Output(container, stream) => self.on_output(&container, stream),
            Source::Client(container, stream) => self.on_client(&container, stream),
            Source::Leftover => self.on_leftover(report.token),
            Source::Child(pid) => self.on_child_message(pid),
        }
    }

    /// A new token.
    pub(super) fn token(&mut self, source: Source) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.sources.insert(token, source);
        token
    }

    /// Watches a descriptor and returns its token.
    pub(super) fn watch(
        &mut self,
        descriptor: BorrowedFd<'_>,
        events: u32,
        source: Source,
    ) -> io::Result<u64> {
        let token = self.token(source);
        self.epoll.add(descriptor, events, token).inspect_err(|_| {
            self.sources.remove(&token);
        })?;
        Ok(token)
    }

    /// Forgets a token; the descriptor must be closed or removed by the caller.
    pub(super) fn forget_token(&mut self, token: u64) {
        self.sources.remove(&token);
    }

    /// Nanoseconds since the epoch.
    pub(super) fn now_ns(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX)
    }

    fn on_signal(&mut self) {
        while let Some(_signal) = sys::signal::next(self.signals.as_fd()) {}
        while let Ok(Some(ended)) = sys::process::wait_any() {
            // Its last words come before its end.
            self.on_child_message(ended.pid);
            self.on_ended(ended);
        }
    }

    /// Listens for later daemons.
    pub(super) fn listen(&mut self, path: &std::path::Path) -> io::Result<()> {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        self.watch(listener.as_fd(), READABLE, Source::Listener)?;
        self.listener = Some(listener);
        Ok(())
    }

    fn on_connect(&mut self) {
        let Some(listener) = &self.listener else { return };
        if let Ok((stream, _)) = listener.accept() {
            // The newest daemon counts.
            let adopted = Connection::new(stream.into()).and_then(|connection| self.set_daemon(connection));
            if let Err(error) = adopted {
                super::note(&format!("accept a daemon: {error}"));
            }
        }
    }

    fn set_daemon(&mut self, connection: Connection) -> io::Result<()> {
        self.drop_daemon();
        let token = self.watch(connection.descriptor(), READABLE, Source::Daemon)?;
        self.daemon = Some((token, connection));
        Ok(())
    }

    fn drop_daemon(&mut self) {
        if let Some((token, _)) = self.daemon.take() {
            self.forget_token(token);
        }
        // A process that no daemon has told where to listen would never be found again.
        if self.listener.is_none() && self.next_token > 2 {
            self.ending = true;
        }
    }

    fn on_daemon(&mut self, report: Ready) {
        if report.events & WRITABLE != 0
            && let Some((_, connection)) = &mut self.daemon
            && connection.flush().is_err()
        {
            return self.drop_daemon();
        }
        if report.events & (READABLE | HUNG_UP) != 0 {
            loop {
                let Some((_, connection)) = &mut self.daemon else { return };
                match connection.next_request() {
                    Ok(Some(request)) => self.on_request(request),
                    Ok(None) => break,
                    Err(_) => return self.drop_daemon(),
                }
                if self.ending {
                    return;
                }
            }
        }
        self.watch_outgoing();
    }

    fn watch_outgoing(&mut self) {
        if let Some((token, connection)) = &self.daemon {
            let events = if connection.has_outgoing() { READABLE | WRITABLE } else { READABLE };
            let _ = self.epoll.modify(connection.descriptor(), events, *token);
        }
    }

    fn send(&mut self, message: &Message, descriptors: Vec<OwnedFd>) {
        let Some((_, connection)) = &mut self.daemon else { return };
        match connection.send(message, descriptors) {
            Ok(()) => self.watch_outgoing(),
            Err(_) => self.drop_daemon(),
        }
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, id: u64, body: Result<Answer, String>, descriptors: Vec<OwnedFd>) {
        self.send(&Message::Answer { id, body }, descriptors);
    }

    /// Tells the daemon what happened; without one it is in the records.
    pub(super) fn tell(&mut self, event: Event) {
        self.send(&Message::Event(event), Vec::new());
    }
}
