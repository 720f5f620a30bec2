//! Listeners, connections and their orderly end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use client::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::seams::PeerCertificates;
use crate::server::Server;

/// The address a request came from; in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteAddress(pub SocketAddr);

/// How listeners serve.
#[derive(Clone)]
pub struct ServeOptions {
    /// TLS; none: plain HTTP (loopback tests).
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Connections at once over all listeners; further ones wait.
    pub connections_max: usize,
    /// Time for open requests after [`Server::shut_down`].
    pub drain: Duration,
}

impl ServeOptions {
    /// With TLS and the usual bounds.
    pub fn new(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        Self { tls, connections_max: 16_384, drain: Duration::from_secs(2) }
    }
}

/// Stream window of HTTP/2, upstream's.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
/// Connection window of HTTP/2, upstream's.
const CONNECTION_WINDOW_BYTES: u32 = 25 << 20;
const STREAMS_MAX: u32 = 1000;
const HEADER_BYTES_MAX: u32 = 1 << 20;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);

/// Serves until the server shuts down, then lets open requests end.
pub async fn serve(server: Arc<Server>, listeners: Vec<TcpListener>, options: ServeOptions) {
    let turns = Arc::new(Semaphore::new(options.connections_max));
    let graceful = Arc::new(GracefulShutdown::new());
    let loops = listeners.into_iter().map(|listener| {
        tokio::spawn(accept(
            Arc::clone(&server),
            listener,
            options.clone(),
            Arc::clone(&turns),
            Arc::clone(&graceful),
        ))
    });
    for ended in futures::future::join_all(loops).await {
        if let Err(error) = ended {
            tracing::error!(%error, "a listener's task failed");
        }
    }
    if let Ok(graceful) = Arc::try_unwrap(graceful)
        && tokio::time::timeout(options.drain, graceful.shutdown()).await.is_err()
    {
        tracing::info!("connections were still open at the end of the drain time");
    }
}

async fn accept(
    server: Arc<Server>,
    listener: TcpListener,
    options: ServeOptions,
    turns: Arc<Semaphore>,
    graceful: Arc<GracefulShutdown>,
) {
    let acceptor = options.tls.clone().map(TlsAcceptor::from);
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.drained() => return,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: others have to close theirs first.
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let watcher = graceful.watcher();
        let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(server, stream, remote, acceptor, watcher).await {
                tracing::debug!(%remote, %error, "connection ended");
            }
            drop(turn);
        });
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    remote: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let Some(acceptor) = acceptor else {
        return exchange(server, TokioIo::new(stream), PeerCertificates::default(), remote, watcher).await;
    };
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = PeerCertificates(chain.iter().map(|certificate| certificate.clone().into_owned()).collect());
    exchange(server, TokioIo::new(stream), peer, remote, watcher).await
}

async fn exchange<I>(
    server: Arc<Server>,
    io: I,
    peer: PeerCertificates,
    remote: SocketAddr,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), Failure>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, peer) = (Arc::clone(&server), peer.clone());
        async move { Ok::<_, Infallible>(answer(server, request, peer, remote).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(usize::try_from(HEADER_BYTES_MAX).unwrap_or(usize::MAX))
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(Duration::from_secs(15));
    let connection = builder.serve_connection_with_upgrades(io, service).into_owned();
    watcher.watch(connection).await
}

async fn answer(
    server: Arc<Server>,
    mut request: Request<Incoming>,
    peer: PeerCertificates,
    remote: SocketAddr,
) -> Response<Body> {
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(RemoteAddress(remote));
    let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    server.handle(request, None).await
}
