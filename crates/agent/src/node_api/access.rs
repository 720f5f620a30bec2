//! Who may use the node's API: the question, and the answer where there is no API server to ask.

use async_trait::async_trait;
use http::{HeaderMap, StatusCode};
use model::UserInfo;
use rustls::pki_types::CertificateDer;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub struct AccessRequest<'a> {
    /// Certificates that TLS has verified, the client's own first; empty if it showed none.
    pub peer: &'a [CertificateDer<'static>],
    /// Headers of the request (`Authorization: Bearer …`).
    pub headers: &'a HeaderMap,
    /// `get`, `create`, `update`, `patch`, `delete`; empty for other methods.
    pub verb: &'a str,
    /// Subresources of `nodes`; any of them is enough.
    pub subresources: &'a [&'static str],
    /// Name of the node.
    pub node: &'a str,
}

/// Why a request is refused, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 401, 403 or 500.
    pub status: StatusCode,
    /// The body.
    pub message: String,
}

impl Refusal {
    /// Nobody known.
    pub fn unauthorized() -> Self {
        Self { status: StatusCode::UNAUTHORIZED, message: "Unauthorized".into() }
    }

    /// Somebody who may not.
    pub fn forbidden(user: &str, request: &AccessRequest<'_>) -> Self {
        let message = format!(
            "Forbidden (user={user}, verb={}, resource=nodes, subresource(s)=[{}])\n",
            request.verb,
            request.subresources.join(" ")
        );
        Self { status: StatusCode::FORBIDDEN, message }
    }

    /// The question could not be asked.
    pub fn unknown(user: &str, verb: &str, subresource: &str) -> Self {
        let message = format!(
            "Authorization error (user={user}, verb={verb}, resource=nodes, subresource={subresource})"
        );
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message }
    }
}

/// Decides who may use the node's API.
#[async_trait]
pub trait Access: Send + Sync {
    /// Lets a request in.
    ///
    /// # Errors
    /// The answer to give instead.
    async fn check(&self, request: &AccessRequest<'_>) -> Result<(), Refusal>;
}

/// The user of a client certificate, if there is one.
pub(super) fn certificate_user(peer: &[CertificateDer<'static>]) -> Option<UserInfo> {
    pki::identity::user_of_der(peer.first()?).ok().filter(|user| !user.username.is_empty())
}

/// The API server's name and groups whose members may do everything.
const API_SERVER_USER: &str = "kube-apiserver-kubelet-client";
const POWERFUL_GROUPS: [&str; 2] = ["carob:apiserver", "system:masters"];

/// Without an API server: only the API server's own certificate and administrators' are good enough.
#[derive(Debug, Clone, Copy, Default)]
pub struct StandaloneAccess;

#[async_trait]
impl Access for StandaloneAccess {
    async fn check(&self, request: &AccessRequest<'_>) -> Result<(), Refusal> {
        let user = certificate_user(request.peer).ok_or_else(Refusal::unauthorized)?;
        let powerful = user.username == API_SERVER_USER
            || user.groups.iter().any(|group| POWERFUL_GROUPS.contains(&group.as_str()));
        if powerful { Ok(()) } else { Err(Refusal::forbidden(&user.username, request)) }
    }
}
