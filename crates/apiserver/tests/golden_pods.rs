//! Recorded answers of upstream to `POST …/pods?dryRun=All&fieldValidation=Strict`, from the whole pipeline: decoding,
//! defaults, admission, validation.

mod support;

use std::sync::Arc;

use apiserver::admission;
use apiserver::authorization::NodeAndRbac;
use apiserver::seams::ObjectReader;
use model::tree::TreeExt;
use resources::rules::pod::not_acted_on;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use stdx::entropy::Entropy;
use support::Harness;

const DATA: &str = include_str!("../../resources/tests/data/pod-create.json");

/// The request as it was sent: the order of its fields is that of the errors.
#[derive(serde::Deserialize)]
struct Sent<'t> {
    #[serde(borrow)]
    request: Option<&'t RawValue>,
    raw: Option<String>,
}

#[derive(serde::Deserialize)]
struct Recorded<'t> {
    #[serde(borrow)]
    cases: Vec<&'t RawValue>,
}

/// A server with the admission plug-ins, and what the recorded one had: a namespace and its account.
async fn server() -> Harness {
    let harness = Harness::with(|options| {
        let reader: Arc<dyn ObjectReader> = options.objects.clone();
        let authorizer = Arc::new(NodeAndRbac::new(reader.clone()));
        options.admission = admission::plugins(&reader, &authorizer, &Entropy::seeded(1));
    })
    .await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}});
    assert_eq!(harness.json("POST /api/v1/namespaces", &namespace).await.code, 201);
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    assert_eq!(harness.json("POST /api/v1/namespaces/default/serviceaccounts", &account).await.code, 201);
    harness
}

/// Texts of `Warning:` headers, without those that only this system has.
fn warnings<'h>(headers: impl IntoIterator<Item = &'h str>) -> Vec<String> {
    let mut texts = Vec::new();
    for header in headers {
        for part in header.split("299 - \"").skip(1) {
            let part = part.strip_suffix(", ").unwrap_or(part);
            let text = part.strip_suffix('"').unwrap_or(part).replace("\\\"", "\"");
            if !text.ends_with(not_acted_on::TEXT) {
                texts.push(text);
            }
        }
    }
    texts
}

/// What differs from server to server, or is random: removed, or masked.
fn clean(body: &mut Value) {
    for field in ["creationTimestamp", "uid", "resourceVersion", "managedFields"] {
        body.unset(&["metadata", field]);
    }
    for volume in
        body.at_mut(&["spec"]).get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten()
    {
        // The recorded server's tokens carry a further ConfigMap of its own kind.
        if volume.text(&["name"]).starts_with("kube-api-access-") {
            *volume = json!({"name": "kube-api-access-MASKED"});
        }
    }
    for list in ["initContainers", "containers"] {
        let containers = body.at_mut(&["spec"]).get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mounts = container.get_mut("volumeMounts").and_then(Value::as_array_mut);
            for mount in mounts.into_iter().flatten() {
                if mount.text(&["name"]).starts_with("kube-api-access-") {
                    mount["name"] = json!("kube-api-access-MASKED");
                }
            }
        }
    }
    if body["spec"].is_null() {
        body.unset(&["spec"]);
    }
}

#[tokio::test]
async fn answers_are_upstreams() {
    let harness = server().await;
    let recorded: Recorded<'_> = serde_json::from_str(DATA).unwrap();
    let mut wrong = Vec::new();
    for (index, case) in recorded.cases.iter().enumerate() {
        let sent: Sent<'_> = serde_json::from_str(case.get()).unwrap();
        let case: Value = serde_json::from_str(case.get()).unwrap();
        let body = match (&sent.raw, sent.request) {
            (Some(raw), _) => raw.clone(),
            (None, request) => request.unwrap().get().to_owned(),
        };
        let validation = case["fieldValidation"].as_str().unwrap_or("Strict");
        let line = format!("POST /api/v1/namespaces/default/pods?dryRun=All&fieldValidation={validation}");
        let mut reply = harness.send(&line, &[("content-type", "application/json")], body).await;
        let code = case["code"].as_u64().unwrap();
        let mut expected = if code == 201 { case["object"].clone() } else { case["status"].clone() };
        if code == 201 {
            clean(&mut reply.body);
            clean(&mut expected);
        }
        let headers = reply.headers.get_all("warning");
        let told = warnings(headers.iter().filter_map(|value| value.to_str().ok()));
        let same = u64::from(reply.code) == code && reply.body == expected;
        if !same || told != warnings(case["warning"].as_str()) {
            wrong.push(format!(
                "case {index}\n  expected {code} {expected}\n  got      {} {}\n  warnings {told:?}",
                reply.code, reply.body
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), recorded.cases.len(), wrong.join("\n"));
    assert_eq!(recorded.cases.len(), 153);
}
