//! Service-account tokens for Pods: asked for with the Pod's bound reference, renewed when four fifths of their life are
//! over (or a day has passed).

use client::{Client, Path};
use http::Method;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use model::Status;
use model::tree::TreeExt;
use podlogic::pod;
use serde_json::{Value, json};

/// What upstream gives a projection that does not say.
const LIFE_S: i64 = 3600;
const RENEW_MAX_S: i64 = 24 * 3600;

/// Which token: audience and life.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenKey {
    /// Audience; empty is the API server's.
    pub audience: String,
    /// Life in seconds.
    pub life_s: i64,
}

impl TokenKey {
    /// Of a projection.
    pub fn new(audience: Option<&str>, life_s: Option<i64>) -> Self {
        Self { audience: audience.unwrap_or_default().to_owned(), life_s: life_s.unwrap_or(LIFE_S) }
    }
}

/// A token in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The token.
    pub text: String,
    /// When to ask for the next one.
    pub renew_at: Timestamp,
}

/// Asks for a token.
///
/// # Errors
/// What the API said, in upstream's words.
pub async fn request(client: &Client, pod: &Pod, key: &TokenKey, now: Timestamp) -> Result<Token, Status> {
    let account = pod::spec(pod).service_account_name.as_deref().unwrap_or("default");
    let path =
        Path::collection("", "v1", "serviceaccounts", Some(pod::namespace(pod))).join(account).join("token");
    let audiences: Vec<&str> = if key.audience.is_empty() { Vec::new() } else { vec![&key.audience] };
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {
            "audiences": audiences, "expirationSeconds": key.life_s,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod::name(pod), "uid": pod::uid(pod)},
        },
    });
    let answer: Value =
        client.call(Method::POST, path.as_str(), Some(&body)).await.map_err(|mut status| {
            status.message = format!("failed to fetch token: {}", status.message);
            status
        })?;
    let expires = model::time::parse(answer.text(&["status", "expirationTimestamp"])).unwrap_or(now);
    let life_s = expires.as_second() - now.as_second();
    let renew_at = now.as_second() + (life_s * 4 / 5).clamp(1, RENEW_MAX_S);
    Ok(Token {
        text: answer.text(&["status", "token"]).to_owned(),
        renew_at: Timestamp::from_second(renew_at).unwrap_or(now),
    })
}
