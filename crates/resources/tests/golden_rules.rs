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
