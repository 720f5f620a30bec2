//! Pure placement: which node a Pod goes to, which Pods wait and for what (upstream's scheduler with its default
//! plugins and weights).
//!
//! A [`Scheduler`] is fed with objects, asked for the [`next`](Scheduler::next) Pod and for its
//! [`place`](Scheduler::place). It does no IO and knows no clock: times are arguments, ties are broken from a seed.
//! Whoever drives it binds the Pod and says so with [`assume`](Scheduler::assume), so that the next decision counts it
//! already; if binding fails, [`forget`](Scheduler::forget).

mod affinity;
mod explain;
mod filters;
mod node;
mod pod;
mod preemption;
mod queue;
mod resources;
mod scheduler;
mod scores;
mod spread;
mod terms;
mod world;

pub use filters::Plugin;
pub use pod::PodKey;
pub use preemption::Preemption;
pub use resources::{Resources, of_pod, pods_in};
pub use scheduler::{Decision, Options, QueueLengths, Scheduler};
