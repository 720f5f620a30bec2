//! The seams of the node, in the shape of CRI v1 (`runtime.v1`, https://github.com/kubernetes/cri-api): what the node
//! agent asks of a runtime, what a runtime asks of images and of the Pod network.
//!
//! Messages mirror the CRI messages field by field (snake_case), so that the same trait can be served over gRPC or be
//! performed by another runtime. Where CRI hands out a URL for streaming (exec, attach), the in-process trait hands
//! out the streams themselves.

pub mod error;
pub mod image;
pub mod network;
pub mod reference;
pub mod runtime;
pub mod sandbox;

pub use error::{Error, ErrorKind, Result};
