//! Access as the API server decides it: TokenReview for bearer tokens, SubjectAccessReview for everybody
//! (kubelet's `authentication.webhook` and `authorization.mode: Webhook`). Answers are kept for a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use async_trait::async_trait;
use client::Client;
use http::{HeaderMap, Method};
use model::UserInfo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::access::{Access, AccessRequest, Refusal, certificate_user};

const TOKEN_TTL: Duration = Duration::from_secs(120);
const ALLOWED_TTL: Duration = Duration::from_secs(300);
const DENIED_TTL: Duration = Duration::from_secs(30);
/// Answers kept of each kind.
const ANSWERS_MAX: usize = 1024;

/// Answers with their ends.
struct Cache<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn get(&self, key: &K) -> Option<V> {
        let answers = self.0.lock();
        answers.get(key).filter(|(end, _)| *end > Instant::now()).map(|(_, value)| value.clone())
    }

    fn put(&self, key: K, value: V, ttl: Duration) {
        let now = Instant::now();
        let mut answers = self.0.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, (end, _)| *end > now);
        }
        // Full of what is still good: whoever fills it so fast has to ask again.
        if answers.len() >= ANSWERS_MAX {
            answers.clear();
        }
        answers.insert(key, (now + ttl, value));
    }
}

/// User name, groups, verb, subresource, node.
type Question = (String, Vec<String>, String, &'static str, String);

/// Asks the API server.
pub struct WebhookAccess {
    client: Client,
    tokens: Cache<String, Option<UserInfo>>,
    decisions: Cache<Question, bool>,
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The user in the status of a TokenReview, if the token is good.
fn reviewed_user(review: &Value) -> Option<UserInfo> {
    let status = &review["status"];
    if status["authenticated"] != true {
        return None;
    }
    let user = &status["user"];
    let groups: Vec<&str> =
        user["groups"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut found = UserInfo::authenticated(user["username"].as_str().unwrap_or_default(), &groups);
    found.uid = user["uid"].as_str().unwrap_or_default().into();
    Some(found)
}

impl WebhookAccess {
    /// Asks with this client, which needs to create TokenReviews and SubjectAccessReviews.
    pub fn new(client: Client) -> Self {
        Self { client, tokens: Cache::new(), decisions: Cache::new() }
    }

    async fn user(&self, request: &AccessRequest<'_>) -> Option<UserInfo> {
        if let Some(user) = certificate_user(request.peer) {
            return Some(user);
        }
        let token = bearer_token(request.headers)?.to_owned();
        if let Some(user) = self.tokens.get(&token) {
            return user;
        }
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "metadata": {}, "spec": {"token": token}});
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        match self.client.call::<Value>(Method::POST, path, Some(&review)).await {
            Ok(review) => {
                let user = reviewed_user(&review);
                let ttl = if user.is_some() { TOKEN_TTL } else { DENIED_TTL };
                self.tokens.put(token, user.clone(), ttl);
                user
            }
            Err(status) => {
                tracing::warn!(%status, "unable to authenticate a request to the node's API");
                None
            }
        }
    }

    async fn allowed(
        &self,
        user: &UserInfo,
        request: &AccessRequest<'_>,
        subresource: &'static str,
    ) -> Result<bool, Refusal> {
        let (name, verb, node) = (&user.username, request.verb, request.node);
        let question = (name.clone(), user.groups.clone(), verb.to_owned(), subresource, node.to_owned());
        if let Some(allowed) = self.decisions.get(&question) {
            return Ok(allowed);
        }
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
            "spec": {"user": name, "groups": user.groups, "uid": user.uid, "extra": user.extra,
                "resourceAttributes": {"verb": verb, "version": "v1", "resource": "nodes",
                    "subresource": subresource, "name": node}},
        });
        let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        match self.client.call::<Value>(Method::POST, path, Some(&review)).await {
            Ok(review) => {
                let allowed = review["status"]["allowed"] == true;
                self.decisions.put(question, allowed, if allowed { ALLOWED_TTL } else { DENIED_TTL });
                Ok(allowed)
            }
            Err(status) => {
                tracing::warn!(%status, user = name, verb, subresource, "unable to authorize a request to the node's API");
                Err(Refusal::unknown(name, verb, subresource))
            }
        }
    }
}

#[async_trait]
impl Access for WebhookAccess {
    async fn check(&self, request: &AccessRequest<'_>) -> Result<(), Refusal> {
        let user = self.user(request).await.ok_or_else(Refusal::unauthorized)?;
        for subresource in request.subresources {
            if self.allowed(&user, request, subresource).await? {
                return Ok(());
            }
        }
        Err(Refusal::forbidden(&user.username, request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_in_headers() {
        let check = |value: &str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(bearer_token(&headers), expected, "{value}");
        };
        check("Bearer abc", Some("abc"));
        check("bearer  abc ", Some("abc"));
        check("Basic abc", None);
        check("Bearer", None);
        check("Bearer ", None);
    }

    #[test]
    fn only_good_tokens_have_a_user() {
        let good = json!({"status": {"authenticated": true, "user": {"username": "u", "groups": ["g"]}}});
        let user = reviewed_user(&good).unwrap();
        assert_eq!(user.username, "u");
        assert!(user.groups.contains(&"g".to_owned()));
        assert!(reviewed_user(&json!({"status": {"user": {"username": "u"}}})).is_none());
    }

    /// Knows the token `good` of user `u`, who may `get` `metrics`; counts questions.
    #[derive(Default)]
    struct Reviews(std::sync::Arc<std::sync::atomic::AtomicUsize>);

    #[async_trait]
    impl client::Transport for Reviews {
        async fn send(
            &self,
            request: http::Request<bytes::Bytes>,
        ) -> Result<http::Response<client::Body>, client::Error> {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut review: Value = serde_json::from_slice(request.body()).unwrap();
            let spec = review["spec"].clone();
            review["status"] = if request.uri().path().ends_with("tokenreviews") {
                json!({"authenticated": spec["token"] == "good", "user": {"username": "u", "groups": ["g"]}})
            } else {
                let wanted = json!({"verb": "get", "version": "v1", "resource": "nodes", "subresource": "metrics", "name": "n"});
                json!({"allowed": spec["user"] == "u" && spec["resourceAttributes"] == wanted})
            };
            Ok(http::Response::new(client::full_body(review.to_string())))
        }

        async fn upgrade(
            &self,
            _: http::Request<bytes::Bytes>,
        ) -> Result<Result<client::Upgraded, http::Response<client::Body>>, client::Error> {
            Err(client::Error::Connect("not played here".into()))
        }

        fn server(&self) -> String {
            "reviews".into()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_api_server_decides() {
        let reviews = Reviews::default();
        let asked = std::sync::Arc::clone(&reviews.0);
        let access = WebhookAccess::new(Client::new(std::sync::Arc::new(reviews)));
        let count = || asked.load(std::sync::atomic::Ordering::Relaxed);
        let check = async |token: &str, subresources: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
            let request =
                AccessRequest { peer: &[], headers: &headers, verb: "get", subresources, node: "n" };
            access.check(&request).await.map_err(|refusal| refusal.message)
        };
        assert_eq!(check("good", &["metrics"]).await, Ok(()));
        assert_eq!(count(), 2);
        assert_eq!(check("good", &["metrics"]).await, Ok(()));
        assert_eq!(count(), 2, "both answers are known");
        assert_eq!(check("bad", &["metrics"]).await, Err("Unauthorized".into()));
        let forbidden = "Forbidden (user=u, verb=get, resource=nodes, subresource(s)=[pods proxy])\n";
        assert_eq!(check("good", &["pods", "proxy"]).await, Err(forbidden.into()));
        tokio::time::advance(ALLOWED_TTL + Duration::from_secs(1)).await;
        let before = count();
        assert_eq!(check("good", &["metrics"]).await, Ok(()));
        assert_eq!(count(), before + 2, "old answers are asked for again");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_end_and_are_bounded() {
        let cache = Cache::new();
        for number in 0..3000 {
            cache.put(number, true, Duration::from_secs(5));
        }
        assert!(cache.0.lock().len() <= ANSWERS_MAX);
        assert_eq!(cache.get(&2999), Some(true));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(cache.get(&2999), None);
    }
}
