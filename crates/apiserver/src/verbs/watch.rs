//! Watches: changes after a revision, as JSON lines or WebSocket messages. Events of unfiltered plain watches are the
//! cached bytes in a frame.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use client::Body;
use futures::StreamExt;
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use model::{Reason, Status};
use resources::schema::protobuf;
use serde_json::{Value, json};
use store::cache::{ChangeKind, Delivery, WatchEnd, Watcher};
use tokio::time::{Instant, Sleep};

use super::get;
use super::select::{Selection, parse_revision};
use crate::objects::{ObjectDecoder, Stored, store_failed};
use crate::pipeline::answer::{Answer, partial, write};
use crate::pipeline::context::Context;
use crate::pipeline::negotiate::{Accepted, Format, Shape};
use crate::routes::Served;
use crate::table;

/// Time between bookmarks.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// A watch without a timeout ends after this and up to as much again (`--min-request-timeout`).
const TIMEOUT_MIN_S: u64 = 1800;
/// Events that wait are sent together up to here.
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// Opens a watch.
///
/// # Errors
/// 400 for contradicting parameters; 410 does not come here but as an event, as upstream's.
pub async fn watch(context: &Arc<Context>) -> Result<Answer, Status> {
    let served = Arc::clone(context.served()?);
    let cache = context.cache().await?;
    let selection = Selection::of(context, &served)?;
    let accepted = context.accepted()?;
    let start = Start::read(context)?;
    let prefix = served.prefix_in(context.namespace());
    if let Start::Initial(Some(revision)) = start {
        get::wait_for(&cache, revision).await?;
    }
    let opened = match start {
        Start::Initial(_) | Start::Present => cache.subscribe(&prefix, None, true).await,
        Start::After(revision) => cache.subscribe(&prefix, Some(revision), false).await,
    };
    let (state, ended) = match opened {
        Ok(watcher) => (Some(watcher), None),
        Err(store::Error::Compacted { requested, compacted }) => {
            let text = format!("too old resource version: {requested} ({compacted})");
            (None, Some(Status::expired(text)))
        }
        Err(error) => return Err(store_failed(&error)),
    };
    let timeout_s = match context.query.number("timeoutSeconds")? {
        Some(asked) if asked > 0 => u64::try_from(asked).unwrap_or(TIMEOUT_MIN_S),
        _ => TIMEOUT_MIN_S + context.server.options.entropy.below(TIMEOUT_MIN_S),
    };
    let stream = Events {
        context: Arc::clone(context),
        served,
        selection,
        accepted,
        watcher: state,
        ended,
        bookmarks: context.query.flag("allowWatchBookmarks"),
        initial: matches!(start, Start::Initial(_)),
        headers_sent: false,
        deadline: Box::pin(tokio::time::sleep(Duration::from_secs(timeout_s))),
        bookmark: Box::pin(tokio::time::sleep(BOOKMARK_INTERVAL)),
        last: 0,
        _open: context.server.metrics.watch_opened(&context.route),
    };
    if crate::websocket::is_upgrade(&context.headers) {
        return crate::websocket::serve_watch(context, stream).await.map(Answer::Response);
    }
    Ok(Answer::Response(response(stream, accepted)))
}

fn response(events: Events, accepted: Accepted) -> Response<Body> {
    let frames = futures::stream::unfold(events, |mut events| async move {
        let chunk = events.next_chunk().await?;
        Some((Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Frame::data(chunk)), events))
    });
    let mut response = Response::new(StreamBody::new(frames.boxed()).boxed_unsync());
    let content_type = match accepted.format {
        Format::Yaml => "application/yaml;stream=watch",
        Format::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// The present objects as ADDED, then changes.
    Present,
    /// The same, asked for by `sendInitialEvents`: their end is marked. At least at a revision.
    Initial(Option<u64>),
    /// Changes after a revision.
    After(u64),
}

impl Start {
    fn read(context: &Context) -> Result<Self, Status> {
        let query = &context.query;
        let version = query.text("resourceVersion");
        let matching = query.text("resourceVersionMatch");
        let fault = |field: &str, message: &str| {
            let cause = model::Cause {
                reason: "FieldValueForbidden".into(),
                message: format!("Forbidden: {message}"),
                field: field.into(),
            };
            Status::invalid("meta.k8s.io", "ListOptions", "", vec![cause])
        };
        let initial = query.get("sendInitialEvents");
        if initial.is_some() && matching.is_empty() {
            let text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(fault("resourceVersionMatch", text));
        }
        if initial.is_none() && !matching.is_empty() {
            let text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            return Err(fault("resourceVersionMatch", text));
        }
        if initial.is_some() && matching != "NotOlderThan" {
            let cause = model::Cause {
                reason: "FieldValueNotSupported".into(),
                message: format!("Unsupported value: {matching:?}: supported values: \"NotOlderThan\""),
                field: "resourceVersionMatch".into(),
            };
            return Err(Status::invalid("meta.k8s.io", "ListOptions", "", vec![cause]));
        }
        let revision = match version {
            "" | "0" => None,
            text => Some(parse_revision(text)?),
        };
        Ok(match (query.flag("sendInitialEvents"), revision) {
            (true, revision) => Start::Initial(revision),
            (false, Some(revision)) => Start::After(revision),
            (false, None) => Start::Present,
        })
    }
}

/// A watch at work: gives chunks of events until it ends.
pub struct Events {
    context: Arc<Context>,
    served: Arc<Served>,
    selection: Selection,
    accepted: Accepted,
    watcher: Option<Watcher<ObjectDecoder>>,
    ended: Option<Status>,
    bookmarks: bool,
    initial: bool,
    headers_sent: bool,
    deadline: std::pin::Pin<Box<Sleep>>,
    bookmark: std::pin::Pin<Box<Sleep>>,
    last: u64,
    _open: crate::metrics::OpenWatch,
}

impl Events {
    /// Whether events are frames of protobuf.
    pub fn is_binary(&self) -> bool {
        self.accepted.format == Format::Protobuf
    }

    /// The next events, each ended by a newline or begun by its length; `None` when the watch is over.
    pub async fn next_chunk(&mut self) -> Option<Bytes> {
        if let Some(status) = self.ended.take() {
            self.watcher = None;
            return Some(self.error(&status));
        }
        let mut chunk = BytesMut::new();
        loop {
            let watcher = self.watcher.as_mut()?;
            let ready = match watcher.try_next() {
                Ok(Some(delivery)) => Some(Ok(delivery)),
                Ok(None) => None,
                Err(end) => Some(Err(end)),
            };
            let delivery = match ready {
                Some(delivery) => delivery,
                None if !chunk.is_empty() => return Some(chunk.freeze()),
                None => tokio::select! {
                    biased;
                    () = self.deadline.as_mut() => { self.watcher = None; return None; }
                    () = self.context.server.drained() => { self.watcher = None; return None; }
                    delivery = watcher.next() => delivery,
                    () = self.bookmark.as_mut() => {
                        self.bookmark.as_mut().reset(Instant::now() + BOOKMARK_INTERVAL);
                        let revision = watcher.bookmark();
                        if self.bookmarks {
                            self.put_bookmark(&mut chunk, revision, false);
                        }
                        continue;
                    }
                },
            };
            match delivery {
                Ok(delivery) => self.put(&mut chunk, delivery),
                Err(end) => return self.finish(chunk, &end),
            }
            if chunk.len() >= CHUNK_BYTES_MAX {
                return Some(chunk.freeze());
            }
        }
    }

    /// The watch cannot go on. Clients resume after the last revision; an unreadable object is told by name.
    fn finish(&mut self, mut chunk: BytesMut, end: &WatchEnd) -> Option<Bytes> {
        self.watcher = None;
        if let WatchEnd::Undecodable(_) = end {
            let status = Status::internal(end.to_string());
            chunk.extend_from_slice(&self.error(&status));
        }
        (!chunk.is_empty()).then(|| chunk.freeze())
    }

    fn put(&mut self, chunk: &mut BytesMut, delivery: Delivery<crate::objects::Held>) {
        match delivery {
            Delivery::Initial(entry) => {
                if self.selection.matches(&self.served, &entry) {
                    self.put_event(chunk, "ADDED", &entry);
                }
            }
            Delivery::InitialEnd { revision } => {
                self.last = revision;
                if self.initial && self.bookmarks {
                    self.put_bookmark(chunk, revision, true);
                }
            }
            Delivery::Change(change) => {
                self.last = change.revision;
                let now = change.kind != ChangeKind::Deleted
                    && self.selection.matches(&self.served, &change.current);
                let before = match &change.previous {
                    Some(previous) => {
                        self.selection.is_everything() || self.selection.matches(&self.served, previous)
                    }
                    None => false,
                };
                match (before, now) {
                    (false, true) => self.put_event(chunk, "ADDED", &change.current),
                    (true, true) => self.put_event(chunk, "MODIFIED", &change.current),
                    (true, false) => self.put_gone(chunk, &change),
                    (false, false) => {}
                }
            }
        }
    }

    /// The object went, or left the selection: its previous state under the revision of the change.
    fn put_gone(&mut self, chunk: &mut BytesMut, change: &store::cache::Change<crate::objects::Held>) {
        match (&change.kind, &change.previous) {
            (ChangeKind::Deleted, _) | (_, None) => self.put_event(chunk, "DELETED", &change.current),
            (_, Some(previous)) => {
                let mut tree = get::tree(&self.served, &previous.object);
                tree["metadata"]["resourceVersion"] = json!(change.revision.to_string());
                self.put_tree(chunk, "DELETED", tree);
            }
        }
    }

    fn put_event(&mut self, chunk: &mut BytesMut, kind: &str, entry: &Stored) {
        if matches!(self.accepted.format, Format::Json | Format::Pretty) && self.served.is_storage_version() {
            match self.accepted.shape {
                Shape::Plain => return frame(chunk, kind, &[&entry.object.wire]),
                // Metadata are the same in each version; collectors of garbage watch them of all that there is.
                Shape::Partial => return frame(chunk, kind, &[PARTIAL_HEAD, entry.object.metadata(), b"}"]),
                Shape::Table => {}
            }
        }
        self.put_tree(chunk, kind, get::tree(&self.served, &entry.object));
    }

    fn put_tree(&mut self, chunk: &mut BytesMut, kind: &str, tree: Value) {
        let object = match self.accepted.shape {
            Shape::Plain => tree,
            Shape::Partial => partial(&tree),
            Shape::Table => {
                let metadata = json!({"resourceVersion": tree["metadata"]["resourceVersion"]});
                let first = !std::mem::replace(&mut self.headers_sent, true);
                match table::of(&self.context, std::slice::from_ref(&tree), metadata, first) {
                    Ok(table) => table,
                    Err(status) => status.to_value(),
                }
            }
        };
        match self.accepted.format {
            Format::Yaml => {
                let event = json!({"type": kind, "object": object});
                chunk.extend_from_slice(b"---\n");
                chunk.extend_from_slice(&write(Format::Yaml, &event));
            }
            Format::Protobuf => put_message(chunk, kind, &object),
            Format::Json | Format::Pretty => frame(chunk, kind, &[&write(Format::Json, &object)]),
        }
    }

    fn put_bookmark(&mut self, chunk: &mut BytesMut, revision: u64, initial_end: bool) {
        let mut metadata =
            json!({"resourceVersion": revision.max(self.last).to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mut object = json!({"kind": self.served.kind.kind, "apiVersion": self.served.api_version, "metadata": metadata});
        if let Some(definition) = self.served.definition {
            // As upstream's empty struct of this type would be written.
            let _ = resources::schema::normalise(definition, &mut object);
            object["kind"] = json!(self.served.kind.kind);
            object["apiVersion"] = json!(self.served.api_version);
        }
        match self.accepted.shape {
            Shape::Plain => self.put_tree(chunk, "BOOKMARK", object),
            Shape::Partial => self.put_tree(chunk, "BOOKMARK", object),
            Shape::Table => {
                let table = json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
                    "columnDefinitions": null, "rows": []});
                frame(chunk, "BOOKMARK", &[&write(Format::Json, &table)]);
            }
        }
    }

    fn error(&self, status: &Status) -> Bytes {
        let mut chunk = BytesMut::new();
        let mut value = status.to_value();
        if status.is(Reason::Expired) {
            value["metadata"] = json!({});
        }
        match self.accepted.format {
            Format::Protobuf => put_message(&mut chunk, "ERROR", &value),
            _ => frame(&mut chunk, "ERROR", &[&write(Format::Json, &value)]),
        }
        chunk.freeze()
    }
}

/// An event in protobuf with its length before it.
fn put_message(chunk: &mut BytesMut, kind: &str, object: &Value) {
    let event = protobuf::event(kind, &write(Format::Protobuf, object));
    chunk.extend_from_slice(&protobuf::frame(&event));
}

/// What is before the metadata of a `PartialObjectMetadata`.
const PARTIAL_HEAD: &[u8] = b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",";

/// `{"type":"ADDED","object":…}` and a newline; the object's text comes in parts.
fn frame(chunk: &mut BytesMut, kind: &str, object: &[&[u8]]) {
    let length: usize = object.iter().map(|part| part.len()).sum();
    chunk.reserve(length + kind.len() + 24);
    chunk.put_slice(b"{\"type\":\"");
    chunk.put_slice(kind.as_bytes());
    chunk.put_slice(b"\",\"object\":");
    for part in object {
        chunk.put_slice(part);
    }
    chunk.put_slice(b"}\n");
}
