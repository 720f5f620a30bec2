//! The server over TLS: client certificates, HTTP/2 and HTTP/1.1, upgrades, the orderly end.

mod support;

use std::sync::Arc;
use std::time::Duration;

use apiserver::authentication::ClientCertificates;
use apiserver::http::{ServeOptions, serve, tls};
use client::{Client, ListOptions, Transport, WatchEvent, WatchOptions};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use pki::authority::{Authority, Profile};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use support::Harness;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

struct Served {
    it: Harness,
    transport: Arc<client::https::Https>,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

async fn start() -> Served {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), "test", Clock::system(), Entropy::system()).unwrap();
    let life = Duration::from_secs(3600);
    let ips = vec!["127.0.0.1".parse().unwrap()];
    let own = authority
        .issue(&Profile { common_name: "server".into(), ips, server: true, life, ..Profile::default() })
        .unwrap();
    let user = authority
        .issue(&Profile {
            common_name: "jane".into(),
            organizations: vec!["team".into()],
            client: true,
            life,
            ..Profile::default()
        })
        .unwrap();
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = |pem: &str| PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let authority = certificate(authority.certificate_pem());
    let config = tls::server_config(
        vec![certificate(&own.certificate_pem)],
        key(&own.key_pem),
        std::slice::from_ref(&authority),
    );
    let it = Harness::with(|options| options.authenticators = vec![Arc::new(ClientCertificates)]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task =
        tokio::spawn(serve(Arc::clone(&it.server), vec![listener], ServeOptions::new(Some(config.unwrap()))));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate(&user.certificate_pem)], key(&user.key_pem))
        .unwrap();
    let transport = client::https::Https::new(client::https::Options {
        server: format!("https://{address}"),
        tls: Arc::new(tls),
        tls_server_name: None,
        authorization: None,
        headers: http::HeaderMap::new(),
    });
    Served { it, transport: Arc::new(transport.unwrap()), task, _folder: folder }
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "default"}, "data": {"k": "v"}}))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_work_over_tls() {
    let served = start().await;
    let client = Client::new(served.transport.clone());
    let me: Value = client
        .call(http::Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews", Some(&json!({})))
        .await
        .unwrap();
    let user = &me["status"]["userInfo"];
    assert_eq!((&user["username"], &user["groups"][0]), (&json!("jane"), &json!("team")));

    client.create(Some("default"), &config_map("a")).await.unwrap();
    let mut events = client.watch::<ConfigMap>(Some("default"), &WatchOptions::default()).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(WatchEvent::Added(_)))));
    client.create(Some("default"), &config_map("b")).await.unwrap();
    let Some(Ok(WatchEvent::Added(second))) = events.next().await else { panic!("no event") };
    assert_eq!(second.metadata.name.as_deref(), Some("b"));
    let list = client.list::<ConfigMap>(Some("default"), &ListOptions::default()).await.unwrap();
    assert_eq!(list.items.len(), 2);

    // Many watches share one connection.
    let mut watches = Vec::new();
    for _ in 0..300 {
        watches.push(client.watch::<ConfigMap>(Some("default"), &WatchOptions::default()).await.unwrap());
    }
    for watch in &mut watches {
        assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(_)))));
    }

    served.it.server.shut_down();
    assert!(tokio::time::timeout(Duration::from_secs(10), served.task).await.is_ok(), "the listener closes");
    while let Some(event) = events.next().await {
        assert!(event.is_ok() || served.it.server.is_draining());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_work_over_websocket() {
    let served = start().await;
    Client::new(served.transport.clone()).create(Some("default"), &config_map("a")).await.unwrap();
    let request = http::Request::builder()
        .uri("/api/v1/namespaces/default/configmaps?watch=true")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(bytes::Bytes::new())
        .unwrap();
    let mut upgraded =
        served.transport.upgrade(request).await.unwrap().map_err(|answer| answer.status()).unwrap();
    assert_eq!(upgraded.response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let mut frame = [0; 4];
    upgraded.io.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[0], 0x81, "a text message");
    let length = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
    let mut text = vec![0; length];
    upgraded.io.read_exact(&mut text).await.unwrap();
    let event: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("a")));
}
