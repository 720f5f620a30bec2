//! The terminal: raw mode while a session lasts, and its size.

use std::io;

use rustix::termios::{self, OptionalActions, Termios};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The terminal in raw mode; dropped, it is as it was.
pub struct Terminal {
    before: Termios,
}

impl Terminal {
    /// Makes the terminal of standard input raw.
    pub fn raw() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = termios::tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Whether standard input is a terminal.
pub fn is_terminal() -> bool {
    io::IsTerminal::is_terminal(&io::stdin())
}

/// The size of the terminal as the resize channel carries it.
pub fn size() -> Vec<u8> {
    let size = termios::tcgetwinsize(io::stdout()).or_else(|_| termios::tcgetwinsize(io::stdin()));
    let (width, height) = size.map_or((80, 24), |size| (size.ws_col, size.ws_row));
    format!("{{\"Width\":{width},\"Height\":{height}}}\n").into_bytes()
}

/// Changes of the size.
pub struct Sizes(Signal);

impl Sizes {
    /// Begins to listen.
    pub fn new() -> io::Result<Self> {
        signal(SignalKind::window_change()).map(Self)
    }

    /// Waits for the next change.
    pub async fn changed(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
