//! Watches: beginnings, selectors, bookmarks, ends, tables.

mod support;

use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::Harness;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Reads events one by one.
struct Reader {
    body: client::Body,
    buffer: BytesMut,
}

impl Reader {
    async fn open(it: &Harness, query: &str, headers: &[(&str, &str)]) -> Self {
        let response = it.open(&format!("GET {MAPS}?watch=true&{query}"), headers, "").await;
        assert_eq!(response.status(), 200);
        Self { body: response.into_body(), buffer: BytesMut::new() }
    }

    /// The next event; none when the watch ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(at + 1);
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(7200), self.body.frame()).await.ok()??;
            self.buffer.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    /// `TYPE name` of the next event.
    async fn brief(&mut self) -> String {
        let event = self.next().await.unwrap_or_default();
        format!(
            "{} {}",
            event["type"].as_str().unwrap_or_default(),
            event["object"]["metadata"]["name"].as_str().unwrap_or_default()
        )
    }
}

async fn put(it: &Harness, verb: &str, name: &str, label: &str) -> Value {
    let object = json!({"metadata": {"name": name, "labels": {"l": label}}});
    let line = if verb == "POST" { format!("POST {MAPS}") } else { format!("{verb} {MAPS}/{name}") };
    let reply = it.json(&line, &object).await;
    assert!(reply.code < 300, "{}", reply.text);
    reply.body
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there() {
    let it = Harness::new().await;
    put(&it, "POST", "a", "x").await;
    let mut present = Reader::open(&it, "", &[]).await;
    assert_eq!(present.brief().await, "ADDED a");
    put(&it, "PUT", "a", "y").await;
    assert_eq!(present.brief().await, "MODIFIED a");
    it.call(&format!("DELETE {MAPS}/a")).await;
    let gone = present.next().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["metadata"]["labels"]["l"]), (&json!("DELETED"), &json!("y")));
    assert_eq!(gone["object"]["kind"], "ConfigMap");
}

#[tokio::test]
async fn a_watch_resumes_after_a_revision() {
    let it = Harness::new().await;
    let first = put(&it, "POST", "a", "x").await;
    put(&it, "POST", "b", "x").await;
    let version = first["metadata"]["resourceVersion"].as_str().unwrap();
    let mut later = Reader::open(&it, &format!("resourceVersion={version}"), &[]).await;
    assert_eq!(later.brief().await, "ADDED b");
    it.server.objects().store().compact(3).await.unwrap();
    let mut old = Reader::open(&it, "resourceVersion=1", &[]).await;
    let event = old.next().await.unwrap();
    // The ring may still know; if not, it is upstream's error event.
    if event["type"] == "ERROR" {
        assert_eq!((&event["object"]["code"], &event["object"]["reason"]), (&json!(410), &json!("Expired")));
    }
    let bad = it.call(&format!("GET {MAPS}?watch=1&resourceVersion=x")).await;
    assert_eq!(bad.code, 400);
}

#[tokio::test]
async fn selectors_turn_changes_into_arrivals_and_departures() {
    let it = Harness::new().await;
    let mut watch = Reader::open(&it, "labelSelector=l%3Dx", &[]).await;
    put(&it, "POST", "a", "y").await;
    put(&it, "PUT", "a", "x").await;
    assert_eq!(watch.brief().await, "ADDED a");
    let left = put(&it, "PUT", "a", "z").await;
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(event["object"]["metadata"]["labels"]["l"], "x", "the previous state");
    assert_eq!(event["object"]["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_only_if_asked_for() {
    let it = Harness::new().await;
    put(&it, "POST", "a", "x").await;
    let initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = Reader::open(&it, initial, &[]).await;
    assert_eq!(watch.brief().await, "ADDED a");
    let end = watch.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let later = watch.next().await.unwrap();
    assert_eq!((&later["type"], &later["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    let mut silent = Reader::open(&it, "resourceVersion=2&timeoutSeconds=600", &[]).await;
    assert!(silent.next().await.is_none(), "ends by its timeout without a word");
    let wrong = it.call(&format!("GET {MAPS}?watch=1&sendInitialEvents=true")).await;
    assert_eq!(wrong.code, 422);
}

#[tokio::test]
async fn tables_are_watched_too() {
    let it = Harness::new().await;
    put(&it, "POST", "a", "x").await;
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let mut watch = Reader::open(&it, "", &accept).await;
    let first = watch.next().await.unwrap();
    assert_eq!(first["object"]["kind"], "Table");
    assert!(first["object"]["columnDefinitions"].is_array());
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    assert_eq!(first["object"]["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    put(&it, "PUT", "a", "y").await;
    let second = watch.next().await.unwrap();
    assert!(second["object"]["columnDefinitions"].is_null());
}

#[tokio::test]
async fn shutting_down_ends_watches() {
    let it = Harness::new().await;
    let mut watch = Reader::open(&it, "", &[]).await;
    it.server.shut_down();
    assert!(watch.next().await.is_none());
    assert_eq!(it.call("GET /readyz").await.code, 500);
}
