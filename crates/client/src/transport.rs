//! How a request reaches the API server.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::body::Body;

/// Why a request got no answer. An answer that says no is a `model::Status`, not this.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// No connection. The text is Go's: `dial tcp 127.0.0.1:6443: connect: connection refused`.
    #[error("{0}")]
    Connect(String),
    /// The server's certificate, or ours, was refused: `tls: failed to verify certificate: …`.
    #[error("{0}")]
    Tls(String),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    /// The answer cannot be read.
    #[error("{0}")]
    Decode(String),
    /// Client configuration is wrong.
    #[error("{0}")]
    Config(String),
}

/// Both directions of an upgraded connection.
pub trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// An upgraded connection (WebSocket, SPDY) with the answer's headers.
pub struct Upgraded {
    /// The 101 answer (its body is empty).
    pub response: http::Response<()>,
    /// The connection.
    pub io: Pin<Box<dyn ReadWrite>>,
}

/// Carries requests. Implemented over HTTPS ([`crate::https::Https`]) and, by the API server, in process.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Sends a request whose URI has path and query only; the transport adds host and credentials. The body of the
    /// answer may stream for as long as it likes (watches, logs).
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, Error>;

    /// Sends an upgrade request (the caller sets `Connection`, `Upgrade` and protocol headers). An answer other than
    /// 101 comes back as `Ok(Err(response))`.
    async fn upgrade(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<Result<Upgraded, http::Response<Body>>, Error>;

    /// `https://127.0.0.1:6443`, for messages; in process `in-process`.
    fn server(&self) -> String;
}
