//! The client's end of a session, whatever carries it.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;

/// Streams that the client asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// It sends input.
    pub stdin: bool,
    /// It takes output.
    pub stdout: bool,
    /// It takes errors.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// Where output goes.
#[async_trait]
pub trait Output: Send + Sync {
    /// Sends bytes of standard output or standard error ([`streams::channels`] numbers).
    async fn write(&self, channel: u8, data: &[u8]) -> io::Result<()>;
    /// Tells how it ended (nothing if empty) and ends the connection in order.
    async fn finish(&self, status: &[u8]);
}

/// The client's end of a session.
pub struct Remote {
    /// Input; ends when the client closed it or left.
    pub stdin: Option<BoxStream<'static, Bytes>>,
    /// Terminal sizes, as pieces of JSON.
    pub resize: Option<BoxStream<'static, Bytes>>,
    /// Output.
    pub output: Arc<dyn Output>,
    /// The client left.
    pub gone: CancellationToken,
}

impl Remote {
    /// Tells how it ended.
    pub async fn finish(self, status: &[u8]) {
        // Input that nobody reads any more must not hold the connection's end back.
        let Self { stdin, resize, output, .. } = self;
        drop((stdin, resize));
        output.finish(status).await;
    }
}
