//! Kubeconfig files (`v1 Config`, https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/): reading them and
//! making a transport of a context. Which files are read, and in what order, is the caller's business.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use http::HeaderValue;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};

use crate::https::{Https, Options};
use crate::transport::Error;

/// A kubeconfig.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Kubeconfig {
    /// Always `v1`.
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    /// Always `Config`.
    pub kind: String,
    /// Clusters.
    #[serde(deserialize_with = "null_is_empty")]
    pub clusters: Vec<NamedCluster>,
    /// Contexts.
    #[serde(deserialize_with = "null_is_empty")]
    pub contexts: Vec<NamedContext>,
    /// The context in use.
    pub current_context: String,
    /// Users.
    #[serde(deserialize_with = "null_is_empty")]
    pub users: Vec<NamedUser>,
    /// Whatever else is there is kept.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    decoder: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(decoder)?.unwrap_or_default())
}

/// A cluster with its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCluster {
    /// Name.
    pub name: String,
    /// Cluster.
    pub cluster: Cluster,
}

/// Where a cluster is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Cluster {
    /// Address.
    pub server: String,
    /// CA file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
    /// CA, base64 of PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_authority_data: Option<String>,
    /// Do not check the certificate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub insecure_skip_tls_verify: bool,
    /// Name in the certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<String>,
    /// Whatever else is there is kept.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// A context with its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedContext {
    /// Name.
    pub name: String,
    /// Context.
    pub context: Context,
}

/// Which user at which cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Context {
    /// Cluster name.
    pub cluster: String,
    /// User name.
    pub user: String,
    /// Namespace if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whatever else is there is kept.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// A user with its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedUser {
    /// Name.
    pub name: String,
    /// Credentials.
    pub user: User,
}

/// Credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct User {
    /// Certificate file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    /// Certificate, base64 of PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate_data: Option<String>,
    /// Key file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<PathBuf>,
    /// Key, base64 of PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_data: Option<String>,
    /// Bearer token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// File with a bearer token.
    #[serde(rename = "tokenFile", skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Name for basic authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password for basic authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Whatever else is there (exec plugins) is kept.
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

impl Kubeconfig {
    /// Reads a file. Relative paths in it are relative to it.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::Config(format!("error loading config file {:?}: {error}", path.display().to_string()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mut config: Self = serde_saphyr::from_str(&text).map_err(|error| failed(&error))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let absolute = |file: &mut Option<PathBuf>| {
            if let Some(own) = file {
                *own = folder.join(&*own);
            }
        };
        config.clusters.iter_mut().for_each(|named| absolute(&mut named.cluster.certificate_authority));
        for named in &mut config.users {
            absolute(&mut named.user.client_certificate);
            absolute(&mut named.user.client_key);
            absolute(&mut named.user.token_file);
        }
        Ok(config)
    }

    /// Adds what another file has and this one has not: the first file that names a thing wins.
    pub fn merge(&mut self, other: Self) {
        fn add<T>(own: &mut Vec<T>, other: Vec<T>, name: fn(&T) -> &str) {
            for item in other {
                if !own.iter().any(|known| name(known) == name(&item)) {
                    own.push(item);
                }
            }
        }
        add(&mut self.clusters, other.clusters, |named| &named.name);
        add(&mut self.contexts, other.contexts, |named| &named.name);
        add(&mut self.users, other.users, |named| &named.name);
        if self.current_context.is_empty() {
            self.current_context = other.current_context;
        }
        for (key, value) in other.rest {
            self.rest.entry(key).or_insert(value);
        }
    }

    /// The context of this name; empty: the current one.
    pub fn context(&self, name: &str) -> Option<&Context> {
        let name = if name.is_empty() { &self.current_context } else { name };
        self.contexts.iter().find(|named| named.name == name).map(|named| &named.context)
    }

    /// The cluster of this name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|named| named.name == name).map(|named| &named.cluster)
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|named| named.name == name).map(|named| &named.user)
    }
}

/// Bytes of a field that is either data (base64) or a file.
fn load(data: Option<&String>, file: Option<&PathBuf>, what: &str) -> Result<Option<Vec<u8>>, Error> {
    if let Some(data) = data.filter(|data| !data.is_empty()) {
        let bytes = base64::engine::general_purpose::STANDARD.decode(data.trim());
        return bytes.map(Some).map_err(|error| Error::Config(format!("{what}-data: {error}")));
    }
    let Some(file) = file else { return Ok(None) };
    let bytes = std::fs::read(file);
    bytes
        .map(Some)
        .map_err(|error| Error::Config(format!("unable to read {what} {}: {error}", file.display())))
}

/// TLS settings of a cluster and a user.
pub fn tls_config(cluster: &Cluster, user: &User) -> Result<rustls::ClientConfig, Error> {
    let bad = |what: &str, error: &dyn std::fmt::Display| Error::Config(format!("{what}: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| bad("tls", &error))?;
    let authority = load(
        cluster.certificate_authority_data.as_ref(),
        cluster.certificate_authority.as_ref(),
        "certificate-authority",
    )?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority.as_deref().unwrap_or_default()) {
        let certificate = certificate.map_err(|error| bad("certificate-authority", &error))?;
        roots.add(certificate).map_err(|error| bad("certificate-authority", &error))?;
    }
    let builder = if cluster.insecure_skip_tls_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(insecure::AcceptAny(provider)))
    } else {
        builder.with_root_certificates(roots)
    };
    let certificate =
        load(user.client_certificate_data.as_ref(), user.client_certificate.as_ref(), "client-certificate")?;
    let key = load(user.client_key_data.as_ref(), user.client_key.as_ref(), "client-key")?;
    let (Some(certificate), Some(key)) = (certificate, key) else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain = chain.map_err(|error| bad("client-certificate", &error))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|error| bad("client-key", &error))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| bad("client-certificate", &error))
}

/// The transport to a cluster as a user.
pub fn transport(cluster: &Cluster, user: &User, headers: http::HeaderMap) -> Result<Https, Error> {
    let token = match (&user.token, &user.token_file) {
        (Some(token), _) if !token.is_empty() => Some(token.clone()),
        (_, Some(file)) => {
            let text = std::fs::read_to_string(file);
            Some(text.map_err(|error| Error::Config(format!("tokenFile {}: {error}", file.display())))?)
        }
        _ => None,
    };
    let authorization = match (token, &user.username) {
        (Some(token), _) => Some(format!("Bearer {}", token.trim())),
        (None, Some(name)) => {
            let pair = format!("{name}:{}", user.password.as_deref().unwrap_or_default());
            Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
        }
        _ => None,
    };
    let authorization = authorization
        .map(|text| HeaderValue::from_str(&text).map_err(|error| Error::Config(format!("token: {error}"))))
        .transpose()?;
    Https::new(Options {
        server: cluster.server.clone(),
        tls: Arc::new(tls_config(cluster, user)?),
        tls_server_name: cluster.tls_server_name.clone(),
        authorization,
        headers,
    })
}

/// `insecure-skip-tls-verify`.
mod insecure {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};

    #[derive(Debug)]
    pub(super) struct AcceptAny(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for AcceptAny {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
