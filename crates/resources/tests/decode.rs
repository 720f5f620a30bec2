//! Bodies that upstream refused, with what it answered, and bodies whose normal form is known.

use model::GroupVersionKind;
use resources::schema::{FieldValidation, Format, decode, definition};
use serde_json::{Value, json};

fn pod() -> GroupVersionKind {
    GroupVersionKind::new("", "v1", "Pod")
}

fn read(kind: &GroupVersionKind, definition_name: &str, body: &str) -> Result<(Value, Vec<String>), String> {
    let expected = decode::Expected { kind, definition: definition(definition_name) };
    let decoded =
        decode::decode(&expected, Format::Json, body.as_bytes()).map_err(|status| status.message)?;
    let warnings = decoded.judge(FieldValidation::Strict, kind).map_err(|status| status.message)?;
    Ok((decoded.object, warnings))
}

#[test]
fn refusals_are_upstreams() {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/decode-errors.json")).unwrap();
    assert_eq!(cases.len(), 14);
    let mut bad = Vec::new();
    for case in &cases {
        let body = case["body"].as_str().unwrap();
        let want = case["status"]["message"].as_str().unwrap();
        let kind = pod();
        let got = read(&kind, "io.k8s.api.core.v1.Pod", body).err().unwrap_or_default();
        if got != want {
            bad.push(format!("{body}\n  got  {got}\n  want {want}"));
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn more_refusals() {
    let wrap = |why: &str| format!("Pod in version \"v1\" cannot be handled as a Pod: {why}");
    for (body, want) in [
        (
            json!({"spec": {"containers": [{"livenessProbe": {"tcpSocket": 1}}]}}),
            wrap("json: cannot unmarshal number into Go struct field \
                  Probe.spec.containers.livenessProbe.ProbeHandler.tcpSocket of type v1.TCPSocketAction"),
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            wrap("json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string"),
        ),
        (
            json!({"metadata": {"labels": ["a"]}}),
            wrap("json: cannot unmarshal array into Go struct field ObjectMeta.metadata.labels of type map[string]string"),
        ),
        (
            json!({"spec": {"terminationGracePeriodSeconds": 1.5}}),
            wrap("json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.terminationGracePeriodSeconds of type int64"),
        ),
        (
            json!({"spec": {"priority": 3_000_000_000_u64}}),
            wrap("json: cannot unmarshal number 3000000000 into Go struct field PodSpec.spec.priority of type int32"),
        ),
        (json!({"spec": "x"}), wrap("json: cannot unmarshal string into Go struct field Pod.spec of type v1.PodSpec")),
        (
            json!({"spec": {"restartPolicy": 1}}),
            wrap("json: cannot unmarshal number into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy"),
        ),
        // The first type error is kept, but a custom decoder's error further down ends the reading.
        (
            json!({"metadata": {"name": 1}, "spec": {"containers": [{"ports": [], "resources": {"limits": {"cpu": "x"}}}]}}),
            wrap("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        ),
        (
            json!({"metadata": {"creationTimestamp": "x"}}),
            wrap("parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\""),
        ),
        (
            json!({"apiVersion": 1}),
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: \
             json: cannot unmarshal number into Go struct field .apiVersion of type string ({\"apiVersion\":1})"
                .to_owned(),
        ),
        (
            json!({"apiVersion": "apps/v1", "kind": "Deployment"}),
            "Deployment in version \"v1\" cannot be handled as a Pod: converting (v1.Deployment) to (core.Pod): unknown conversion".to_owned(),
        ),
    ] {
        assert_eq!(read(&pod(), "io.k8s.api.core.v1.Pod", &body.to_string()).unwrap_err(), want, "{body}");
    }
}

#[test]
fn objects_come_out_as_gos_encoder_writes_them() {
    let kind = |group: &str, kind: &str| GroupVersionKind::new(group, "v1", kind);
    let meta = json!({"name": "x"});
    for (kind, name, body, want) in [
        (
            kind("", "Pod"),
            "io.k8s.api.core.v1.Pod",
            json!({"metadata": {"name": "x", "labels": {}, "creationTimestamp": null}, "spec": {
                "hostNetwork": false, "nodeName": "", "priority": 0, "volumes": [], "nodeSelector": null,
                "containers": [{"name": "c", "resources": {"requests": {"memory": "1024Mi", "cpu": 0.5}},
                    "securityContext": {"privileged": false}, "livenessProbe": {"httpGet": {"port": "http"}}}]}}),
            json!({"metadata": meta, "spec": {"priority": 0, "containers": [{"name": "c",
                "resources": {"requests": {"memory": "1Gi", "cpu": "500m"}},
                "securityContext": {"privileged": false}, "livenessProbe": {"httpGet": {"port": "http"}}}]}, "status": {}}),
        ),
        (
            kind("", "Service"),
            "io.k8s.api.core.v1.Service",
            json!({"metadata": meta, "spec": {"ports": [{"port": 80}]}}),
            json!({"metadata": meta, "spec": {"ports": [{"port": 80, "targetPort": 0}]}, "status": {"loadBalancer": {}}}),
        ),
        (
            kind("apps", "Deployment"),
            "io.k8s.api.apps.v1.Deployment",
            json!({"metadata": meta, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {}}}),
            json!({"metadata": meta, "spec": {"selector": {"matchLabels": {"a": "b"}}, "strategy": {},
                "template": {"metadata": {}, "spec": {"containers": null}}}, "status": {}}),
        ),
        (
            kind("", "Secret"),
            "io.k8s.api.core.v1.Secret",
            json!({"metadata": meta, "data": {"a": "aGk=", "b": null}, "immutable": false}),
            json!({"metadata": meta, "data": {"a": "aGk=", "b": null}, "immutable": false}),
        ),
        (
            kind("apiextensions.k8s.io", "CustomResourceDefinition"),
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition",
            json!({"metadata": meta, "spec": {"group": "g", "scope": "Namespaced", "names": {"plural": "ps", "kind": "P"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "additionalProperties": {"type": "string"}, "properties": {
                        "a": {"type": "array", "items": {"type": "string"}, "default": ["x"]},
                        "b": {"additionalProperties": true, "x-kubernetes-preserve-unknown-fields": true}}}}}]}}),
            json!({"metadata": meta, "spec": {"group": "g", "scope": "Namespaced", "names": {"plural": "ps", "kind": "P"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "additionalProperties": {"type": "string"}, "properties": {
                        "a": {"type": "array", "items": {"type": "string"}, "default": ["x"]},
                        "b": {"additionalProperties": true, "x-kubernetes-preserve-unknown-fields": true}}}}}]},
                "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null}}),
        ),
    ] {
        let (mut got, strict) = read(&kind, name, &body.to_string()).unwrap();
        assert_eq!(strict, Vec::<String>::new());
        got.as_object_mut().unwrap().retain(|name, _| name != "kind" && name != "apiVersion");
        assert_eq!(got, want);
        let mut again = got.clone();
        resources::schema::normalise(definition(name).unwrap(), &mut again).unwrap();
        assert_eq!(again, got, "normalising twice");
    }
}

#[test]
fn yaml_and_warnings() {
    let kind = pod();
    let expected = decode::Expected { kind: &kind, definition: definition("io.k8s.api.core.v1.Pod") };
    let body = b"spec:\n  zz: 1\n  aa: 2\n  containers:\n  - name: c\nmetadata: {name: x}\n";
    let decoded = decode::decode(&expected, Format::Yaml, body).unwrap();
    assert_eq!(decoded.object["kind"], "Pod");
    assert_eq!(
        decoded.judge(FieldValidation::Warn, &kind).unwrap(),
        ["unknown field \"spec.aa\"", "unknown field \"spec.zz\""]
    );
    assert_eq!(decoded.judge(FieldValidation::Ignore, &kind).unwrap(), Vec::<String>::new());
}
