//! Forms of answers and paths that are no resources.

mod support;

use serde_json::json;
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
    let refused =
        it.send(&format!("GET {MAPS}"), &[("accept", "application/vnd.kubernetes.protobuf")], "").await;
    assert_eq!(refused.code, 406);
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    let refused = it.send(&format!("POST {MAPS}"), &protobuf, "k8s\0").await;
    assert_eq!(refused.code, 415);
    let posted = it
        .send(&format!("POST {MAPS}"), &[("content-type", "application/yaml")], "metadata:\n  name: why\n")
        .await;
    assert_eq!((posted.code, &posted.body["metadata"]["name"]), (201, &json!("why")), "{}", posted.text);
    let curl = it.send(&format!("GET {MAPS}/a"), &[("user-agent", "curl/8")], "").await;
    assert!(curl.text.starts_with("{\n  \"kind\": \"ConfigMap\",\n"), "{}", curl.text);
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
