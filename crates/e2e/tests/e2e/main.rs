//! Tests of the whole, each on a carob of its own.

mod clients;
mod containers;
mod daemon;
mod errors;
mod examples;
mod golden;
mod images;
mod lifecycle;
mod network;
mod objects;
mod static_pods;
mod streams;
mod transcripts;
mod virtual_machine;
mod why;
