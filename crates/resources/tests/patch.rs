//! Strategic merge patches against upstream's documented behaviour, and the law that a made patch, applied, gives what
//! it was made for.

use proptest::prelude::*;
use resources::patch::{self, PatchType, three_way, two_way};
use resources::schema::{FieldValidation, definition};
use serde_json::{Value, json};

const POD: &str = "io.k8s.api.core.v1.Pod";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";

fn smp(name: &str, current: Value, patch: Value) -> Result<Value, String> {
    patch::strategic::apply(definition(name), current, patch).map_err(|error| error.to_string())
}

#[test]
fn directives_act() {
    let pod = json!({"spec": {"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "1"}]}});
    for (what, patch, want) in [
        (
            "merge by key, keep the order",
            json!({"spec": {"containers": [{"name": "b", "image": "2"}]}}),
            json!([{"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "2"}]),
        ),
        (
            "new elements come first, as upstream has it",
            json!({"spec": {"containers": [{"name": "c", "image": "3"}]}}),
            json!([{"name": "c", "image": "3"}, {"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "1"}]),
        ),
        (
            "delete",
            json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
            json!([{"name": "b", "image": "1"}]),
        ),
        (
            "replace a list",
            json!({"spec": {"containers": [{"name": "z"}, {"$patch": "replace"}]}}),
            json!([{"name": "z"}]),
        ),
        (
            "replace a map",
            json!({"spec": {"$patch": "replace", "containers": [{"name": "z"}]}}),
            json!([{"name": "z"}]),
        ),
        (
            "order",
            json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}),
            json!([{"name": "b", "image": "1"}, {"name": "a", "image": "1", "args": ["x"]}]),
        ),
        (
            "lists without a strategy are replaced",
            json!({"spec": {"containers": [{"name": "a", "args": ["y"]}]}}),
            json!([{"name": "a", "image": "1", "args": ["y"]}, {"name": "b", "image": "1"}]),
        ),
    ] {
        let got = smp(POD, pod.clone(), patch).unwrap();
        assert_eq!(got["spec"]["containers"], want, "{what}");
    }
}

#[test]
fn primitive_lists_and_unions() {
    let meta = json!({"metadata": {"finalizers": ["a", "b", "c"]}});
    let got =
        smp(POD, meta.clone(), json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"]}})).unwrap();
    assert_eq!(got["metadata"]["finalizers"], json!(["a", "c"]));
    let patch = json!({"metadata": {"$setElementOrder/finalizers": ["d", "a"], "finalizers": ["d"]}});
    let got = smp(POD, meta, patch).unwrap();
    assert_eq!(got["metadata"]["finalizers"], json!(["d", "a", "b", "c"]));

    let volumes = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
    let patch = json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}});
    assert_eq!(
        smp(POD, volumes, patch).unwrap()["spec"]["volumes"],
        json!([{"name": "v", "hostPath": {"path": "/"}}])
    );

    let deployment =
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    assert_eq!(smp(DEPLOYMENT, deployment, patch).unwrap()["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[test]
fn errors_have_upstreams_words() {
    let pod = || json!({"spec": {"containers": [{"name": "a"}]}});
    for (patch, want) in [
        (
            json!({"spec": {"containers": [{"image": "x"}]}}),
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (json!({"spec": {"$patch": "zap"}}), "unknown patch type: zap in map: map[$patch:zap]"),
        (json!({"spec": {"containers": ["x"]}}), "list element types are not identical: [[map[name:a]] [x]]"),
        (json!({"spec": {"$retainKeys": 1}}), "invalid patch format of retainKeys"),
    ] {
        assert_eq!(smp(POD, pod(), patch.clone()).unwrap_err(), want, "{patch}");
    }
}

#[test]
fn apply_judges_what_it_made() {
    let current =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
    let name = "io.k8s.api.core.v1.ConfigMap";
    let run = |kind, text: &str, validation| {
        patch::apply(kind, definition(name), &current, text.as_bytes(), validation)
    };
    let strict = FieldValidation::Strict;
    let patched = run(PatchType::Merge, r#"{"data": {"a": null}, "zap": 1}"#, FieldValidation::Warn).unwrap();
    assert_eq!(patched.object, json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}));
    assert_eq!(patched.warnings, ["unknown field \"zap\""]);
    let refused = run(PatchType::Strategic, r#"{"zap": 1}"#, strict).unwrap_err();
    assert_eq!(
        refused.message,
        " \"\" is invalid: patch: Invalid value: \"map[zap:1]\": strict decoding error: unknown field \"zap\""
    );
    let refused = run(PatchType::Merge, "[]", strict).unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (
            400,
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
        )
    );
    let refused =
        run(PatchType::Json, r#"[{"op": "test", "path": "/data/a", "value": "2"}]"#, strict).unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (422, "the server rejected our request due to an error in our request")
    );
}

#[test]
fn applying_keeps_what_others_set() {
    let original = json!({"spec": {"replicas": 1, "template": {"spec": {"containers": [
        {"name": "a", "image": "1"}, {"name": "gone", "image": "1"}]}}}});
    let modified = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "2"}]}}}});
    let current = json!({"spec": {"replicas": 1, "paused": true, "template": {"spec": {"containers": [
        {"name": "a", "image": "1", "terminationMessagePath": "/dev/termination-log"}, {"name": "gone", "image": "1"},
        {"name": "sidecar", "image": "s"}]}}}});
    let patch =
        three_way::strategic(definition(DEPLOYMENT).unwrap(), Some(&original), &modified, &current).unwrap();
    assert_eq!(
        patch,
        json!({"spec": {"replicas": null, "template": {"spec": {
        "$setElementOrder/containers": [{"name": "a"}],
        "containers": [{"name": "a", "image": "2"}, {"name": "gone", "$patch": "delete"}]}}}})
    );
    let got = smp(DEPLOYMENT, current.clone(), patch).unwrap();
    assert_eq!(
        got,
        json!({"spec": {"paused": true, "template": {"spec": {"containers": [
        {"name": "a", "image": "2", "terminationMessagePath": "/dev/termination-log"},
        {"name": "sidecar", "image": "s"}]}}}})
    );
    let merged = three_way::merge(Some(&original), &json!({"spec": {"x": {}}}), &current);
    assert_eq!(merged, json!({"spec": {"replicas": null, "template": null, "x": {}}}));
}

fn container() -> impl Strategy<Value = Value> {
    let env = prop::collection::btree_map("[A-C]", "[x-z]{0,2}", 0..3);
    (prop::option::of("[a-c]"), env, prop::collection::vec("[p-r]", 0..3)).prop_map(|(image, env, args)| {
        let env: Vec<Value> =
            env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
        let mut container = json!({});
        if let Some(image) = image {
            container["image"] = image.into();
        }
        if !env.is_empty() {
            container["env"] = env.into();
        }
        if !args.is_empty() {
            container["args"] = args.into();
        }
        container
    })
}

/// Pods whose lists are in random order.
fn pod() -> impl Strategy<Value = Value> {
    let containers = prop::collection::btree_map("[a-e]", container(), 1..4)
        .prop_map(|map| {
            map.into_iter()
                .map(|(name, mut container)| {
                    container["name"] = name.into();
                    container
                })
                .collect::<Vec<Value>>()
        })
        .prop_shuffle();
    let finalizers = prop::collection::btree_set("[f-j]", 0..4)
        .prop_map(|set| set.into_iter().collect::<Vec<String>>())
        .prop_shuffle();
    let labels = prop::collection::btree_map("[a-c]", "[x-z]", 0..3);
    (containers, finalizers, labels, prop::option::of(any::<bool>())).prop_map(
        |(containers, finalizers, labels, host)| {
            let mut pod = json!({"metadata": {"labels": labels}, "spec": {"containers": containers}});
            if !finalizers.is_empty() {
                pod["metadata"]["finalizers"] = finalizers.into();
            }
            if let Some(host) = host {
                pod["spec"]["hostNetwork"] = host.into();
            }
            pod
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn a_made_patch_applied_gives_its_target(original in pod(), modified in pod()) {
        let patch = two_way::create(definition(POD), &original, &modified).unwrap();
        let got = smp(POD, original.clone(), patch.clone()).unwrap();
        prop_assert_eq!(got, modified, "patch {}", patch);
    }

    #[test]
    fn a_three_way_patch_brings_what_was_applied(original in pod(), modified in pod()) {
        let schema = definition(POD).unwrap();
        // Nobody else touched it: the outcome is the target itself.
        let patch = three_way::strategic(schema, Some(&original), &modified, &original).unwrap();
        prop_assert_eq!(smp(POD, original.clone(), patch).unwrap(), modified.clone());
        let patch = three_way::strategic(schema, Some(&modified), &modified, &modified).unwrap();
        prop_assert_eq!(patch, json!({}));
        let mut merged = original.clone();
        patch::merge::apply(&mut merged, three_way::merge(Some(&original), &modified, &original));
        prop_assert_eq!(merged, modified);
    }
}
