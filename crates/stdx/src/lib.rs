//! Helpers that could be in std; no project words.

pub mod clock;
pub mod duration;
pub mod entropy;
pub mod generations;
#[cfg(feature = "testing")]
pub mod mutate;
