//! What happened, in order: a hash of all of it, and the last part as text.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines kept as text.
const LINES_MAX: usize = 60;

struct Inner {
    hash: u64,
    count: u64,
    lines: VecDeque<String>,
    whole: Option<Vec<String>>,
}

/// A trace.
pub struct Trace {
    begun: Instant,
    inner: Mutex<Inner>,
}

impl Trace {
    /// An empty trace that begins now. `whole`: all lines are kept, to compare two traces.
    pub fn new(whole: bool) -> Self {
        let inner = Inner {
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            lines: VecDeque::new(),
            whole: whole.then(Vec::new),
        };
        Self { begun: Instant::now(), inner: Mutex::new(inner) }
    }

    /// Adds what happened now.
    pub fn add(&self, line: &str) {
        let line = format!("{:>10.3} {line}", self.begun.elapsed().as_secs_f64());
        let mut inner = self.inner.lock();
        for byte in line.bytes() {
            // FNV-1a
            inner.hash = (inner.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        inner.count += 1;
        if let Some(whole) = &mut inner.whole {
            whole.push(line.clone());
        }
        if inner.lines.len() == LINES_MAX {
            inner.lines.pop_front();
        }
        inner.lines.push_back(line);
    }

    /// A number that tells traces apart.
    pub fn hash(&self) -> u64 {
        self.inner.lock().hash
    }

    /// How much happened.
    pub fn count(&self) -> u64 {
        self.inner.lock().count
    }

    /// The last of it.
    pub fn last(&self) -> Vec<String> {
        self.inner.lock().lines.iter().cloned().collect()
    }

    /// All of it, if it was kept.
    pub fn whole(&self) -> Vec<String> {
        self.inner.lock().whole.clone().unwrap_or_default()
    }
}
