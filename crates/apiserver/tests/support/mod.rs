//! A server in memory and one-line requests to it. Each test binary uses a part.
#![allow(dead_code)]

use std::sync::Arc;

use apiserver::{Objects, Options, Server};
use bytes::Bytes;
use client::full_body;
use http_body_util::BodyExt;
use model::UserInfo;
use serde_json::Value;
use stdx::clock::Clock;
use stdx::entropy::Entropy;

/// A server that lets everybody do everything, at a fixed time.
pub struct Harness {
    /// The server.
    pub server: Arc<Server>,
    /// Its clock.
    pub clock: Clock,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// HTTP code.
    pub code: u16,
    /// Body as JSON (null if it is none).
    pub body: Value,
    /// Body as text.
    pub text: String,
    /// Headers.
    pub headers: http::HeaderMap,
}

impl Reply {
    /// The message of a `Status`.
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

impl Harness {
    /// Makes one.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// Makes one with other options.
    pub async fn with(change: impl FnOnce(&mut Options)) -> Self {
        let clock = Clock::manual("2026-01-02T03:04:05Z".parse().unwrap());
        let store = Arc::new(store::memory::MemoryStore::new(clock.clone()));
        let objects = Objects::new(store, Arc::new(resources::registry().clone()));
        let mut options = Options::new(objects, clock.clone(), Entropy::seeded(1));
        change(&mut options);
        Self { server: Server::open(options).await.unwrap(), clock }
    }

    /// Sends a request: `POST /path` or `GET /path`, with headers `name: value`.
    pub async fn send(&self, line: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
        let response = self.open(line, headers, body).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply {
            code: parts.status.as_u16(),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            text: String::from_utf8_lossy(&bytes).into_owned(),
            headers: parts.headers,
        }
    }

    /// The same, without reading the body.
    pub async fn open(
        &self,
        line: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> http::Response<client::Body> {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let user = UserInfo::authenticated("tester", &[]);
        self.server.handle(request.body(full_body(body)).unwrap(), Some(user)).await
    }

    /// Sends JSON.
    pub async fn json(&self, line: &str, body: &Value) -> Reply {
        self.send(line, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Sends nothing but the request line.
    pub async fn call(&self, line: &str) -> Reply {
        self.send(line, &[], "").await
    }
}
