//! Helpers that could be in std; no project words.

pub mod clock;
pub mod entropy;
pub mod duration;
