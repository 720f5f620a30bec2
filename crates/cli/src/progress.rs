//! What is being waited for, on a terminal: one line of standard error that moves and goes. Nothing in a pipe, and
//! nothing as `kubectl`, which shows nothing either.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::context::Context;

/// How often the line moves.
const TICK: Duration = Duration::from_millis(100);

/// A line that is shown until this is dropped.
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows what is waited for, with the time that it has taken.
    pub fn show(context: &Context, text: String) -> Self {
        if context.is_kubectl() || !context.err_terminal {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
        let bar = ProgressBar::new_spinner().with_message(text);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.enable_steady_tick(TICK);
        Self(bar)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
