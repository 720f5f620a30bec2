//! Who asks: client certificates and service-account tokens. Requests without credentials are anonymous, which is the
//! pipeline's business.

pub mod client_certificate;
pub mod service_account;

pub use client_certificate::ClientCertificates;
pub use service_account::ServiceAccountTokens;

/// The bearer token of a request, if it has one.
pub fn bearer_token(parts: &http::request::Parts) -> Option<&str> {
    let header = parts.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
