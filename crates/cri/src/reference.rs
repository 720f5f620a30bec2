//! Image references: the grammar of `github.com/distribution/reference`, with docker's normalisation (`nginx` is
//! `docker.io/library/nginx:latest`). Pure, so that the node agent can tell `InvalidImageName` without an image store.

use std::fmt;

/// The registry of short names.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of names without one.
pub const DEFAULT_TAG: &str = "latest";
/// The old name of the default registry, rewritten to [`DEFAULT_DOMAIN`].
const LEGACY_DOMAIN: &str = "index.docker.io";
/// The folder of official images in the default registry.
const OFFICIAL_FOLDER: &str = "library/";
/// Bytes of a repository name, at most.
const NAME_LENGTH_MAX: usize = 255;
/// Bytes of a tag, at most.
const TAG_LENGTH_MAX: usize = 128;

/// Why a text is not an image reference. The texts are those that upstream shows in events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The text does not follow the grammar.
    #[error("invalid reference format")]
    InvalidFormat,
    /// The repository has capital letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// The text is 64 hexadecimal digits: an id, not a name.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// The name is longer than 255 bytes.
    #[error("repository name must not be more than 255 characters")]
    NameTooLong,
    /// The digest's algorithm is not one of sha256, sha384 and sha512.
    #[error("unsupported digest algorithm")]
    UnsupportedDigest,
    /// The digest's length is not that of its algorithm.
    #[error("invalid checksum digest length")]
    DigestLength,
    /// The digest has other characters than lower-case hexadecimal digits.
    #[error("invalid checksum digest format")]
    DigestFormat,
}

/// A normalised image reference.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Registry with its port, if any: `docker.io`, `localhost:5000`, `[::1]:5000`.
    pub domain: String,
    /// Repository within the registry: `library/nginx`.
    pub path: String,
    /// Tag, if one is written.
    pub tag: Option<String>,
    /// Manifest digest `sha256:…`, if one is written.
    pub digest: Option<String>,
}

impl Reference {
    /// Parses and normalises what a user may write in `spec.containers[].image`; no tag is added.
    ///
    /// # Errors
    /// Says in upstream's words why the text is no reference.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if is_identifier(text) {
            return Err(ReferenceError::Identifier(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        let repository = remainder.split(':').next().unwrap_or_default();
        if repository.chars().any(char::is_uppercase) {
            return Err(ReferenceError::Uppercase(repository.to_owned()));
        }
        Self::parse_parts(&domain, &remainder)
    }

    fn parse_parts(domain: &str, remainder: &str) -> Result<Self, ReferenceError> {
        let (named, digest) = match remainder.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (remainder, None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (named, None),
        };
        if !is_domain(domain) || !path.split('/').all(is_path_component) || !tag.is_none_or(is_tag) {
            return Err(ReferenceError::InvalidFormat);
        }
        if let Some(digest) = digest {
            if !is_digest_shaped(digest) {
                return Err(ReferenceError::InvalidFormat);
            }
            check_digest(digest)?;
        }
        if path.len() > NAME_LENGTH_MAX {
            return Err(ReferenceError::NameTooLong);
        }
        Ok(Self {
            domain: domain.to_owned(),
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// Parses as a runtime does before it pulls (containerd's `ParseDockerRef`): a name with neither tag nor digest
    /// gets `latest`, and a tag beside a digest is dropped.
    ///
    /// # Errors
    /// As [`Reference::parse`].
    pub fn parse_for_pull(text: &str) -> Result<Self, ReferenceError> {
        let mut reference = Self::parse(text)?;
        if reference.digest.is_some() {
            reference.tag = None;
        } else if reference.tag.is_none() {
            reference.tag = Some(DEFAULT_TAG.to_owned());
        }
        Ok(reference)
    }

    /// Registry and repository, without tag and digest: `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name with another digest and no tag: what `status.containerStatuses[].imageID` shows.
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}/{}@{digest}", self.domain, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

/// Adds `:latest` to a written name that has neither tag nor digest, and leaves the rest of the text as it is (what
/// the kubelet does with `spec.containers[].image` before it asks the runtime).
///
/// # Errors
/// As [`Reference::parse`].
pub fn apply_default_tag(text: &str) -> Result<String, ReferenceError> {
    let reference = Reference::parse(text)?;
    if reference.tag.is_none() && reference.digest.is_none() {
        return Ok(format!("{text}:{DEFAULT_TAG}"));
    }
    Ok(text.to_owned())
}

/// Checks a digest: known algorithm, right length, lower-case hexadecimal digits.
///
/// # Errors
/// Says which of the three is wrong.
pub fn check_digest(digest: &str) -> Result<(), ReferenceError> {
    let (algorithm, encoded) = digest.split_once(':').ok_or(ReferenceError::InvalidFormat)?;
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(ReferenceError::UnsupportedDigest),
    };
    if encoded.len() != length {
        return Err(ReferenceError::DigestLength);
    }
    if !encoded.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(ReferenceError::DigestFormat);
    }
    Ok(())
}

/// Whether the text is an image id without its algorithm: 64 lower-case hexadecimal digits.
fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Separates the registry from the rest as docker does: the first component is a registry if it has a dot or a colon,
/// is `localhost`, or has a capital letter (which no repository may have).
fn split_domain(text: &str) -> (String, String) {
    let (domain, remainder) = match text.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(|character| character.is_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    let domain = if domain == LEGACY_DOMAIN { DEFAULT_DOMAIN } else { domain };
    if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
        return (domain.to_owned(), format!("{OFFICIAL_FOLDER}{remainder}"));
    }
    (domain.to_owned(), remainder.to_owned())
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = if let Some(rest) = domain.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        if address.is_empty() || !address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') {
            return false;
        }
        match rest.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if rest.is_empty() => (None, None),
            None => return false,
        }
    } else {
        match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        }
    };
    let host_valid = host.is_none_or(|host| host.split('.').all(is_domain_component));
    host_valid && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_domain_component(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last))
        if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// Runs of `[a-z0-9]` joined by one of `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let is_word = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(is_word) || !bytes.last().is_some_and(is_word) {
        return false;
    }
    bytes.split(is_word).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = text.as_bytes();
    bytes.len() <= TAG_LENGTH_MAX
        && bytes.first().is_some_and(|byte| is_word(*byte))
        && bytes.iter().all(|byte| is_word(*byte) || matches!(byte, b'.' | b'-'))
}

/// The looser shape of a digest within a reference; its algorithm and length are checked afterwards.
fn is_digest_shaped(text: &str) -> bool {
    let Some((algorithm, encoded)) = text.split_once(':') else { return false };
    let part_valid = |part: &str| {
        part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    algorithm.split(['-', '_', '+', '.']).all(part_valid)
        && encoded.len() >= 32
        && encoded.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn references_are_normalised_as_docker_does() {
        let digest = format!("sha256:{HEX}");
        let cases: Vec<(String, Result<String, ReferenceError>)> = vec![
            ("nginx".into(), Ok("docker.io/library/nginx:latest".into())),
            ("nginx:1.14.2".into(), Ok("docker.io/library/nginx:1.14.2".into())),
            ("bitnami/redis".into(), Ok("docker.io/bitnami/redis:latest".into())),
            ("docker.io/nginx".into(), Ok("docker.io/library/nginx:latest".into())),
            ("index.docker.io/nginx".into(), Ok("docker.io/library/nginx:latest".into())),
            ("localhost/app".into(), Ok("localhost/app:latest".into())),
            ("localhost:5000/app".into(), Ok("localhost:5000/app:latest".into())),
            ("[::1]:5000/app:v1".into(), Ok("[::1]:5000/app:v1".into())),
            ("registry.k8s.io/pause:3.10".into(), Ok("registry.k8s.io/pause:3.10".into())),
            ("a__b/c-d/e--f".into(), Ok("docker.io/a__b/c-d/e--f:latest".into())),
            (format!("nginx@{digest}"), Ok(format!("docker.io/library/nginx@{digest}"))),
            (format!("nginx:1@{digest}"), Ok(format!("docker.io/library/nginx@{digest}"))),
            ("Host/app".into(), Ok("Host/app:latest".into())),
            ("nginx:".into(), Err(ReferenceError::InvalidFormat)),
            ("".into(), Err(ReferenceError::InvalidFormat)),
            (" nginx".into(), Err(ReferenceError::InvalidFormat)),
            ("nginx latest".into(), Err(ReferenceError::InvalidFormat)),
            ("a___b".into(), Err(ReferenceError::InvalidFormat)),
            ("-a".into(), Err(ReferenceError::InvalidFormat)),
            ("a//b".into(), Err(ReferenceError::InvalidFormat)),
            ("https://x/y".into(), Err(ReferenceError::InvalidFormat)),
            ("NGINX".into(), Err(ReferenceError::Uppercase("library/NGINX".into()))),
            ("nginx:a:b".into(), Err(ReferenceError::InvalidFormat)),
            (HEX.into(), Err(ReferenceError::Identifier(HEX.into()))),
            ("nginx@sha256:abc".into(), Err(ReferenceError::InvalidFormat)),
            (format!("nginx@sha256:{}", &HEX[..40]), Err(ReferenceError::DigestLength)),
            (format!("nginx@md5:{}", &HEX[..32]), Err(ReferenceError::UnsupportedDigest)),
            (format!("x/{}", "a".repeat(300)), Err(ReferenceError::NameTooLong)),
            (format!("x:{}", "a".repeat(129)), Err(ReferenceError::InvalidFormat)),
        ];
        for (text, expected) in cases {
            let parsed = Reference::parse_for_pull(&text).map(|reference| reference.to_string());
            assert_eq!(parsed, expected, "{text:?}");
        }
    }

    #[test]
    fn the_default_tag_is_added_to_the_text_as_written() {
        assert_eq!(apply_default_tag("nginx").unwrap(), "nginx:latest");
        assert_eq!(apply_default_tag("a/b:c").unwrap(), "a/b:c");
        assert!(apply_default_tag("bad name").is_err());
    }
}
