//! Requests to the hosts of one pull: authenticated, redirected, retried, bounded. Error texts are containerd 2's.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use cri::image::AuthConfig;
use cri::reference::Reference;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use parking_lot::Mutex;

use crate::auth::{self, Challenge, TokenRequest};
use crate::digest::Digest;
use crate::manifest::{DOCKER_LIST, DOCKER_MANIFEST, MANIFEST_BYTES_MAX, OCI_INDEX, OCI_MANIFEST};
use crate::registries::{Credentials, Endpoint, Registries};
use crate::transport::{Transport, cause};

/// Attempts at one request (for authentication and for busy servers).
const ATTEMPTS_MAX: usize = 6;
/// Redirects followed, at most.
const REDIRECTS_MAX: usize = 10;
/// Until a server begins its answer, and between two pieces of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Waiting for a server that asks to come back later, at most.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// Bytes of a token service's answer, at most.
const TOKEN_BYTES_MAX: u64 = 1 << 20;

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegistryError {
    /// The host does not have it.
    #[error("{0}: not found")]
    NotFound(String),
    /// Credentials were refused or are missing.
    #[error("pull access denied, repository does not exist or may require authorization: {0}")]
    Denied(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// What a name stands for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// The document, if resolving needed it.
    pub document: Option<Bytes>,
}

/// The hosts of one pull, in the order they are asked.
pub struct Session {
    transport: Transport,
    endpoints: Vec<Endpoint>,
    /// `Authorization` by endpoint.
    authorizations: Mutex<HashMap<usize, String>>,
}

impl Session {
    /// Plans the hosts for a reference.
    ///
    /// # Errors
    /// When credentials cannot be decoded.
    pub fn new(
        registries: &Registries,
        reference: &Reference,
        credentials: Option<&AuthConfig>,
    ) -> Result<Self, RegistryError> {
        let endpoints = registries
            .plan(&reference.domain, &reference.path, credentials)
            .map_err(RegistryError::Failed)?;
        Ok(Self { transport: Transport::new(), endpoints, authorizations: Mutex::new(HashMap::new()) })
    }

    /// How many hosts there are to ask.
    pub fn hosts(&self) -> usize {
        self.endpoints.len()
    }

    /// Finds the digest that a reference stands for, at the first host that knows.
    ///
    /// # Errors
    /// The error of the host that came furthest, as containerd ranks them.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        let object = reference.digest.as_deref().or(reference.tag.as_deref()).unwrap_or_default();
        let mut worst: Option<(u8, RegistryError)> = None;
        for index in 0..self.endpoints.len() {
            let error = match self.resolve_at(index, object, reference).await {
                Ok(resolved) => return Ok(resolved),
                Err(error) => error,
            };
            let rank = match &error {
                RegistryError::NotFound(_) => 2,
                RegistryError::Failed(text) if text.starts_with("unexpected status") => 3,
                _ => 1,
            };
            tracing::debug!(host = self.endpoints[index].host, %error, "registry host does not serve the image");
            if worst.as_ref().is_none_or(|(worst, _)| *worst < rank) {
                worst = Some((rank, error));
            }
        }
        Err(worst.map_or_else(|| RegistryError::NotFound(reference.to_string()), |(_, error)| error))
    }

    async fn resolve_at(
        &self,
        index: usize,
        object: &str,
        reference: &Reference,
    ) -> Result<Resolved, RegistryError> {
        let url = self.endpoints[index].url("manifests", object);
        let mut method = Method::HEAD;
        let mut response = self.send(index, method.clone(), &url, None).await?;
        // Some registries have no HEAD, and some tell no digest with it.
        if response.status() == StatusCode::METHOD_NOT_ALLOWED
            || (response.status().is_success() && digest_header(response.headers()).is_none())
        {
            method = Method::GET;
            response = self.send(index, method.clone(), &url, None).await?;
        }
        match response.status() {
            status if status.is_success() => {}
            StatusCode::NOT_FOUND => return Err(RegistryError::NotFound(reference.to_string())),
            status => return Err(unexpected_status(&method, &url, status)),
        }
        let wanted =
            reference.digest.as_deref().map(Digest::parse).transpose().map_err(RegistryError::Failed)?;
        if method == Method::HEAD
            && let Some(digest) = wanted.or_else(|| digest_header(response.headers()))
        {
            return Ok(Resolved { digest, document: None });
        }
        let document = read_body(response.into_body(), MANIFEST_BYTES_MAX)
            .await
            .map_err(|error| RegistryError::Failed(format!("manifest for {reference}: {error}")))?;
        Ok(Resolved { digest: Digest::of(&document), document: Some(document) })
    }

    /// Fetches a manifest or index by digest and checks it.
    ///
    /// # Errors
    /// When no host has it, or what came is something else.
    pub async fn manifest(&self, digest: &Digest) -> Result<Bytes, RegistryError> {
        self.document("manifests", digest, MANIFEST_BYTES_MAX).await
    }

    /// Fetches a small blob by digest and checks it.
    ///
    /// # Errors
    /// When no host has it, or what came is something else.
    pub async fn small_blob(&self, digest: &Digest, bytes_max: u64) -> Result<Bytes, RegistryError> {
        self.document("blobs", digest, bytes_max).await
    }

    async fn document(&self, kind: &str, digest: &Digest, bytes_max: u64) -> Result<Bytes, RegistryError> {
        let mut first: Option<RegistryError> = None;
        for index in 0..self.endpoints.len() {
            let fetched = async {
                let response = self.open(index, kind, digest, 0).await?;
                let bytes = read_body(response.into_body(), bytes_max)
                    .await
                    .map_err(|error| RegistryError::Failed(format!("failed to copy: {error}")))?;
                let mut hasher = digest.hasher();
                hasher.update(&bytes);
                let found = hasher.finish();
                if found != *digest {
                    return Err(unexpected_digest(kind, &found, digest));
                }
                Ok(bytes)
            };
            match fetched.await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(|| RegistryError::NotFound(digest.to_string())))
    }

    /// Opens a blob or manifest at one host, from `offset` on if the host can (status 206).
    ///
    /// # Errors
    /// When the host does not have it.
    pub async fn open(
        &self,
        index: usize,
        kind: &str,
        digest: &Digest,
        offset: u64,
    ) -> Result<Response<Incoming>, RegistryError> {
        let url = self.endpoints[index].url(kind, digest.as_str());
        let range = (offset > 0).then(|| format!("bytes={offset}-"));
        let response = self.send(index, Method::GET, &url, range.as_deref()).await?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::NOT_FOUND => Err(RegistryError::NotFound(format!("content at {url} not found"))),
            status => Err(unexpected_status(&Method::GET, &url, status)),
        }
    }

    /// Sends a request and answers challenges; the answer may have any status but 401 with a way out.
    async fn send(
        &self,
        index: usize,
        method: Method,
        url: &str,
        range: Option<&str>,
    ) -> Result<Response<Incoming>, RegistryError> {
        if let Some(credentials) = &self.endpoints[index].credentials
            && !credentials.registry_token.is_empty()
        {
            let header = format!("Bearer {}", credentials.registry_token);
            self.authorizations.lock().entry(index).or_insert(header);
        }
        let mut refused = false;
        for attempt in 1..=ATTEMPTS_MAX {
            let authorization = self.authorizations.lock().get(&index).cloned();
            let response = self.send_redirected(index, &method, url, range, authorization.clone()).await?;
            match response.status() {
                StatusCode::UNAUTHORIZED => {
                    // A challenge after an answer that was formed for this very request is final.
                    let had_answer = refused && authorization.is_some();
                    match self.answer(index, response.headers(), had_answer).await? {
                        Some(header) => self.authorizations.lock().insert(index, header),
                        None => return Ok(response),
                    };
                    refused = true;
                }
                StatusCode::TOO_MANY_REQUESTS
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::SERVICE_UNAVAILABLE
                    if attempt < 3 =>
                {
                    tokio::time::sleep(retry_after(response.headers())).await;
                }
                _ => return Ok(response),
            }
        }
        Err(RegistryError::Denied("authorization failed".to_owned()))
    }

    /// Follows redirects; credentials stay with the host they are for.
    async fn send_redirected(
        &self,
        index: usize,
        method: &Method,
        url: &str,
        range: Option<&str>,
        authorization: Option<String>,
    ) -> Result<Response<Incoming>, RegistryError> {
        let mut current = url.to_owned();
        let mut authorization = authorization;
        for _ in 0..=REDIRECTS_MAX {
            let mut headers = HeaderMap::new();
            if url.contains("/manifests/") {
                let accept = format!("{DOCKER_MANIFEST}, {DOCKER_LIST}, {OCI_MANIFEST}, {OCI_INDEX}, */*");
                insert(&mut headers, header::ACCEPT, &accept);
            }
            if let Some(range) = range {
                insert(&mut headers, header::RANGE, range);
            }
            if let Some(authorization) = &authorization {
                insert(&mut headers, header::AUTHORIZATION, authorization);
            }
            let response = self.request(index, method.clone(), &current, headers, Bytes::new()).await?;
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let (true, Some(location)) = (response.status().is_redirection(), location) else {
                return Ok(response);
            };
            let next = join_url(&current, location).ok_or_else(|| {
                RegistryError::Failed(format!("{current}: redirect to a wrong URL {location:?}"))
            })?;
            if origin(&next) != origin(&current) {
                authorization = None;
            }
            current = next;
        }
        Err(RegistryError::Failed(format!("{url}: stopped after {REDIRECTS_MAX} redirects")))
    }

    async fn request(
        &self,
        index: usize,
        method: Method,
        url: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, RegistryError> {
        let verb = capitalised(&method);
        let failed =
            |reason: String| RegistryError::Failed(format!("failed to do request: {verb} {url:?}: {reason}"));
        let uri: Uri = url.parse().map_err(|error| failed(format!("{error}")))?;
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(target) = request.headers_mut() {
            *target = headers;
            insert(target, header::USER_AGENT, concat!("carob/", env!("CARGO_PKG_VERSION")));
        }
        let request = request.body(Full::new(body)).map_err(|error| failed(error.to_string()))?;
        let client = self.transport.client(&self.endpoints[index].tls);
        match tokio::time::timeout(ANSWER_TIMEOUT, client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(failed(cause(&error))),
            Err(_) => Err(failed("net/http: timeout awaiting response headers".to_owned())),
        }
    }

    /// Forms the answer to a challenge; `None` if there is nothing to answer it with.
    async fn answer(
        &self,
        index: usize,
        headers: &HeaderMap,
        had_answer: bool,
    ) -> Result<Option<String>, RegistryError> {
        let credentials = self.endpoints[index].credentials.as_ref();
        let values = headers.get_all(header::WWW_AUTHENTICATE).into_iter();
        let mut challenges =
            values.flat_map(|value| auth::parse_challenges(value.to_str().unwrap_or_default()));
        match challenges.next() {
            None => Ok(None),
            Some(Challenge::Bearer { error, .. }) if had_answer => {
                let text = if error.is_empty() {
                    "authorization failed".to_owned()
                } else {
                    format!("server message: {error}: authorization failed")
                };
                Err(RegistryError::Denied(text))
            }
            Some(Challenge::Bearer { realm, service, scope, .. }) => {
                let request = auth::token_request(&realm, &service, &scope, credentials);
                self.fetch_token(index, request, credentials.is_none()).await.map(Some)
            }
            Some(Challenge::Basic) => {
                let usable = |found: &&Credentials| !found.username.is_empty() && !found.password.is_empty();
                let Some(credentials) = credentials.filter(usable) else {
                    let text = "authorization failed: no basic auth credentials";
                    return Err(RegistryError::Denied(text.to_owned()));
                };
                // Refused, they are refused for good: the status says it all.
                Ok((!had_answer).then(|| auth::basic_header(credentials)))
            }
        }
    }

    async fn fetch_token(
        &self,
        index: usize,
        request: TokenRequest,
        anonymous: bool,
    ) -> Result<String, RegistryError> {
        let kind = if anonymous { "anonymous token" } else { "oauth token" };
        let failed = |reason: String| {
            RegistryError::Failed(format!("failed to authorize: failed to fetch {kind}: {reason}"))
        };
        let mut headers = HeaderMap::new();
        let (method, url, body) = match request {
            TokenRequest::Get { url, authorization } => {
                if let Some(authorization) = authorization {
                    insert(&mut headers, header::AUTHORIZATION, &authorization);
                }
                (Method::GET, url, Bytes::new())
            }
            TokenRequest::Post { url, form } => {
                insert(
                    &mut headers,
                    header::CONTENT_TYPE,
                    "application/x-www-form-urlencoded; charset=utf-8",
                );
                (Method::POST, url, Bytes::from(form))
            }
        };
        let response = self.request(index, method.clone(), &url, headers, body).await.map_err(|error| {
            failed(error.to_string().trim_start_matches("failed to do request: ").to_owned())
        })?;
        if !response.status().is_success() {
            return Err(failed(unexpected_status(&method, &url, response.status()).to_string()));
        }
        let bytes = read_body(response.into_body(), TOKEN_BYTES_MAX).await.map_err(failed)?;
        Ok(format!("Bearer {}", auth::parse_token(&bytes).map_err(failed)?))
    }
}

/// containerd's text for content that is not what its digest says.
pub fn unexpected_digest(kind: &str, found: &Digest, wanted: &Digest) -> RegistryError {
    let prefix = match kind {
        "manifests" => "manifest",
        "blobs" => "config",
        other => other,
    };
    RegistryError::Failed(format!(
        "failed commit on ref \"{prefix}-{wanted}\": unexpected commit digest {found}, expected {wanted}: failed precondition"
    ))
}

/// Reads a whole body, up to a bound.
async fn read_body(mut body: Incoming, bytes_max: u64) -> Result<Bytes, String> {
    let mut bytes = Vec::new();
    while let Some(piece) = next_piece(&mut body).await? {
        if (bytes.len() + piece.len()) as u64 > bytes_max {
            return Err(format!("answer is larger than the limit of {bytes_max} bytes"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// When the connection breaks or nothing comes for too long.
pub async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, String> {
    loop {
        let frame = tokio::time::timeout(ANSWER_TIMEOUT, body.frame())
            .await
            .map_err(|_| format!("no data for {} seconds", ANSWER_TIMEOUT.as_secs()))?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(cause(&error)),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn unexpected_status(method: &Method, url: &str, status: StatusCode) -> RegistryError {
    RegistryError::Failed(format!(
        "unexpected status from {method} request to {url}: {} {}",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    ))
}

fn digest_header(headers: &HeaderMap) -> Option<Digest> {
    Digest::parse(headers.get("docker-content-digest")?.to_str().ok()?).ok()
}

fn retry_after(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1)).min(RETRY_AFTER_MAX)
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    // Values that cannot be a header (credentials with line breaks) are left out, and the server refuses.
    if let Ok(value) = header::HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn capitalised(method: &Method) -> String {
    let text = method.as_str().to_ascii_lowercase();
    text[..1].to_ascii_uppercase() + &text[1..]
}

/// Scheme and authority.
fn origin(url: &str) -> Option<(String, String)> {
    let uri: Uri = url.parse().ok()?;
    Some((uri.scheme_str()?.to_owned(), uri.authority()?.as_str().to_ascii_lowercase()))
}

fn join_url(base: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_owned());
    }
    let (scheme, authority) = origin(base)?;
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let without_query = base.split('?').next()?;
    let folder = without_query.rsplit_once('/')?.0;
    Some(format!("{folder}/{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_joined() {
        let cases = [
            ("http://a/v2/x/blobs/d", "https://cdn/y?z", "https://cdn/y?z"),
            ("http://a:1/v2/x", "/other", "http://a:1/other"),
            ("https://a/v2/x", "//cdn/y", "https://cdn/y"),
            ("https://a/v2/x?ns=q", "y", "https://a/v2/y"),
        ];
        for (base, location, expected) in cases {
            assert_eq!(join_url(base, location).as_deref(), Some(expected));
        }
        assert_ne!(origin("https://a/x"), origin("http://a/x"));
        assert_ne!(origin("https://a/x"), origin("https://b/x"));
        assert_eq!(origin("https://A/x"), origin("https://a/y"));
    }
}
