//! Options of requests, as query parameters and bodies.

use serde_json::{Value, json};

/// Options of list requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Label selector.
    pub label_selector: Option<String>,
    /// Field selector.
    pub field_selector: Option<String>,
    /// Page size.
    pub limit: Option<u64>,
    /// Where the next page starts.
    pub continue_token: Option<String>,
    /// `resourceVersion`.
    pub resource_version: Option<String>,
    /// `resourceVersionMatch`.
    pub resource_version_match: Option<String>,
}

/// Options of watch requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// Label selector.
    pub label_selector: Option<String>,
    /// Field selector.
    pub field_selector: Option<String>,
    /// Where to start: events after this revision.
    pub resource_version: Option<String>,
    /// Ask for bookmarks.
    pub bookmarks: bool,
    /// Ask for the present state first (`sendInitialEvents`).
    pub initial_events: bool,
    /// Let the server end the watch after so many seconds.
    pub timeout_s: Option<u64>,
}

/// Options of create, update and patch requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// `dryRun=All`.
    pub dry_run: bool,
    /// `fieldManager`.
    pub field_manager: Option<String>,
    /// `fieldValidation`: `Strict`, `Warn`, `Ignore`.
    pub field_validation: Option<String>,
}

/// Options of delete requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Grace in seconds.
    pub grace_period_s: Option<i64>,
    /// Only this object.
    pub uid: Option<String>,
    /// Only this version of it.
    pub resource_version: Option<String>,
    /// `Background`, `Foreground`, `Orphan`.
    pub propagation_policy: Option<String>,
    /// `dryRun=All`.
    pub dry_run: bool,
}

/// A patch.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// RFC 6902.
    Json(Value),
    /// RFC 7386.
    Merge(Value),
    /// Kubernetes' strategic merge patch.
    Strategic(Value),
}

impl Patch {
    /// Content type.
    pub fn content_type(&self) -> &'static str {
        match self {
            Patch::Json(_) => "application/json-patch+json",
            Patch::Merge(_) => "application/merge-patch+json",
            Patch::Strategic(_) => "application/strategic-merge-patch+json",
        }
    }

    /// Body.
    pub fn body(&self) -> &Value {
        match self {
            Patch::Json(body) | Patch::Merge(body) | Patch::Strategic(body) => body,
        }
    }
}

/// Percent-encodes a query value.
pub fn encode_component(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Makes a query string (without `?`) of pairs whose value is present.
pub fn query(pairs: &[(&str, Option<String>)]) -> String {
    let parts: Vec<String> = pairs
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={}", encode_component(value))))
        .collect();
    parts.join("&")
}

impl ListOptions {
    /// As a query string.
    pub fn query(&self) -> String {
        query(&[
            ("labelSelector", self.label_selector.clone()),
            ("fieldSelector", self.field_selector.clone()),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("continue", self.continue_token.clone()),
            ("resourceVersion", self.resource_version.clone()),
            ("resourceVersionMatch", self.resource_version_match.clone()),
        ])
    }
}

impl WatchOptions {
    /// As a query string, `watch=true` included.
    pub fn query(&self) -> String {
        let initial = self.initial_events;
        query(&[
            ("watch", Some("true".into())),
            ("labelSelector", self.label_selector.clone()),
            ("fieldSelector", self.field_selector.clone()),
            ("resourceVersion", self.resource_version.clone()),
            ("allowWatchBookmarks", (self.bookmarks || initial).then(|| "true".into())),
            ("sendInitialEvents", initial.then(|| "true".into())),
            ("resourceVersionMatch", initial.then(|| "NotOlderThan".into())),
            ("timeoutSeconds", self.timeout_s.map(|seconds| seconds.to_string())),
        ])
    }
}

impl WriteOptions {
    /// As a query string.
    pub fn query(&self) -> String {
        query(&[
            ("dryRun", self.dry_run.then(|| "All".into())),
            ("fieldManager", self.field_manager.clone()),
            ("fieldValidation", self.field_validation.clone()),
        ])
    }
}

impl DeleteOptions {
    /// At once, whatever the grace period.
    pub fn now() -> Self {
        Self { grace_period_s: Some(0), ..Self::default() }
    }

    /// As a `meta.k8s.io/v1 DeleteOptions` body.
    pub fn body(&self) -> Value {
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if let Some(grace) = self.grace_period_s {
            body["gracePeriodSeconds"] = json!(grace);
        }
        if let Some(uid) = &self.uid {
            body["preconditions"]["uid"] = json!(uid);
        }
        if let Some(version) = &self.resource_version {
            body["preconditions"]["resourceVersion"] = json!(version);
        }
        if let Some(policy) = &self.propagation_policy {
            body["propagationPolicy"] = json!(policy);
        }
        if self.dry_run {
            body["dryRun"] = json!(["All"]);
        }
        body
    }
}
