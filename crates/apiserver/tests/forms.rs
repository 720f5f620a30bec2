//! Forms of answers and paths that are no resources.

mod support;

use std::io::Read;

use http_body_util::BodyExt;
use resources::schema::protobuf;
use serde_json::{Value, json};
use support::Harness;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn answers_take_the_form_asked_for() {
    let it = Harness::new().await;
    it.json(&format!("POST {MAPS}"), &json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await;
    let yaml = it.send(&format!("GET {MAPS}/a"), &[("accept", "application/yaml")], "").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(yaml.text.contains("kind: ConfigMap\n"), "{}", yaml.text);
    let table = it
        .send(&format!("GET {MAPS}"), &[("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")], "")
        .await;
    assert_eq!((&table.body["kind"], &table.body["rows"][0]["cells"][0]), (&json!("Table"), &json!("a")));
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = it.send(&format!("GET {MAPS}"), &[("accept", partial)], "").await;
    assert_eq!(partial.body["kind"], "PartialObjectMetadataList");
    assert!(partial.body["items"][0].get("data").is_none());
    let refused = it.send(&format!("GET {MAPS}"), &[("accept", "application/cbor")], "").await;
    assert_eq!(refused.code, 406);
    let refused = it.send(&format!("POST {MAPS}"), &[("content-type", "application/cbor")], "x").await;
    assert_eq!(refused.code, 415);
    let posted = it
        .send(&format!("POST {MAPS}"), &[("content-type", "application/yaml")], "metadata:\n  name: why\n")
        .await;
    assert_eq!((posted.code, &posted.body["metadata"]["name"]), (201, &json!("why")), "{}", posted.text);
    let curl = it.send(&format!("GET {MAPS}/a"), &[("user-agent", "curl/8")], "").await;
    assert!(curl.text.starts_with("{\n  \"kind\": \"ConfigMap\",\n"), "{}", curl.text);
}

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// Sends and asks for protobuf, with JSON as what clients also accept.
async fn protobuf(it: &Harness, line: &str, body: Option<Value>) -> (u16, String, Value) {
    let accept = "application/vnd.kubernetes.protobuf,application/json";
    let headers = [("accept", accept), ("content-type", PROTOBUF)];
    let body = body.map(|tree| protobuf::tree(&tree).unwrap()).unwrap_or_default();
    let response = it.open(line, &headers, body).await;
    let code = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, kind, read(&bytes))
}

/// The tree of an answer in protobuf; null for other answers.
fn read(bytes: &[u8]) -> Value {
    let Ok(unknown) = protobuf::Unknown::parse(bytes) else { return Value::Null };
    let (group, version) = model::gvk::split_api_version(&unknown.api_version);
    let kind = model::GroupVersionKind::new(group, version, unknown.kind.as_str());
    let definition = resources::schema::decode::definition_of(&kind).unwrap();
    let mut tree = protobuf::message(definition, unknown.raw).unwrap();
    resources::schema::normalise(definition, &mut tree).unwrap();
    tree["kind"] = json!(unknown.kind);
    tree
}

#[tokio::test]
async fn protobuf_goes_in_and_out() {
    let it = Harness::new().await;
    let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let made = protobuf(&it, &format!("POST {MAPS}"), Some(map.clone())).await;
    assert_eq!((made.0, made.1.as_str(), &made.2["data"]["k"]), (201, PROTOBUF, &json!("v")));
    let again = protobuf(&it, &format!("POST {MAPS}"), Some(map)).await;
    assert_eq!(
        (again.0, &again.2["kind"], &again.2["reason"]),
        (409, &json!("Status"), &json!("AlreadyExists"))
    );
    let list = protobuf(&it, &format!("GET {MAPS}"), None).await;
    assert_eq!((&list.2["kind"], &list.2["items"][0]["data"]["k"]), (&json!("ConfigMapList"), &json!("v")));
    assert!(list.2["metadata"]["resourceVersion"].is_string());
    let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = it.send(&format!("GET {MAPS}"), &[("accept", partial)], "").await;
    assert!(partial.text.starts_with("k8s\0") && partial.text.contains("PartialObjectMetadataList"));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf";
    let table = it.send(&format!("GET {MAPS}"), &[("accept", table)], "").await;
    assert_eq!(table.body["kind"], "Table");
    let review = json!({"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let review =
        protobuf(&it, "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", Some(review)).await;
    assert_eq!((review.0, &review.2["status"]["allowed"]), (201, &json!(true)));
    let groups = protobuf(&it, "GET /apis", None).await;
    assert_eq!((&groups.2["kind"], groups.1.as_str()), (&json!("APIGroupList"), PROTOBUF));
    assert_eq!(protobuf(&it, "GET /version", None).await.1, "application/json");
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}});
    let kept = protobuf(&it, &format!("DELETE {MAPS}/a"), Some(options)).await;
    assert_eq!((kept.0, &kept.2["reason"]), (409, &json!("Conflict")));
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    assert_eq!(protobuf(&it, &format!("DELETE {MAPS}/a"), Some(options)).await.0, 200);
}

#[tokio::test]
async fn watches_in_protobuf_are_frames() {
    let it = Harness::new().await;
    it.json(&format!("POST {MAPS}"), &json!({"metadata": {"name": "a"}})).await;
    let accept = [("accept", "application/vnd.kubernetes.protobuf;stream=watch,application/json")];
    let line = format!(
        "GET {MAPS}?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    );
    let response = it.open(&line, &accept, "").await;
    assert_eq!(response.headers()["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let mut body = response.into_body();
    let mut found = Vec::new();
    let mut buffer = Vec::new();
    while found.len() < 2 {
        buffer.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
        while let Some((length, rest)) = buffer.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
            let event = protobuf::event_of(&rest[..length]).unwrap();
            found.push((event.0, read(&event.1)["metadata"]["name"].clone()));
            buffer = rest[length..].to_vec();
        }
    }
    assert_eq!(found, [("ADDED".to_owned(), json!("a")), ("BOOKMARK".to_owned(), Value::Null)]);
}

#[tokio::test]
async fn open_api_is_served_in_protobuf_and_compressed() {
    let it = Harness::new().await;
    let accept = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
    let plain = it.open("GET /openapi/v2", &[("accept", accept)], "").await;
    assert_eq!(plain.headers()["content-type"], "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
    let plain = plain.into_body().collect().await.unwrap().to_bytes();
    assert!(plain.starts_with(b"\x0a\x032.0"));
    let headers = [("accept", accept), ("accept-encoding", "gzip")];
    let packed = it.open("GET /openapi/v2", &headers, "").await;
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = packed.into_body().collect().await.unwrap().to_bytes();
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert!(unpacked == plain, "the same document");
    assert_eq!(it.send("GET /openapi/v2", &[("accept", "text/html")], "").await.code, 406);
}

#[tokio::test]
async fn paths_answer() {
    let it = Harness::new().await;
    for (path, field, expected) in [
        ("/version", "gitVersion", ""),
        ("/api", "kind", "APIVersions"),
        ("/apis", "kind", "APIGroupList"),
        ("/apis/apps", "kind", "APIGroup"),
        ("/api/v1", "kind", "APIResourceList"),
        ("/apis/apps/v1", "kind", "APIResourceList"),
    ] {
        let reply = it.call(&format!("GET {path}")).await;
        assert_eq!(reply.code, 200, "{path}");
        let found = reply.body[field].as_str().unwrap_or_default();
        assert!(found.contains(expected) && !found.is_empty(), "{path}: {found}");
    }
    for path in ["/healthz", "/livez", "/readyz", "/readyz/ping"] {
        assert_eq!(it.call(&format!("GET {path}")).await.text, "ok", "{path}");
    }
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let reply = it.send("GET /apis", &[("accept", aggregated)], "").await;
    assert_eq!(reply.body["kind"], "APIGroupDiscoveryList");
    let tag = reply.headers["etag"].to_str().unwrap();
    let again = it.send("GET /apis", &[("accept", aggregated), ("if-none-match", tag)], "").await;
    assert_eq!(again.code, 304);
    let documents = it.call("GET /openapi/v3").await.body;
    let url = documents["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = it.call(&format!("GET {url}")).await;
    assert!(document.body["components"]["schemas"]["io.k8s.api.core.v1.Pod"].is_object());
    let outdated = it.call("GET /openapi/v3/api/v1?hash=00").await;
    assert_eq!((outdated.code, outdated.headers["location"].to_str().unwrap()), (301, url));
    let verbose = it.call("GET /readyz?verbose").await;
    assert!(verbose.text.ends_with("[+]shutdown ok\nreadyz check passed\n"), "{}", verbose.text);
    let metrics = it.call("GET /metrics").await;
    assert!(metrics.text.contains("apiserver_request_total{"), "{}", metrics.text);
    assert_eq!(it.call("GET /nothing").await.code, 404);
    assert_eq!(it.call("GET /apis/none/v1").await.code, 404);
}

#[tokio::test]
async fn reviews_answer() {
    let it = Harness::new().await;
    let me = it.json("POST /apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await;
    assert_eq!((me.code, &me.body["status"]["userInfo"]["username"]), (201, &json!("tester")), "{}", me.text);
    let ask = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let may = it.json("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &ask).await;
    assert_eq!((may.code, &may.body["status"]["allowed"]), (201, &json!(true)), "{}", may.text);
    let nothing =
        it.json("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &json!({"spec": {}})).await;
    assert_eq!(nothing.code, 422);
}
