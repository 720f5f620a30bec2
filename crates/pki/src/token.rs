//! Service-account tokens: JWTs signed with ES256 (RFC 7515, RFC 7519), bound and expiring, as upstream's
//! (k8s.io/kubernetes/pkg/serviceaccount).

use std::fs;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, EcdsaKeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Error;
use crate::authority::write_private;
use crate::verified::Verified;

/// Longest token read.
const TOKEN_BYTES_MAX: usize = 16 << 10;

/// An object that a token is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Name.
    pub name: String,
    /// Uid.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The private claims.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    /// Namespace of the service account.
    pub namespace: String,
    /// Node that the Pod runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Bound>,
    /// Pod that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Bound>,
    /// Secret that the token is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Bound>,
    /// The service account.
    pub serviceaccount: Bound,
    /// When use is worth a warning (seconds since the epoch).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// Claims of a service-account token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Audiences.
    pub aud: Vec<String>,
    /// Expiry, seconds since the epoch.
    pub exp: i64,
    /// Issued, seconds since the epoch.
    pub iat: i64,
    /// Issuer.
    pub iss: String,
    /// Unique id.
    pub jti: String,
    /// Private claims.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
    /// Not before, seconds since the epoch.
    pub nbf: i64,
    /// `system:serviceaccount:<namespace>:<name>`.
    pub sub: String,
}

/// Signs and checks tokens with one key.
pub struct TokenSigner {
    pair: EcdsaKeyPair,
    key_id: String,
    random: ring::rand::SystemRandom,
    verified: Verified,
}

/// Head of a SubjectPublicKeyInfo of a P-256 key (RFC 5480): the uncompressed point follows.
const PUBLIC_KEY_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

impl TokenSigner {
    /// Loads a key (PKCS#8, as PEM), or makes one.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let broken = |error: &dyn std::fmt::Display| Error::broken(path.display().to_string(), error);
        if !path.exists() {
            let pair = rcgen::KeyPair::generate().map_err(|error| broken(&error))?;
            write_private(path, pair.serialize_pem().as_bytes())?;
        }
        let text = fs::read_to_string(path)
            .map_err(|error| Error::File { path: path.display().to_string(), error })?;
        let pair = rcgen::KeyPair::from_pem(&text).map_err(|error| broken(&error))?;
        let random = ring::rand::SystemRandom::new();
        let algorithm = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &pair.serialize_der(), &random)
            .map_err(|error| broken(&error))?;
        let spki = [&PUBLIC_KEY_HEAD, pair.public_key().as_ref()].concat();
        let key_id = URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, &spki));
        Ok(Self { pair, key_id, random, verified: Verified::default() })
    }

    /// Signs a token.
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let header = json!({"alg": "ES256", "kid": self.key_id});
        let body = serde_json::to_vec(claims).map_err(|error| Error::broken("claims", error))?;
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(body));
        let signed = self.pair.sign(&self.random, text.as_bytes());
        let signed = signed.map_err(|error| Error::broken("signature", error))?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signed.as_ref())))
    }

    /// The claims of a token that this key signed; `None` if it is no such token. Issuer, audience, times and what it
    /// is bound to are the caller's to check.
    pub fn verify(&self, token: &str) -> Option<Arc<Claims>> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        self.verified.claims(token, || self.check(token))
    }

    fn check(&self, token: &str) -> Option<Claims> {
        let (text, signed) = token.rsplit_once('.')?;
        let (header, body) = text.split_once('.')?;
        let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        // The algorithm is ours to choose, never the token's.
        if header["alg"] != "ES256" {
            return None;
        }
        let signed = URL_SAFE_NO_PAD.decode(signed).ok()?;
        let key =
            signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, self.pair.public_key());
        key.verify(text.as_bytes(), &signed).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }

    /// The public key as a JSON Web Key Set (RFC 7517), served at `/openid/v1/jwks`.
    pub fn key_set(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (&point[1..33], &point[33..65]);
        json!({"keys": [{
            "use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_untouched_tokens_verify() {
        let folder = tempfile::tempdir().unwrap();
        let signer = TokenSigner::open(&folder.path().join("sa.key")).unwrap();
        let claims = Claims { sub: "system:serviceaccount:a:b".into(), exp: 7, ..Claims::default() };
        let token = signer.sign(&claims).unwrap();
        assert_eq!(signer.verify(&token).as_deref(), Some(&claims));
        assert_eq!(signer.verify(&token).as_deref(), Some(&claims), "again, from what is kept");
        let again = TokenSigner::open(&folder.path().join("sa.key")).unwrap();
        assert!(again.verify(&token).is_some(), "the key is kept");
        let other = TokenSigner::open(&folder.path().join("other.key")).unwrap();
        assert!(other.verify(&token).is_none(), "another key");
        let parts: Vec<&str> = token.split('.').collect();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        for bad in
            [format!("{}.{}.", none, parts[1]), format!("{}.{}.{}", parts[0], parts[0], parts[2]), "x".into()]
        {
            assert!(signer.verify(&bad).is_none(), "{bad}");
        }
    }
}
