//! Decisions as data: what is observed, and what follows from it.

mod actions;
mod common;
mod configuration;
mod status;
