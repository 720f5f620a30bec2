//! Service-account tokens: issued by TokenRequest, bound to objects, checked against what lives now
//! (https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/).

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use model::tree::TreeExt;
use model::{Cause, GroupResource, Status, UserInfo};
use pki::token::{Bound, KubernetesClaims};
use pki::{Claims, TokenSigner};
use serde_json::{Value, json};
use stdx::clock::Clock;
use stdx::entropy::Entropy;

use crate::authentication::bearer_token;
use crate::seams::{Authenticator, ObjectReader, PeerCertificates, Reviewed, TokenIssuer};

/// Shortest life that may be asked for, seconds.
const LIFE_MIN_S: i64 = 600;
/// Longest life that may be asked for, seconds (2^32, as upstream).
const LIFE_MAX_S: i64 = 1 << 32;
/// What a kubelet asks for: such tokens live a year, with a warning once the hour and a bit is over, so that clients
/// which never read the file again keep working (upstream's `--service-account-extend-token-expiration`).
const LIFE_KUBELET_S: i64 = 3607;
/// The extended life, seconds.
const LIFE_EXTENDED_S: i64 = 365 * 24 * 3600;

/// Issues and checks service-account tokens.
pub struct ServiceAccountTokens {
    signer: Arc<TokenSigner>,
    issuer: String,
    audiences: Vec<String>,
    reader: Arc<dyn ObjectReader>,
    clock: Clock,
    entropy: Entropy,
}

impl ServiceAccountTokens {
    /// `issuer`: `https://kubernetes.default.svc.cluster.local`; it is also the audience of the API server.
    pub fn new(
        signer: Arc<TokenSigner>,
        issuer: impl Into<String>,
        reader: Arc<dyn ObjectReader>,
        clock: Clock,
        entropy: Entropy,
    ) -> Self {
        let issuer = issuer.into();
        let audiences = vec![issuer.clone()];
        Self { signer, issuer, audiences, reader, clock, entropy }
    }

    /// The claims of a token that is ours and in force, or what is wrong with it.
    async fn check(&self, token: &str) -> Result<Option<(Arc<Claims>, UserInfo)>, Status> {
        let Some(claims) = self.signer.verify(token) else { return Ok(None) };
        if claims.iss != self.issuer {
            return Ok(None);
        }
        let now = self.clock.now().as_second();
        let wrong = |why: &str| {
            let mut status = Status::unauthorized();
            status.message = format!("[invalid bearer token, {why}]");
            status
        };
        if now < claims.nbf - 5 {
            return Err(wrong("service account token is not valid yet"));
        }
        if now > claims.exp {
            return Err(wrong("service account token has expired"));
        }
        self.check_bound(&claims).await.map_err(|why| wrong(&why))?;
        let user = user_of(&claims);
        Ok(Some((claims, user)))
    }

    /// What the token is bound to has to live still, under the same uid.
    async fn check_bound(&self, claims: &Claims) -> Result<(), String> {
        let own = &claims.kubernetes;
        let account = Some(&own.serviceaccount);
        // A Pod's token names its node only for the record.
        let node = own.node.as_ref().filter(|_| own.pod.is_none());
        let bound = [
            ("serviceaccounts", own.namespace.as_str(), account),
            ("pods", own.namespace.as_str(), own.pod.as_ref()),
            ("secrets", own.namespace.as_str(), own.secret.as_ref()),
            ("nodes", "", node),
        ];
        for (resource, namespace, object) in bound {
            let Some(object) = object else { continue };
            let found = self.reader.get(&GroupResource::new("", resource), namespace, &object.name).await;
            let found = found.map_err(|status| status.message)?;
            let live = found.is_some_and(|found| object.uid.is_empty() || found.uid() == object.uid);
            if !live {
                return Err("service account token has been invalidated".into());
            }
        }
        Ok(())
    }
}

/// The user that a token stands for.
fn user_of(claims: &Claims) -> UserInfo {
    let own = &claims.kubernetes;
    let mut user =
        UserInfo::service_account(&own.namespace, &own.serviceaccount.name, &own.serviceaccount.uid);
    let mut extra = |key: &str, value: &str| {
        if !value.is_empty() {
            user.extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        }
    };
    if !claims.jti.is_empty() {
        extra("credential-id", &format!("JTI={}", claims.jti));
    }
    if let Some(node) = &own.node {
        extra("node-name", &node.name);
        extra("node-uid", &node.uid);
    }
    if let Some(pod) = &own.pod {
        extra("pod-name", &pod.name);
        extra("pod-uid", &pod.uid);
    }
    user
}

#[async_trait]
impl Authenticator for ServiceAccountTokens {
    async fn authenticate(
        &self,
        parts: &http::request::Parts,
        _peer: &PeerCertificates,
    ) -> Result<Option<UserInfo>, Status> {
        let Some(token) = bearer_token(parts) else { return Ok(None) };
        match self.check(token).await {
            Ok(Some((claims, user))) if claims.aud.iter().any(|own| self.audiences.contains(own)) => {
                Ok(Some(user))
            }
            // The last authenticator of bearer tokens: what nobody knows is refused.
            _ => Err(Status::unauthorized()),
        }
    }

    async fn review_token(&self, token: &str, audiences: &[String]) -> Result<Option<Reviewed>, Status> {
        let asked = if audiences.is_empty() { &self.audiences[..] } else { audiences };
        let Some((claims, user)) = self.check(token).await? else {
            let mut status = Status::unauthorized();
            status.message = "invalid bearer token".into();
            return Err(status);
        };
        let audiences: Vec<String> = asked.iter().filter(|own| claims.aud.contains(own)).cloned().collect();
        if audiences.is_empty() {
            let mut status = Status::unauthorized();
            status.message = format!(
                "[invalid bearer token, token audiences {:?} is invalid for the target audiences {asked:?}]",
                claims.aud
            );
            return Err(status);
        }
        Ok(Some(Reviewed { user, audiences }))
    }
}

#[async_trait]
impl TokenIssuer for ServiceAccountTokens {
    async fn issue(&self, account: &Value, mut request: Value, _user: &UserInfo) -> Result<Value, Status> {
        let asked_s = request.integer(&["spec", "expirationSeconds"]).unwrap_or(3600);
        check_life(&request, asked_s)?;
        let audiences: Vec<String> = match request.items(&["spec", "audiences"]) {
            [] => self.audiences.clone(),
            some => some.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        };
        let (pod, secret, node) = self.bound_objects(account, &request).await?;
        let now = self.clock.now().as_second();
        let extended = asked_s == LIFE_KUBELET_S && pod.is_some() && audiences == self.audiences;
        let life_s = if extended { LIFE_EXTENDED_S } else { asked_s };
        let claims = Claims {
            aud: audiences,
            exp: now + life_s,
            iat: now,
            iss: self.issuer.clone(),
            jti: self.entropy.uuid(),
            kubernetes: KubernetesClaims {
                namespace: account.namespace().into(),
                node,
                pod,
                secret,
                serviceaccount: Bound { name: account.name().into(), uid: account.uid().into() },
                warnafter: extended.then_some(now + asked_s),
            },
            nbf: now,
            sub: format!("system:serviceaccount:{}:{}", account.namespace(), account.name()),
        };
        let token = self.signer.sign(&claims).map_err(Status::internal)?;
        let expires = Timestamp::from_second(now + asked_s).map_err(Status::internal)?;
        request.set(&["spec", "expirationSeconds"], asked_s);
        request.set(&["spec", "audiences"], json!(claims.aud));
        request["metadata"] = json!({"name": account.name(), "namespace": account.namespace()});
        request["status"] =
            json!({"token": token, "expirationTimestamp": model::time::format_seconds(expires)});
        Ok(request)
    }

    fn documents(&self) -> (Value, Value) {
        let configuration = json!({
            "issuer": self.issuer,
            "jwks_uri": format!("{}/openid/v1/jwks", self.issuer),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        (configuration, self.signer.key_set())
    }
}

/// Pod, secret and node that a token is to be bound to.
type BoundTo = (Option<Bound>, Option<Bound>, Option<Bound>);

impl ServiceAccountTokens {
    async fn bound_objects(&self, account: &Value, request: &Value) -> Result<BoundTo, Status> {
        let Some(reference) = request.at(&["spec", "boundObjectRef"]) else { return Ok((None, None, None)) };
        let (kind, name, uid) = (reference.kind(), reference.name_of(), reference.text(&["uid"]));
        let resource = match kind {
            "Pod" => "pods",
            "Secret" => "secrets",
            "Node" => "nodes",
            other => {
                let message = format!(
                    "cannot bind token for serviceaccount {:?} to object of kind {other:?}",
                    account.name()
                );
                return Err(Status::bad_request(message));
            }
        };
        let resource = GroupResource::new("", resource);
        let namespace = if kind == "Node" { "" } else { account.namespace() };
        let found = self.reader.get(&resource, namespace, name).await?;
        let found = found.ok_or_else(|| Status::not_found(&resource, name))?;
        if !uid.is_empty() && uid != found.uid() {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(Status::conflict(&resource, name, &why));
        }
        let bound = Some(Bound { name: name.to_owned(), uid: found.uid().to_owned() });
        match kind {
            "Secret" => Ok((None, bound, None)),
            "Node" => Ok((None, None, bound)),
            _ => {
                if account.name() != found.text(&["spec", "serviceAccountName"]) {
                    let why = format!(
                        "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                        account.name()
                    );
                    return Err(Status::bad_request(why));
                }
                Ok((bound, None, self.node_of(&found).await?))
            }
        }
    }

    async fn node_of(&self, pod: &Value) -> Result<Option<Bound>, Status> {
        let name = pod.text(&["spec", "nodeName"]);
        if name.is_empty() {
            return Ok(None);
        }
        let node = self.reader.get(&GroupResource::new("", "nodes"), "", name).await?;
        let uid = node.map(|node| node.uid().to_owned()).unwrap_or_default();
        Ok(Some(Bound { name: name.to_owned(), uid }))
    }
}

/// `name` of a reference, which has no metadata.
trait Reference {
    fn name_of(&self) -> &str;
}

impl Reference for Value {
    fn name_of(&self) -> &str {
        self.text(&["name"])
    }
}

fn check_life(request: &Value, asked_s: i64) -> Result<(), Status> {
    let why = if asked_s < LIFE_MIN_S {
        "may not specify a duration less than 10 minutes"
    } else if asked_s > LIFE_MAX_S {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let cause = Cause {
        reason: "FieldValueInvalid".into(),
        message: format!("Invalid value: {asked_s}: {why}"),
        field: "spec.expirationSeconds".into(),
    };
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", request.name(), vec![cause]))
}
