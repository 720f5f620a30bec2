//! Client certificates: TLS has verified them against the cluster's authority; the subject names the user.

use async_trait::async_trait;
use model::{Status, UserInfo};

use crate::seams::{Authenticator, PeerCertificates};

/// Authenticates by client certificate.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClientCertificates;

#[async_trait]
impl Authenticator for ClientCertificates {
    async fn authenticate(
        &self,
        _parts: &http::request::Parts,
        peer: &PeerCertificates,
    ) -> Result<Option<UserInfo>, Status> {
        let Some(certificate) = peer.0.first() else { return Ok(None) };
        pki::identity::user_of_der(certificate).map(Some).map_err(|_| Status::unauthorized())
    }
}
