//! The Node object: registration, status, and the lease that says that the node lives.

pub mod lease;
pub mod object;
pub mod report;
