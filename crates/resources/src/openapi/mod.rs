//! OpenAPI documents, v2 (`/openapi/v2`) and v3 (`/openapi/v3`, one document per group and version), made from the
//! schema tables and the registry when asked for. Nothing of them is kept: callers cache what they serve, keyed by the
//! hash of the index.

mod descriptions;
mod paths;
pub mod protobuf;
mod schemas;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use descriptions::Descriptions;

use crate::registry::Registry;
use crate::row::Resource;

/// Which OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    V2,
    V3,
}

/// Where the schemas of custom resources come from: the structural schema of a row's version, without metadata.
pub type CustomSchema<'a> = &'a dyn Fn(&Resource) -> Option<Value>;

/// No custom resources.
pub fn no_custom(_: &Resource) -> Option<Value> {
    None
}

/// `/openapi/v3`: the documents there are, each with a hash that changes when it does.
pub fn index(registry: &Registry, custom: CustomSchema<'_>) -> Value {
    let mut paths = Map::new();
    for (group, version) in group_versions(registry) {
        let path = document_path(&group, &version);
        let hash = hash(registry, &group, &version, custom);
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}

fn group_versions(registry: &Registry) -> Vec<(String, String)> {
    let groups = registry.groups();
    groups
        .into_iter()
        .flat_map(|group| group.versions.into_iter().map(move |version| (group.name.clone(), version)))
        .collect()
}

/// `api/v1`, `apis/apps/v1`.
fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// Tells versions of a document apart without making it: built-in schemas change with the program only, custom ones
/// are hashed whole.
fn hash(registry: &Registry, group: &str, version: &str, custom: CustomSchema<'_>) -> String {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    for row in registry.group_version(group, version) {
        let verbs = row.verbs.join(",");
        let subresources: Vec<&str> =
            row.subresources.iter().map(|subresource| subresource.name.as_str()).collect();
        hash.update(format!(
            "{group}/{version}/{}/{}/{verbs}/{}\n",
            row.plural,
            row.kind,
            subresources.join(",")
        ));
        hash.update(custom(row).map(|schema| schema.to_string()).unwrap_or_default());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// `/openapi/v3/api/v1`, `/openapi/v3/apis/{group}/{version}`.
pub fn document_v3(
    registry: &Registry,
    group: &str,
    version: &str,
    custom: CustomSchema<'_>,
    server_version: &str,
) -> Option<Value> {
    let rows = registry.group_version(group, version);
    if rows.is_empty() {
        return None;
    }
    let mut used = Used::default();
    let mut all_paths = Map::new();
    for row in &rows {
        paths::add(&mut all_paths, row, Style::V3, &mut used);
    }
    let schemas = used.schemas(Style::V3, &rows.iter().map(|row| row.as_ref()).collect::<Vec<_>>(), custom);
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": all_paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"BearerToken": {
                "type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header",
            }},
        },
    }))
}

/// `/openapi/v2`: everything in one document.
pub fn document_v2(registry: &Registry, custom: CustomSchema<'_>, server_version: &str) -> Value {
    let mut used = Used::default();
    let mut all_paths = Map::new();
    let rows: Vec<&Resource> = registry.rows().iter().map(|row| row.as_ref()).collect();
    for row in &rows {
        paths::add(&mut all_paths, row, Style::V2, &mut used);
    }
    let definitions = used.schemas(Style::V2, &rows, custom);
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": all_paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": {
            "description": "Bearer Token authentication", "in": "header", "name": "authorization", "type": "apiKey",
        }},
        "security": [{"BearerToken": []}],
    })
}

/// Names of the definitions that a document mentions.
#[derive(Default)]
struct Used(BTreeSet<String>);

impl Used {
    fn reference(&mut self, style: Style, name: &str) -> Value {
        self.0.insert(name.to_owned());
        json!({"$ref": format!("{}{name}", prefix(style))})
    }

    /// The schemas mentioned and what they mention in turn.
    fn schemas(self, style: Style, rows: &[&Resource], custom: CustomSchema<'_>) -> Map<String, Value> {
        let mut done = Map::new();
        let texts = Descriptions::unpack();
        let mut todo: Vec<String> = self.0.into_iter().collect();
        while let Some(name) = todo.pop() {
            if done.contains_key(&name) {
                continue;
            }
            let mut mentioned = Used::default();
            let schema = match crate::schema::definition(&name) {
                Some(definition) => schemas::builtin(definition, style, &texts, &mut mentioned),
                None => schemas::custom(&name, rows, style, custom, &mut mentioned),
            };
            todo.extend(mentioned.0.into_iter().filter(|name| !done.contains_key(name)));
            done.insert(name, schema);
        }
        done
    }
}

fn prefix(style: Style) -> &'static str {
    match style {
        Style::V2 => "#/definitions/",
        Style::V3 => "#/components/schemas/",
    }
}

/// The definition's name of a row: its own, or for custom resources the reversed group with version and kind.
fn definition_name(row: &Resource) -> String {
    if !row.definition.is_empty() {
        return row.definition.clone();
    }
    let reversed: Vec<&str> = row.group.rsplit('.').collect();
    format!("{}.{}.{}", reversed.join("."), row.version, row.kind)
}
