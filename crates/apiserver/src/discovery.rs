//! Discovery: which groups, versions and resources there are, in the legacy and the aggregated form.

use std::sync::Arc;

use model::Status;
use parking_lot::Mutex;
use resources::Resource;
use serde_json::{Value, json};

use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;

/// Documents made of the table, kept until the table changes.
#[derive(Default)]
pub struct Documents {
    #[allow(dead_code)]
    made: Mutex<Vec<(usize, String, bytes::Bytes)>>,
}

/// Answers `/`, `/api…`, `/apis…`.
///
/// # Errors
/// 404 for groups and versions that are not served.
pub fn dispatch(context: &Arc<Context>, parts: &[&str]) -> Result<Answer, Status> {
    let routes = context.server.objects().routes();
    let registry = &routes.registry;
    let value = match parts {
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [
            {"clientCIDR": "0.0.0.0/0", "serverAddress": context.server.options.advertise}]}),
        ["apis"] => {
            let groups: Vec<Value> = registry
                .groups()
                .iter()
                .filter(|group| !group.name.is_empty())
                .map(|group| group_value(&group.name, &group.versions))
                .collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", name] => {
            let groups = registry.groups();
            let group =
                groups.iter().find(|group| group.name == *name).ok_or_else(Status::no_such_resource)?;
            let mut value = group_value(&group.name, &group.versions);
            value["kind"] = json!("APIGroup");
            value["apiVersion"] = json!("v1");
            value
        }
        ["api", version] => resource_list("", version, &registry.group_version("", version))?,
        ["apis", group, version] => resource_list(group, version, &registry.group_version(group, version))?,
        [] | [""] => {
            let mut paths = vec!["/api".to_owned(), "/api/v1".into(), "/apis".into()];
            for group in registry.groups().iter().filter(|group| !group.name.is_empty()) {
                paths.push(format!("/apis/{}", group.name));
                paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{version}", group.name)));
            }
            paths.extend(
                ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
                    .map(Into::into),
            );
            paths.sort();
            json!({"paths": paths})
        }
        _ => return Err(Status::no_such_resource()),
    };
    Ok(Answer::Other(200, value))
}

fn group_value(name: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

fn resource_list(group: &str, version: &str, rows: &[&Arc<Resource>]) -> Result<Value, Status> {
    if rows.is_empty() {
        return Err(Status::no_such_resource());
    }
    let mut resources = Vec::new();
    for row in rows {
        let mut value = json!({"name": row.plural, "singularName": row.singular, "namespaced": row.namespaced(),
            "kind": row.kind, "verbs": row.verbs});
        if !row.short_names.is_empty() {
            value["shortNames"] = json!(row.short_names);
        }
        if !row.categories.is_empty() {
            value["categories"] = json!(row.categories);
        }
        resources.push(value);
        for subresource in &row.subresources {
            let mut value = json!({"name": format!("{}/{}", row.plural, subresource.name), "singularName": "",
                "namespaced": row.namespaced(), "kind": row.kind, "verbs": subresource.verbs});
            if let Some(kind) = &subresource.kind {
                value["group"] = json!(kind.group);
                value["version"] = json!(kind.version);
                value["kind"] = json!(kind.kind);
            }
            resources.push(value);
        }
    }
    let group_version = model::gvk::api_version(group, version);
    Ok(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}),
    )
}
