//! What a node answers, through the API server: a node of this test at the other end of a pipe.

mod support;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use apiserver::InProcess;
use apiserver::seams::{NodeConnector, ReadWrite};
use async_trait::async_trait;
use bytes::Bytes;
use client::Transport;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::UserInfo;
use serde_json::json;
use support::Harness;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Answers with the path it was asked for; upgrades echo.
struct Node;

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().to_string();
    assert!(request.headers().get("authorization").is_none(), "credentials stay at the API server");
    if request.headers().contains_key("upgrade") {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut io = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = [0; 64];
            let count = io.read(&mut buffer).await.unwrap();
            io.write_all(format!("{path} {}", String::from_utf8_lossy(&buffer[..count])).as_bytes())
                .await
                .unwrap();
            io.shutdown().await.unwrap();
        });
        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", "SPDY/3.1".parse().unwrap());
        response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
        return Ok(response);
    }
    if path.contains("tailLines=7") {
        let mut response = Response::new(Full::from("container \"c\" in pod \"p\" is waiting to start"));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    }
    Ok(Response::new(Full::from(path)))
}

#[async_trait]
impl NodeConnector for Node {
    async fn connect(&self, node: &str, host: &str, port: u16) -> Result<Pin<Box<dyn ReadWrite>>, String> {
        assert_eq!((node, host, port), ("n1", "10.0.0.9", 10_251));
        let (near, far) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let service = service_fn(answer);
            let http = hyper::server::conn::http1::Builder::new();
            let _ = http.serve_connection(TokioIo::new(far), service).with_upgrades().await;
        });
        Ok(Box::pin(near))
    }
}

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn cluster() -> Harness {
    let it = Harness::with(|options| options.nodes = Some(Arc::new(Node))).await;
    let node = json!({"metadata": {"name": "n1"}});
    assert_eq!(it.json("POST /api/v1/nodes", &node).await.code, 201);
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.9"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10_251}}}});
    let merge = [("content-type", "application/merge-patch+json")];
    let patched = it.send("PATCH /api/v1/nodes/n1/status", &merge, status.to_string()).await;
    assert_eq!(patched.code, 200, "{}", patched.text);
    for (name, containers) in [("p", vec!["c"]), ("two", vec!["a", "b"]), ("free", vec!["c"])] {
        let containers: Vec<_> = containers.iter().map(|name| json!({"name": name, "image": "i"})).collect();
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": containers,
            "nodeName": if name == "free" { "" } else { "n1" }}});
        let made = it.json(&format!("POST {PODS}"), &pod).await;
        assert_eq!(made.code, 201, "{}", made.text);
    }
    it
}

#[tokio::test]
async fn logs_and_proxies_come_from_the_node() {
    let it = cluster().await;
    let log = it.call(&format!("GET {PODS}/p/log?tailLines=5&follow=true&pretty=true")).await;
    assert_eq!((log.code, log.text.as_str()), (200, "/containerLogs/default/p/c?follow=true&tailLines=5"));
    assert_eq!(log.headers["content-type"], "text/plain");
    let proxied = it.call("GET /api/v1/nodes/n1/proxy/stats/summary?a=b").await;
    assert_eq!((proxied.code, proxied.text.as_str()), (200, "/stats/summary?a=b"));
    let table: &[(&str, u16, &str)] = &[
        (
            "GET /api/v1/namespaces/default/pods/p/log?tailLines=7",
            400,
            "container \"c\" in pod \"p\" is waiting to start",
        ),
        (
            "GET /api/v1/namespaces/default/pods/two/log",
            400,
            "a container name must be specified for pod two, choose one of: [a b]",
        ),
        ("GET /api/v1/namespaces/default/pods/p/log?container=x", 400, "container x is not valid for pod p"),
        ("GET /api/v1/namespaces/default/pods/none/log", 404, "pods \"none\" not found"),
        (
            "GET /api/v1/namespaces/default/pods/p/log?tailLines=-1",
            422,
            "PodLogOptions \"p\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "POST /api/v1/namespaces/default/pods/free/exec?command=x",
            400,
            "pod free does not have a host assigned",
        ),
        ("POST /api/v1/namespaces/default/pods/p/exec", 400, "you must specify at least 1 command"),
        ("POST /api/v1/namespaces/default/pods/p/exec?command=x", 400, "Upgrade request required"),
    ];
    for (line, code, text) in table {
        let reply = it.call(line).await;
        assert_eq!((reply.code, reply.message()), (*code, *text), "{line}");
    }
}

#[tokio::test]
async fn streams_are_tunnelled() {
    let it = cluster().await;
    let transport = InProcess::new(Arc::clone(&it.server), UserInfo::authenticated("tester", &[]));
    let table = [
        (
            "exec?command=sh&command=-c&stdin=true&stdout=true&tty=true",
            "/exec/default/p/c?input=1&output=1&tty=1&command=sh&command=-c",
        ),
        ("attach?stdout=true", "/attach/default/p/c?output=1"),
        ("portforward?ports=80", "/portForward/default/p?ports=80"),
    ];
    for (ask, expected) in table {
        let request = Request::builder()
            .method("POST")
            .uri(format!("{PODS}/p/{ask}"))
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1")
            .body(Bytes::new())
            .unwrap();
        let mut upgraded =
            transport.upgrade(request).await.unwrap().map_err(|response| response.status()).unwrap();
        assert_eq!(upgraded.response.headers()["upgrade"], "SPDY/3.1");
        upgraded.io.write_all(b"hello").await.unwrap();
        let mut text = String::new();
        upgraded.io.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, format!("{expected} hello"));
    }
}
