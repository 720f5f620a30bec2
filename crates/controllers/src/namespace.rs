//! A namespace that is being deleted is emptied and then let go (upstream's namespace controller).

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::action::{Action, Target};

/// What is left in a namespace after everything in it was asked to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// `pods.` → how many are left (core resources are written with the dot, as upstream does).
    pub resources: BTreeMap<String, usize>,
    /// Finalizer → how many objects still carry it.
    pub finalizers: BTreeMap<String, usize>,
    /// What could not be listed or deleted.
    pub failures: Vec<String>,
}

/// Whether a namespace's content has to be deleted now.
pub fn must_empty(namespace: &Value) -> bool {
    let held = namespace.items(&["spec", "finalizers"]).iter().any(|own| own == "kubernetes");
    namespace.at(&["metadata", "deletionTimestamp"]).is_some() && held
}

/// Decides what to do with a namespace that was just emptied as far as it goes.
pub fn decide(namespace: &Value, remains: &Remains, now: Timestamp) -> Vec<Action> {
    if !must_empty(namespace) {
        return Vec::new();
    }
    let target = Target::core("namespaces", "", namespace.name());
    let mut object = namespace.clone();
    if remains.resources.is_empty() && remains.failures.is_empty() {
        let mut finalizers = namespace.items(&["spec", "finalizers"]).to_vec();
        finalizers.retain(|own| own != "kubernetes");
        object.set(&["spec", "finalizers"], finalizers);
        return vec![Action::Replace { target, subresource: Some("finalize".into()), object }];
    }
    let before = namespace.items(&["status", "conditions"]);
    let conditions = conditions(remains, before, now);
    if before == conditions {
        return Vec::new();
    }
    object.set(&["status", "conditions"], conditions);
    vec![Action::Replace { target, subresource: Some("status".into()), object }]
}

fn conditions(remains: &Remains, before: &[Value], now: Timestamp) -> Vec<Value> {
    let failed = !remains.failures.is_empty();
    let list = |map: &BTreeMap<String, usize>, what: &str| {
        map.iter()
            .map(|(name, count)| what.replace("{name}", name).replace("{count}", &count.to_string()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let content = list(&remains.resources, "{name} has {count} resource instances");
    let finalizers = list(&remains.finalizers, "{name} in {count} resource instances");
    let rows = [
        (
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed".to_owned(),
        ),
        (
            "NamespaceDeletionContentFailure",
            failed,
            if failed { "ContentDeletionFailed" } else { "ContentDeleted" },
            if failed {
                format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    remains.failures.len(),
                    remains.failures.join(", ")
                )
            } else {
                "All content successfully deleted, may be waiting on finalization".to_owned()
            },
        ),
        (
            "NamespaceContentRemaining",
            !remains.resources.is_empty(),
            if remains.resources.is_empty() { "ContentRemoved" } else { "SomeResourcesRemain" },
            if remains.resources.is_empty() {
                "All content successfully removed".to_owned()
            } else {
                format!("Some resources are remaining: {content}")
            },
        ),
        (
            "NamespaceFinalizersRemaining",
            !remains.finalizers.is_empty(),
            if remains.finalizers.is_empty() { "ContentHasNoFinalizers" } else { "SomeFinalizersRemain" },
            if remains.finalizers.is_empty() {
                "All content-preserving finalizers finished".to_owned()
            } else {
                format!("Some content in the namespace has finalizers remaining: {finalizers}")
            },
        ),
    ];
    rows.into_iter()
        .map(|(kind, yes, reason, message)| {
            let status = if yes { "True" } else { "False" };
            let old = before.iter().find(|own| own["type"] == kind && own["status"] == status);
            let since = old.map(|own| own["lastTransitionTime"].clone());
            let since = since.unwrap_or_else(|| json!(model::time::format_seconds(now)));
            json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_goes_when_it_is_empty() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let live = json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}});
        assert!(decide(&live, &Remains::default(), now).is_empty());
        let going = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}, "spec": {"finalizers": ["kubernetes", "x/y"]}});
        let [Action::Replace { subresource, object, .. }] = &decide(&going, &Remains::default(), now)[..]
        else {
            panic!()
        };
        assert_eq!(subresource.as_deref(), Some("finalize"));
        assert_eq!(object["spec"]["finalizers"], json!(["x/y"]));
        let remains = Remains { resources: [("pods.".to_owned(), 2)].into(), ..Remains::default() };
        let [Action::Replace { subresource, object, .. }] = &decide(&going, &remains, now)[..] else {
            panic!()
        };
        assert_eq!(subresource.as_deref(), Some("status"));
        let condition = &object["status"]["conditions"][3];
        assert_eq!(condition["message"], "Some resources are remaining: pods. has 2 resource instances");
        assert!(decide(object, &remains, "2026-01-01T00:01:00Z".parse().unwrap()).is_empty(), "nothing new");
    }
}
