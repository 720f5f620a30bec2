//! Tests of the whole, each on a carob of its own.

mod breakouts;
mod clients;
mod containers;
mod daemon;
mod errors;
mod examples;
mod golden;
mod images;
mod isolation;
mod leaks;
mod lifecycle;
mod network;
mod node_crash;
mod objects;
mod own_program;
mod parity;
mod rotation;
mod static_pods;
mod streams;
mod terminal;
mod transcripts;
mod virtual_machine;
mod why;
