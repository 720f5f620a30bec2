//! How the API server reaches nodes: TLS with its own client certificate, the cluster's CA, the node's name checked.

use std::pin::Pin;
use std::sync::Arc;

use apiserver::seams::{NodeConnector, ReadWrite};
use async_trait::async_trait;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Connects to nodes.
pub struct NodeTls {
    connector: TlsConnector,
}

impl NodeTls {
    /// With the CA that nodes' certificates come from, and the API server's certificate for them.
    pub fn new(authority_pem: &str, client: &pki::Issued) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
            roots.add(certificate?)?;
        }
        let chain = CertificateDer::pem_slice_iter(client.certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes())?;
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }
}

#[async_trait]
impl NodeConnector for NodeTls {
    async fn connect(&self, node: &str, host: &str, port: u16) -> Result<Pin<Box<dyn ReadWrite>>, String> {
        let dial = |error: std::io::Error| {
            let words = match error.kind() {
                std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                _ => error.to_string(),
            };
            format!("dial tcp {host}:{port}: connect: {words}")
        };
        let stream = TcpStream::connect((host, port)).await.map_err(dial)?;
        stream.set_nodelay(true).map_err(dial)?;
        // Certificates carry the node's name; the address may change.
        let name =
            ServerName::try_from(node.to_owned()).map_err(|error| format!("node {node:?}: {error}"))?;
        let stream = self
            .connector
            .connect(name, stream)
            .await
            .map_err(|error| format!("remote error: tls: {error}"))?;
        Ok(Box::pin(stream))
    }
}
