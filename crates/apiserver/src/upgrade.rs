//! Connections that change their protocol: from hyper over TLS, or from a pipe in process.

use std::pin::Pin;

use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use crate::seams::ReadWrite;

/// The other side of a connection, to be had after a 101 was sent. Travels in the request's extensions.
pub enum Upgrade {
    /// Of an HTTP/1.1 connection.
    Http(hyper::upgrade::OnUpgrade),
    /// Of an in-process caller.
    Pipe(DuplexStream),
}

impl Upgrade {
    /// Waits until the 101 is out and gives the connection.
    ///
    /// # Errors
    /// When the client went away.
    pub async fn take(self) -> Result<Pin<Box<dyn ReadWrite>>, String> {
        match self {
            Upgrade::Http(upgrade) => match upgrade.await {
                Ok(upgraded) => Ok(Box::pin(TokioIo::new(upgraded))),
                Err(error) => Err(error.to_string()),
            },
            Upgrade::Pipe(pipe) => Ok(Box::pin(pipe)),
        }
    }
}

/// A pipe's end on its way through a request's extensions, which want to be cloned: the first taker gets it.
#[derive(Clone)]
pub struct PipeEnd(pub std::sync::Arc<parking_lot::Mutex<Option<DuplexStream>>>);

/// Takes the upgrade out of a request.
pub fn of_request<B>(request: &mut http::Request<B>) -> Option<Upgrade> {
    if let Some(pipe) = request.extensions_mut().remove::<PipeEnd>() {
        return pipe.0.lock().take().map(Upgrade::Pipe);
    }
    // Without an upgrade header hyper has nothing to give.
    if !request.headers().contains_key(http::header::UPGRADE) {
        return None;
    }
    request.extensions().get::<hyper::upgrade::OnUpgrade>()?;
    Some(Upgrade::Http(hyper::upgrade::on(request)))
}
