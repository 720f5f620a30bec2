//! Protobuf: upstream's bytes, every kind there and back, and bytes that are none.

use model::GroupVersionKind;
use proptest::prelude::*;
use resources::schema::decode::{Expected, definition_of};
use resources::schema::protobuf::{Collection, Unknown, event, frame, message, object, partial, tree};
use resources::schema::table::{Definition, Type, definitions};
use resources::schema::{Format, decode, normalise};
use serde_json::{Map, Value, json};

fn core(kind: &str) -> &'static Definition {
    definition_of(&GroupVersionKind::new("", "v1", kind)).unwrap()
}

/// Through protobuf and back.
fn round_trip(definition: &'static Definition, tree: &Value) -> Value {
    let bytes = object(definition, tree);
    let unknown = Unknown::parse(&bytes).unwrap();
    let mut back =
        message(definition, unknown.raw).unwrap_or_else(|error| panic!("{}: {error}", definition.name));
    normalise(definition, &mut back).unwrap_or_else(|error| panic!("{}: {error}", definition.name));
    back
}

fn without_kind(mut tree: Value) -> Value {
    if let Some(fields) = tree.as_object_mut() {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    tree
}

#[test]
fn bytes_are_upstreams() {
    // A namespace as upstream stores it.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test",
        "creationTimestamp": "2026-01-02T03:04:05Z"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    let expected = b"k8s\0\n\x0f\n\x02v1\x12\tNamespace\x126\n\x1c\n\x04test\x12\0\x1a\0\"\0*\x002\x008\0B\
        \x08\x08\xa5\xeb\xdc\xca\x06\x10\0\x12\x0c\n\nkubernetes\x1a\x08\n\x06Active\x1a\0\"\0";
    let found = object(core("Namespace"), &namespace);
    let shorter = expected.len().min(found.len());
    let differs = (0..shorter).find(|at| expected[*at] != found[*at]);
    assert_eq!(found.escape_ascii().to_string(), expected.escape_ascii().to_string(), "from {differs:?}");
}

/// Protobuf does not tell an empty list from none.
fn as_read(tree: Value) -> Value {
    match tree {
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Array(list) => list.into_iter().map(as_read).collect::<Vec<_>>().into(),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (key, as_read(value))).collect())
        }
        other => other,
    }
}

#[test]
fn recorded_pods_survive() {
    let data: Value = serde_json::from_str(include_str!("data/pod-create.json")).unwrap();
    let cases = data["cases"].as_array().unwrap();
    let mut seen = 0;
    for pod in cases.iter().flat_map(|case| [&case["request"], &case["body"], &case["object"]]) {
        let mut pod = pod.clone();
        if pod["kind"] != "Pod" || normalise(core("Pod"), &mut pod).is_err() {
            continue;
        }
        seen += 1;
        assert_eq!(round_trip(core("Pod"), &pod), as_read(without_kind(pod)));
    }
    assert!(seen > 100, "{seen} Pods");
}

/// A value of a type in which nothing is absent, to a depth.
fn sample(ty: Type, depth: usize) -> Value {
    match ty {
        Type::Text => "text".into(),
        Type::Bool => true.into(),
        Type::Int32 => (-7).into(),
        Type::Int64 => (1_i64 << 40).into(),
        Type::Float => 0.5.into(),
        Type::Bytes => "AQID/w==".into(),
        Type::Quantity => "1500m".into(),
        Type::Time => "2026-01-02T03:04:05Z".into(),
        Type::MicroTime => "1969-12-31T23:59:59.000007Z".into(),
        Type::Duration => "-1m30s".into(),
        Type::IntOrString => {
            if depth.is_multiple_of(2) {
                json!(80)
            } else {
                json!("25%")
            }
        }
        Type::Raw => json!({"any": [1, {"thing": null}]}),
        Type::SchemaOrArray => json!([filled(schema(), depth), filled(schema(), 0)]),
        Type::SchemaOrBool => {
            if depth == 0 {
                json!(true)
            } else {
                filled(schema(), depth - 1)
            }
        }
        Type::SchemaOrStrings => json!(["a", "b"]),
        Type::List(of) => json!([sample(*of, depth), sample(*of, depth)]),
        Type::Map(of) => json!({"b": sample(*of, depth), "": sample(*of, depth), "a": sample(*of, depth)}),
        ty => match ty.definition() {
            Some(definition) => filled(definition, depth),
            None => Value::Null,
        },
    }
}

fn schema() -> &'static Definition {
    let is = |definition: &&Definition| definition.name.ends_with("apiextensions.v1.JSONSchemaProps");
    definitions().iter().find(is).unwrap()
}

fn filled(definition: &'static Definition, depth: usize) -> Value {
    let Some(depth) = depth.checked_sub(1) else { return Value::Object(Map::new()) };
    let fields = definition.fields.iter().filter(|field| field.number > 0);
    Value::Object(fields.map(|field| (field.name.to_owned(), sample(field.ty, depth))).collect())
}

#[test]
fn every_kind_survives() {
    let kinds: Vec<_> = definitions().iter().filter(|definition| !definition.kinds.is_empty()).collect();
    assert!(kinds.len() > 100, "{}", kinds.len());
    for definition in kinds {
        for depth in [0, 1, 2, 4, 9] {
            // Lists of lists grow fast.
            let depth =
                if definition.name.contains("CustomResourceDefinition") { depth.min(7) } else { depth };
            let mut tree = filled(definition, depth);
            normalise(definition, &mut tree).unwrap_or_else(|error| panic!("{}: {error}", definition.name));
            assert_eq!(round_trip(definition, &tree), tree, "{} to depth {depth}", definition.name);
        }
    }
}

#[test]
fn fields_outside_of_type_meta_have_numbers() {
    for definition in definitions().iter().filter(|definition| definition.special.is_none()) {
        // `/version` is JSON only.
        for field in definition.fields.iter().filter(|_| !definition.name.ends_with("version.Info")) {
            let expected = field.embedded != "TypeMeta.";
            assert_eq!(field.number > 0, expected, "{} {}", definition.name, field.name);
        }
    }
}

#[test]
fn bodies_are_read_with_upstreams_errors() {
    let kind = GroupVersionKind::new("", "v1", "ConfigMap");
    let expected = Expected { kind: &kind, definition: Some(core("ConfigMap")) };
    let read = |body: &[u8]| {
        decode::decode(&expected, Format::Protobuf, body)
            .map(|read| read.object)
            .map_err(|status| status.message)
    };
    let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": ""}});
    assert_eq!(read(&tree(&map).unwrap()).unwrap(), map);
    let table: &[(&[u8], &str)] = &[
        (b"", "the object provided is unrecognized (must be of type ConfigMap): empty data (<empty>)"),
        (
            b"{}",
            "the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a \
             protobuf message, expected prefix [107 56 115 0] ({})",
        ),
        (b"k8s\0", "the object provided is unrecognized (must be of type ConfigMap): empty body (6b387300)"),
        (
            b"k8s\0\x12\x01\x0a",
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: unexpected EOF",
        ),
        (
            b"k8s\0\x12\x02\x08\x01",
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: proto: wrong wireType = 0 for field Metadata",
        ),
        (
            b"k8s\0\x0a\x05\x12\x03Pod\x12\x00",
            "Pod in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown \
             conversion",
        ),
    ];
    for (body, message) in table {
        assert_eq!(read(body).unwrap_err(), *message);
    }
}

#[test]
fn repeated_fields_merge_and_unknown_ones_are_skipped() {
    let read = |bytes: &[u8]| message(core("Pod"), bytes).unwrap();
    let twice =
        [&b"\x0a\x03\x0a\x01a"[..], b"\x0a\x03\x1a\x01n", b"\xfa\x7f\x01x", b"\x0b\x08\x01\x0c"].concat();
    // The last one is a group where metadata is expected.
    assert!(message(core("Pod"), &twice).is_err());
    let twice = &twice[..twice.len() - 4];
    assert_eq!(read(twice), json!({"metadata": {"name": "a", "namespace": "n"}}));
    // supplementalGroups, packed and not.
    let groups = b"\x12\x0a\x72\x08\x22\x02\x01\x02\x20\x03\x20\x04";
    assert_eq!(read(groups)["spec"]["securityContext"]["supplementalGroups"], json!([1, 2, 3, 4]));
}

#[test]
fn what_is_too_deep_is_refused() {
    let mut bytes = Vec::new();
    for _ in 0..200 {
        // JSONSchemaProps.not
        let mut outer = vec![0xe2, 0x01];
        let mut length = bytes.len();
        while length >= 0x80 {
            outer.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        outer.push(length as u8);
        outer.extend_from_slice(&bytes);
        bytes = outer;
    }
    assert!(message(schema(), &bytes).is_err());
}

#[test]
fn lists_events_and_partial_metadata_are_framed() {
    let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let mut list = Collection::new("v1", "ConfigMapList", &json!({"resourceVersion": "7"}));
    list.push(core("ConfigMap"), &map);
    list.push(core("ConfigMap"), &map);
    let bytes = list.finish();
    let mut whole = json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "7"},
        "items": [map, map]});
    assert_eq!(bytes, tree(&whole).unwrap());
    whole["items"].as_array_mut().unwrap().iter_mut().for_each(|item| *item = without_kind(item.take()));
    let mut back = message(core("ConfigMapList"), Unknown::parse(&bytes).unwrap().raw).unwrap();
    normalise(core("ConfigMapList"), &mut back).unwrap();
    assert_eq!(back, without_kind(whole));
    let named =
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}});
    let bytes = tree(&named).unwrap();
    let back = message(partial(), Unknown::parse(&bytes).unwrap().raw).unwrap();
    assert_eq!(back["metadata"]["name"], "a");
    assert_eq!(event("ADDED", b"x"), b"\x0a\x05ADDED\x12\x03\x0a\x01x");
    assert_eq!(frame(b"abc"), b"\0\0\0\x03abc");
    assert!(tree(&json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1"})).is_none());
}

proptest! {
    #[test]
    fn no_bytes_are_a_danger(bytes in prop::collection::vec(any::<u8>(), 0..200), which in any::<prop::sample::Index>()) {
        let _ = Unknown::parse(&bytes);
        let _ = Unknown::parse(&[b"k8s\0", &bytes[..]].concat());
        let definition = &definitions()[which.index(definitions().len())];
        if let Ok(mut tree) = message(definition, &bytes) {
            let _ = normalise(definition, &mut tree);
        }
    }

    #[test]
    fn a_changed_byte_is_no_danger(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut tree = filled(core("Pod"), 6);
        normalise(core("Pod"), &mut tree).unwrap();
        let whole = object(core("Pod"), &tree);
        let mut bytes = Unknown::parse(&whole).unwrap().raw.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(mut tree) = message(core("Pod"), &bytes) {
            let _ = normalise(core("Pod"), &mut tree);
        }
    }
}
