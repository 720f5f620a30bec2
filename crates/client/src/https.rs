//! The transport over HTTPS (and plain HTTP where the address says so): HTTP/2 where offered, HTTP/1.1 for upgrades.
//! Names are resolved by hickory: a static binary has no `getaddrinfo` worth the name.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::body::Body;
use crate::transport::{Error, Transport, Upgraded};

/// kube's windows: many watches share one connection.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 25 << 20;

/// Credentials and address of an API server.
pub struct Options {
    /// `https://host:6443`, with a path prefix if the server sits below one.
    pub server: String,
    /// TLS without its ALPN list, which is set here. Unused for `http://`.
    pub tls: Arc<rustls::ClientConfig>,
    /// Name to check the certificate against, instead of the host.
    pub tls_server_name: Option<String>,
    /// `Authorization` header (`Bearer …`, `Basic …`).
    pub authorization: Option<HeaderValue>,
    /// Further headers (impersonation, user agent).
    pub headers: http::HeaderMap,
}

/// The HTTPS transport.
pub struct Https {
    server: Uri,
    prefix: String,
    authorization: RwLock<Option<HeaderValue>>,
    headers: http::HeaderMap,
    pooled: legacy::Client<Connector, Full<Bytes>>,
    upgrading: legacy::Client<Connector, Full<Bytes>>,
}

impl Https {
    /// Makes a transport; no connection is made yet.
    pub fn new(options: Options) -> Result<Self, Error> {
        let config =
            |error: &dyn std::fmt::Display| Error::Config(format!("server {:?}: {error}", options.server));
        let server: Uri = options.server.parse().map_err(|error| config(&error))?;
        let host = server.host().ok_or_else(|| config(&"no host in the address"))?.to_owned();
        let name = options.tls_server_name.unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned());
        let name = ServerName::try_from(name).map_err(|error| config(&error))?;
        let connector = |protocols: &[&[u8]]| {
            let mut tls = (*options.tls).clone();
            tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Connector { tls: Arc::new(tls), name: name.clone() }
        };
        let pooled = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(std::time::Duration::from_secs(30))
            .build(connector(&[b"h2", b"http/1.1"]));
        let upgrading = legacy::Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(connector(&[b"http/1.1"]));
        Ok(Self {
            prefix: server.path().trim_end_matches('/').to_owned(),
            server,
            authorization: RwLock::new(options.authorization),
            headers: options.headers,
            pooled,
            upgrading,
        })
    }

    /// Puts another credential in place (a renewed token).
    pub fn set_authorization(&self, authorization: Option<HeaderValue>) {
        *self.authorization.write().unwrap_or_else(std::sync::PoisonError::into_inner) = authorization;
    }

    fn prepare(&self, request: http::Request<Bytes>) -> Result<http::Request<Full<Bytes>>, Error> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let scheme = self.server.scheme_str().unwrap_or("https");
        let authority = self.server.authority().map_or("", |authority| authority.as_str());
        let address = format!("{scheme}://{authority}{}{path}", self.prefix);
        parts.uri =
            address.parse().map_err(|error| Error::Config(format!("address {address:?}: {error}")))?;
        for (name, value) in &self.headers {
            parts.headers.append(name, value.clone());
        }
        let authorization =
            self.authorization.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if let Some(authorization) = authorization {
            parts.headers.insert(http::header::AUTHORIZATION, authorization);
        }
        Ok(http::Request::from_parts(parts, Full::new(body)))
    }
}

#[async_trait]
impl Transport for Https {
    async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Body>, Error> {
        let request = self.prepare(request)?;
        let response = self.pooled.request(request).await.map_err(explain)?;
        Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
    }

    async fn upgrade(
        &self,
        request: http::Request<Bytes>,
    ) -> Result<Result<Upgraded, http::Response<Body>>, Error> {
        let mut request = self.prepare(request)?;
        *request.version_mut() = http::Version::HTTP_11;
        let mut response = self.upgrading.request(request).await.map_err(explain)?;
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Err(response.map(|body| body.map_err(Into::into).boxed_unsync())));
        }
        let io = hyper::upgrade::on(&mut response).await.map_err(|error| Error::Broken(error.to_string()))?;
        let (parts, _) = response.into_parts();
        let response = http::Response::from_parts(parts, ());
        Ok(Ok(Upgraded { response, io: Box::pin(TokioIo::new(io)) }))
    }

    fn server(&self) -> String {
        let text = self.server.to_string();
        text.trim_end_matches('/').to_owned()
    }
}

/// Finds the cause that a user can act on in hyper's chain of errors.
fn explain(error: legacy::Error) -> Error {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut deepest = error.to_string();
    while let Some(inner) = source {
        if let Some(own) = inner.downcast_ref::<Error>() {
            return own.clone();
        }
        deepest = inner.to_string();
        source = inner.source();
    }
    if error.is_connect() { Error::Connect(deepest) } else { Error::Broken(deepest) }
}

/// Makes connections: resolve, connect, TLS.
#[derive(Clone)]
struct Connector {
    tls: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(uri).await })
    }
}

impl Connector {
    async fn connect(self, uri: Uri) -> Result<Stream, Error> {
        let plain = uri.scheme_str() == Some("http");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
        let tcp = dial(&host, port).await?;
        if plain {
            return Ok(Stream::Plain(TokioIo::new(tcp)));
        }
        let stream = TlsConnector::from(self.tls).connect(self.name, tcp).await.map_err(|error| {
            let inner = error.get_ref().map_or_else(|| error.to_string(), ToString::to_string);
            Error::Tls(format!("tls: failed to verify certificate: {inner}"))
        })?;
        Ok(Stream::Tls(Box::new(TokioIo::new(stream))))
    }
}

/// Connects to the first address that answers; errors are in Go's words.
async fn dial(host: &str, port: u16) -> Result<TcpStream, Error> {
    let mut last = format!("lookup {host}: no such host");
    for ip in resolve(host).await? {
        let address = SocketAddr::new(ip, port);
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests and watch events are small: waiting to fill a packet only costs time.
                stream.set_nodelay(true).map_err(|error| Error::Connect(error.to_string()))?;
                return Ok(stream);
            }
            Err(error) => last = format!("dial tcp {address}: connect: {}", words(&error)),
        }
    }
    Err(Error::Connect(last))
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".into(),
        io::ErrorKind::HostUnreachable => "no route to host".into(),
        io::ErrorKind::TimedOut => "connection timed out".into(),
        _ => error.to_string(),
    }
}

/// Addresses of a host: itself, loopback for `localhost`, or what the system's resolver configuration finds.
pub async fn resolve(host: &str) -> Result<Vec<IpAddr>, Error> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    if host == "localhost" {
        return Ok(vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
    }
    let failed = |error: &dyn std::fmt::Display| Error::Connect(format!("dial tcp: lookup {host}: {error}"));
    let builder = hickory_resolver::TokioResolver::builder_tokio().map_err(|error| failed(&error))?;
    let resolver = builder.build().map_err(|error| failed(&error))?;
    let found = resolver.lookup_ip(host).await.map_err(|_| failed(&"no such host"))?;
    Ok(found.iter().collect())
}

/// A connection.
enum Stream {
    Plain(TokioIo<TcpStream>),
    Tls(Box<TokioIo<TlsStream<TcpStream>>>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        match self {
            Stream::Plain(_) => Connected::new(),
            Stream::Tls(stream) => match stream.inner().get_ref().1.alpn_protocol() {
                Some(b"h2") => Connected::new().negotiated_h2(),
                _ => Connected::new(),
            },
        }
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, buffer),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
