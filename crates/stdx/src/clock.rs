//! The wall clock as an argument, so that a test or a simulator can hold it. For waiting and for measuring intervals
//! use `tokio::time`, which a test can pause.

use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;

/// Tells the time of day. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Manual(Arc<Mutex<Timestamp>>),
    Derived(Arc<dyn Fn() -> Timestamp + Send + Sync>),
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until told otherwise.
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(Mutex::new(start))))
    }

    /// A clock that is asked for its time, such as one that follows a paused runtime's.
    pub fn derived(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Source::Derived(Arc::new(now)))
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            // The one place that may ask the machine.
            #[allow(clippy::disallowed_methods)]
            Source::System => Timestamp::now(),
            Source::Manual(time) => *time.lock(),
            Source::Derived(now) => now(),
        }
    }

    /// Sets a manual clock; a system clock is left alone.
    pub fn set(&self, to: Timestamp) {
        if let Source::Manual(time) = &self.0 {
            *time.lock() = to;
        }
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self.0 {
            Source::System => "Clock(system)",
            Source::Manual(_) => "Clock(manual)",
            Source::Derived(_) => "Clock(derived)",
        })
    }
}
