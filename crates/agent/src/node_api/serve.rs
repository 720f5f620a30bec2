//! Connections of the node's API: TLS, HTTP/1.1 (with upgrades) and HTTP/2, bounded; who may ask what; and the
//! handlers. A handler that fails badly costs its own request only.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::pki_types::CertificateDer;
use stdx::clock::Clock;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::access::{Access, AccessRequest};
use super::answer::{Answer, bad_request, not_found, text};
use super::ends::Ends;
use super::logs::Watcher;
use super::query::Query;
use super::route::{self, NoRoute, Route};
use super::{forward, info, logs, metrics, session, stats};
use crate::seams::NodeApiBackend;

/// Connections at once; further ones wait in the listener's queue.
const CONNECTIONS_MAX: usize = 4096;
/// Logs, sessions and port-forwards at once.
const STREAMINGS_MAX: usize = 4096;
const STREAMS_MAX: u32 = 250;
const HEADER_BYTES_MAX: u32 = 1 << 20;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause when no more descriptors are to be had: others have to close theirs first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What handlers share.
pub struct Server {
    /// The agent.
    pub backend: Arc<dyn NodeApiBackend>,
    access: Arc<dyn Access>,
    /// Wall clock.
    pub clock: Clock,
    /// Changes of log folders; `None` where the kernel has no inotify left.
    pub watcher: Option<Watcher>,
    /// Ends of containers.
    pub ends: Ends,
    /// CPU usage last seen.
    pub usage: stats::LastUsage,
    /// Ends with the server.
    stopped: CancellationToken,
    /// Turns of what streams.
    turns: Arc<Semaphore>,
}

impl Server {
    /// A server of these; nothing runs yet.
    pub fn new(backend: Arc<dyn NodeApiBackend>, access: Arc<dyn Access>) -> Arc<Self> {
        let watcher = Watcher::new()
            .inspect_err(
                |error| tracing::warn!(%error, "log files cannot be watched: following them will fail"),
            )
            .ok();
        Arc::new(Self {
            backend,
            access,
            clock: Clock::system(),
            watcher,
            ends: Ends::default(),
            usage: stats::LastUsage::default(),
            stopped: CancellationToken::new(),
            turns: Arc::new(Semaphore::new(STREAMINGS_MAX)),
        })
    }

    /// Tasks that tell of files and containers.
    pub fn start(self: &Arc<Self>, tasks: &mut JoinSet<()>) {
        let events = self.backend.runtime().events();
        let server = Arc::clone(self);
        tasks.spawn(async move { server.ends.follow(events).await });
        let server = Arc::clone(self);
        tasks.spawn(async move {
            if let Some(watcher) = &server.watcher {
                watcher.run().await;
            }
        });
    }

    /// Starts work that outlives its request, but not the server.
    ///
    /// # Errors
    /// The answer to give when too much is going on already.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Result<(), Box<Answer>> {
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else {
            let message = "the node streams as much as it can: try again later\n";
            return Err(Box::new(text(StatusCode::SERVICE_UNAVAILABLE, message)));
        };
        let stopped = self.stopped.clone();
        tokio::spawn(async move {
            stopped.run_until_cancelled(work).await;
            drop(turn);
        });
        Ok(())
    }
}

/// Serves until dropped.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    backend: Arc<dyn NodeApiBackend>,
    access: Arc<dyn Access>,
) {
    let server = Server::new(backend, access);
    let _stop = server.stopped.clone().drop_guard();
    let mut background = JoinSet::new();
    server.start(&mut background);
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, remote)) => {
                    let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
                    connections.spawn(async move {
                        if let Err(error) = secure(server, stream, acceptor).await {
                            tracing::debug!(%remote, %error, "a connection to the node's API ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection to the node's API failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection to the node's API failed");
                }
            }
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn secure(server: Arc<Server>, stream: TcpStream, acceptor: TlsAcceptor) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let peer = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
    connection(server, stream, peer).await
}

/// Serves one connection.
pub async fn connection<S>(
    server: Arc<Server>,
    stream: S,
    peer: Vec<CertificateDer<'static>>,
) -> Result<(), Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let peer: Arc<[CertificateDer<'static>]> = peer.into();
    let service = service_fn(move |request: Request<Incoming>| {
        let (server, peer) = (Arc::clone(&server), Arc::clone(&peer));
        async move {
            let handled = AssertUnwindSafe(handle(&server, request, &peer)).catch_unwind().await;
            let answer = handled.unwrap_or_else(|_| {
                tracing::error!("a request to the node's API failed badly");
                text(StatusCode::INTERNAL_SERVER_ERROR, "the request failed; the node's log has more\n")
            });
            Ok::<_, Infallible>(answer)
        }
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
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(15));
    builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await
}

async fn handle(
    server: &Arc<Server>,
    request: Request<Incoming>,
    peer: &[CertificateDer<'static>],
) -> Answer {
    let path = request.uri().path();
    let question = AccessRequest {
        peer,
        headers: request.headers(),
        verb: route::verb(request.method()),
        subresources: route::subresources(path),
        node: server.backend.node_name(),
    };
    if let Err(refusal) = server.access.check(&question).await {
        return text(refusal.status, refusal.message);
    }
    let query = Query::parse(request.uri().query());
    match route::route(request.method(), path) {
        Ok(route) => dispatch(server, route, query, request).await,
        Err(NoRoute::NotFound) => not_found("404 page not found\n"),
        Err(NoRoute::Method) => text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed"),
    }
}

async fn dispatch(server: &Arc<Server>, route: Route, query: Query, request: Request<Incoming>) -> Answer {
    match route {
        Route::Health => text(StatusCode::OK, "ok"),
        Route::Pods => info::pods(server),
        Route::RunningPods => info::running_pods(server).await,
        Route::Config => info::config(server),
        Route::Run(target) => info::run(server, &target, &query).await,
        Route::Checkpoint(target) => info::checkpoint(server, &target),
        Route::Metrics | Route::ProbeMetrics | Route::CadvisorMetrics => metrics::process(server).await,
        Route::ResourceMetrics => metrics::resource(server).await,
        Route::Summary => stats::summary(server).await,
        Route::Logs(target) => logs::answer(server, &target, &query).await,
        Route::Exec(target) => session::exec(server, &target, &query, request).await,
        Route::Attach(target) => session::attach(server, &target, &query, request).await,
        Route::PortForward(target) => match forward::ports(&request, &query) {
            Ok(ports) => forward::answer(server, &target, ports, request).await,
            Err(message) => bad_request(message),
        },
    }
}
