//! `registries.yaml` in k3s' format, and from it the plan of a pull: which hosts to ask, in which order, how.
//!
//! [`EXAMPLE`] shows and explains all of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cri::image::AuthConfig;
use serde::Deserialize;

/// The file with every setting, explained.
pub const EXAMPLE: &str = include_str!("../registries.example.yaml");
/// Bytes of the file, at most.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The host behind the default registry's name.
const DEFAULT_REGISTRY_HOST: &str = "registry-1.docker.io";

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registries {
    /// By registry name.
    #[serde(default)]
    pub mirrors: BTreeMap<String, Mirror>,
    /// By host and port.
    #[serde(default)]
    pub configs: BTreeMap<String, HostConfig>,
    /// Credentials by URL or host, as older files have them; `configs` comes first.
    #[serde(default)]
    pub auths: BTreeMap<String, Auth>,
}

/// Mirrors of one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mirror {
    /// URLs.
    #[serde(default, alias = "endpoints")]
    pub endpoint: Vec<String>,
    /// Rewrites of the repository; the first expression that matches is used, in the order of their text.
    #[serde(default, alias = "rewrites")]
    pub rewrite: BTreeMap<String, String>,
}

/// Settings of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Credentials.
    pub auth: Option<Auth>,
    /// TLS.
    pub tls: Option<Tls>,
}

/// Credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// User name.
    #[serde(default)]
    pub username: String,
    /// Password.
    #[serde(default)]
    pub password: String,
    /// Base64 of `user:password`.
    #[serde(default)]
    pub auth: String,
    /// OAuth2 refresh token.
    #[serde(default, alias = "identitytoken")]
    pub identity_token: String,
}

/// TLS settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// CA certificates (PEM) trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Client certificate (PEM).
    pub cert_file: Option<PathBuf>,
    /// Its key (PEM).
    pub key_file: Option<PathBuf>,
    /// Accept any certificate.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

/// Credentials to answer a registry's challenge with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// OAuth2 refresh token.
    pub identity_token: String,
    /// Bearer token to send as it is.
    pub registry_token: String,
}

/// One host to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// `http` or `https`.
    pub scheme: String,
    /// Host with port, if one is written.
    pub host: String,
    /// Path of the API: `/v2`.
    pub path: String,
    /// Repository to ask for.
    pub repository: String,
    /// Registry that this host mirrors (`ns=` of requests); `None` for the registry itself.
    pub namespace: Option<String>,
    /// Credentials.
    pub credentials: Option<Credentials>,
    /// TLS settings.
    pub tls: Tls,
}

impl Endpoint {
    /// The URL of something in the repository.
    pub fn url(&self, kind: &str, object: &str) -> String {
        let base =
            format!("{}://{}{}/{}/{kind}/{object}", self.scheme, self.host, self.path, self.repository);
        match &self.namespace {
            Some(namespace) => format!("{base}?ns={}", namespace.replace(':', "%3A")),
            None => base,
        }
    }
}

impl Registries {
    /// Reads the file; a missing one is empty. Blocks.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, String> {
        let described = |error: String| format!("registries file {}: {error}", path.display());
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(described(error.to_string())),
            Ok(found) if found.len() > FILE_BYTES_MAX => {
                return Err(described(format!("larger than {FILE_BYTES_MAX} bytes")));
            }
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(path).map_err(|error| described(error.to_string()))?;
        Self::parse(&text).map_err(described)
    }

    /// Parses the file's text.
    ///
    /// # Errors
    /// Says what is wrong and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        let parsed: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        for (name, mirror) in &parsed.mirrors {
            for endpoint in &mirror.endpoint {
                split_endpoint(endpoint).map_err(|error| format!("mirrors[{name:?}]: {error}"))?;
            }
            for expression in mirror.rewrite.keys() {
                regex::Regex::new(expression)
                    .map_err(|error| format!("mirrors[{name:?}].rewrite: {expression:?}: {error}"))?;
            }
        }
        Ok(parsed)
    }

    /// The hosts to ask for a repository of a registry: mirrors in their order, then the registry itself.
    /// `requested` are the credentials of the pull; they are for the host they name, or for all.
    ///
    /// # Errors
    /// When the requested credentials cannot be decoded.
    pub fn plan(
        &self,
        domain: &str,
        repository: &str,
        requested: Option<&AuthConfig>,
    ) -> Result<Vec<Endpoint>, String> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        if let Some(mirror) = self.mirrors.get(domain).or_else(|| self.mirrors.get("*")) {
            let rewritten = rewrite(&mirror.rewrite, repository);
            for text in &mirror.endpoint {
                let (scheme, host, path) = split_endpoint(text)?;
                let itself = host == upstream_host(domain) && path == "/v2";
                endpoints.push(Endpoint {
                    repository: if itself { repository.to_owned() } else { rewritten.clone() },
                    namespace: (!itself).then(|| domain.to_owned()),
                    credentials: self.credentials(domain, &host, requested)?,
                    tls: self.tls(&host, None),
                    scheme,
                    host,
                    path,
                });
            }
        }
        let host = upstream_host(domain).to_owned();
        if !endpoints.iter().any(|endpoint| endpoint.namespace.is_none()) {
            let tls = self.tls(&host, Some(domain));
            let plain = is_loopback(&host) && !host.ends_with(":443") && tls == Tls::default();
            endpoints.push(Endpoint {
                scheme: if plain { "http" } else { "https" }.to_owned(),
                path: "/v2".to_owned(),
                repository: repository.to_owned(),
                namespace: None,
                credentials: self.credentials(domain, &host, requested)?,
                tls,
                host,
            });
        }
        Ok(endpoints)
    }

    fn config(&self, host: &str, domain: Option<&str>) -> Option<&HostConfig> {
        self.configs
            .get(host)
            .or_else(|| domain.and_then(|domain| self.configs.get(domain)))
            .or_else(|| self.configs.get("*"))
    }

    fn tls(&self, host: &str, domain: Option<&str>) -> Tls {
        self.config(host, domain).and_then(|config| config.tls.clone()).unwrap_or_default()
    }

    fn credentials(
        &self,
        domain: &str,
        host: &str,
        requested: Option<&AuthConfig>,
    ) -> Result<Option<Credentials>, String> {
        if let Some(auth) = requested
            && let Some(credentials) = requested_credentials(auth, domain, host)?
        {
            return Ok(Some(credentials));
        }
        let domain = (host == upstream_host(domain)).then_some(domain);
        let configured = self.config(host, domain).and_then(|config| config.auth.as_ref());
        let of_url = || {
            let named = |url: &str| {
                let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
                let server = rest.split('/').next().unwrap_or_default();
                server == host || domain == Some(server)
            };
            self.auths.iter().find(|(url, _)| named(url)).map(|(_, auth)| auth)
        };
        let Some(auth) = configured.or_else(of_url) else { return Ok(None) };
        let mut credentials = Credentials {
            username: auth.username.clone(),
            password: auth.password.clone(),
            identity_token: auth.identity_token.clone(),
            registry_token: String::new(),
        };
        if credentials.username.is_empty() && !auth.auth.is_empty() {
            (credentials.username, credentials.password) =
                decode_auth(&auth.auth).map_err(|error| format!("configs[{host:?}].auth.auth: {error}"))?;
        }
        Ok(Some(credentials))
    }
}

/// The credentials of a pull, if they are for this host.
fn requested_credentials(auth: &AuthConfig, domain: &str, host: &str) -> Result<Option<Credentials>, String> {
    if *auth == AuthConfig::default() {
        return Ok(None);
    }
    if !auth.server_address.is_empty() {
        let server =
            auth.server_address.split_once("://").map_or(auth.server_address.as_str(), |(_, rest)| rest);
        let server = server.split('/').next().unwrap_or_default();
        let upstream = upstream_host(domain);
        let for_upstream = host == upstream && (server == domain || server == format!("index.{domain}"));
        if server != host && !for_upstream {
            return Ok(None);
        }
    }
    let mut credentials = Credentials {
        username: auth.username.clone(),
        password: auth.password.clone(),
        identity_token: auth.identity_token.clone(),
        registry_token: auth.registry_token.clone(),
    };
    if credentials.username.is_empty() && credentials.identity_token.is_empty() && !auth.auth.is_empty() {
        (credentials.username, credentials.password) = decode_auth(&auth.auth)?;
    }
    Ok(Some(credentials))
}

fn decode_auth(text: &str) -> Result<(String, String), String> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text.trim())
        .map_err(|error| format!("credentials are not base64: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "credentials are not UTF-8".to_owned())?;
    let (user, password) = text
        .split_once(':')
        .ok_or_else(|| "credentials have no colon between user and password".to_owned())?;
    Ok((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

fn upstream_host(domain: &str) -> &str {
    if domain == cri::reference::DEFAULT_DOMAIN { DEFAULT_REGISTRY_HOST } else { domain }
}

/// Whether a host (with or without port) is this machine.
pub fn is_loopback(host: &str) -> bool {
    let name = host_name(host);
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A host without its port and brackets.
pub fn host_name(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    }
}

fn rewrite(rules: &BTreeMap<String, String>, repository: &str) -> String {
    for (expression, replacement) in rules {
        if let Ok(expression) = regex::Regex::new(expression)
            && expression.is_match(repository)
        {
            return expression.replace_all(repository, replacement.as_str()).into_owned();
        }
    }
    repository.to_owned()
}

/// Scheme, host and API path of an endpoint as written.
fn split_endpoint(text: &str) -> Result<(String, String, String), String> {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (scheme, rest),
        Some((scheme, _)) => {
            return Err(format!("endpoint {text:?}: scheme {scheme:?} is neither http nor https"));
        }
        None if is_loopback(text.split('/').next().unwrap_or_default()) => ("http", text),
        None => ("https", text),
    };
    let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    let path = path.trim_end_matches('/');
    let host_valid = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    let path_valid = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte));
    if !host_valid || !path_valid {
        return Err(format!("endpoint {text:?} is not a URL of scheme, host and path"));
    }
    let path = if path.is_empty() { "/v2".to_owned() } else { format!("/{path}") };
    Ok((scheme.to_owned(), host.to_owned(), path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
mirrors:
  docker.io:
    endpoint:
    - "https://mirror.example:5000"
    - "http://10.0.0.1:5000/proxy/v2"
    rewrite:
      "^library/(.*)": "hub/$1"
  "*":
    endpoint: ["http://localhost:5001"]
configs:
  mirror.example:5000:
    auth: {username: reader, password: secret}
    tls: {insecure_skip_verify: true}
  registry-1.docker.io:
    auth: {auth: dTpw}
"#;

    fn plan(file: &str, domain: &str, auth: Option<&AuthConfig>) -> Vec<(String, Option<String>)> {
        let registries = Registries::parse(file).unwrap();
        registries
            .plan(domain, "library/nginx", auth)
            .unwrap()
            .iter()
            .map(|endpoint| {
                let credentials = endpoint.credentials.as_ref();
                (
                    endpoint.url("manifests", "latest"),
                    credentials
                        .map(|credentials| format!("{}:{}", credentials.username, credentials.password)),
                )
            })
            .collect()
    }

    #[test]
    fn mirrors_come_first_and_the_registry_last() {
        assert_eq!(
            plan(FILE, "docker.io", None),
            vec![
                (
                    "https://mirror.example:5000/v2/hub/nginx/manifests/latest?ns=docker.io".to_owned(),
                    Some("reader:secret".to_owned())
                ),
                ("http://10.0.0.1:5000/proxy/v2/hub/nginx/manifests/latest?ns=docker.io".to_owned(), None),
                (
                    "https://registry-1.docker.io/v2/library/nginx/manifests/latest".to_owned(),
                    Some("u:p".to_owned())
                ),
            ]
        );
        assert_eq!(
            plan(FILE, "quay.io", None),
            vec![
                ("http://localhost:5001/v2/library/nginx/manifests/latest?ns=quay.io".to_owned(), None),
                ("https://quay.io/v2/library/nginx/manifests/latest".to_owned(), None),
            ]
        );
        assert_eq!(
            plan("# nothing\n", "localhost:5000", None),
            vec![("http://localhost:5000/v2/library/nginx/manifests/latest".to_owned(), None)]
        );
    }

    #[test]
    fn credentials_of_a_pull_go_where_they_belong() {
        let auth = |server: &str| AuthConfig {
            username: "a".to_owned(),
            password: "b".to_owned(),
            server_address: server.to_owned(),
            ..AuthConfig::default()
        };
        let cases = [
            ("", Some("a:b")),
            ("https://index.docker.io/v1/", Some("a:b")),
            ("docker.io", Some("a:b")),
            ("quay.io", None),
        ];
        for (server, expected) in cases {
            let plan = plan("", "docker.io", Some(&auth(server)));
            assert_eq!(plan[0].1.as_deref(), expected, "{server}");
        }
    }

    #[test]
    fn the_example_holds() {
        let example = Registries::parse(EXAMPLE).unwrap();
        assert_eq!(example.mirrors["docker.io"].endpoint.len(), 2);
        assert_eq!(example.configs["mirror.example:5000"].auth.as_ref().unwrap().username, "reader");
    }

    #[test]
    fn old_credentials_are_used() {
        let file = "auths: {\"https://registry-1.docker.io/v2\": {username: a, password: b}}";
        assert_eq!(plan(file, "docker.io", None)[0].1.as_deref(), Some("a:b"));
        assert_eq!(plan(file, "quay.io", None)[0].1, None);
    }

    #[test]
    fn wrong_files_are_refused() {
        let cases = [
            "mirrors: 5",
            "mirror: {}",
            "mirrors: {a: {endpoint: [\"ftp://x\"]}}",
            "mirrors: {a: {endpoint: [\"https://\"]}}",
            "mirrors: {a: {endpoint: [\"https://x y\"]}}",
            "mirrors: {a: {endpoint: [], rewrite: {\"(\": x}}}",
        ];
        for text in cases {
            assert!(Registries::parse(text).is_err(), "{text}");
        }
    }
}
