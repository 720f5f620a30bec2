//! `describe`: objects for people, kind by kind, and any other kind field by field.

mod container;
pub mod events;
mod generic;
mod namespace;
mod node;
mod pod;
mod policies;
pub mod rules;
mod service;
mod volume;
pub(crate) mod workloads;
mod writer;

use jiff::Timestamp;
use model::tree::TreeExt;
use serde_json::Value;

use crate::api::Api;
use crate::builder::{items, with_query};
use crate::failure::Failure;
use crate::mapping::Mapping;
use crate::text::tabs;
pub(crate) use pod::template;
pub(crate) use writer::Writer;

/// What is described, with what else the server tells about it.
pub struct Described<'a> {
    /// The object.
    pub object: &'a Value,
    /// Its events; `None` if they are not wanted.
    pub events: Option<Vec<Value>>,
    /// What belongs to it, by name: `pods`, `lease`, `quotas`, `limits`, `slices`.
    pub related: Vec<(&'static str, Result<Value, String>)>,
    /// The time.
    pub now: Timestamp,
}

impl Described<'_> {
    fn related(&self, name: &str) -> Option<&Result<Value, String>> {
        self.related.iter().find(|(own, _)| *own == name).map(|(_, found)| found)
    }

    fn items(&self, name: &str) -> Vec<Value> {
        self.related(name).and_then(|found| found.as_ref().ok()).map(items).unwrap_or_default()
    }
}

type Describe = fn(&Described<'_>, &mut Writer);
/// Paths of what belongs to an object.
type Related = fn(&Value) -> Vec<(&'static str, String)>;

struct Kind {
    group: &'static str,
    kind: &'static str,
    describe: Describe,
    related: Related,
    /// Whether events are shown.
    events: bool,
}

const fn kind(group: &'static str, kind: &'static str, describe: Describe) -> Kind {
    Kind { group, kind, describe, related: |_| Vec::new(), events: true }
}

const fn with(related: Related, kind: Kind) -> Kind {
    Kind { related, ..kind }
}

const fn without_events(kind: Kind) -> Kind {
    Kind { events: false, ..kind }
}

const KINDS: &[Kind] = &[
    kind("", "Pod", pod::describe),
    with(node::related, kind("", "Node", node::describe)),
    without_events(with(namespace::related, kind("", "Namespace", namespace::describe))),
    with(service::related, kind("", "Service", service::describe)),
    kind("", "ConfigMap", generic::config_map),
    without_events(kind("", "Secret", generic::secret)),
    kind("", "ServiceAccount", generic::service_account),
    with(workloads::related, kind("", "ReplicationController", workloads::replica_set)),
    without_events(kind("", "ResourceQuota", policies::quota)),
    without_events(kind("", "LimitRange", policies::limits)),
    with(workloads::replica_sets, kind("apps", "Deployment", workloads::deployment)),
    with(workloads::related, kind("apps", "ReplicaSet", workloads::replica_set)),
    with(workloads::related, kind("apps", "StatefulSet", workloads::stateful_set)),
    with(workloads::related, kind("apps", "DaemonSet", workloads::daemon_set)),
    kind("batch", "Job", workloads::job),
    kind("batch", "CronJob", workloads::cron_job),
    kind("policy", "PodDisruptionBudget", policies::disruption_budget),
    without_events(kind("rbac.authorization.k8s.io", "Role", policies::role)),
    without_events(kind("rbac.authorization.k8s.io", "ClusterRole", policies::role)),
    without_events(kind("rbac.authorization.k8s.io", "RoleBinding", policies::binding)),
    without_events(kind("rbac.authorization.k8s.io", "ClusterRoleBinding", policies::binding)),
    kind("scheduling.k8s.io", "PriorityClass", policies::priority_class),
];

/// The text of one object: what belongs to it is fetched first.
pub async fn describe(
    api: &Api<'_>,
    mapping: &Mapping,
    object: &Value,
    show_events: bool,
    now: Timestamp,
) -> Result<String, Failure> {
    let kind = KINDS.iter().find(|kind| kind.group == mapping.group && kind.kind == mapping.kind);
    let wants_events = kind.is_none_or(|kind| kind.events);
    let mut related = Vec::new();
    for (name, path) in kind.map(|kind| (kind.related)(object)).unwrap_or_default() {
        let found = match api.get(&path).await {
            Ok(found) => Ok(found),
            Err(failure @ Failure::Connection { .. }) => return Err(failure),
            Err(failure) => Err(failure.words()),
        };
        related.push((name, found));
    }
    let events = if show_events && wants_events { events_of(api, mapping, object).await? } else { None };
    let described = Described { object, events, related, now };
    Ok(text(&described, kind.map_or(generic::describe, |kind| kind.describe)))
}

fn text(described: &Described<'_>, describe: Describe) -> String {
    let mut writer = Writer::default();
    describe(described, &mut writer);
    if let Some(events) = &described.events {
        events::write(events, described.now, &mut writer);
    }
    tabs::align(&writer.text, tabs::DESCRIBE)
}

async fn events_of(api: &Api<'_>, mapping: &Mapping, object: &Value) -> Result<Option<Vec<Value>>, Failure> {
    // A node's events carry its name in place of the uid.
    let uid = if mapping.kind == "Node" { object.name() } else { object.uid() };
    let mut selector = format!("involvedObject.kind={},involvedObject.name={}", mapping.kind, object.name());
    if mapping.namespaced {
        selector.push_str(&format!(",involvedObject.namespace={}", object.namespace()));
    }
    selector.push_str(&format!(",involvedObject.uid={uid}"));
    let namespace = Some(object.namespace()).filter(|namespace| !namespace.is_empty());
    let path = client::Path::collection("", "v1", "events", namespace);
    let query = client::options::query(&[("fieldSelector", Some(selector)), ("limit", Some("500".into()))]);
    match api.get(&with_query(path.as_str(), &query)).await {
        Ok(list) => Ok(Some(items(&list))),
        Err(failure @ Failure::Connection { .. }) => Err(failure),
        // Who may see an object may not be allowed to see its events.
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
