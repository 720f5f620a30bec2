//! The scheduler's Events, as `events.k8s.io/v1` has them: the same event again within six minutes is one event with a
//! series (upstream's `tools/events` recorder).

use std::collections::HashMap;

use client::{Client, Path};
use http::Method;
use jiff::Timestamp;
use model::{Reason, Status};
use parking_lot::Mutex;
use scheduler::PodKey;
use serde_json::{Value, json};
use stdx::clock::Clock;

/// A repetition after so long is a new event.
const SERIES_S: i64 = 6 * 60;
/// Events remembered at most; the oldest are forgotten first.
const REMEMBERED_MAX: usize = 4096;

type Key = (String, String, String);

struct Known {
    name: String,
    count: u32,
    last: Timestamp,
}

/// Records events.
pub struct Recorder {
    client: Client,
    clock: Clock,
    controller: &'static str,
    known: Mutex<HashMap<Key, Known>>,
}

impl Recorder {
    /// For a reporting controller.
    pub fn new(client: Client, clock: Clock, controller: &'static str) -> Self {
        Self { client, clock, controller, known: Mutex::default() }
    }

    /// Records an event about a Pod. A failure is logged: events are for people.
    pub async fn record(&self, pod: &PodKey, uid: &str, kind: &str, reason: &str, action: &str, note: &str) {
        let now = self.clock.now();
        let key = (uid.to_owned(), reason.to_owned(), note.to_owned());
        let repeated = {
            let mut known = self.known.lock();
            if known.len() > REMEMBERED_MAX {
                known.retain(|_, own| now.as_second() - own.last.as_second() <= SERIES_S);
            }
            known.get_mut(&key).filter(|own| now.as_second() - own.last.as_second() <= SERIES_S).map(|own| {
                own.count += 1;
                own.last = now;
                (own.name.clone(), own.count)
            })
        };
        let events = Path::collection("events.k8s.io", "v1", "events", Some(&pod.namespace));
        let sent = match repeated {
            Some((name, count)) => self.repeat(&events.join(&name), count, now).await,
            None => {
                let name = format!("{}.{:x}", pod.name, now.as_nanosecond());
                let event = self.event(pod, uid, (kind, reason, action, note), &name, now);
                let sent =
                    self.client.call::<Value>(Method::POST, events.as_str(), Some(&event)).await.map(drop);
                if sent.is_ok() {
                    self.known.lock().insert(key, Known { name, count: 1, last: now });
                }
                sent
            }
        };
        if let Err(status) = sent
            && !status.is(Reason::NotFound)
            && !status.is(Reason::Forbidden)
        {
            tracing::warn!(pod = %pod, reason, error = %status, "an event is lost");
        }
    }

    fn event(
        &self,
        pod: &PodKey,
        uid: &str,
        words: (&str, &str, &str, &str),
        name: &str,
        now: Timestamp,
    ) -> Value {
        let (kind, reason, action, note) = words;
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": name, "namespace": &*pod.namespace},
            "eventTime": model::time::format_micros(now), "type": kind, "reason": reason, "action": action,
            // Upstream cuts notes at 1024 bytes; ours are shorter but for very large clusters.
            "note": note.chars().take(1024).collect::<String>(),
            "reportingController": self.controller, "reportingInstance": self.controller,
            "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": &*pod.namespace, "name": &*pod.name, "uid": uid},
        })
    }

    async fn repeat(&self, path: &Path, count: u32, now: Timestamp) -> Result<(), Status> {
        let series = json!({"series": {"count": count, "lastObservedTime": model::time::format_micros(now)}});
        let body = serde_json::to_vec(&series).map_err(Status::internal)?;
        let kind = "application/strategic-merge-patch+json";
        let answer = self.client.request(Method::PATCH, path.as_str(), Some(kind), body.into()).await?;
        client::typed::read_bytes(answer.into_body()).await.map(drop)
    }
}
