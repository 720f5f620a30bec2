//! An API server in memory, as a transport: enough of it for an agent.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use client::{Body, Error, Transport, Upgraded, full_body};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use model::{GroupResource, Status};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// What a request was: method, path, body.
pub type Seen = (Method, String, Value);

struct Watcher {
    collection: String,
    node: Option<String>,
    events: mpsc::Sender<Value>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    watchers: Vec<Watcher>,
    requests: Vec<Seen>,
    version: u64,
}

/// Objects in memory. Cheap to clone.
#[derive(Clone, Default)]
pub struct FakeApi {
    state: Arc<Mutex<State>>,
    closed: CancellationToken,
}

/// The collection over all namespaces of an object's path.
fn wide(collection: &str) -> String {
    let parts: Vec<&str> = collection.split('/').collect();
    match parts.iter().position(|part| *part == "namespaces") {
        Some(at) if parts.len() > at + 2 => [&parts[..at], &parts[at + 2..]].concat().join("/"),
        _ => collection.to_owned(),
    }
}

fn matches(watcher: &Watcher, collection: &str, object: &Value) -> bool {
    (watcher.collection == collection || watcher.collection == wide(collection))
        && watcher.node.as_deref().is_none_or(|node| object["spec"]["nodeName"] == node)
}

/// JSON merge patch, and as much of the strategic one as conditions need.
fn merge(target: &mut Value, patch: &Value) {
    let Some(changes) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, change) in changes.iter().filter(|(key, _)| !key.starts_with('$')) {
        let list = change.as_array();
        if change.is_null() {
            if let Some(target) = target.as_object_mut() {
                target.remove(key);
            }
        } else if let (Some(list), "conditions") = (list, key.as_str()) {
            let mut all = target[key].as_array().cloned().unwrap_or_default();
            for change in list {
                match all.iter_mut().find(|own| own["type"] == change["type"]) {
                    Some(own) => merge(own, change),
                    None => all.push(change.clone()),
                }
            }
            target[key] = Value::Array(all);
        } else if let Some(list) = list {
            let kept = list.iter().filter(|own| own.get("$patch").is_none());
            target[key] = Value::Array(kept.cloned().collect());
        } else {
            merge(&mut target[key.as_str()], change);
        }
    }
}

impl State {
    fn announce(&self, kind: &str, path: &str, object: &Value) {
        let collection = path.rsplit_once('/').map_or(path, |(collection, _)| collection);
        for watcher in self.watchers.iter().filter(|own| matches(own, collection, object)) {
            let _ = watcher.events.try_send(json!({"type": kind, "object": object}));
        }
    }

    fn store(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let kind = if self.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        self.objects.insert(path.into(), object.clone());
        self.announce(kind, path, &object);
        object
    }

    fn remove(&mut self, path: &str) -> Option<Value> {
        let object = self.objects.remove(path)?;
        self.announce("DELETED", path, &object);
        Some(object)
    }
}

fn answer(code: u16, value: &Value) -> Response<Body> {
    let mut response = Response::new(full_body(value.to_string()));
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
}

impl FakeApi {
    /// Stores an object under its path and tells watchers.
    pub fn put(&self, path: &str, object: Value) -> Value {
        self.state.lock().store(path, object)
    }

    /// Changes an object by merge patch.
    pub fn change(&self, path: &str, patch: &Value) {
        let mut state = self.state.lock();
        if let Some(mut object) = state.objects.get(path).cloned() {
            merge(&mut object, patch);
            state.store(path, object);
        }
    }

    /// Removes an object.
    pub fn remove(&self, path: &str) {
        self.state.lock().remove(path);
    }

    /// An object.
    pub fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().objects.get(path).cloned()
    }

    /// All objects of a kind of path.
    pub fn list(&self, prefix: &str) -> Vec<Value> {
        let state = self.state.lock();
        let own = state.objects.iter().filter(|(path, _)| path.starts_with(prefix));
        own.map(|(_, object)| object.clone()).collect()
    }

    /// Requests so far.
    pub fn requests(&self) -> Vec<Seen> {
        self.state.lock().requests.clone()
    }

    fn watch(&self, path: &str, query: &str) -> Response<Body> {
        let node = query.split('&').find_map(|part| part.strip_prefix("fieldSelector=spec.nodeName%3D"));
        let (events, receiver) = mpsc::channel(4096);
        let watcher = Watcher { collection: path.into(), node: node.map(str::to_owned), events };
        let mut state = self.state.lock();
        for (path, object) in &state.objects {
            let collection = path.rsplit_once('/').map_or("", |(collection, _)| collection);
            if matches(&watcher, collection, object) {
                let _ = watcher.events.try_send(json!({"type": "ADDED", "object": object}));
            }
        }
        let bookmark = json!({"metadata": {"resourceVersion": state.version.to_string(),
            "annotations": {"k8s.io/initial-events-end": "true"}}});
        let _ = watcher.events.try_send(json!({"type": "BOOKMARK", "object": bookmark}));
        state.watchers.push(watcher);
        let stream = futures::stream::unfold(receiver, |mut receiver| async move {
            let event: Value = receiver.recv().await?;
            let frame = http_body::Frame::data(Bytes::from(format!("{event}\n")));
            Some((Ok::<_, Box<dyn std::error::Error + Send + Sync>>(frame), receiver))
        });
        Response::new(StreamBody::new(stream).boxed_unsync())
    }

    fn perform(&self, method: &Method, path: &str, body: Value) -> Response<Body> {
        let mut state = self.state.lock();
        let missing = || {
            let parts: Vec<&str> = path.trim_end_matches("/status").rsplit('/').take(2).collect();
            let resource = GroupResource {
                group: String::new(),
                resource: parts.get(1).copied().unwrap_or_default().into(),
            };
            let status = Status::not_found(&resource, parts.first().copied().unwrap_or_default());
            answer(404, &status.to_value())
        };
        match *method {
            Method::GET => match state.objects.get(path) {
                Some(object) => answer(200, object),
                None => missing(),
            },
            Method::POST => {
                let mut object = body;
                let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                let own = format!("{path}/{name}");
                if state.objects.contains_key(&own) {
                    let resource = GroupResource { group: String::new(), resource: "objects".into() };
                    return answer(409, &Status::already_exists(&resource, &name).to_value());
                }
                if object["metadata"]["uid"].is_null() {
                    object["metadata"]["uid"] = json!(format!("uid-of-{name}-{}", state.version));
                }
                answer(201, &state.store(&own, object))
            }
            Method::PUT | Method::PATCH => {
                let own = path.trim_end_matches("/status");
                let Some(mut object) = state.objects.get(own).cloned() else { return missing() };
                if *method == Method::PUT {
                    object = body;
                } else {
                    merge(&mut object, &body);
                }
                answer(200, &state.store(own, object))
            }
            Method::DELETE => match state.remove(path) {
                Some(object) => answer(200, &object),
                None => missing(),
            },
            _ => answer(405, &json!({})),
        }
    }
}

#[async_trait]
impl Transport for FakeApi {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Body>, Error> {
        let (path, query) =
            (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        if query.contains("watch=true") {
            return Ok(self.watch(&path, &query));
        }
        let body = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
        self.state.lock().requests.push((request.method().clone(), path.clone(), body));
        let body = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
        Ok(self.perform(request.method(), &path, body))
    }

    async fn upgrade(&self, _: Request<Bytes>) -> Result<Result<Upgraded, Response<Body>>, Error> {
        Err(Error::Broken("the fake does not upgrade".into()))
    }

    fn server(&self) -> String {
        if self.closed.is_cancelled() { "closed".into() } else { "fake".into() }
    }
}
