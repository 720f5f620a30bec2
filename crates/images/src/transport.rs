//! HTTP to registries: names resolved by hickory (never by the C library), TLS by rustls, HTTP/1.1 with kept
//! connections. Error texts follow those that Go's client gives upstream's users.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::registries::{Tls, host_name};

/// Until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection without a request is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Where distributions keep the CAs they trust; the first that exists is used.
const SYSTEM_CA_FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A client for one set of TLS settings.
pub type HttpClient = Client<Connector, Full<Bytes>>;

/// Clients by TLS settings, made when needed. One per pull: certificate files may have changed since the last.
pub struct Transport {
    clients: Mutex<HashMap<Tls, HttpClient>>,
}

impl Transport {
    /// Without any client yet.
    pub fn new() -> Self {
        Self { clients: Mutex::new(HashMap::new()) }
    }

    /// The client for some TLS settings. Certificates are read when the first secure connection is made.
    pub fn client(&self, tls: &Tls) -> HttpClient {
        let make = || {
            Client::builder(TokioExecutor::new())
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_timer(hyper_util::rt::TokioTimer::new())
                .build(Connector { settings: tls.clone(), made: Arc::default() })
        };
        self.clients.lock().entry(tls.clone()).or_insert_with(make).clone()
    }
}

/// Connects to registries.
#[derive(Clone)]
pub struct Connector {
    settings: Tls,
    made: Arc<OnceLock<Arc<rustls::ClientConfig>>>,
}

impl Connector {
    fn tls(&self) -> io::Result<Arc<rustls::ClientConfig>> {
        if let Some(made) = self.made.get() {
            return Ok(made.clone());
        }
        let config = Arc::new(tls_config(&self.settings).map_err(io::Error::other)?);
        Ok(self.made.get_or_init(|| config).clone())
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            tokio::time::timeout(CONNECT_TIMEOUT, connect(&uri, &connector))
                .await
                .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "dial tcp: i/o timeout"))?
                .map(TokioIo::new)
        })
    }
}

async fn connect(uri: &Uri, connector: &Connector) -> io::Result<Stream> {
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let host = host_name(authority).to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let mut last = io::Error::other(format!("dial tcp: lookup {host}: no such host"));
    for address in resolve(&host).await? {
        let address = SocketAddr::new(address, port);
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                if !secure {
                    return Ok(Stream(Box::new(stream)));
                }
                let name = ServerName::try_from(host)
                    .map_err(|error| io::Error::other(format!("tls: server name: {error}")))?;
                let stream = tokio_rustls::TlsConnector::from(connector.tls()?).connect(name, stream).await?;
                return Ok(Stream(Box::new(stream)));
            }
            Err(error) => last = io::Error::new(error.kind(), dial_text(address, &error)),
        }
    }
    Err(last)
}

fn dial_text(address: SocketAddr, error: &io::Error) -> String {
    let reason = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => format!("connect: {error}"),
    };
    format!("dial tcp {address}: {reason}")
}

async fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![address]);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let failed =
        |error: &dyn std::fmt::Display| io::Error::other(format!("dial tcp: lookup {host}: {error}"));
    // Made anew each time: `/etc/resolv.conf` may have changed, and connections are kept anyway.
    let resolver = hickory_resolver::TokioResolver::builder_tokio()
        .and_then(|builder| builder.build())
        .map_err(|error| failed(&error))?;
    match resolver.lookup_ip(host).await {
        Ok(found) => Ok(found.iter().collect()),
        Err(error) if error.is_no_records_found() => Err(failed(&"no such host")),
        Err(error) => Err(failed(&error)),
    }
}

fn tls_config(tls: &Tls) -> Result<rustls::ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("tls: {error}"))?;
    let builder = if tls.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(trusted(tls)?)
    };
    match (&tls.cert_file, &tls.key_file) {
        (Some(certificates), Some(key)) => {
            let key_bytes = read_pem(key)?;
            let key = PrivateKeyDer::from_pem_slice(&key_bytes)
                .map_err(|error| format!("{}: {error}", key.display()))?;
            builder
                .with_client_auth_cert(read_certificates(certificates)?, key)
                .map_err(|error| format!("{}: {error}", certificates.display()))
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err("registries file: cert_file and key_file belong together".to_owned()),
    }
}

fn trusted(tls: &Tls) -> Result<rustls::RootCertStore, String> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = SYSTEM_CA_FILES.iter().map(std::path::Path::new).find(|path| path.is_file()) {
        roots.add_parsable_certificates(read_certificates(path)?);
    }
    if let Some(path) = &tls.ca_file {
        for certificate in read_certificates(path)? {
            roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(roots)
}

fn read_pem(path: &std::path::Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("read {}: {error}", path.display()))
}

fn read_certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(&read_pem(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// `insecure_skip_verify`: the connection is secret, but with whom is not known.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for T {}

/// A connection, plain or secured.
pub struct Stream(Box<dyn ReadWrite>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// What a failed connection or request says: the innermost cause, in Go's words where users know them.
pub fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let text = innermost.to_string();
    if text.contains("UnknownIssuer") {
        return "tls: failed to verify certificate: x509: certificate signed by unknown authority".to_owned();
    }
    if text.contains("InvalidContentType") {
        return "http: server gave HTTP response to HTTPS client".to_owned();
    }
    if text.starts_with("invalid peer certificate") {
        return format!("tls: failed to verify certificate: {text}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn local_names_need_no_resolver() {
        assert_eq!(resolve("127.0.0.1").await.unwrap(), vec![IpAddr::from([127, 0, 0, 1])]);
        assert_eq!(resolve("localhost").await.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn refused_connections_read_as_upstream_says() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let connector = Connector { settings: Tls::default(), made: Arc::default() };
        let uri: Uri = format!("http://{address}/v2/").parse().unwrap();
        let error = connect(&uri, &connector).await.err().unwrap();
        assert_eq!(error.to_string(), format!("dial tcp {address}: connect: connection refused"));
    }

    #[test]
    fn half_a_client_certificate_is_refused() {
        let tls = Tls { cert_file: Some("/x".into()), ..Tls::default() };
        assert!(tls_config(&tls).is_err());
        let tls = Tls { ca_file: Some("/nonexistent/ca.pem".into()), ..Tls::default() };
        assert!(tls_config(&tls).unwrap_err().contains("/nonexistent/ca.pem"));
    }
}
