//! Generated tables.

pub mod syscalls;
