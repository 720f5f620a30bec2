//! HTTP and TLS in front of the pipeline.

pub mod serve;
pub mod tls;

pub use serve::{RemoteAddress, ServeOptions, serve};
pub use tls::server_config;
