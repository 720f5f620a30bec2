//! The storage trait and its back ends.
