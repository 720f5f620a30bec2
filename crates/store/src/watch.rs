//! From a committed write to its readers: bounded streams of batches, synchronous sinks, and the hub that feeds both.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use crate::{Error, Event, Result};

/// Batches that may wait in one stream.
pub const STREAM_BATCHES_MAX: usize = 1024;

/// The changes of one commit that concern a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Everything up to this revision has been delivered with this batch.
    pub revision: u64,
    /// In revision order; empty: only progress.
    pub events: Vec<Event>,
}

/// Is called with changes in commit order, on the committing thread: it must be quick and must not wait.
pub trait Sink: Send + Sync {
    /// Takes the changes of one commit.
    fn apply(&self, events: &[Event]);
}

/// The changes under a prefix, in order. Ends with an error rather than leaving something out.
#[derive(Debug)]
pub struct WatchStream {
    replay: VecDeque<Batch>,
    live: mpsc::Receiver<Batch>,
    end: Arc<Mutex<Option<Error>>>,
}

/// The other side of a [`WatchStream`], for back ends.
#[derive(Debug, Clone)]
pub struct WatchSender {
    live: mpsc::Sender<Batch>,
    end: Arc<Mutex<Option<Error>>>,
}

impl WatchStream {
    /// A stream that first gives `replay`, then what the sender sends.
    pub fn channel(replay: Vec<Batch>, batches_max: usize) -> (WatchSender, Self) {
        let (sender, live) = mpsc::channel(batches_max);
        let end = Arc::new(Mutex::new(None));
        (WatchSender { live: sender, end: Arc::clone(&end) }, Self { replay: replay.into(), live, end })
    }

    /// The next batch.
    ///
    /// # Errors
    /// The reason the stream ended: [`Error::Lagged`], [`Error::Compacted`] or [`Error::Closed`].
    pub async fn next(&mut self) -> Result<Batch> {
        if let Some(batch) = self.replay.pop_front() {
            return Ok(batch);
        }
        match self.live.recv().await {
            Some(batch) => Ok(batch),
            None => Err(self.end.lock().clone().unwrap_or(Error::Closed)),
        }
    }

    pub(crate) fn prepend(&mut self, replay: Vec<Batch>) {
        self.replay = replay.into();
    }
}

impl WatchSender {
    /// Hands a batch over; `false`: the reader is gone or did not keep up (and has been told), drop the sender.
    pub fn send(&self, batch: Batch) -> bool {
        match self.live.try_send(batch) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.close(Error::Lagged { queued_max: self.live.max_capacity() });
                false
            }
        }
    }

    /// Says why the stream ends; it does when the sender is dropped.
    pub fn close(&self, reason: Error) {
        self.end.lock().get_or_insert(reason);
    }
}

/// Gives each commit to all sinks and streams of an embedded back end.
pub(crate) struct Hub {
    readers: Mutex<Readers>,
    progress: AtomicU64,
    advanced: Notify,
}

#[derive(Default)]
struct Readers {
    sinks: Vec<(String, Weak<dyn Sink>)>,
    streams: Vec<(String, WatchSender)>,
    closed: bool,
}

impl Hub {
    pub(crate) fn new(revision: u64) -> Self {
        Self { readers: Mutex::default(), progress: AtomicU64::new(revision), advanced: Notify::new() }
    }

    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Acquire)
    }

    pub(crate) async fn wait(&self, revision: u64) {
        loop {
            let advanced = self.advanced.notified();
            if self.progress() >= revision {
                return;
            }
            advanced.await;
        }
    }

    pub(crate) fn attach(&self, prefix: &str, sink: Weak<dyn Sink>) {
        self.readers.lock().sinks.push((prefix.to_owned(), sink));
    }

    /// A stream of everything published from now on, and the revision after which that is.
    pub(crate) fn open(&self, prefix: &str) -> (WatchStream, u64) {
        let mut readers = self.readers.lock();
        let (sender, stream) = WatchStream::channel(Vec::new(), STREAM_BATCHES_MAX);
        if readers.closed {
            sender.close(Error::Closed);
        } else {
            readers.streams.push((prefix.to_owned(), sender));
        }
        (stream, self.progress())
    }

    /// Delivers the events of one or more commits, whose newest revision is `revision`.
    pub(crate) fn publish(&self, events: &[Event], revision: u64) {
        let mut readers = self.readers.lock();
        // After a failed disk the same commit may be found again.
        let events = &events[events.partition_point(|event| event.revision <= self.progress())..];
        if events.is_empty() {
            return;
        }
        readers.sinks.retain(|(prefix, sink)| {
            let Some(sink) = sink.upgrade() else { return false };
            each_run(events, prefix, |run| sink.apply(run));
            true
        });
        readers.streams.retain(|(prefix, sender)| {
            let wanted = |event: &&Event| event.key.starts_with(prefix.as_str());
            let events: Vec<Event> = events.iter().filter(wanted).cloned().collect();
            // Progress alone is not worth a wake-up; readers ask for it.
            events.is_empty() && !sender.live.is_closed() || sender.send(Batch { revision, events })
        });
        // Set while the readers are locked: whoever opens a stream now starts exactly after it.
        self.progress.store(revision, Ordering::Release);
        drop(readers);
        self.advanced.notify_waiters();
    }

    pub(crate) fn close(&self) {
        let mut readers = self.readers.lock();
        readers.closed = true;
        readers.sinks.clear();
        for (_, sender) in readers.streams.drain(..) {
            sender.close(Error::Closed);
        }
    }
}

/// Calls `action` with each longest run of events under `prefix`, so that nothing is copied.
fn each_run(events: &[Event], prefix: &str, mut action: impl FnMut(&[Event])) {
    let wanted = |event: &Event| event.key.starts_with(prefix);
    let mut rest = events;
    while let Some(start) = rest.iter().position(wanted) {
        rest = &rest[start..];
        let length = rest.iter().position(|event| !wanted(event)).unwrap_or(rest.len());
        action(&rest[..length]);
        rest = &rest[length..];
    }
}
