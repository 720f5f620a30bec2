//! Every kernel call and all `unsafe` code.
pub mod netns;
