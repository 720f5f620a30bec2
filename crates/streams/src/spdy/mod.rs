//! SPDY/3.1 (https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/), as Kubernetes speaks it: streams
//! within a connection, opened with headers, half-closed and reset one by one. As upstream's implementation, neither
//! end keeps flow-control windows; the connection itself holds a fast sender back.

mod connection;
mod dictionary;
mod frame;
mod headers;

pub use connection::{Connection, Stream, StreamWriter};
pub use frame::{FRAME_BYTES_MAX, Frame, FrameError};
pub use headers::{Compressor, Decompressor, HEADER_BYTES_MAX, Headers};
