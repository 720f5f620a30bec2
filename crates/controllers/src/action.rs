//! What deciders can ask for.

use model::tree::TreeExt;
use serde_json::Value;

/// An object, or a collection where the name is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// API group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Plural name.
    pub plural: String,
    /// Namespace; empty for objects of the cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Target {
    /// An object of the core group.
    pub fn core(plural: &str, namespace: &str, name: &str) -> Self {
        Self {
            version: "v1".into(),
            plural: plural.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Self::default()
        }
    }

    /// An object of the core group that is at hand.
    pub fn of(plural: &str, object: &Value) -> Self {
        Self::core(plural, object.namespace(), object.name())
    }
}

/// Kind of patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7386.
    Merge,
    /// Strategic merge patch.
    Strategic,
    /// RFC 6902.
    Json,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make an object; one that is there already is fine.
    Create {
        /// Its collection (the name is not used).
        target: Target,
        /// The object.
        object: Value,
    },
    /// Put an object (or its subresource) in the place of what is there.
    Replace {
        /// The object.
        target: Target,
        /// `status`, `finalize`.
        subresource: Option<String>,
        /// What it becomes; its resourceVersion guards it.
        object: Value,
    },
    /// Patch an object.
    Patch {
        /// The object.
        target: Target,
        /// `status`.
        subresource: Option<String>,
        /// Kind of patch.
        kind: PatchKind,
        /// The patch.
        patch: Value,
    },
    /// Delete an object.
    Delete {
        /// The object.
        target: Target,
        /// Only the one of this uid.
        uid: Option<String>,
        /// Grace in seconds; `None` is the object's own.
        grace_s: Option<i64>,
        /// `Background`, `Foreground`, `Orphan`.
        propagation: Option<&'static str>,
    },
}
