//! The client's transport without a network: requests go straight into the pipeline, as a given user.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use client::{Body, Error, Transport, Upgraded, full_body};
use model::UserInfo;
use parking_lot::Mutex;

use crate::server::Server;
use crate::upgrade::PipeEnd;

/// Bytes that may wait in each direction of an upgraded pipe.
const PIPE_BYTES_MAX: usize = 64 << 10;

/// Sends requests into a server as one user.
#[derive(Clone)]
pub struct InProcess {
    server: Arc<Server>,
    user: UserInfo,
}

impl InProcess {
    /// As `user`, who is authorized like anybody.
    pub fn new(server: Arc<Server>, user: UserInfo) -> Self {
        Self { server, user }
    }
}

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, Error> {
        Ok(self.server.handle(request.map(full_body), Some(self.user.clone())).await)
    }

    async fn upgrade(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<Result<Upgraded, http::Response<Body>>, Error> {
        let (near, far) = tokio::io::duplex(PIPE_BYTES_MAX);
        let mut request = request.map(full_body);
        request.extensions_mut().insert(PipeEnd(Arc::new(Mutex::new(Some(far)))));
        let response = self.server.handle(request, Some(self.user.clone())).await;
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Err(response));
        }
        Ok(Ok(Upgraded { response: response.map(drop), io: Box::pin(near) }))
    }

    fn server(&self) -> String {
        "in-process".into()
    }
}
