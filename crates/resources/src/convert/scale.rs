//! The `scale` subresource: `autoscaling/v1 Scale` as a view of the resources that have replicas.

use model::tree::TreeExt;
use serde_json::{Value, json};

/// The `Scale` of a deployment, replica set, stateful set or replication controller.
pub fn read(object: &Value) -> Value {
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {},
        "spec": {}, "status": {"replicas": object.integer(&["status", "replicas"]).unwrap_or(0)},
    });
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(name) {
            scale["metadata"][name] = value.clone();
        }
    }
    match object.integer(&["spec", "replicas"]) {
        Some(0) | None => {}
        Some(replicas) => scale["spec"]["replicas"] = replicas.into(),
    }
    let selector = selector(object);
    if !selector.is_empty() {
        scale["status"]["selector"] = selector.into();
    }
    scale
}

/// Writes a `Scale`'s replicas into the object. The caller checks the scale's name, uid and resource version.
pub fn write(object: &mut Value, scale: &Value) {
    object.set(&["spec", "replicas"], scale.integer(&["spec", "replicas"]).unwrap_or(0));
}

/// The selector as text: a replication controller's map, or the label selector of the others.
fn selector(object: &Value) -> String {
    if object.kind() == "ReplicationController" {
        let map = object.at(&["spec", "selector"]).and_then(Value::as_object);
        let pairs: Vec<String> = map
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect();
        return pairs.join(",");
    }
    let Some(selector) = object.at(&["spec", "selector"]) else { return String::new() };
    crate::columns::cells::label_selector(selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_views() {
        let mut object = json!({
            "kind": "Deployment", "metadata": {"name": "d", "namespace": "n", "uid": "u", "labels": {"a": "b"}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "d"}}}, "status": {"replicas": 2},
        });
        let mut scale = read(&object);
        assert_eq!(scale["metadata"], json!({"name": "d", "namespace": "n", "uid": "u"}));
        assert_eq!(
            (&scale["spec"], &scale["status"]),
            (&json!({"replicas": 3}), &json!({"replicas": 2, "selector": "app=d"}))
        );
        scale["spec"] = json!({});
        write(&mut object, &scale);
        assert_eq!(object["spec"]["replicas"], 0);
    }
}
