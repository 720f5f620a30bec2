//! `httpGet` of probes and hooks: one GET over HTTP or (unverified, as upstream) HTTPS.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Duration, timeout};

/// Bytes of an answer that are read.
const BODY_BYTES_MAX: usize = 10 << 10;
/// Redirects followed.
const REDIRECTS_MAX: usize = 10;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub code: u16,
    /// The beginning of the body.
    pub body: String,
}

/// Accepts every certificate: probes do not verify, as upstream's do not.
#[derive(Debug)]
struct AcceptAll(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The number of a port that may be given by name.
///
/// # Errors
/// When the container has no port of that name.
pub fn resolve_port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|own| own.name.as_deref() == Some(name));
            match (named, name.parse::<i32>()) {
                (Some(port), _) => port.container_port,
                (None, Ok(number)) => number,
                (None, Err(_)) => {
                    return Err(format!(
                        "couldn't find port by name {name:?}, couldn't find container port: strconv.Atoi: parsing {name:?}: invalid syntax"
                    ));
                }
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

/// `host:port`, IPv6 addresses in brackets.
pub fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// The text of a failed connection, as Go writes it.
pub fn dial_error(address: &str, error: &std::io::Error) -> String {
    let text = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connect: connection reset by peer".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {address}: {text}")
}

/// Where a GET goes.
struct Target {
    scheme: String,
    host: String,
    port: u16,
    path: String,
}

impl Target {
    fn url(&self) -> String {
        let default =
            (self.scheme == "http" && self.port == 80) || (self.scheme == "https" && self.port == 443);
        let _ = default;
        format!("{}://{}{}", self.scheme, join_host_port(&self.host, self.port), self.path)
    }

    /// Where a `Location` leads from here.
    fn redirected(&self, location: &str) -> Option<Target> {
        if location.starts_with('/') {
            return Some(Target {
                path: location.into(),
                scheme: self.scheme.clone(),
                host: self.host.clone(),
                port: self.port,
            });
        }
        let uri: Uri = location.parse().ok()?;
        let scheme = uri.scheme_str().unwrap_or(&self.scheme).to_owned();
        let default = if scheme == "https" { 443 } else { 80 };
        Some(Target {
            host: uri.host()?.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(default),
            path: uri.path_and_query().map_or_else(|| "/".into(), ToString::to_string),
            scheme,
        })
    }
}

/// Performs an `httpGet`. `purpose` goes into the user agent: `probe`, `lifecycle`.
///
/// # Errors
/// The text that Go's client would give, or what is wrong with the action.
pub async fn get(
    action: &HTTPGetAction,
    container: &Container,
    pod_ip: &str,
    purpose: &str,
    limit: Duration,
) -> Result<Answer, String> {
    let port = resolve_port(&action.port, container)?;
    let host = action.host.clone().filter(|host| !host.is_empty()).unwrap_or_else(|| pod_ip.to_owned());
    let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
    let path = action.path.clone().filter(|path| !path.is_empty()).unwrap_or_else(|| "/".into());
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let first = Target { scheme, host, port, path };
    let url = first.url();
    match timeout(limit, follow(first, action, purpose)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

async fn follow(first: Target, action: &HTTPGetAction, purpose: &str) -> Result<Answer, String> {
    let host = first.host.clone();
    let mut target = first;
    for _ in 0..=REDIRECTS_MAX {
        let url = target.url();
        let (answer, location) =
            once(&target, action, purpose).await.map_err(|error| format!("Get {url:?}: {error}"))?;
        let next = location.and_then(|location| target.redirected(&location));
        match next.filter(|next| (300..400).contains(&answer.code) && next.host == host) {
            Some(next) => target = next,
            None => return Ok(answer),
        }
    }
    Err(format!("Get {:?}: stopped after {REDIRECTS_MAX} redirects", target.url()))
}

fn request(target: &Target, action: &HTTPGetAction, purpose: &str) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::builder().uri(&target.path);
    let mut host = join_host_port(&target.host, target.port);
    let (mut has_agent, mut has_accept) = (false, false);
    if let Some(headers) = request.headers_mut() {
        for own in action.http_headers.iter().flatten() {
            if own.name.eq_ignore_ascii_case("host") {
                host.clone_from(&own.value);
                continue;
            }
            let name = HeaderName::try_from(&own.name).map_err(|error| error.to_string())?;
            let value = HeaderValue::try_from(&own.value).map_err(|error| error.to_string())?;
            has_agent |= name == http::header::USER_AGENT;
            has_accept |= name == http::header::ACCEPT;
            if name != http::header::ACCEPT || !own.value.is_empty() {
                headers.append(name, value);
            }
        }
    }
    request = request.header(http::header::HOST, host);
    if !has_agent {
        request = request.header(http::header::USER_AGENT, format!("kube-{purpose}/1.36"));
    }
    if !has_accept {
        request = request.header(http::header::ACCEPT, "*/*");
    }
    request.header(http::header::CONNECTION, "close").body(Empty::new()).map_err(|error| error.to_string())
}

async fn once(
    target: &Target,
    action: &HTTPGetAction,
    purpose: &str,
) -> Result<(Answer, Option<String>), String> {
    let address = join_host_port(&target.host, target.port);
    let stream = TcpStream::connect(&address).await.map_err(|error| dial_error(&address, &error))?;
    let request = request(target, action, purpose)?;
    if target.scheme != "https" {
        return exchange(stream, request).await;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAll(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from(target.host.clone()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.map_err(|error| match error.to_string() {
        text if text.contains("InvalidContentType") => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        text => text,
    })?;
    exchange(stream, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<(Answer, Option<String>), String> {
    let explain = |error: hyper::Error| {
        if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() }
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(explain)?;
    let connection = tokio::spawn(connection);
    let outcome = async {
        let response = sender.send_request(request).await.map_err(explain)?;
        let code = response.status().as_u16();
        let location = response.headers().get(http::header::LOCATION).and_then(|own| own.to_str().ok());
        let location = location.map(str::to_owned);
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(explain)?.into_data() else { continue };
            bytes.extend_from_slice(&data[..data.len().min(BODY_BYTES_MAX - bytes.len())]);
            if bytes.len() >= BODY_BYTES_MAX {
                break;
            }
        }
        Ok((Answer { code, body: String::from_utf8_lossy(&bytes).into_owned() }, location))
    }
    .await;
    connection.abort();
    outcome
}
