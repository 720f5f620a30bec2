//! Discovery documents, made from the registry: the list forms of `/api` and `/apis`, and aggregated discovery
//! (`apidiscovery.k8s.io/v2`, `v2beta1`), which holds everything in two documents.

use base64::Engine as _;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::registry::{Group, Registry};
use crate::row::{Resource, Scope, Subresource};

/// `/api`; `server_address` is what clients inside the cluster are told to use (`10.43.0.1:443`).
pub fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions", "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis`.
pub fn group_list(registry: &Registry) -> Value {
    let groups: Vec<Value> =
        registry.groups().iter().filter(|group| !group.name.is_empty()).map(group_body).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/{group}`.
pub fn group(registry: &Registry, name: &str) -> Option<Value> {
    let found = registry.groups().into_iter().find(|group| group.name == name && !name.is_empty())?;
    let mut body = group_body(&found);
    body["kind"] = "APIGroup".into();
    body["apiVersion"] = "v1".into();
    Some(body)
}

fn group_body(group: &Group) -> Value {
    let version = |version: &String| json!({"groupVersion": model::gvk::api_version(&group.name, version), "version": version});
    json!({
        "name": group.name,
        "versions": group.versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": group.versions.first().map(version),
    })
}

/// `/api/v1` (empty group) and `/apis/{group}/{version}`.
pub fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let rows = registry.group_version(group, version);
    if rows.is_empty() {
        return None;
    }
    let mut resources: Vec<Value> = Vec::new();
    for row in rows {
        resources.push(resource_entry(registry, row));
        resources.extend(row.subresources.iter().map(|subresource| subresource_entry(row, subresource)));
    }
    let mut list = json!({
        "kind": "APIResourceList", "groupVersion": model::gvk::api_version(group, version), "resources": resources,
    });
    // Upstream's core list has no apiVersion.
    if !group.is_empty() {
        list["apiVersion"] = "v1".into();
    }
    Some(list)
}

fn resource_entry(registry: &Registry, row: &Resource) -> Value {
    let mut entry = json!({
        "name": row.plural, "singularName": row.singular, "namespaced": row.namespaced(), "kind": row.kind,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        entry["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        entry["categories"] = json!(row.categories);
    }
    if row.allows("watch") {
        entry["storageVersionHash"] = storage_version_hash(registry, row).into();
    }
    entry
}

fn subresource_entry(row: &Resource, subresource: &Subresource) -> Value {
    let kind = subresource.kind.as_ref();
    let mut entry = json!({
        "name": format!("{}/{}", row.plural, subresource.name), "singularName": "", "namespaced": row.namespaced(),
        "kind": kind.map_or(&row.kind, |kind| &kind.kind), "verbs": subresource.verbs,
    });
    if let Some(kind) = kind.filter(|kind| (&kind.group, &kind.version) != (&row.group, &row.version)) {
        entry["group"] = kind.group.as_str().into();
        entry["version"] = kind.version.as_str().into();
    }
    entry
}

/// Tells storage versions apart: base64 of the first bytes of a hash of group, version and kind, as upstream makes it.
fn storage_version_hash(registry: &Registry, row: &Resource) -> String {
    let resource = registry.storage_resource(row);
    let (group, version) = if resource.group == row.group {
        (row.group.as_str(), row.storage_version.as_str())
    } else {
        ("", "v1")
    };
    let hash = Sha256::digest(format!("{group}/{version}/{}", row.kind));
    base64::engine::general_purpose::STANDARD.encode(&hash[..8])
}

/// Version of the aggregated documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregated {
    /// `apidiscovery.k8s.io/v2`.
    V2,
    /// `apidiscovery.k8s.io/v2beta1`.
    V2Beta1,
}

/// Aggregated discovery of `/api` (`core`) or `/apis`.
pub fn aggregated(registry: &Registry, core: bool, version: Aggregated) -> Value {
    let groups = registry.groups();
    let items: Vec<Value> = groups
        .iter()
        .filter(|group| group.name.is_empty() == core)
        .map(|group| {
            let versions: Vec<Value> = group
                .versions
                .iter()
                .map(|version| aggregated_version(registry, &group.name, version))
                .collect();
            let metadata = if core { json!({}) } else { json!({"name": group.name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let api_version = match version {
        Aggregated::V2 => "apidiscovery.k8s.io/v2",
        Aggregated::V2Beta1 => "apidiscovery.k8s.io/v2beta1",
    };
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items})
}

fn aggregated_version(registry: &Registry, group: &str, version: &str) -> Value {
    let resources: Vec<Value> =
        registry.group_version(group, version).into_iter().map(|row| aggregated_resource(row)).collect();
    json!({"version": version, "freshness": "Current", "resources": resources})
}

fn aggregated_resource(row: &Resource) -> Value {
    let own_kind = |kind: &str| json!({"group": "", "version": "", "kind": kind});
    let mut entry = Map::new();
    entry.insert("resource".into(), row.plural.as_str().into());
    entry.insert("responseKind".into(), own_kind(&row.kind));
    let scope = if row.scope == Scope::Namespaced { "Namespaced" } else { "Cluster" };
    entry.insert("scope".into(), scope.into());
    entry.insert("singularResource".into(), row.singular.as_str().into());
    entry.insert("verbs".into(), json!(row.verbs));
    if !row.short_names.is_empty() {
        entry.insert("shortNames".into(), json!(row.short_names));
    }
    if !row.categories.is_empty() {
        entry.insert("categories".into(), json!(row.categories));
    }
    let subresources: Vec<Value> = row
        .subresources
        .iter()
        .map(|subresource| {
            let kind = match &subresource.kind {
                Some(kind) if (&kind.group, &kind.version) == (&row.group, &row.version) => {
                    own_kind(&kind.kind)
                }
                Some(kind) => json!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
                None => own_kind(&row.kind),
            };
            json!({"subresource": subresource.name, "responseKind": kind, "verbs": subresource.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        entry.insert("subresources".into(), subresources.into());
    }
    Value::Object(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn entry<'v>(list: &'v Value, name: &str) -> &'v Value {
        list["resources"].as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap()
    }

    #[test]
    fn lists_are_upstreams() {
        let registry = registry();
        let core = resource_list(registry, "", "v1").unwrap();
        assert_eq!(core.get("apiVersion"), None);
        assert_eq!(
            entry(&core, "pods"),
            &json!({
                "name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod",
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                "shortNames": ["po"], "categories": ["all"], "storageVersionHash": "xPOwRZ+Yhw8=",
            })
        );
        assert_eq!(entry(&core, "events")["storageVersionHash"], "r2yiGXH7wu8=");
        assert_eq!(
            entry(&core, "pods/eviction"),
            &json!({"name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy", "version": "v1",
                "kind": "Eviction", "verbs": ["create"]})
        );
        let events = resource_list(registry, "events.k8s.io", "v1").unwrap();
        assert_eq!(entry(&events, "events")["storageVersionHash"], "r2yiGXH7wu8=");
        assert!(resource_list(registry, "apps", "v9").is_none());
    }

    #[test]
    fn groups_are_upstreams() {
        let registry = registry();
        let autoscaling = group(registry, "autoscaling").unwrap();
        assert_eq!(
            autoscaling["preferredVersion"],
            json!({"groupVersion": "autoscaling/v2", "version": "v2"})
        );
        let groups = group_list(registry);
        let names: Vec<&str> = groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| group["name"].as_str().unwrap())
            .collect();
        assert_eq!(names[..3], ["apiregistration.k8s.io", "apps", "events.k8s.io"]);
        assert!(group(registry, "").is_none());
        let apis = aggregated(registry, false, Aggregated::V2);
        assert_eq!(apis["items"].as_array().unwrap().len(), names.len());
        let core = aggregated(registry, true, Aggregated::V2Beta1);
        assert_eq!(core["items"][0]["metadata"], json!({}));
        assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2beta1");
    }
}
