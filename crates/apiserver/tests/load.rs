//! How fast: GET, LIST and durable creates over TLS with 16 connections, load generator in the same process. Prints
//! rates; run by hand with `cargo test --release -p apiserver --test load -- --ignored --nocapture`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apiserver::http::{ServeOptions, serve, tls};
use apiserver::{Objects, Options, Server};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use pki::authority::{Authority, Profile};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

const SECONDS: u64 = 3;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Target {
    address: std::net::SocketAddr,
    connector: tokio_rustls::TlsConnector,
}

type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

impl Target {
    async fn connect(&self) -> Sender {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = self.connector.connect(name, stream).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Requests per second of `connections` that each send what `make` makes.
    async fn rate(&self, connections: usize, make: fn(u64) -> Request<Full<Bytes>>) -> u64 {
        let count = Arc::new(AtomicU64::new(0));
        let end = Instant::now() + Duration::from_secs(SECONDS);
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let (mut sender, count) = (self.connect().await, Arc::clone(&count));
            tasks.push(tokio::spawn(async move {
                while Instant::now() < end {
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    let response = sender.send_request(make(number)).await.unwrap();
                    assert!(response.status().is_success(), "{}", response.status());
                    let mut body = response.into_body();
                    while let Some(frame) = body.frame().await {
                        frame.unwrap();
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        count.load(Ordering::Relaxed) / SECONDS
    }
}

async fn start(folder: &std::path::Path) -> (Arc<Server>, Target) {
    let authority = Authority::open(folder, "test", Clock::system(), Entropy::system()).unwrap();
    let ips = vec!["127.0.0.1".parse().unwrap()];
    let life = Duration::from_secs(3600);
    let own = authority.issue(&Profile { ips, server: true, life, ..Profile::default() }).unwrap();
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).unwrap();
    let config = tls::server_config(vec![certificate(&own.certificate_pem)], key, &[]).unwrap();
    let store =
        store::embedded::EmbeddedStore::open(&folder.join("store"), Clock::system(), &Default::default());
    let objects = Objects::new(Arc::new(store.unwrap()), Arc::new(resources::registry().clone()));
    let server = Server::open(Options::new(objects, Clock::system(), Entropy::system())).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(Arc::clone(&server), vec![listener], ServeOptions::new(Some(config))));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate(authority.certificate_pem())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, Target { address, connector: Arc::new(client).into() })
}

fn create(number: u64) -> Request<Full<Bytes>> {
    let body = format!(
        "{{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"load-{number}\"}},\"data\":{{\"k\":\"{}\"}}}}",
        "v".repeat(200)
    );
    let request = Request::post(MAPS).header("host", "x").header("content-type", "application/json");
    request.body(Full::from(body)).unwrap()
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "x").header("accept", "application/json").body(Full::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, run by hand"]
async fn rates() {
    let folder = tempfile::tempdir().unwrap();
    let (server, target) = start(folder.path()).await;
    let creates = target.rate(16, create).await;
    let gets = target.rate(16, |_| get("/api/v1/namespaces/default/configmaps/load-0")).await;
    let lists = target.rate(4, |_| get("/api/v1/namespaces/default/configmaps?limit=500")).await;
    let discoveries = target.rate(4, |_| get("/api/v1")).await;
    eprintln!("creates {creates}/s, gets {gets}/s, lists of 500 {lists}/s, discoveries {discoveries}/s");
    assert!(creates > 0 && gets > 0 && lists > 0);
    server.shut_down();
}
