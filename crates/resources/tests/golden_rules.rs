//! What holds for the rules of every kind: defaults settle at once, and what they leave is what the schema would write.

use model::tree::TreeExt;
use resources::registry;
use resources::schema;
use serde_json::{Value, json};

/// The smallest object of every kind, and some that say more.
fn samples() -> Vec<(&'static str, Value)> {
    let pods = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i",
        "livenessProbe": {"httpGet": {"port": 80}}, "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": "0.0001"}}}], "volumes": [{"name": "v"}]}});
    let selector = json!({"matchLabels": {"app": "a"}});
    let spec = json!({"selector": selector, "template": pods, "volumeClaimTemplates": [{"metadata": {"name": "d"}}]});
    vec![
        ("apps/v1 Deployment", spec.clone()),
        ("apps/v1 StatefulSet", spec.clone()),
        ("apps/v1 DaemonSet", spec.clone()),
        ("apps/v1 ReplicaSet", spec),
        ("batch/v1 Job", json!({"template": pods})),
        ("batch/v1 CronJob", json!({"schedule": "* * * * *", "jobTemplate": {"spec": {"template": pods}}})),
        ("v1 ReplicationController", json!({"template": pods})),
        ("v1 Pod", pods["spec"].clone()),
        ("v1 Service", json!({"ports": [{"port": 80}], "type": "LoadBalancer"})),
        ("v1 Node", json!({"podCIDR": "10.0.0.0/24"})),
        ("v1 LimitRange", json!({"limits": [{"type": "Container", "max": {"cpu": "1"}}]})),
        ("v1 PersistentVolume", json!({"capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}})),
        ("v1 PersistentVolumeClaim", json!({"resources": {"requests": {"storage": "1Gi"}}})),
        (
            "networking.k8s.io/v1 NetworkPolicy",
            json!({"podSelector": {}, "egress": [{"ports": [{"port": 1}]}]}),
        ),
        (
            "autoscaling/v2 HorizontalPodAutoscaler",
            json!({"maxReplicas": 2, "scaleTargetRef": {"kind": "D", "name": "d"}, "behavior": {"scaleUp": {}}}),
        ),
    ]
}

#[test]
fn defaults_settle_and_are_normal() {
    let samples = samples();
    let mut tried = 0;
    for row in registry().rows() {
        let name = format!("{} {}", row.api_version(), row.kind);
        let specs = samples.iter().filter(|(kind, _)| *kind == name).map(|(_, spec)| Some(spec.clone()));
        let Some(definition) = schema::definition(&row.definition) else { continue };
        for spec in specs.chain([None]) {
            let mut object = json!({"apiVersion": row.api_version(), "kind": row.kind, "metadata": {"name": "n", "uid": "u"}});
            if let Some(spec) = spec {
                object.set(&["spec"], spec);
            }
            schema::normalise(definition, &mut object).unwrap();
            row.rules.default(&mut object);
            row.rules.prepare_for_create(&mut object);
            row.rules.default(&mut object);
            let mut settled = object.clone();
            row.rules.default(&mut settled);
            assert_eq!(settled, object, "defaults of {name} do not settle");
            let unknown = schema::normalise(definition, &mut settled).unwrap();
            assert!(unknown.is_empty(), "{name}: {unknown:?}");
            row.rules.default(&mut settled);
            let mut again = settled.clone();
            schema::normalise(definition, &mut again).unwrap();
            assert_eq!(again, settled, "what the rules of {name} leave is not normal");
            // Nothing may panic on bare objects.
            let _ = row.rules.validate(&settled);
            let _ = row.rules.warnings(&settled, None);
            for subresource in [None, Some("status")] {
                let mut changed = settled.clone();
                row.rules.prepare_for_update(&mut changed, &settled, subresource);
                let _ = row.rules.validate_update(&changed, &settled, subresource);
            }
            assert_eq!(
                row.rules.selectable_fields(&settled).len(),
                row.rules.selectable_field_names().len(),
                "{name}"
            );
            tried += 1;
        }
    }
    assert!(tried > 80, "only {tried} objects were tried");
}

#[test]
fn an_unchanged_update_is_no_change() {
    for (name, spec) in samples() {
        let (version, kind) = name.split_once(' ').unwrap();
        let (group, version_name) = model::gvk::split_api_version(version);
        let wanted = model::GroupVersionKind::new(group, version_name, kind);
        let row = registry().by_kind(&wanted).unwrap();
        let mut object = json!({"apiVersion": version, "kind": kind,
            "metadata": {"name": "n", "namespace": "ns", "uid": "u", "resourceVersion": "1"}, "spec": spec});
        row.rules.default(&mut object);
        row.rules.prepare_for_create(&mut object);
        row.rules.default(&mut object);
        for subresource in [None, Some("status")] {
            let mut changed = object.clone();
            row.rules.default(&mut changed);
            row.rules.prepare_for_update(&mut changed, &object, subresource);
            assert_eq!(changed, object, "{name} {subresource:?}");
        }
    }
}

/// Pointers of all nodes of a tree.
fn nodes(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, child)| {
            nodes(child, &format!("{path}/{}", key.replace('~', "~0").replace('/', "~1")), found);
        }),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, child)| nodes(child, &format!("{path}/{at}"), found));
        }
        _ => {}
    }
}

#[test]
fn mangled_objects_do_not_panic() {
    let texts: Value = serde_json::from_str(include_str!("data/pod-create.json")).unwrap();
    let mut objects: Vec<(String, Value)> = samples()
        .into_iter()
        .map(|(name, spec)| {
            (name.to_owned(), json!({"metadata": {"name": "n", "labels": {"a": "b"}}, "spec": spec}))
        })
        .collect();
    let recorded = texts.as_array().or_else(|| texts["cases"].as_array()).unwrap();
    let accepted = recorded.iter().filter_map(|case| {
        let mut found = Vec::new();
        nodes(case, "", &mut found);
        found.iter().filter_map(|path| case.pointer(path)).find(|value| value["kind"] == "Pod").cloned()
    });
    // Every case would take a minute; the neighbours differ in one field.
    objects.extend(accepted.step_by(12).map(|pod| ("v1 Pod".to_owned(), pod)));
    assert!(objects.len() > 25, "{}", objects.len());
    let values =
        [json!(null), json!([]), json!({}), json!(""), json!(-1), json!("é\u{0}/9999999999"), json!([[]])];
    for (name, object) in objects {
        let (version, kind) = name.split_once(' ').unwrap();
        let (group, version) = model::gvk::split_api_version(version);
        let row = registry().by_kind(&model::GroupVersionKind::new(group, version, kind)).unwrap();
        let mut paths = Vec::new();
        nodes(&object, "", &mut paths);
        for (path, value) in paths.iter().flat_map(|path| values.iter().map(move |value| (path, value))) {
            let mut mangled = object.clone();
            *mangled.pointer_mut(path).unwrap() = value.clone();
            row.rules.default(&mut mangled);
            let mut created = mangled.clone();
            row.rules.prepare_for_create(&mut created);
            let _ = (row.rules.validate(&created), row.rules.warnings(&created, None));
            for subresource in [None, Some("status"), Some("resize"), Some("ephemeralcontainers")] {
                let mut changed = mangled.clone();
                row.rules.prepare_for_update(&mut changed, &object, subresource);
                let _ = row.rules.validate_update(&changed, &object, subresource);
                let _ = row.rules.warnings(&changed, Some(&object));
            }
            let _ = row.rules.selectable_fields(&mangled);
        }
    }
}
