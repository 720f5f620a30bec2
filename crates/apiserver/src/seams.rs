//! What the pipeline asks of others: who the caller is, what they may do, what policies say of a change, how to reach
//! a node, and who signs tokens. The binary puts implementations in; tests put in simple ones.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use model::{GroupResource, Status, UserInfo};
use resources::Resource;
use rustls_pki_types::CertificateDer;
use serde_json::Value;

pub use client::transport::ReadWrite;

/// The certificates a TLS client showed (verified against the client CA), end entity first. Empty without TLS or
/// without a certificate.
#[derive(Debug, Clone, Default)]
pub struct PeerCertificates(pub Arc<[CertificateDer<'static>]>);

/// Finds out who sent a request.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// The user, or `None` if the request carries no credentials of this kind; the next authenticator is asked then.
    ///
    /// # Errors
    /// Credentials of this kind that are wrong: [`Status::unauthorized`].
    async fn authenticate(
        &self,
        parts: &http::request::Parts,
        peer: &PeerCertificates,
    ) -> Result<Option<UserInfo>, Status>;

    /// Judges a bearer token for a `TokenReview`; empty `audiences` means the server's own.
    ///
    /// # Errors
    /// A token of this authenticator's kind that is wrong, with the words for `status.error`.
    async fn review_token(&self, _token: &str, _audiences: &[String]) -> Result<Option<Reviewed>, Status> {
        Ok(None)
    }
}

/// A token that was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    /// Whose it is.
    pub user: UserInfo,
    /// Which of the asked audiences it is for.
    pub audiences: Vec<String>,
}

pub use rbac::{Attributes, Decision};

/// Decides whether a user may do something.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// The decision.
    async fn authorize(&self, attributes: &Attributes) -> Decision;

    /// For `SelfSubjectRulesReview`: the `status` of what a user may do in a namespace (`resourceRules`,
    /// `nonResourceRules`, `incomplete`).
    async fn rules(&self, _user: &UserInfo, _namespace: &str) -> Value {
        serde_json::json!({
            "resourceRules": [], "nonResourceRules": [], "incomplete": true,
            "evaluationError": "the authorizer does not support rule resolution",
        })
    }
}

/// Allows everything: for tests, and for the first moments of a control plane's life.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

#[async_trait]
impl Authorizer for AllowAll {
    async fn authorize(&self, _attributes: &Attributes) -> Decision {
        Decision::allow("")
    }
}

/// What is being done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new object, or a subresource that takes one (binding, eviction).
    Create,
    /// A change, by PUT or PATCH.
    Update,
    /// A deletion; a collection's deletion asks for each object.
    Delete,
    /// exec, attach, portforward, proxy.
    Connect,
}

impl Operation {
    /// As admission reviews write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// A change on its way through admission.
#[derive(Debug)]
pub struct AdmissionRequest {
    /// What is done.
    pub operation: Operation,
    /// The resource, in the version of the request.
    pub row: Arc<Resource>,
    /// Subresource.
    pub subresource: Option<String>,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name; empty when it will be generated.
    pub name: String,
    /// The object as it would be stored, in the request's version (or the subresource's own object: `Binding`,
    /// `Eviction`, connect options). Null for a deletion. Mutators change it; the pipeline then normalises and
    /// defaults it again.
    pub object: Value,
    /// The object as it is, for updates and deletions.
    pub old: Option<Value>,
    /// `CreateOptions`, `UpdateOptions`, `PatchOptions`, `DeleteOptions` as an object.
    pub options: Value,
    /// Who.
    pub user: Arc<UserInfo>,
    /// Nothing will be stored: no side effects, please.
    pub dry_run: bool,
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
}

/// A policy over changes.
#[async_trait]
pub trait Admission: Send + Sync {
    /// Name as in `--enable-admission-plugins`.
    fn name(&self) -> &'static str;

    /// Whether it wants to see this; asked before every call, so quick.
    fn handles(&self, operation: Operation, resource: &Resource, subresource: Option<&str>) -> bool;

    /// May change the object, or refuse.
    ///
    /// # Errors
    /// The refusal; usually [`Status::forbidden`].
    async fn mutate(&self, _request: &mut AdmissionRequest) -> Result<(), Status> {
        Ok(())
    }

    /// May refuse; sees the object as it will be stored and must not change it.
    ///
    /// # Errors
    /// The refusal.
    async fn validate(&self, _request: &mut AdmissionRequest) -> Result<(), Status> {
        Ok(())
    }

    /// An admitted request came to nothing (it failed later, or was a dry run): reservations are given back.
    async fn abandoned(&self, _request: &AdmissionRequest) {}
}

/// Reads objects in their storage version from the caches. Reading opens the cache of a resource on first use.
#[async_trait]
pub trait ObjectReader: Send + Sync {
    /// One object; `namespace` is empty for cluster-wide resources.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn get(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Value>>, Status>;

    /// All objects of a namespace, or with `None` of the cluster.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn list(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
    ) -> Result<Vec<Arc<Value>>, Status>;

    /// Shows each object of the cluster to `visitor`, in key order.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn visit(&self, resource: &GroupResource, visitor: Visitor<'_>) -> Result<(), Status>;

    /// Rises whenever an object of the resource changes: what was computed from a [`ObjectReader::list`] holds as long
    /// as the generation read before it stays the same. 0 while the cache is not open.
    fn generation(&self, resource: &GroupResource) -> u64;
}

/// Is shown an object: its key, the revision that wrote it, and how to read it, which costs more than looking at those two.
pub type Visitor<'v> = &'v mut (dyn FnMut(&str, u64, &dyn Fn() -> Value) + Send);

/// Opens connections to nodes' own API.
#[async_trait]
pub trait NodeConnector: Send + Sync {
    /// A TLS connection to a node, with the API server's client certificate.
    ///
    /// # Errors
    /// Why not, in Go's words (`dial tcp 10.0.0.1:10250: connect: connection refused`).
    async fn connect(&self, node: &str, host: &str, port: u16) -> Result<Pin<Box<dyn ReadWrite>>, String>;
}

/// Signs service-account tokens.
#[async_trait]
pub trait TokenIssuer: Send + Sync {
    /// Answers a `TokenRequest` for an existing service account: fills in `status`.
    ///
    /// # Errors
    /// When the request asks for something that is not given.
    async fn issue(&self, account: &Value, request: Value, user: &UserInfo) -> Result<Value, Status>;

    /// `/.well-known/openid-configuration` and `/openid/v1/jwks`.
    fn documents(&self) -> (Value, Value);
}
