//! What a user's files and arguments may hold: no panic, no endless work, whatever is in them.

use cli::jsonpath::Template;
use cli::manifest;
use cli::template::GoTemplate;
use proptest::prelude::*;
use serde_json::{Value, json};
use stdx::mutate::mutated_text;

const MANIFESTS: &[&str] = &[
    include_str!("../../../examples/quickstart/hello.yaml"),
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  labels: {a: b, \"c\": 'd'}\ndata:\n  x: |\n    y\n    z\n  n: \"1\"\n",
    "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"a\":[1,2.5,-3e7,null,true]}]}",
    "a: &a [1, 2]\nb: *a\nc:\n- <<: {x: 1}\n  y: ~\n- !!str 5\n",
];

const PATHS: &[&str] = &[
    "{.items[*].metadata.name}",
    "{range .items[*]}{.metadata.name}{\"\\t\"}{.status.phase}{\"\\n\"}{end}",
    "{.items[?(@.status.phase==\"Running\")].metadata['name','namespace']}",
    "{..name}{.items[0:2:1].spec.containers[-1].image}",
    "{$.items[?(@.a>1.5)]}{'text'}",
];

const TEMPLATES: &[&str] = &[
    "{{range .items}}{{.metadata.name}}{{\"\\n\"}}{{end}}",
    "{{range $key, $value := .metadata.labels}}{{$key}}={{$value}} {{else}}none{{end}}",
    "{{if and (eq .kind \"Pod\") (gt (len .items) 1)}}{{printf \"%s-%d\" .kind 5}}{{else if .x}}{{end}}",
    "{{with .spec}}{{index .containers 0 | printf \"%v\"}}{{end}}{{/* comment */}}{{- .a -}}",
];

fn object() -> Value {
    json!({
        "kind": "List", "metadata": {"labels": {"a": "b"}}, "a": [1, 2.5, "x", null, true, {"name": "deep"}],
        "items": [
            {"metadata": {"name": "a", "namespace": "n"}, "status": {"phase": "Running"}, "spec": {"containers": [{"image": "i"}]}},
            {"metadata": {"name": "b"}, "a": 2, "spec": {"containers": []}},
        ],
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn manifests(seed: u64) {
        let text = mutated_text(MANIFESTS, seed);
        if let Ok(value) = manifest::parse(&text) {
            let again = manifest::parse(&value.to_string());
            prop_assert_eq!(again, Ok(value), "what was read is written as JSON and read again");
        }
    }

    #[test]
    fn numbers(number: f64) {
        prop_assume!(number.is_finite());
        let text = format!("a: {number:e}");
        prop_assert_eq!(manifest::parse(&text).unwrap()["a"].as_f64(), Some(number), "to the nearest double");
        let json = format!("{{\"a\": {number:e}}}");
        prop_assert_eq!(manifest::parse(&json).unwrap()["a"].as_f64(), Some(number), "{}", json);
    }

    #[test]
    fn json_paths(seed: u64) {
        if let Ok(template) = Template::parse(&mutated_text(PATHS, seed)) {
            let _ = (template.print(&object()), template.values(&object()));
        }
        let _ = Template::relaxed(&mutated_text(&[".a.b", "{a.b}", "a"], seed));
    }

    #[test]
    fn templates(seed: u64) {
        if let Ok(template) = GoTemplate::parse(&mutated_text(TEMPLATES, seed)) {
            let _ = template.print(&object());
        }
    }
}

#[test]
fn aliases_do_not_multiply_without_bound() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = format!("*a{}, ", level - 1).repeat(10);
        text += &format!("a{level}: &a{level} [{before}]\n");
    }
    assert!(manifest::parse(&text).is_err(), "ten to the power of twelve");
}

#[test]
fn depth_is_bounded() {
    for open in ["[", "{\"a\":", "- ", "{a: "] {
        assert!(manifest::parse(&open.repeat(100_000)).is_err());
    }
    for open in ["{.a[?(@.b==", "{range .items[*]}", "{.a[", "{..", "{"] {
        let _ = Template::parse(&open.repeat(100_000));
    }
    for open in ["{{(", "{{if .a}}", "{{range .items}}", "{{with .a}}", "{{"] {
        let _ = GoTemplate::parse(&open.repeat(100_000));
    }
    let nested = format!("{{{{{}1{}}}}}", "(".repeat(100_000), ")".repeat(100_000));
    let _ = GoTemplate::parse(&nested);
}
