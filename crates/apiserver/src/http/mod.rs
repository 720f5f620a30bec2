//! HTTP and TLS in front of the pipeline.

pub mod serve;
pub mod tls;

pub use serve::{ServeOptions, serve};
