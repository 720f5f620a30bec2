//! Logs over HTTP: what is shown, and following over writes, a rotation and the end.

use std::io::Write;

use ::http::{HeaderMap, Method};
use http_body_util::BodyExt;

use super::support::Harness;

fn line(text: &str) -> String {
    format!("2026-01-01T00:00:01.000000001Z stdout F {text}\n")
}

fn append(it: &Harness, text: &str) {
    let path = it.folder.path().join("0.log");
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    file.write_all(line(text).as_bytes()).unwrap();
}

#[tokio::test]
async fn logs_are_shown_as_asked() {
    let it = Harness::new();
    let path = "/containerLogs/n/p/c";
    let (code, text) = it.get(path).await;
    assert_eq!(code, 200);
    assert!(text.starts_with("failed to try resolving symlinks in path"), "{text}");
    for number in 1..=5 {
        append(&it, &number.to_string());
    }
    for (query, expected) in [
        ("", "1\n2\n3\n4\n5\n"),
        ("?tailLines=2", "4\n5\n"),
        ("?tailLines=0", ""),
        ("?limitBytes=3", "1\n2"),
        ("?stream=Stderr", ""),
        ("?tailLines=1&timestamps=true", "2026-01-01T00:00:01.000000001Z 5\n"),
        ("?sinceTime=2026-01-02T00:00:00Z", ""),
    ] {
        assert_eq!(it.get(&format!("{path}{query}")).await, (200, expected.to_owned()), "{query}");
    }
    for (path, code, text) in [
        ("/containerLogs/n/p/c?tailLines=-1", 422, r#"{"message": "Invalid request."}"#),
        ("/containerLogs/n/p/c?tailLines=x", 400, r#"{"message": "Unable to decode query."}"#),
        ("/containerLogs/n/q/c", 404, "pod \"q\" does not exist"),
        ("/containerLogs/n/p/d", 404, "container \"d\" not found in pod \"p\""),
        (
            "/containerLogs/n/p/waits",
            400,
            "container \"waits\" in pod \"p\" is waiting to start: ContainerCreating",
        ),
        (
            "/containerLogs/n/p/c?previous=true",
            400,
            "previous terminated container \"c\" in pod \"p\" not found",
        ),
    ] {
        assert_eq!(it.get(path).await, (code, text.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn following_goes_on_until_the_container_ends() {
    let it = Harness::new();
    append(&it, "first");
    let answer = it.send(Method::GET, "/containerLogs/n/p/c?follow=true", HeaderMap::new()).await;
    let mut body = answer.into_body();
    let mut seen = String::new();
    let path = it.folder.path().join("0.log");
    let until = async |end: &str, seen: &mut String, body: &mut hyper::body::Incoming| {
        while !seen.ends_with(end) {
            let frame = body.frame().await.expect("the log goes on").unwrap();
            seen.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    };
    let work = async {
        until("first\n", &mut seen, &mut body).await;
        append(&it, "second");
        until("second\n", &mut seen, &mut body).await;
        append(&it, "before");
        std::fs::rename(&path, it.folder.path().join("0.log.20260101")).unwrap();
        append(&it, "after");
        until("after\n", &mut seen, &mut body).await;
        append(&it, "last");
        it.runtime.end().await;
        while let Some(frame) = body.frame().await {
            seen.push_str(std::str::from_utf8(&frame.unwrap().into_data().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), work).await.expect("following ends");
    assert_eq!(seen, "first\nsecond\nbefore\nafter\nlast\n");
}
