//! OpenAPI documents hold what clients look for, and are closed: no reference leads nowhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use resources::openapi::{self, no_custom};
use resources::{Registry, Resource, Scope, registry};
use serde_json::{Value, json};

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(name)) = map.get("$ref") {
                found.insert(name.clone());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

fn check_closed(document: &Value) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for name in found {
        assert!(document.pointer(&name[1..]).is_some(), "{name}");
    }
}

#[test]
fn every_version_3_document_is_closed() {
    let index = openapi::index(registry(), &no_custom);
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.contains_key("api/v1") && paths.contains_key("apis/apps/v1"));
    for (path, entry) in paths {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with(&format!("/openapi/v3/{path}?hash=")), "{url}");
        let parts: Vec<&str> = path.split('/').collect();
        let (group, version) = if parts[0] == "api" { ("", parts[1]) } else { (parts[1], parts[2]) };
        check_closed(&openapi::document_v3(registry(), group, version, &no_custom, "v1.36.0").unwrap());
    }
    assert!(openapi::document_v3(registry(), "apps", "v9", &no_custom, "v1.36.0").is_none());
}

#[test]
fn kubectl_finds_field_validation_and_merge_keys() {
    let document = openapi::document_v3(registry(), "", "v1", &no_custom, "v1.36.0").unwrap();
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "", "kind": "Pod", "version": "v1"})
    );
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedPod");
    let names: Vec<&str> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let spec = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"];
    assert_eq!(spec["containers"]["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(spec["containers"]["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(spec["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
    let pod = &document["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "kind": "Pod", "version": "v1"}])
    );
}

#[test]
fn version_2_is_closed_and_operations_are_unique() {
    let document = openapi::document_v2(registry(), &no_custom, "v1.36.0");
    check_closed(&document);
    let mut seen = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values().filter(|value| value.is_object()) {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(seen.insert(id.clone()), "{id} at {path}");
        }
    }
    assert!(seen.contains("deleteCoreV1CollectionNamespacedPod"));
    assert!(seen.contains("listRbacAuthorizationV1NamespacedRole"));
}

#[test]
fn custom_resources_are_published() {
    let row = Resource {
        group: "example.com".into(),
        version: "v1".into(),
        kind: "Foo".into(),
        plural: "foos".into(),
        singular: "foo".into(),
        short_names: Vec::new(),
        categories: Vec::new(),
        scope: Scope::Namespaced,
        verbs: ["create", "get", "list", "watch"].map(str::to_owned).to_vec(),
        subresources: Vec::new(),
        storage_version: "v1".into(),
        definition: String::new(),
        rules: Arc::new(resources::rules::Plain),
    };
    let mut registry: Registry = registry().clone();
    registry.insert(Arc::new(row));
    let custom = |_: &Resource| Some(json!({"type": "object", "properties": {"spec": {"type": "string"}}}));
    let before = openapi::index(&registry, &no_custom);
    let after = openapi::index(&registry, &custom);
    let url = |index: &Value| index["paths"]["apis/example.com/v1"]["serverRelativeURL"].clone();
    assert_ne!(url(&before), url(&after));
    let document = openapi::document_v3(&registry, "example.com", "v1", &custom, "v1.36.0").unwrap();
    check_closed(&document);
    let schema = &document["components"]["schemas"]["com.example.v1.Foo"];
    assert_eq!(schema["properties"]["spec"], json!({"type": "string"}));
    assert_eq!(registry.groups().last().unwrap().name, "example.com");
}
