//! `create configmap` and `create secret`: keys and values of literals and files.

use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::Digest;

use super::generators::{Made, made_flags, name, send};
use crate::command::{Command, Invocation};
use crate::commands::boxed;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind};

const LITERAL: Flag =
    Flag::new("from-literal", Kind::Array, "", "A key with its value (mykey=somevalue); may be repeated");
const FILE: Flag =
    Flag::new("from-file", Kind::Texts, "", "A file, or key=file, or a directory; may be repeated");
const ENV_FILE: Flag = Flag::new("from-env-file", Kind::Texts, "", "A file of lines key=val");
const HASH: Flag = Flag::switch("append-hash", "Append a hash of the object to its name");

/// `create configmap`.
pub const CONFIG_MAP: Command = Command {
    name: "configmap",
    aliases: &["cm"],
    usage: "configmap NAME [--from-file=[key=]source] [--from-literal=key1=value1] [--dry-run=server|client|none]",
    short: "Create a config map from a local file, directory or literal value",
    flags: made_flags![LITERAL, FILE, ENV_FILE, HASH],
    run: boxed!(config_map),
    ..Command::EMPTY
};

/// `create secret`.
pub const SECRET: Command = Command {
    name: "secret",
    usage: "secret (docker-registry | generic | tls)",
    short: "Create a secret using a specified subcommand",
    long: "Create a secret with a specified type.\n\n docker-registry holds the credentials of a registry, generic any keys and files, tls a certificate and its key.",
    subcommands: &[
        Command {
            name: "docker-registry",
            usage: "docker-registry NAME --docker-username=user --docker-password=password --docker-email=email [--docker-server=string] [--from-file=[key=]source] [--dry-run=server|client|none]",
            short: "Create a secret for use with a Docker registry",
            flags: made_flags![
                HASH,
                Flag::new("docker-email", Kind::Text, "", "Email for Docker registry"),
                Flag::new("docker-password", Kind::Text, "", "Password for Docker registry authentication"),
                Flag::new(
                    "docker-server",
                    Kind::Text,
                    "https://index.docker.io/v1/",
                    "Server location for Docker registry"
                ),
                Flag::new("docker-username", Kind::Text, "", "Username for Docker registry authentication"),
                Flag::new(
                    "from-file",
                    Kind::Texts,
                    "",
                    "A file that is the key .dockerconfigjson, or key=file"
                ),
            ],
            run: boxed!(docker_registry),
            ..Command::EMPTY
        },
        Command {
            name: "generic",
            usage: "generic NAME [--type=string] [--from-file=[key=]source] [--from-literal=key1=value1] [--dry-run=server|client|none]",
            short: "Create a secret from a local file, directory, or literal value",
            flags: made_flags![
                LITERAL,
                FILE,
                ENV_FILE,
                HASH,
                Flag::new("type", Kind::Text, "", "The type of secret to create"),
            ],
            run: boxed!(generic),
            ..Command::EMPTY
        },
        Command {
            name: "tls",
            usage: "tls NAME --cert=path/to/cert/file --key=path/to/key/file [--dry-run=server|client|none]",
            short: "Create a TLS secret",
            flags: made_flags![
                HASH,
                Flag::new("cert", Kind::Text, "", "File with the certificate in PEM"),
                Flag::new("key", Kind::Text, "", "File with the certificate's private key"),
            ],
            run: boxed!(tls),
            ..Command::EMPTY
        },
    ],
    ..Command::EMPTY
};

const SECRETS: Made = Made::namespaced("", "secrets", "failed to create secret");

async fn config_map(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let mut object =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name(invocation)?}});
    let (mut text, mut binary) = (Map::new(), Map::new());
    for (key, bytes) in gather(invocation, Holder::ConfigMap)? {
        match String::from_utf8(bytes) {
            Ok(value) => text.insert(key, value.into()),
            Err(error) => binary.insert(key, base64(error.as_bytes()).into()),
        };
    }
    if !text.is_empty() {
        object["data"] = text.into();
    }
    if !binary.is_empty() {
        object["binaryData"] = binary.into();
    }
    hashed(invocation, &mut object);
    send(invocation, object, Made::namespaced("", "configmaps", "failed to create configmap:")).await
}

async fn generic(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let pairs = gather(invocation, Holder::Secret)?;
    send_secret(invocation, invocation.values.text("type"), pairs).await
}

async fn docker_registry(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    name(invocation)?;
    let text = |flag: &str| values.text(flag);
    let given = !text("docker-username").is_empty()
        && !text("docker-password").is_empty()
        && !text("docker-server").is_empty();
    let mut pairs = Pairs::new(Holder::Secret, "");
    if !values.texts("from-file").is_empty() {
        for source in values.texts("from-file") {
            let source = if source.contains('=') { source } else { format!(".dockerconfigjson={source}") };
            pairs.file(&source)?;
        }
    } else if given {
        let auth = format!("{}:{}", text("docker-username"), text("docker-password"));
        let mut entry = json!({
            "username": text("docker-username"), "password": text("docker-password"),
            "email": text("docker-email"), "auth": base64(auth.as_bytes()),
        });
        if let Some(entry) = entry.as_object_mut() {
            entry.retain(|_, value| value != "");
        }
        let fields = ["username", "password", "email", "auth"].map(|field| {
            entry.get(field).map(|value| format!("\"{field}\":{}", crate::printers::json::compact(value)))
        });
        let fields: Vec<String> = fields.into_iter().flatten().collect();
        let server = crate::printers::json::compact(&json!(text("docker-server")));
        let config = format!("{{\"auths\":{{{server}:{{{}}}}}}}", fields.join(","));
        pairs.add(".dockerconfigjson", config.into_bytes())?;
    } else {
        return Err(message(
            "either --from-file or the combination of --docker-username, --docker-password and --docker-server is required",
        ));
    }
    send_secret(invocation, "kubernetes.io/dockerconfigjson", pairs.found).await
}

async fn tls(invocation: &Invocation<'_>) -> Result<(), Failure> {
    name(invocation)?;
    let (certificate, key) = (invocation.values.text("cert"), invocation.values.text("key"));
    if certificate.is_empty() || key.is_empty() {
        return Err(message("key and cert must be specified"));
    }
    let read = |path: &str| {
        std::fs::read(path).map_err(|error| {
            message(format!("Cannot read file {path}, open {path}: {}", crate::text::io_words(&error)))
        })
    };
    let pairs = vec![("tls.crt".to_owned(), read(certificate)?), ("tls.key".to_owned(), read(key)?)];
    check_pair(&pairs[0].1, &pairs[1].1)?;
    send_secret(invocation, "kubernetes.io/tls", pairs).await
}

/// The certificate and the key must belong together, in Go's words where they do not.
fn check_pair(certificate: &[u8], key: &[u8]) -> Result<(), Failure> {
    for (what, bytes, marker) in
        [("certificate", certificate, "-----BEGIN CERTIFICATE-----"), ("key", key, "PRIVATE KEY-----")]
    {
        if !String::from_utf8_lossy(bytes).contains(marker) {
            return Err(message(format!("tls: failed to find any PEM data in {what} input")));
        }
    }
    let user = client::kubeconfig::User {
        client_certificate_data: Some(base64(certificate)),
        client_key_data: Some(base64(key)),
        ..client::kubeconfig::User::default()
    };
    let cluster = client::kubeconfig::Cluster { insecure_skip_tls_verify: true, ..Default::default() };
    client::kubeconfig::tls_config(&cluster, &user)
        .map(drop)
        .map_err(|_| message("tls: private key does not match public key"))
}

async fn send_secret(
    invocation: &Invocation<'_>,
    kind: &str,
    pairs: Vec<(String, Vec<u8>)>,
) -> Result<(), Failure> {
    let mut object = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name(invocation)?}});
    let data: Map<String, Value> =
        pairs.into_iter().map(|(key, bytes)| (key, base64(&bytes).into())).collect();
    if !data.is_empty() {
        object["data"] = data.into();
    }
    if !kind.is_empty() {
        object["type"] = kind.into();
    }
    hashed(invocation, &mut object);
    send(invocation, object, SECRETS).await
}

/// `--append-hash`: kubectl's hash of the object's contents, which kustomize shares.
fn hashed(invocation: &Invocation<'_>, object: &mut Value) {
    if !invocation.values.on("append-hash") {
        return;
    }
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    object["metadata"]["name"] = format!("{name}-{}", hash(object)).into();
}

fn hash(object: &Value) -> String {
    let kind = object["kind"].as_str().unwrap_or_default();
    let data = object.get("data").cloned().unwrap_or_else(|| json!({}));
    let mut encoded = json!({"kind": kind, "name": object["metadata"]["name"], "data": data});
    if kind == "Secret" {
        encoded["type"] = object.get("type").cloned().unwrap_or_else(|| "".into());
    } else if let Some(binary) = object.get("binaryData") {
        encoded["binaryData"] = binary.clone();
    }
    let digest = sha2::Sha256::digest(crate::printers::json::compact(&encoded));
    let digest: String = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    // Digits that could read as words are replaced.
    let letter = |c: char| match c {
        '0' => 'g',
        '1' => 'h',
        '3' => 'k',
        'a' => 'm',
        'e' => 't',
        other => other,
    };
    digest.chars().map(letter).collect()
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What the keys are put in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    ConfigMap,
    Secret,
}

/// Keys and values in the order in which they were named.
struct Pairs<'a> {
    holder: Holder,
    name: &'a str,
    found: Vec<(String, Vec<u8>)>,
}

/// Keys and values of literals and files.
fn gather(invocation: &Invocation<'_>, holder: Holder) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let values = &invocation.values;
    let mut pairs = Pairs::new(holder, name(invocation)?);
    let (files, literals, lines) =
        (values.texts("from-file"), values.texts("from-literal"), values.texts("from-env-file"));
    if !(lines.is_empty() || files.is_empty() && literals.is_empty()) {
        return Err(message("from-env-file cannot be combined with from-file or from-literal"));
    }
    // kubectl reads the literals of Secrets first, those of ConfigMaps last.
    if holder == Holder::Secret {
        literals.iter().try_for_each(|literal| pairs.literal(literal))?;
    }
    files.iter().try_for_each(|file| pairs.file(file))?;
    if holder == Holder::ConfigMap {
        literals.iter().try_for_each(|literal| pairs.literal(literal))?;
    }
    lines.iter().try_for_each(|file| pairs.lines(invocation, file))?;
    Ok(pairs.found)
}

impl<'a> Pairs<'a> {
    fn new(holder: Holder, name: &'a str) -> Self {
        Self { holder, name, found: Vec::new() }
    }

    fn add(&mut self, key: &str, value: Vec<u8>) -> Result<(), Failure> {
        let problems = model::names::config_key(key);
        let known = self.found.iter().find(|(own, _)| own == key);
        match self.holder {
            Holder::Secret if !problems.is_empty() => {
                Err(message(format!("{key:?} is not valid key name for a Secret {}", problems.join(";"))))
            }
            Holder::ConfigMap if !problems.is_empty() => Err(message(format!(
                "{key:?} is not a valid key name for a ConfigMap: {}",
                problems.join(",")
            ))),
            Holder::Secret if known.is_some() => {
                Err(message(format!("cannot add key {key}, another key by that name already exists")))
            }
            Holder::ConfigMap if known.is_some() => {
                let text = known.is_some_and(|(_, bytes)| std::str::from_utf8(bytes).is_ok());
                let place = if text { "Data" } else { "BinaryData" };
                Err(message(format!(
                    "cannot add key {key:?}, another key by that name already exists in {place} for ConfigMap {:?}",
                    self.name
                )))
            }
            _ => {
                self.found.push((key.to_owned(), value));
                Ok(())
            }
        }
    }

    fn literal(&mut self, literal: &str) -> Result<(), Failure> {
        let pair = literal.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) =
            pair.ok_or_else(|| message(format!("invalid literal source {literal}, expected key=value")))?;
        self.add(key, unquoted(value).as_bytes().to_vec())
    }

    fn file(&mut self, source: &str) -> Result<(), Failure> {
        let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let (key, path) = match source.split('=').collect::<Vec<_>>().as_slice() {
            [path] => (base(path), *path),
            ["", path] => return Err(message(format!("key name for file path {path} missing"))),
            [key, ""] => return Err(message(format!("file path for key name {key} missing"))),
            [key, path] => ((*key).to_owned(), *path),
            _ => return Err(message("key names or file paths cannot contain '='")),
        };
        let facts = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if !facts.is_dir() {
            return self.add(&key, std::fs::read(path).map_err(|error| unreadable(path, &error))?);
        }
        if source.contains('=') {
            return Err(message("cannot give a key name for a directory path"));
        }
        let entries = std::fs::read_dir(path).map_err(|error| {
            message(format!("error listing files in {path}: {}", crate::text::io_words(&error)))
        })?;
        let is_regular = |path: &Path| path.symlink_metadata().is_ok_and(|facts| facts.is_file());
        let mut files: Vec<_> =
            entries.flatten().map(|entry| entry.path()).filter(|path| is_regular(path)).collect();
        files.sort();
        for file in files {
            let name = file.display().to_string();
            let bytes = std::fs::read(&file).map_err(|error| unreadable(&name, &error))?;
            self.add(&base(&name), bytes)?;
        }
        Ok(())
    }

    /// A file of lines `key=value`; a key alone takes its value from the environment.
    fn lines(&mut self, invocation: &Invocation<'_>, path: &str) -> Result<(), Failure> {
        let facts = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if facts.is_dir() {
            let what = if self.holder == Holder::Secret { "secret" } else { "config" };
            return Err(message(format!("env {what} file cannot be a directory")));
        }
        let bytes = std::fs::read(path).map_err(|error| unreadable(path, &error))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| message(format!("env file {path} contains invalid utf-8 bytes")))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        for line in text.lines().map(str::trim_start) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = match line.split_once('=') {
                Some((key, value)) => (key, value.to_owned()),
                None => match invocation.context.environment.get(line) {
                    Some(value) => (line, value.clone()),
                    None => continue,
                },
            };
            let problems = model::names::strict_env_name(key);
            if !problems.is_empty() {
                return Err(message(format!("{key:?} is not a valid key name: {}", problems.join(";"))));
            }
            self.add(key, value.into_bytes())?;
        }
        Ok(())
    }
}

fn unreadable(path: &str, error: &std::io::Error) -> Failure {
    message(format!("error reading {path}: {}", crate::text::io_words(error)))
}

/// A value without the quotes around it.
fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::hash;

    #[test]
    fn hashes_are_kubectls() {
        // The rows of upstream's hash_test.go, through their encodings.
        let map =
            |data: serde_json::Value| json!({"kind": "ConfigMap", "metadata": {"name": ""}, "data": data});
        assert_eq!(hash(&json!({"kind": "ConfigMap", "metadata": {"name": ""}})), "42745tchd9");
        assert_eq!(hash(&map(json!({"one": ""}))), "9g67k2htb6");
        let secret = json!({"kind": "Secret", "type": "my-type", "metadata": {"name": ""}});
        assert_eq!(hash(&secret), "t75bgf6ctb");
    }
}
