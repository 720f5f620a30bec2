//! Whole sequences on fakes.

mod sequences;
