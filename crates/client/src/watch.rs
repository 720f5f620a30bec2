//! Watch streams: one JSON document per line.

use bytes::{Buf, BytesMut};
use futures::{Stream, StreamExt};
use http_body_util::BodyExt;
use model::Status;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::body::Body;

/// An event of a watch.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent<T> {
    /// Appeared (or began to match).
    Added(T),
    /// Changed.
    Modified(T),
    /// Went (or ceased to match); the last state.
    Deleted(T),
    /// Nothing older than this revision will come. `initial_end`: the initial events are complete.
    Bookmark {
        /// Revision.
        resource_version: String,
        /// Marks the end of the initial events.
        initial_end: bool,
    },
}

/// Longest line accepted: an object of 3 MiB, escaped.
const LINE_BYTES_MAX: usize = 32 << 20;

#[derive(serde::Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// Reads one line. An `ERROR` event, or bytes that are not an event, end the watch as the error.
fn decode<T: DeserializeOwned>(line: &[u8]) -> Result<WatchEvent<T>, Status> {
    let broken =
        |error: serde_json::Error| Status::internal(format!("unable to decode watch event: {error}"));
    let line: Line<'_> = serde_json::from_slice(line).map_err(broken)?;
    let object = || serde_json::from_str::<T>(line.object.get()).map_err(broken);
    match line.kind {
        "ADDED" => Ok(WatchEvent::Added(object()?)),
        "MODIFIED" => Ok(WatchEvent::Modified(object()?)),
        "DELETED" => Ok(WatchEvent::Deleted(object()?)),
        other => {
            let value: Value = serde_json::from_str(line.object.get()).map_err(broken)?;
            if other == "BOOKMARK" {
                let metadata = &value["metadata"];
                return Ok(WatchEvent::Bookmark {
                    resource_version: metadata["resourceVersion"].as_str().unwrap_or_default().to_owned(),
                    initial_end: metadata["annotations"]["k8s.io/initial-events-end"] == "true",
                });
            }
            Err(Status::from_value(&value)
                .unwrap_or_else(|| Status::internal(format!("watch event {other}"))))
        }
    }
}

/// Turns the body of a watch into events. The stream ends after the first error.
pub fn events<T: DeserializeOwned + Send + 'static>(
    body: Body,
) -> impl Stream<Item = Result<WatchEvent<T>, Status>> + Send + Unpin {
    struct State {
        body: Body,
        buffer: BytesMut,
        searched: usize,
        done: bool,
    }
    let state = State { body, buffer: BytesMut::new(), searched: 0, done: false };
    futures::stream::unfold(state, |mut state| async move {
        loop {
            if state.done {
                return None;
            }
            if let Some(at) = state.buffer[state.searched..].iter().position(|byte| *byte == b'\n') {
                let mut line = state.buffer.split_to(state.searched + at + 1);
                state.searched = 0;
                line.truncate(line.len() - 1);
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                let event = decode(&line);
                state.done = event.is_err();
                return Some((event, state));
            }
            state.searched = state.buffer.len();
            if state.buffer.len() > LINE_BYTES_MAX {
                state.done = true;
                return Some((Err(Status::internal("watch event too large")), state));
            }
            match state.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(mut data) = frame.into_data() {
                        while data.has_remaining() {
                            let chunk = data.chunk().len();
                            state.buffer.extend_from_slice(&data.copy_to_bytes(chunk));
                        }
                    }
                }
                Some(Err(error)) => {
                    state.done = true;
                    return Some((Err(Status::internal(format!("watch broke: {error}"))), state));
                }
                None => return None,
            }
        }
    })
    .boxed()
}
