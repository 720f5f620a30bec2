//! What an authorizer is asked, and what it answers.

use std::sync::Arc;

use model::UserInfo;

/// A request, as authorization sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `impersonate`, `bind`,
    /// `escalate`, `approve`, `sign` …; for other paths the lower-case HTTP method.
    pub verb: String,
    /// Whether it concerns a resource (else a path).
    pub resource_request: bool,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Resource.
    pub resource: String,
    /// Subresource; empty for none.
    pub subresource: String,
    /// Namespace; empty for none.
    pub namespace: String,
    /// Object name; empty for none.
    pub name: String,
    /// Path of a request that concerns no resource.
    pub path: String,
    /// Field selector of a list, watch or deletecollection, as given.
    pub field_selector: Option<String>,
    /// Label selector, as given.
    pub label_selector: Option<String>,
}

impl Attributes {
    /// `pods` or `pods/log`.
    pub fn full_resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }

    /// Upstream's sentence about what is forbidden, without the reason: `User "x" cannot list resource "pods" in API
    /// group "" in the namespace "default"`.
    pub fn sentence(&self) -> String {
        let user = &self.user.username;
        if !self.resource_request {
            return format!("User {user:?} cannot {} path {:?}", self.verb, self.path);
        }
        let head = format!(
            "User {user:?} cannot {} resource {:?} in API group {:?}",
            self.verb,
            self.full_resource(),
            self.group
        );
        match self.namespace.as_str() {
            "" => format!("{head} at the cluster scope"),
            namespace => format!("{head} in the namespace {namespace:?}"),
        }
    }
}

/// An authorizer's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Allowed. Not allowed means no opinion: another authorizer may still allow.
    pub allowed: bool,
    /// Refused for good: no other authorizer is asked.
    pub denied: bool,
    /// Why, for the message and the audit log.
    pub reason: String,
}

impl Decision {
    /// Allowed.
    pub fn allow(reason: impl Into<String>) -> Self {
        Self { allowed: true, denied: false, reason: reason.into() }
    }

    /// No opinion.
    pub fn no_opinion(reason: impl Into<String>) -> Self {
        Self { allowed: false, denied: false, reason: reason.into() }
    }

    /// Refused, whatever others say.
    pub fn deny(reason: impl Into<String>) -> Self {
        Self { allowed: false, denied: true, reason: reason.into() }
    }
}
