//! The resource table as the request path needs it: one lookup from a path to all that is known of a resource.

use std::collections::HashMap;
use std::sync::Arc;

use model::{GroupResource, GroupVersionKind};
use resources::schema::Definition;
use resources::{Registry, Resource};

use crate::objects::storage_prefix;

/// A resource in a served version, with what follows from its row.
pub struct Served {
    /// The row.
    pub row: Arc<Resource>,
    /// The row objects are stored as.
    pub storage: Arc<Resource>,
    /// Group and resource, for messages.
    pub resource: GroupResource,
    /// Group, version and kind.
    pub kind: GroupVersionKind,
    /// `apiVersion`.
    pub api_version: String,
    /// Keys begin with this.
    pub prefix: String,
    /// Its schema; none for custom resources.
    pub definition: Option<&'static Definition>,
    /// `{"kind":"PodList","apiVersion":"v1","metadata":{`.
    pub list_head: String,
    /// How `metadata.generation` goes.
    pub generation: Generation,
}

impl Served {
    fn new(registry: &Registry, row: &Arc<Resource>) -> Self {
        let storage = registry.storage_row(row);
        let (kind, api_version) = (row.group_version_kind(), row.api_version());
        Self {
            resource: row.group_resource(),
            prefix: storage_prefix(&storage.group, &storage.plural),
            definition: resources::schema::definition(&row.definition),
            list_head: format!(
                "{{\"kind\":\"{}List\",\"apiVersion\":\"{api_version}\",\"metadata\":{{",
                kind.kind
            ),
            generation: generation(&row.group, &row.kind),
            row: Arc::clone(row),
            storage,
            kind,
            api_version,
        }
    }

    /// Whether stored objects are in this version already.
    pub fn is_storage_version(&self) -> bool {
        self.row.version == self.storage.version && self.row.group == self.storage.group
    }

    /// The prefix of keys in a namespace, or of all.
    pub fn prefix_in(&self, namespace: &str) -> String {
        if namespace.is_empty() { self.prefix.clone() } else { format!("{}{namespace}/", self.prefix) }
    }

    /// Whether it is core's resource of this name.
    pub fn is_core(&self, plural: &str) -> bool {
        self.row.group.is_empty() && self.row.plural == plural
    }

    /// Whether objects are kept for a while only: events, an hour (upstream's `--event-ttl`).
    pub fn lease_ttl_s(&self) -> Option<u64> {
        (self.storage.plural == "events" && self.storage.group.is_empty()).then_some(3600)
    }
}

/// How `metadata.generation` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// There is none.
    None,
    /// It stays at 1.
    One,
    /// It begins at 1 and rises when anything but metadata and status changes.
    Content,
    /// The same, and when this part of the metadata changes.
    ContentAnd(&'static str),
}

/// As the strategies of upstream's kinds have it.
fn generation(group: &str, kind: &str) -> Generation {
    let counted = match group {
        "" => matches!(kind, "Pod" | "PodTemplate" | "ReplicationController"),
        // Deployments hand their annotations on, which makes them content.
        "apps" if kind == "Deployment" => return Generation::ContentAnd("annotations"),
        "apps" => kind != "ControllerRevision",
        "discovery.k8s.io" if kind == "EndpointSlice" => return Generation::ContentAnd("labels"),
        "scheduling.k8s.io" if kind == "PriorityClass" => return Generation::One,
        "batch" | "policy" | "flowcontrol.apiserver.k8s.io" | "admissionregistration.k8s.io" => true,
        "networking.k8s.io" => matches!(kind, "Ingress" | "IngressClass" | "NetworkPolicy"),
        "resource.k8s.io" => matches!(kind, "DeviceClass" | "DeviceTaintRule" | "ResourceSlice"),
        "storage.k8s.io" => kind == "CSIDriver",
        "apiregistration.k8s.io"
        | "authentication.k8s.io"
        | "authorization.k8s.io"
        | "autoscaling"
        | "certificates.k8s.io"
        | "coordination.k8s.io"
        | "discovery.k8s.io"
        | "events.k8s.io"
        | "internal.apiserver.k8s.io"
        | "node.k8s.io"
        | "rbac.authorization.k8s.io"
        | "scheduling.k8s.io"
        | "storagemigration.k8s.io" => false,
        // CustomResourceDefinitions and custom resources.
        _ => true,
    };
    if counted { Generation::Content } else { Generation::None }
}

/// Every served resource by path.
pub struct Routes {
    /// The table.
    pub registry: Arc<Registry>,
    by_path: HashMap<String, Arc<Served>>,
}

impl Routes {
    /// Of a table.
    pub fn new(registry: Arc<Registry>) -> Self {
        let path = |row: &Resource| format!("{}/{}/{}", row.group, row.version, row.plural);
        let rows = registry.rows().iter();
        let by_path = rows.map(|row| (path(row), Arc::new(Served::new(&registry, row)))).collect();
        Self { registry, by_path }
    }

    /// The resource of a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Served>> {
        let mut key = String::with_capacity(group.len() + version.len() + plural.len() + 2);
        for (part, end) in [(group, "/"), (version, "/"), (plural, "")] {
            key.push_str(part);
            key.push_str(end);
        }
        self.by_path.get(&key)
    }

    /// The resource in its storage version.
    pub fn stored(&self, group: &str, plural: &str) -> Option<&Arc<Served>> {
        let row = self.registry.preferred(&GroupResource::new(group, plural))?;
        self.find(group, &row.storage_version, plural).or_else(|| self.find(group, &row.version, plural))
    }

    /// The resource stored under a prefix.
    pub fn by_prefix(&self, prefix: &str) -> Option<&Arc<Served>> {
        self.by_path.values().find(|served| served.prefix == prefix && served.is_storage_version())
    }

    /// All of them, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Served>> {
        self.by_path.values()
    }
}
