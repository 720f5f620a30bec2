//! Who gets in, and the answers that are no streams.

use ::http::{HeaderMap, Method};
use serde_json::Value;

use super::support::{Harness, spdy_headers, websocket_headers};

fn token(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", text.parse().unwrap());
    headers
}

#[tokio::test]
async fn refusals_have_upstreams_words() {
    let it = Harness::new();
    assert_eq!(it.call(Method::GET, "/pods", token("nobody")).await, (401, "Unauthorized".into()));
    for (method, path, text) in [
        (
            Method::GET,
            "/pods",
            "Forbidden (user=somebody, verb=get, resource=nodes, subresource(s)=[pods proxy])\n",
        ),
        (
            Method::POST,
            "/exec/n/p/c",
            "Forbidden (user=somebody, verb=create, resource=nodes, subresource(s)=[proxy])\n",
        ),
    ] {
        assert_eq!(it.call(method, path, token("somebody")).await, (403, text.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn requests_without_sense_are_refused() {
    let it = Harness::new();
    let old = || spdy_headers(&["v9.channel.k8s.io"]);
    let table: [(&str, HeaderMap, u16, &str); 9] = [
        (
            "/exec/n/p/c?command=x",
            HeaderMap::new(),
            400,
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
        ("/exec/n/q/c?output=1", HeaderMap::new(), 404, "pod does not exist"),
        ("/exec/n/p/d?output=1", HeaderMap::new(), 500, "container not found (\"d\")"),
        ("/exec/n/p/other/c?output=1", HeaderMap::new(), 500, "container not found (\"c\")"),
        ("/attach/n/p/d?output=1", HeaderMap::new(), 500, "container d not found in pod p_n"),
        ("/exec/n/p/c?output=1", HeaderMap::new(), 500, "Upgrade request required\n"),
        (
            "/exec/n/p/c?output=1",
            old(),
            403,
            "unable to upgrade: unable to negotiate protocol: client supports [v9.channel.k8s.io], server accepts \
             [v4.channel.k8s.io v3.channel.k8s.io v2.channel.k8s.io channel.k8s.io]\n",
        ),
        ("/exec/n/p/c?output=1", websocket_headers(&["v9.channel.k8s.io"]), 403, ""),
        (
            "/checkpoint/n/p/c",
            HeaderMap::new(),
            500,
            "checkpointing of n/p/c failed (rpc error: code = Unimplemented desc = checkpointing containers is not supported)",
        ),
    ];
    for (path, headers, code, text) in table {
        assert_eq!(it.call(Method::POST, path, headers).await, (code, text.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn the_node_tells_of_itself() {
    let it = Harness::new();
    assert_eq!(it.get("/healthz").await, (200, "ok".into()));
    let pods: Value = serde_json::from_str(&it.get("/pods").await.1).unwrap();
    assert_eq!((&pods["kind"], &pods["items"][0]["metadata"]["name"]), (&"PodList".into(), &"p".into()));
    assert!(pods["items"][0].get("kind").is_none());
    let running: Value = serde_json::from_str(&it.get("/runningpods/").await.1).unwrap();
    assert_eq!(running["items"][0]["spec"]["containers"][0]["name"], "c");
    let summary: Value = serde_json::from_str(&it.get("/stats/summary").await.1).unwrap();
    assert_eq!(summary["node"]["nodeName"], "node");
    assert_eq!(summary["pods"][0]["containers"][0]["memory"]["workingSetBytes"], 10);
    assert_eq!(summary["pods"][0]["cpu"]["usageCoreNanoSeconds"], 1_500_000_000);
    let (_, metrics) = it.get("/metrics/resource").await;
    assert!(
        metrics.contains("pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 1.5 2000\n"),
        "{metrics}"
    );
    assert!(
        it.get("/metrics").await.1.contains("kubelet_running_containers{container_state=\"running\"} 1\n")
    );
    let ran = it.call(Method::POST, "/run/n/p/c?cmd=echo+a", HeaderMap::new()).await;
    assert_eq!(ran, (200, "echo|a".into()));
    assert_eq!(it.get("/none").await.0, 404);
    assert_eq!(it.call(Method::POST, "/pods", HeaderMap::new()).await.0, 405);
}
