//! Content digests (`sha256:…`, `sha512:…`): checked text, and hashing while bytes pass by.

use std::fmt;
use std::io::{self, Read};

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256, Sha512};

/// A checked content digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// Checks a text.
    ///
    /// # Errors
    /// Names the text and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        cri::reference::check_digest(text).map_err(|error| format!("digest {text:?}: {error}"))?;
        if text.starts_with("sha384:") {
            return Err(format!("digest {text:?}: unsupported digest algorithm"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The sha256 digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", hex::encode(Sha256::digest(bytes))))
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Algorithm: `sha256`.
    pub fn algorithm(&self) -> &str {
        self.0.split(':').next().unwrap_or_default()
    }

    /// The hexadecimal digits.
    pub fn hex(&self) -> &str {
        self.0.split(':').nth(1).unwrap_or_default()
    }

    /// A hasher of this digest's algorithm.
    pub fn hasher(&self) -> Hasher {
        match self.algorithm() {
            "sha512" => Hasher::Sha512(Box::default()),
            _ => Hasher::Sha256(Box::default()),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Computes a digest step by step.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256.
    Sha256(Box<Sha256>),
    /// SHA-512.
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(state) => state.update(bytes),
            Self::Sha512(state) => state.update(bytes),
        }
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Digest {
        Digest(match self {
            Self::Sha256(state) => format!("sha256:{}", hex::encode(state.finalize())),
            Self::Sha512(state) => format!("sha512:{}", hex::encode(state.finalize())),
        })
    }
}

/// Hashes and counts what is read through it, and stops at a bound.
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
    bytes_max: u64,
}

impl<R: Read> HashingReader<R> {
    /// Wraps `inner`; reading more than `bytes_max` bytes is an error.
    pub fn new(inner: R, hasher: Hasher, bytes_max: u64) -> Self {
        Self { inner, hasher, bytes: 0, bytes_max }
    }

    /// The digest of what was read, and how many bytes it was.
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.bytes)
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.bytes += count as u64;
        if self.bytes > self.bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("content is larger than the limit of {} bytes", self.bytes_max),
            ));
        }
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// The chain ids of a stack of layers, bottom first, as the OCI image specification defines them.
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => diff_id.clone(),
            Some(previous) => Digest::of(format!("{previous} {diff_id}").as_bytes()),
        };
        chain.push(next);
    }
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_checked() {
        let valid = Digest::of(b"").to_string();
        assert_eq!(valid, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(Digest::parse(&valid).is_ok());
        for text in ["", "sha256:", "sha256:../../etc/passwd", "md5:0", &valid.to_uppercase(), &valid[..70]] {
            assert!(Digest::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn chains_follow_the_specification() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let chain = chain_ids(&[a.clone(), b.clone()]);
        assert_eq!(chain[0], a);
        assert_eq!(chain[1], Digest::of(format!("{a} {b}").as_bytes()));
    }

    #[test]
    fn reading_past_the_bound_is_an_error() {
        let mut reader = HashingReader::new(&b"12345"[..], Digest::of(b"").hasher(), 4);
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
    }
}
