//! A program in a terminal of its own: what it writes is read as a person sees it, and keys are typed to it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::Context;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::time::Instant;

use crate::command::PATIENCE;

/// A program that runs in a pseudo-terminal; killed when dropped.
pub struct Terminal {
    child: Child,
    name: String,
    master: File,
    chunks: Receiver<Vec<u8>>,
    seen: String,
    searched: usize,
}

impl Terminal {
    /// Starts a program in a terminal of this size, as the leader of its own session.
    ///
    /// # Errors
    /// If there is no terminal to be had, or the program cannot be started.
    pub fn start(command: &Command, rows: u16, columns: u16) -> anyhow::Result<Self> {
        let name = format!("{command:?}");
        let master: OwnedFd =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("opening a terminal")?;
        grantpt(&master).and_then(|()| unlockpt(&master)).context("unlocking the terminal")?;
        let path = ptsname(&master, Vec::new()).context("naming the terminal")?;
        let path = path.into_string().context("the terminal's name")?;
        let mut master = File::from(master);
        resize(&master, rows, columns)?;
        // setsid makes the terminal the program's own, so that its keys become signals.
        let slave =
            || File::options().read(true).write(true).open(&path).context("opening the terminal's other end");
        let mut own = Command::new("setsid");
        own.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => own.env(key, value),
                None => own.env_remove(key),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            own.current_dir(folder);
        }
        own.env("TERM", "xterm");
        own.stdin(Stdio::from(slave()?)).stdout(Stdio::from(slave()?)).stderr(Stdio::from(slave()?));
        let child = own.spawn().with_context(|| format!("starting {name}"))?;
        drop(own);
        let mut reader = master.try_clone().context("the terminal's descriptor")?;
        let (sender, chunks) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // A terminal without a program reads as an error.
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        master.flush()?;
        Ok(Self { child, name, master, chunks, seen: String::new(), searched: 0 })
    }

    /// Waits until this text is shown, after what was waited for before.
    ///
    /// # Panics
    /// If the program ends, or does not show it in time.
    pub fn shows(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen[self.searched..].find(text) {
                self.searched += at + text.len();
                return;
            }
            match self.chunks.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(chunk) => self.seen.push_str(&String::from_utf8_lossy(&chunk)),
                Err(error) => {
                    let why =
                        if error == RecvTimeoutError::Timeout { "does not show" } else { "ended without" };
                    panic!("{} {why} {text:?}, but:\n{}", self.name, self.seen);
                }
            }
        }
    }

    /// Types keys.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn types(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Changes the size of the terminal.
    ///
    /// # Panics
    /// If the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.master, rows, columns).expect("the terminal has a size");
    }

    /// Waits for the program's end: its exit code, or -1.
    ///
    /// # Panics
    /// If it does not end in time.
    pub fn end(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            match self
                .chunks
                .recv_timeout(end.saturating_duration_since(Instant::now()).min(Duration::from_millis(200)))
            {
                Ok(chunk) => self.seen.push_str(&String::from_utf8_lossy(&chunk)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    if matches!(self.child.try_wait(), Ok(Some(_))) {
                        break;
                    }
                    assert!(Instant::now() < end, "{} does not end; it shows:\n{}", self.name, self.seen);
                }
            }
        }
        self.child.wait().ok().and_then(|status| status.code()).unwrap_or(-1)
    }

    /// Everything that was shown so far.
    pub fn seen(&self) -> &str {
        &self.seen
    }
}

fn resize(master: &File, rows: u16, columns: u16) -> anyhow::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).context("the terminal's size")
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_a_terminal_with_a_size_and_keys() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap 'exit 5' INT; tty; stty size; read line; echo got-$line; read line; exit 6"]);
        let mut terminal = Terminal::start(&command, 31, 71).expect("it starts");
        terminal.shows("/dev/pts/");
        terminal.shows("31 71");
        terminal.types("word\n");
        terminal.shows("got-word");
        terminal.types("\u{3}");
        assert_eq!(terminal.end(), 5);
    }
}
