//! What a command may touch of the world outside: streams, environment, clock. Tests put their own in place.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use client::Transport;
use jiff::Timestamp;
use stdx::clock::Clock;

type Sink = Mutex<Box<dyn Write + Send>>;

/// The world of one run.
pub struct Context {
    /// What the program is called: `kubectl` or `carob`.
    pub program: String,
    /// Environment variables.
    pub environment: BTreeMap<String, String>,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// Wall clock.
    pub clock: Clock,
    /// Used in place of what the kubeconfig says.
    pub transport: Option<Arc<dyn Transport>>,
    /// Whether standard output is a terminal.
    pub terminal: bool,
    /// Whether standard error is a terminal.
    pub err_terminal: bool,
    /// How often the server warned.
    pub warnings: AtomicUsize,
    out: Sink,
    err: Sink,
    stdin: Mutex<Box<dyn Read + Send>>,
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    /// The process's own world.
    pub fn of_process(program: String) -> Self {
        let environment: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let home = environment.get("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self {
            program,
            environment,
            home,
            clock: Clock::system(),
            transport: None,
            terminal: std::io::stdout().is_terminal(),
            err_terminal: std::io::stderr().is_terminal(),
            warnings: AtomicUsize::new(0),
            out: Mutex::new(Box::new(std::io::stdout())),
            err: Mutex::new(Box::new(std::io::stderr())),
            stdin: Mutex::new(Box::new(std::io::stdin())),
        }
    }

    /// A world for tests.
    pub fn with_streams(
        program: &str,
        clock: Clock,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
        stdin: Box<dyn Read + Send>,
    ) -> Self {
        Self {
            program: program.to_owned(),
            environment: BTreeMap::new(),
            home: None,
            clock,
            transport: None,
            terminal: false,
            err_terminal: false,
            warnings: AtomicUsize::new(0),
            out: Mutex::new(out),
            err: Mutex::new(err),
            stdin: Mutex::new(stdin),
        }
    }

    /// Whether it is to behave as kubectl to the letter.
    pub fn is_kubectl(&self) -> bool {
        self.program != "carob"
    }

    /// Writes to standard output. A reader that went away (`| head`) is no error of ours.
    pub fn out(&self, text: &str) {
        self.out_bytes(text.as_bytes());
    }

    /// Writes bytes to standard output.
    pub fn out_bytes(&self, bytes: &[u8]) {
        let mut out = lock(&self.out);
        let _ = out.write_all(bytes).and_then(|()| out.flush());
    }

    /// Writes to standard error.
    pub fn err(&self, text: &str) {
        let mut err = lock(&self.err);
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }

    /// Writes bytes to standard error.
    pub fn err_bytes(&self, bytes: &[u8]) {
        let mut err = lock(&self.err);
        let _ = err.write_all(bytes).and_then(|()| err.flush());
    }

    /// Reads standard input to its end.
    pub fn read_stdin(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        lock(&self.stdin).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Standard input for good: nothing is left to read here.
    pub fn take_stdin(&self) -> Box<dyn Read + Send> {
        std::mem::replace(&mut *lock(&self.stdin), Box::new(std::io::empty()))
    }

    /// Reads one line of standard input.
    pub fn read_line(&self) -> std::io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        let mut stdin = lock(&self.stdin);
        while stdin.read(&mut byte)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }

    /// A variable of the environment; empty is absent.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A warning as klog writes it: `W1121 06:15:33.215829    5707 helpers.go:719] …`.
    pub fn log_warning(&self, place: &str, text: &str) {
        let now = self.now().to_zoned(jiff::tz::TimeZone::UTC);
        let time = now.strftime("%m%d %H:%M:%S");
        let micros = now.subsec_nanosecond() / 1000;
        let process = std::process::id();
        self.err(&format!("W{time}.{micros:06} {process:>7} {place}] {text}\n"));
    }
}
