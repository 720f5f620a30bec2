//! Bodies and patches as they come from outside: no panic, no endless work; and what must hold of every patch.

use model::time;
use proptest::prelude::*;
use resources::columns::jsonpath::Path;
use resources::patch::{self, PatchType, json, merge, strategic};
use resources::schema::decode::{from_json, from_yaml, type_meta};
use resources::schema::{FieldValidation, definition};
use serde_json::{Value, json};
use stdx::mutate::{mutated, mutated_text};

const POD: &str = "io.k8s.api.core.v1.Pod";

const BODIES: &[&str] = &[
    r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","labels":{"x":"y"}},"spec":{"containers":[{"name":"c","image":"i",
    "env":[{"name":"A","value":"1"}],"ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"limits":{"cpu":"100m"}}}],
    "tolerations":[{"operator":"Exists"}],"volumes":[{"name":"v","emptyDir":{"sizeLimit":"1Gi"}}]}}"#,
    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - {name: c, image: i, command: [sh, -c, 'x']}\n  nodeSelector: {a: b}\n",
    r#"{"spec":{"$setElementOrder/containers":[{"name":"c"}],"containers":[{"$patch":"delete","name":"c"},{"name":"d","image":"j"}],"nodeSelector":null,"$retainKeys":["containers"]}}"#,
    r#"{"metadata":{"finalizers":["a"],"$deleteFromPrimitiveList/finalizers":["b"],"$setElementOrder/finalizers":["a"]},"$patch":"replace"}"#,
    r#"[{"op":"add","path":"/metadata/labels/a~1b","value":{"x":[1]}},{"op":"test","path":"/kind","value":"Pod"},{"op":"copy","from":"/spec","path":"/spec/containers/-"},{"op":"move","from":"/spec/containers/0","path":"/x"},{"op":"remove","path":"/metadata/name"},{"op":"replace","path":"","value":{}}]"#,
];

fn pod() -> Value {
    serde_json::from_str(BODIES[0]).unwrap()
}

/// Any tree that is not too large; patches cannot say null.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c]{0,3}".prop_map(Value::from),
    ];
    let inner = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn bodies(seed: u64) {
        let body = mutated(BODIES, seed);
        let _ = (from_yaml(&body), type_meta(&body));
        if let Ok(read) = from_json(&body) {
            let again = from_json(read.object.to_string().as_bytes()).unwrap();
            prop_assert_eq!(again.object, read.object, "written and read again");
        }
    }

    #[test]
    fn patches(seed: u64) {
        let body = mutated(BODIES, seed);
        for kind in [PatchType::Json, PatchType::Merge, PatchType::Strategic] {
            let _ = patch::apply(kind, definition(POD), &pod(), &body, FieldValidation::Strict);
        }
        if let Ok(Value::Array(operations)) = serde_json::from_slice(&body) {
            let _ = json::apply_operations(&mut pod(), &operations);
        }
    }

    #[test]
    fn normalised_objects_stay_as_they_are(seed: u64) {
        let Ok(mut read) = from_json(&mutated(&BODIES[..1], seed)) else { return Ok(()) };
        let Some(schema) = definition(POD) else { return Ok(()) };
        if resources::schema::normalise(schema, &mut read.object).is_ok() {
            let once = read.object.clone();
            prop_assert!(resources::schema::normalise(schema, &mut read.object).is_ok());
            prop_assert_eq!(&read.object, &once);
            let same = strategic::apply(definition(POD), once.clone(), json!({}));
            prop_assert_eq!(same.ok(), Some(once), "an empty patch changes nothing");
        }
    }

    #[test]
    fn a_merge_patch_of_a_difference_gives_the_other(one in tree(), other in tree()) {
        let mut patched = one.clone();
        merge::apply(&mut patched, merge::diff(&one, &other));
        prop_assert_eq!(&patched, &other);
        merge::apply(&mut patched, json!({}));
        prop_assert_eq!(patched, other);
    }

    #[test]
    fn paths(seed: u64) {
        let text = mutated_text(&[".spec.replicas", "$.a[?(@.type==\"Ready\")].status", "{.a['b','c'][1:2]}", "..x[*]"], seed);
        if let Ok(path) = Path::parse(&text) {
            let _ = path.find(&pod());
        }
    }

    #[test]
    fn times(seed: u64) {
        let text = mutated_text(&["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123456+02:00"], seed);
        if let Some(at) = time::parse(&text) {
            let written = time::format_seconds(at);
            prop_assert_eq!(time::parse(&written).map(time::format_seconds), Some(written));
        }
    }
}
