//! The writer's queue: bounded, and it lets a group gather. Callers that were answered together usually come back
//! together; without waiting for them the first would be committed alone and each synchronisation serve half of them.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Semaphore;

use super::writer::Job;

/// Requests that may be committed together.
pub(super) const GROUP_MAX: usize = 512;

/// Bytes of requests that may be committed together.
const GROUP_BYTES_MAX: usize = 8 << 20;

/// How long the first of a group waits for as many as came last time.
const GATHER_MAX: Duration = Duration::from_micros(200);

/// Jobs on their way to the writer.
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    room: Semaphore,
}

struct State {
    jobs: Vec<Job>,
    /// The writer sleeps until there are this many.
    wanted: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(jobs_max: usize) -> Self {
        let state = State { jobs: Vec::new(), wanted: 1, closed: false };
        // Every waiting job holds a permit.
        Self { state: Mutex::new(state), arrived: Condvar::new(), room: Semaphore::new(jobs_max.max(1)) }
    }

    /// Hands a job over, waiting for room; `false`: the queue is closed.
    pub(super) async fn push(&self, job: Job) -> bool {
        let Ok(permit) = self.room.acquire().await else { return false };
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        // Given back when the job is taken out.
        permit.forget();
        state.jobs.push(job);
        let enough = state.jobs.len() >= state.wanted;
        drop(state);
        if enough {
            self.arrived.notify_one();
        }
        true
    }

    /// The next group, in order of arrival; none: the queue is closed and empty. `last` is the size of the last one.
    pub(super) fn take(&self, last: usize) -> Option<Vec<Job>> {
        let mut state = self.state.lock();
        state.wanted = 1;
        while state.jobs.is_empty() {
            if state.closed {
                return None;
            }
            self.arrived.wait(&mut state);
        }
        if state.jobs.len() < last && !state.closed {
            state.wanted = last.min(GROUP_MAX);
            // Early wake-ups only make the group smaller.
            self.arrived.wait_for(&mut state, GATHER_MAX);
        }
        let mut bytes = 0;
        let fits = |job: &&Job| {
            let before = bytes;
            bytes += job.bytes();
            before < GROUP_BYTES_MAX
        };
        let count = state.jobs.iter().take(GROUP_MAX).take_while(fits).count();
        let rest = state.jobs.split_off(count);
        let group = std::mem::replace(&mut state.jobs, rest);
        drop(state);
        self.room.add_permits(count);
        Some(group)
    }

    /// Lets no more jobs in; the writer ends after those that wait.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.room.close();
        self.arrived.notify_all();
    }
}
