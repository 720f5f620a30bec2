//! The listener with TLS: certificates decide where there is no API server.

use std::sync::Arc;
use std::time::Duration;

use ::http::Request;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use pki::authority::{Authority, Issued, Profile};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::support::Harness;
use crate::node_api::{StandaloneAccess, serve};

fn parts(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    (vec![certificate], PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap())
}

fn client(authority: &Authority, user: &str, group: &str) -> Issued {
    let profile = Profile {
        common_name: user.into(),
        organizations: vec![group.into()],
        client: true,
        life: Duration::from_secs(3600),
        ..Profile::default()
    };
    authority.issue(&profile).unwrap()
}

#[tokio::test]
async fn certificates_decide_without_an_api_server() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::open(folder.path(), "ca", Clock::system(), Entropy::system()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap()).unwrap();
    let roots = Arc::new(roots);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let own = Profile {
        common_name: "node".into(),
        dns_names: vec!["node".into()],
        server: true,
        life: Duration::from_secs(3600),
        ..Profile::default()
    };
    let (chain, key) = parts(&authority.issue(&own).unwrap());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let it = Harness::new();
    let serving = tokio::spawn(serve(listener, Arc::new(config), it.backend(), Arc::new(StandaloneAccess)));
    let table = [
        (Some(("kube-apiserver-kubelet-client", "carob:apiserver")), 200),
        (Some(("admin", "system:masters")), 200),
        (Some(("system:node:other", "system:nodes")), 403),
        (None, 401),
    ];
    for (identity, expected) in table {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&roots));
        let config = match identity {
            Some((user, group)) => {
                let (chain, key) = parts(&client(&authority, user, group));
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("node").unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request =
            Request::get("/pods").header("host", "node").body(Empty::<bytes::Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{identity:?}");
        connection.abort();
    }
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());
}
