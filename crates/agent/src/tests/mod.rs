//! Whole sequences on fakes.

mod lifecycle;
mod sequences;
mod statics;
