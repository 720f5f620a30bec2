//! The verbs over the whole pipeline, in process.

mod support;

use serde_json::{Value, json};
use support::Harness;

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": name}}, "data": {"k": "v"}})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn an_object_lives_its_life() {
    let it = Harness::new().await;
    let made = it.json(&format!("POST {MAPS}"), &config_map("a")).await;
    assert_eq!(made.code, 201, "{made:?}");
    let metadata = &made.body["metadata"];
    assert_eq!(metadata["namespace"], "default");
    assert_eq!(metadata["creationTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(metadata["uid"].as_str().map(str::len), Some(36));
    assert_eq!((&made.body["kind"], &made.body["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    let version = metadata["resourceVersion"].clone();

    let again = it.json(&format!("POST {MAPS}"), &config_map("a")).await;
    assert_eq!((again.code, again.message()), (409, "configmaps \"a\" already exists"));

    let got = it.call(&format!("GET {MAPS}/a")).await;
    assert_eq!((got.code, &got.body), (200, &made.body));

    // No change, no write.
    let same = it.json(&format!("PUT {MAPS}/a"), &config_map("a")).await;
    assert_eq!((same.code, &same.body["metadata"]["resourceVersion"]), (200, &version));

    let mut changed = config_map("a");
    changed["data"]["k"] = json!("w");
    let put = it.json(&format!("PUT {MAPS}/a"), &changed).await;
    assert_eq!((put.code, &put.body["data"]["k"]), (200, &json!("w")));
    assert_ne!(put.body["metadata"]["resourceVersion"], version);

    changed["metadata"]["resourceVersion"] = version;
    let stale = it.json(&format!("PUT {MAPS}/a"), &changed).await;
    let text = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
                changes to the latest version and try again";
    assert_eq!((stale.code, stale.message()), (409, text));

    let gone = it.call(&format!("DELETE {MAPS}/a")).await;
    assert_eq!((gone.code, &gone.body["status"]), (200, &json!("Success")));
    assert_eq!(gone.body["details"]["kind"], "configmaps");
    let missing = it.call(&format!("GET {MAPS}/a")).await;
    assert_eq!((missing.code, missing.message()), (404, "configmaps \"a\" not found"));
}

#[tokio::test]
async fn errors_read_as_upstreams() {
    let it = Harness::new().await;
    it.json(&format!("POST {MAPS}"), &config_map("a")).await;
    let other = json!({"metadata": {"name": "b", "namespace": "other"}});
    let table: &[(&str, Value, u16, &str)] = &[
        (
            "POST /api/v1/namespaces/default/configmaps",
            other,
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            "PUT /api/v1/namespaces/default/configmaps/a",
            config_map("b"),
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        ("PUT /api/v1/namespaces/default/configmaps/b", config_map("b"), 404, "configmaps \"b\" not found"),
        ("GET /api/v1/nothing", json!({}), 404, "the server could not find the requested resource"),
        (
            "POST /api/v1/namespaces/default/pods",
            config_map("a")
                .as_object()
                .map(|map| {
                    let mut map = map.clone();
                    map.insert("kind".into(), json!("ConfigMap"));
                    map.insert("apiVersion".into(), json!("v1"));
                    Value::Object(map)
                })
                .unwrap(),
            400,
            "ConfigMap in version \"v1\" cannot be handled as a Pod: converting (v1.ConfigMap) to (core.Pod): unknown \
             conversion",
        ),
        (
            "POST /api/v1/namespaces/default/configmaps?fieldValidation=Strict",
            json!({"metadata": {"name": "s"}, "spec": {}}),
            400,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"spec\"",
        ),
        (
            "POST /api/v1/namespaces/default/configmaps?dryRun=Some",
            config_map("s"),
            422,
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: \"Some\": supported values: \"All\"",
        ),
        (
            "POST /api/v1/namespaces/default/configmaps",
            json!({"metadata": {"name": "r", "resourceVersion": "7"}}),
            500,
            "resourceVersion should not be set on objects to be created",
        ),
        ("POST /api/v1/configmaps", config_map("x"), 404, "the server could not find the requested resource"),
    ];
    for (line, body, code, message) in table {
        let reply = it.json(line, body).await;
        assert_eq!((reply.code, reply.message()), (*code, *message), "{line}");
    }
    let apply =
        it.send(&format!("PATCH {MAPS}/a"), &[("content-type", "application/apply-patch+yaml")], "{}").await;
    assert_eq!(apply.code, 415);
    assert!(apply.message().starts_with("the body of the request was in an unknown format"), "{apply:?}");
    let large = it.send(&format!("POST {MAPS}"), &[], vec![b' '; (3 << 20) + 1]).await;
    assert_eq!((large.code, large.message()), (413, "Request entity too large: limit is 3145728"));
}

#[tokio::test]
async fn patches_change_and_retry() {
    let it = Harness::new().await;
    it.json(&format!("POST {PODS}"), &pod("p")).await;
    let table = [
        ("application/merge-patch+json", json!({"metadata": {"labels": {"a": "1"}}})),
        ("application/json-patch+json", json!([{"op": "add", "path": "/metadata/labels/b", "value": "2"}])),
        (
            "application/strategic-merge-patch+json",
            json!({"spec": {"containers": [{"name": "c", "image": "nginx:2"}]}}),
        ),
    ];
    for (kind, patch) in table {
        let line = format!("PATCH {PODS}/p");
        let reply = it.send(&line, &[("content-type", kind)], patch.to_string()).await;
        assert_eq!(reply.code, 200, "{kind}: {}", reply.text);
    }
    let got = it.call(&format!("GET {PODS}/p")).await.body;
    assert_eq!(got["metadata"]["labels"], json!({"a": "1", "b": "2"}));
    assert_eq!(got["spec"]["containers"][0]["image"], "nginx:2");
    assert_eq!(got["metadata"]["generation"], 2);
    // The status is its own.
    let status = json!({"status": {"phase": "Running"}, "spec": {"nodeName": "n"}});
    let line = format!("PATCH {PODS}/p/status");
    let reply = it.send(&line, &[("content-type", "application/merge-patch+json")], status.to_string()).await;
    assert_eq!((reply.code, &reply.body["status"]["phase"]), (200, &json!("Running")));
    assert!(reply.body["spec"]["nodeName"].is_null());
    assert_eq!(reply.body["metadata"]["generation"], 2);
}

#[tokio::test]
async fn generations_rise_as_upstreams_strategies_have_it() {
    let it = Harness::new().await;
    let template =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let workload = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let apps = "/apis/apps/v1/namespaces/default";
    let annotate = json!({"metadata": {"annotations": {"x": "y"}}});
    let label = json!({"metadata": {"labels": {"x": "y"}}});
    let table = [
        (format!("{apps}/deployments"), json!({"spec": workload}), &annotate, json!(2)),
        (format!("{apps}/deployments"), json!({"spec": workload}), &label, json!(1)),
        (format!("{apps}/replicasets"), json!({"spec": workload}), &annotate, json!(1)),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices".into(),
            json!({"addressType": "IPv4", "endpoints": []}),
            &label,
            json!(2),
        ),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses".into(),
            json!({"value": 1}),
            &json!({"description": "d"}),
            json!(1),
        ),
        (
            "/api/v1/namespaces/default/configmaps".into(),
            json!({}),
            &json!({"data": {"a": "b"}}),
            json!(null),
        ),
    ];
    for (at, (path, mut object, patch, expected)) in table.into_iter().enumerate() {
        object["metadata"]["name"] = json!(format!("n{at}"));
        let made = it.json(&format!("POST {path}"), &object).await;
        assert_eq!(made.code, 201, "{}", made.text);
        let line = format!("PATCH {path}/n{at}");
        let kind = [("content-type", "application/merge-patch+json")];
        let patched = it.send(&line, &kind, patch.to_string()).await;
        assert_eq!(
            (patched.code, &patched.body["metadata"]["generation"]),
            (200, &expected),
            "{}",
            patched.text
        );
    }
}

#[tokio::test]
async fn dry_runs_store_nothing() {
    let it = Harness::new().await;
    let made = it.json(&format!("POST {MAPS}?dryRun=All"), &config_map("a")).await;
    assert_eq!(made.code, 201);
    assert_eq!(it.call(&format!("GET {MAPS}/a")).await.code, 404);
    it.json(&format!("POST {MAPS}"), &config_map("a")).await;
    let gone = it.call(&format!("DELETE {MAPS}/a?dryRun=All")).await;
    assert_eq!(gone.code, 200, "{}", gone.text);
    assert_eq!(it.call(&format!("GET {MAPS}/a")).await.code, 200);
}

#[tokio::test]
async fn lists_are_paged_at_one_revision() {
    let it = Harness::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        it.json(&format!("POST {MAPS}"), &config_map(name)).await;
    }
    let first = it.call(&format!("GET {MAPS}?limit=2")).await.body;
    assert_eq!(first["kind"], "ConfigMapList");
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    assert!(first["items"][0].get("kind").is_none());
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    it.call(&format!("DELETE {MAPS}/c")).await;
    let second = it.call(&format!("GET {MAPS}?limit=2&continue={token}")).await.body;
    let names: Vec<_> =
        second["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].clone()).collect();
    assert_eq!(names, ["c", "d"]);
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    for (query, expected) in [
        ("labelSelector=app%3Da", 1),
        ("labelSelector=app+in+(a,b)", 2),
        ("fieldSelector=metadata.name%3Db", 1),
        ("fieldSelector=metadata.name!%3Db", 3),
        ("limit=500", 4),
    ] {
        let list = it.call(&format!("GET {MAPS}?{query}")).await.body;
        assert_eq!(list["items"].as_array().map(Vec::len), Some(expected), "{query}");
    }
    let unknown = it.call(&format!("GET {MAPS}?fieldSelector=spec.x%3Db")).await;
    assert_eq!((unknown.code, unknown.message()), (400, "field label not supported: spec.x"));
    assert_eq!(it.call("GET /api/v1/configmaps").await.body["items"].as_array().map(Vec::len), Some(4));
    let removed = it.call(&format!("DELETE {MAPS}?labelSelector=app!%3Da")).await;
    assert_eq!((removed.code, removed.body["items"].as_array().map(Vec::len)), (200, Some(3)));
    assert_eq!(it.call(&format!("GET {MAPS}")).await.body["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn deletions_wait_as_upstreams() {
    let it = Harness::new().await;
    it.json(&format!("POST {PODS}"), &pod("free")).await;
    assert_eq!(it.call(&format!("DELETE {PODS}/free")).await.body["kind"], "Pod");
    assert_eq!(it.call(&format!("GET {PODS}/free")).await.code, 404, "not on a node: gone at once");

    it.json(&format!("POST {PODS}"), &pod("bound")).await;
    let binding = json!({"metadata": {"name": "bound"}, "target": {"kind": "Node", "name": "n1"}});
    let bound = it.json(&format!("POST {PODS}/bound/binding"), &binding).await;
    assert_eq!((bound.code, &bound.body["status"]), (201, &json!("Success")), "{}", bound.text);
    let twice = it.json(&format!("POST {PODS}/bound/binding"), &binding).await;
    let text = "Operation cannot be fulfilled on pods/binding \"bound\": pod bound is already assigned to node \"n1\"";
    assert_eq!((twice.code, twice.message()), (409, text));
    let marked = it.call(&format!("DELETE {PODS}/bound")).await.body;
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-02T03:04:35Z");
    let longer = it.call(&format!("DELETE {PODS}/bound?gracePeriodSeconds=60")).await.body;
    assert_eq!(longer["metadata"]["deletionGracePeriodSeconds"], 30);
    let shorter = it.call(&format!("DELETE {PODS}/bound?gracePeriodSeconds=5")).await.body;
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    assert_eq!(shorter["metadata"]["deletionTimestamp"], "2026-01-02T03:04:10Z");
    it.call(&format!("DELETE {PODS}/bound?gracePeriodSeconds=0")).await;
    assert_eq!(it.call(&format!("GET {PODS}/bound")).await.code, 404);

    let mut held = config_map("held");
    held["metadata"]["finalizers"] = json!(["example.com/wait"]);
    it.json(&format!("POST {MAPS}"), &held).await;
    let waiting = it.call(&format!("DELETE {MAPS}/held")).await.body;
    assert_eq!(waiting["metadata"]["deletionGracePeriodSeconds"], 0);
    let wrong = json!({"preconditions": {"uid": "x"}});
    assert_eq!(it.json(&format!("DELETE {MAPS}/held"), &wrong).await.code, 409);
    let free = json!({"metadata": {"finalizers": null}});
    let line = format!("PATCH {MAPS}/held");
    it.send(&line, &[("content-type", "application/merge-patch+json")], free.to_string()).await;
    assert_eq!(it.call(&format!("GET {MAPS}/held")).await.code, 404);
}

#[tokio::test]
async fn namespaces_end_when_they_are_empty() {
    let it = Harness::new().await;
    let namespace = json!({"metadata": {"name": "n"}});
    let made = it.json("POST /api/v1/namespaces", &namespace).await.body;
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
    let ending = it.call("DELETE /api/v1/namespaces/n").await;
    assert_eq!((ending.code, &ending.body["status"]["phase"]), (200, &json!("Terminating")));
    let mut last = ending.body;
    last["spec"] = json!({});
    let done = it.json("PUT /api/v1/namespaces/n/finalize", &last).await;
    assert_eq!(done.code, 200, "{}", done.text);
    assert_eq!(it.call("GET /api/v1/namespaces/n").await.code, 404);
}

#[tokio::test]
async fn generated_names_differ() {
    let it = Harness::new().await;
    let object = json!({"metadata": {"generateName": "web-"}});
    let one = it.json(&format!("POST {MAPS}"), &object).await.body["metadata"]["name"].clone();
    let two = it.json(&format!("POST {MAPS}"), &object).await.body["metadata"]["name"].clone();
    assert_ne!(one, two);
    assert_eq!(one.as_str().map(|name| (name.len(), name.starts_with("web-"))), Some((9, true)));
}

#[tokio::test]
async fn services_get_addresses() {
    let it = Harness::new().await;
    let path = "/api/v1/namespaces/default/services";
    let service = |name: &str, kind: &str| json!({"metadata": {"name": name}, "spec": {"type": kind, "ports": [{"port": 80}]}});
    let one = it.json(&format!("POST {path}"), &service("one", "ClusterIP")).await;
    assert_eq!(one.code, 201, "{}", one.text);
    let address = one.body["spec"]["clusterIP"].clone();
    assert!(address.as_str().is_some_and(|text| text.starts_with("10.43.")), "{address}");
    assert_eq!(one.body["spec"]["clusterIPs"], json!([address]));
    let mut taken = service("two", "NodePort");
    taken["spec"]["clusterIP"] = address;
    let refused = it.json(&format!("POST {path}"), &taken).await;
    assert_eq!(refused.code, 422);
    assert!(refused.message().ends_with("provided IP is already allocated"), "{}", refused.message());
    let two = it.json(&format!("POST {path}"), &service("two", "NodePort")).await.body;
    assert!(
        two["spec"]["ports"][0]["nodePort"].as_u64().is_some_and(|port| (30_000..=32_767).contains(&port))
    );
    it.call(&format!("DELETE {path}/one")).await;
    let again = it.json(&format!("POST {path}"), &taken).await;
    assert_eq!(again.code, 409, "the address is free again, the name is not: {}", again.text);
}

#[tokio::test]
async fn services_keep_what_they_were_given() {
    let it = Harness::new().await;
    let path = "/api/v1/namespaces/default/services";
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let made = it.json(&format!("POST {path}"), &service).await.body;
    let put = it.json(&format!("PUT {path}/s"), &service).await;
    assert_eq!(put.code, 200, "{}", put.text);
    assert_eq!(put.body["spec"], made["spec"]);
    let mut other = service.clone();
    other["spec"]["ports"] = json!([{"port": 81}]);
    let moved = it.json(&format!("PUT {path}/s"), &other).await.body;
    assert_ne!(moved["spec"]["ports"][0]["nodePort"], made["spec"]["ports"][0]["nodePort"]);
    // A fresh server reads what is taken.
    let options = it.server.options.clone();
    let second = apiserver::Server::open(options).await.unwrap();
    let it = Harness { server: second, clock: it.clock };
    let mut taken = service;
    taken["metadata"]["name"] = json!("t");
    taken["spec"]["clusterIP"] = made["spec"]["clusterIP"].clone();
    assert_eq!(it.json(&format!("POST {path}"), &taken).await.code, 422);
}

#[tokio::test]
async fn evictions_ask_the_budget() {
    let it = Harness::new().await;
    let mut running = pod("p");
    running["metadata"]["labels"] = json!({"app": "web"});
    running["spec"]["nodeName"] = json!("n1");
    it.json(&format!("POST {PODS}"), &running).await;
    let merge = [("content-type", "application/merge-patch+json")];
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    it.send(&format!("PATCH {PODS}/p/status"), &merge, ready.to_string()).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    assert_eq!(it.json(&format!("POST {budgets}"), &budget).await.code, 201);
    let counted = |allowed: i64| {
        json!({"status": {"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1,
            "desiredHealthy": 1, "expectedPods": 1}})
    };
    it.send(&format!("PATCH {budgets}/b/status"), &merge, counted(0).to_string()).await;
    let eviction = json!({"metadata": {"name": "p"}});
    let refused = it.json(&format!("POST {PODS}/p/eviction"), &eviction).await;
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    assert_eq!((refused.code, refused.message()), (429, text));
    assert!(refused.headers.get("retry-after").is_none());
    let cause = &refused.body["details"]["causes"][0];
    assert_eq!(cause["message"], "The disruption budget b needs 1 healthy pods and has 1 currently");
    it.send(&format!("PATCH {budgets}/b/status"), &merge, counted(1).to_string()).await;
    let evicted = it.json(&format!("POST {PODS}/p/eviction"), &eviction).await;
    assert_eq!((evicted.code, &evicted.body["status"]), (201, &json!("Success")), "{}", evicted.text);
    let pod = it.call(&format!("GET {PODS}/p")).await.body;
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().any(|condition| condition["reason"] == "EvictionByEvictionAPI"));
    let budget = it.call(&format!("GET {budgets}/b")).await.body;
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    assert!(budget["status"]["disruptedPods"]["p"].is_string());
}

#[tokio::test]
async fn scales_change_replicas() {
    let it = Harness::new().await;
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let made = it.json(&format!("POST {path}"), &deployment).await;
    assert_eq!((made.code, &made.body["metadata"]["generation"]), (201, &json!(1)), "{}", made.text);
    let mut scale = it.call(&format!("GET {path}/d/scale")).await.body;
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    scale["spec"]["replicas"] = json!(5);
    let put = it.json(&format!("PUT {path}/d/scale"), &scale).await;
    assert_eq!((put.code, &put.body["spec"]["replicas"]), (200, &json!(5)), "{}", put.text);
    let stale = it.json(&format!("PUT {path}/d/scale"), &scale).await;
    assert_eq!(stale.code, 409);
    let merge = [("content-type", "application/merge-patch+json")];
    let patched = it.send(&format!("PATCH {path}/d/scale"), &merge, "{\"spec\":{\"replicas\":1}}").await;
    assert_eq!((patched.code, &patched.body["spec"]["replicas"]), (200, &json!(1)), "{}", patched.text);
    let got = it.call(&format!("GET {path}/d")).await.body;
    assert_eq!((&got["spec"]["replicas"], &got["metadata"]["generation"]), (&json!(1), &json!(3)));
}

#[tokio::test]
async fn versions_share_their_objects() {
    let it = Harness::new().await;
    let scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}}});
    let old = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let new = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = it.json(&format!("POST {old}"), &scaler).await;
    assert_eq!((made.code, &made.body["apiVersion"]), (201, &json!("autoscaling/v1")), "{}", made.text);
    let shown = it.call(&format!("GET {new}/h")).await.body;
    assert_eq!(shown["apiVersion"], "autoscaling/v2");
    assert_eq!(shown["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 50);
    assert_eq!(shown["metadata"]["resourceVersion"], made.body["metadata"]["resourceVersion"]);
    let listed = it.call(&format!("GET {old}")).await.body;
    assert_eq!(listed["items"][0]["spec"]["targetCPUUtilizationPercentage"], 50);
    let event = json!({"metadata": {"name": "e"}, "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "c", "reportingInstance": "i",
        "action": "a", "reason": "r", "type": "Normal", "note": "n"});
    let made = it.json("POST /apis/events.k8s.io/v1/namespaces/default/events", &event).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let core =
        it.call("GET /api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp").await.body;
    assert_eq!(
        (core["items"].as_array().map(Vec::len), &core["items"][0]["message"]),
        (Some(1), &json!("n"))
    );
}
