//! Running other programs: whole, or line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, bail};

/// How long a line is waited for.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// What a program said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Exit code; -1 if a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs a program to its end, with these bytes as its input.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> anyhow::Result<Answer> {
    let name = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
    let mut stdin = child.stdin.take().context("no pipe")?;
    let input = input.to_vec();
    // A program that ends without reading everything closes the pipe: that is its right.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().with_context(|| format!("running {name}"))?;
    let _ = writer.join();
    Ok(Answer {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a program to its end, without input.
pub fn run(command: &mut Command) -> anyhow::Result<Answer> {
    run_with_input(command, b"")
}

/// Runs a program that has to succeed; its standard output.
pub fn succeed(command: &mut Command) -> anyhow::Result<String> {
    let answer = run(command)?;
    if answer.code != 0 {
        bail!("{command:?} ended with {}:\n{}{}", answer.code, answer.stdout, answer.stderr);
    }
    Ok(answer.stdout)
}

/// A program that is running; killed when dropped.
pub struct Running {
    child: Child,
    name: String,
    lines: Receiver<String>,
    seen: Vec<String>,
    stdin: Option<ChildStdin>,
    patience: Duration,
}

impl Running {
    /// Starts a program whose lines (of standard output and error) are read as they come.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let (sender, lines) = channel();
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|own| Box::new(own) as Box<dyn Read + Send>),
            child.stderr.take().map(|own| Box::new(own) as Box<dyn Read + Send>),
        ];
        for stream in streams.into_iter().flatten() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        break;
                    }
                }
            });
        }
        let stdin = child.stdin.take();
        Ok(Self { child, name, lines, seen: Vec::new(), stdin, patience: PATIENCE })
    }

    /// Sets how long a line is waited for.
    pub fn patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The next line that contains this text.
    ///
    /// # Panics
    /// If the program ends, or says nothing of the kind in time.
    pub fn line_with(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(self.patience) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => {
                    let why = if error == RecvTimeoutError::Timeout {
                        "did not say"
                    } else {
                        "ended without saying"
                    };
                    panic!("{} {why} {text:?}, but:\n{}", self.name, self.seen.join("\n"));
                }
            }
        }
    }

    /// Writes to its standard input.
    ///
    /// # Panics
    /// If it does not read.
    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("its input is open");
        stdin.write_all(text.as_bytes()).expect("it reads its input");
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it is running");
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end: the exit code, or -1.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn end(&mut self) -> i32 {
        self.close_input();
        // Both streams end with the program, so their end is the event to wait for.
        loop {
            match self.lines.recv_timeout(self.patience) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("{} does not end; it said:\n{}", self.name, self.seen.join("\n"))
                }
            }
        }
        self.child.wait().ok().and_then(|status| status.code()).unwrap_or(-1)
    }

    /// Everything it said so far that was read.
    pub fn said(&self) -> String {
        self.seen.join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
