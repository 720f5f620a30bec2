//! Whole sequences on fakes.

mod correlation;
mod lifecycle;
mod sequences;
mod statics;
