//! Informers, bounded work queues, back-off and the executor that performs deciders' actions.

pub mod discovery;
pub mod executor;
pub mod informer;
pub mod queue;
pub mod run;

pub use executor::Executor;
pub use informer::{Change, Informer};
pub use queue::Queue;
