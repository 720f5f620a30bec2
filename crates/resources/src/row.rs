//! A row of the table: everything the generic code has to know of a resource.

use std::sync::Arc;

use model::{GroupResource, GroupVersionKind};

use crate::rules::Rules;

/// Where objects of a resource live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In a namespace.
    Namespaced,
    /// In the cluster.
    Cluster,
}

/// A path below an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subresource {
    /// `status`, `scale`, `binding`, `log`, `eviction`, `token` …
    pub name: String,
    /// What it speaks of, where that is another kind (`autoscaling/v1 Scale`).
    pub kind: Option<GroupVersionKind>,
    /// Verbs in discovery's order.
    pub verbs: Vec<String>,
}

/// A resource in one served version. Rows of one `GroupResource` share their stored objects.
pub struct Resource {
    /// API group; empty for the core group.
    pub group: String,
    /// Served version.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Lower-case plural, as in paths.
    pub plural: String,
    /// Lower-case singular.
    pub singular: String,
    /// Short names.
    pub short_names: Vec<String>,
    /// Categories (`all`).
    pub categories: Vec<String>,
    /// Scope.
    pub scope: Scope,
    /// Verbs in discovery's order; `create` alone for review-like resources, which are answered, not stored.
    pub verbs: Vec<String>,
    /// Paths below an object.
    pub subresources: Vec<Subresource>,
    /// Version that objects are stored in.
    pub storage_version: String,
    /// Name of the schema's definition, `io.k8s.api.core.v1.Pod`.
    pub definition: String,
    /// Defaults, validation, update rules.
    pub rules: Arc<dyn Rules>,
}

impl Resource {
    /// Group and plural name.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(&self.group, &self.plural)
    }

    /// Group, version and kind.
    pub fn group_version_kind(&self) -> GroupVersionKind {
        GroupVersionKind::new(&self.group, &self.version, &self.kind)
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        model::gvk::api_version(&self.group, &self.version)
    }

    /// Whether objects live in namespaces.
    pub fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The subresource of this name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }

    /// Whether a verb is served.
    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|own| own == verb)
    }
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Resource({}/{} {})", self.group, self.version, self.plural)
    }
}
