//! Events (core/v1 `Event`), with upstream's correlation: equal ones are counted, many similar ones are put together,
//! and an object that causes too many is cut off.

use std::collections::{BTreeSet, HashMap};

use client::{Client, Patch, Path};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use model::Reason;
use podlogic::status::seconds;
use serde_json::json;
use stdx::clock::Clock;
use tokio::sync::mpsc;

/// Events waiting to be written, at most; more are dropped, as upstream does.
const QUEUE_LENGTH_MAX: usize = 1000;
/// Correlations remembered, at most.
const CACHE_LENGTH_MAX: usize = 4096;
/// Different messages of similar events before they are put together.
const SIMILAR_MAX: usize = 10;
/// Seconds after which similar events are counted anew.
const SIMILAR_WINDOW_S: i64 = 600;
/// Events an object may cause at once.
const BURST: f64 = 25.0;
/// Events an object may cause per second in the long run.
const REFILL_PER_S: f64 = 1.0 / 300.0;

/// `Normal` or `Warning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// `Normal`.
    Normal,
    /// `Warning`.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
    }
}

/// One occurrence.
#[derive(Debug, Clone, PartialEq)]
pub struct Occurrence {
    /// What it is about.
    pub object: ObjectReference,
    /// Severity.
    pub severity: Severity,
    /// `Pulled` …
    pub reason: String,
    /// Message.
    pub message: String,
    /// When.
    pub time: Timestamp,
}

/// Takes occurrences. Cheap to clone; never waits.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Occurrence>,
    clock: Clock,
}

impl Recorder {
    /// A recorder and the queue that [`run`] empties.
    pub fn new(clock: Clock) -> (Self, mpsc::Receiver<Occurrence>) {
        let (queue, receiver) = mpsc::channel(QUEUE_LENGTH_MAX);
        (Self { queue, clock }, receiver)
    }

    /// Records something.
    pub fn record(
        &self,
        object: ObjectReference,
        severity: Severity,
        reason: &str,
        message: impl Into<String>,
    ) {
        let occurrence = Occurrence {
            object,
            severity,
            reason: reason.into(),
            message: message.into(),
            time: self.clock.now(),
        };
        if let Err(mpsc::error::TrySendError::Full(lost)) = self.queue.try_send(occurrence) {
            tracing::warn!(
                reason = lost.reason,
                message = lost.message,
                "event dropped: too many are waiting"
            );
        }
    }

    /// Records something normal.
    pub fn normal(&self, object: ObjectReference, reason: &str, message: impl Into<String>) {
        self.record(object, Severity::Normal, reason, message);
    }

    /// Records a warning.
    pub fn warning(&self, object: ObjectReference, reason: &str, message: impl Into<String>) {
        self.record(object, Severity::Warning, reason, message);
    }
}

/// Token bucket of one object.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    updated: Timestamp,
}

/// Messages of similar events.
#[derive(Debug, Clone)]
struct Similar {
    messages: BTreeSet<String>,
    updated: Timestamp,
}

/// An event that was written.
#[derive(Debug, Clone)]
struct Written {
    namespace: String,
    name: String,
    count: i32,
}

/// What to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// A new event.
    Create(Box<Event>),
    /// One more of an event that exists.
    Count {
        /// Namespace.
        namespace: String,
        /// Event name.
        name: String,
        /// How often it occurred.
        count: i32,
        /// Merge patch.
        patch: serde_json::Value,
        /// The event, should it be gone.
        event: Box<Event>,
    },
}

/// Decides what becomes of occurrences. Pure.
#[derive(Debug)]
pub struct Correlator {
    node_name: String,
    buckets: HashMap<String, Bucket>,
    similar: HashMap<String, Similar>,
    written: HashMap<String, Written>,
    /// The number in the last event's name: names come from the time and must differ.
    last_name: i128,
}

impl Correlator {
    /// A correlator of this node's events.
    pub fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.into(),
            buckets: HashMap::new(),
            similar: HashMap::new(),
            written: HashMap::new(),
            last_name: 0,
        }
    }

    fn allow(&mut self, key: &str, now: Timestamp) -> bool {
        let bucket = self.buckets.entry(key.to_owned()).or_insert(Bucket { tokens: BURST, updated: now });
        let elapsed_s = now.duration_since(bucket.updated).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + elapsed_s * REFILL_PER_S).min(BURST);
        bucket.updated = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }

    /// The message to show, and whether this occurrence is put together with similar ones.
    fn aggregate(&mut self, key: &str, occurrence: &Occurrence) -> (String, bool) {
        let now = occurrence.time;
        let fresh = Similar { messages: BTreeSet::new(), updated: now };
        let similar = self.similar.entry(key.to_owned()).or_insert_with(|| fresh.clone());
        if now.duration_since(similar.updated).as_secs() > SIMILAR_WINDOW_S {
            *similar = fresh;
        }
        similar.updated = now;
        similar.messages.insert(occurrence.message.clone());
        if similar.messages.len() < SIMILAR_MAX {
            return (occurrence.message.clone(), false);
        }
        similar.messages.pop_first();
        (format!("(combined from similar events): {}", occurrence.message), true)
    }

    /// Decides what to write; `None`: the object causes too many events.
    pub fn correlate(&mut self, occurrence: &Occurrence) -> Option<Write> {
        if self.written.len() + self.similar.len() + self.buckets.len() > CACHE_LENGTH_MAX {
            self.written.clear();
            self.similar.clear();
            self.buckets.clear();
        }
        let object = &occurrence.object;
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let object_key =
            [part(&object.kind), part(&object.namespace), part(&object.name), part(&object.uid)].join("\0");
        let group_key = [
            object_key.as_str(),
            &part(&object.field_path),
            occurrence.severity.as_str(),
            occurrence.reason.as_str(),
        ]
        .join("\0");
        let (message, combined) = self.aggregate(&group_key, occurrence);
        let key = if combined { group_key } else { [group_key.as_str(), &message].join("\0") };
        if !self.allow(&object_key, occurrence.time) {
            return None;
        }
        let mut event = self.event(occurrence, message);
        let Some(written) = self.written.get_mut(&key) else {
            let (namespace, name) = (part(&event.metadata.namespace), part(&event.metadata.name));
            self.written.insert(key, Written { namespace, name, count: 1 });
            return Some(Write::Create(Box::new(event)));
        };
        written.count += 1;
        event.count = Some(written.count);
        let patch = json!({
            "count": written.count,
            "message": event.message,
            "lastTimestamp": event.last_timestamp,
        });
        Some(Write::Count {
            namespace: written.namespace.clone(),
            name: written.name.clone(),
            count: written.count,
            patch,
            event: Box::new(event),
        })
    }

    fn event(&mut self, occurrence: &Occurrence, message: String) -> Event {
        let object = occurrence.object.clone();
        let namespace =
            object.namespace.clone().filter(|own| !own.is_empty()).unwrap_or_else(|| "default".into());
        let name = object.name.clone().unwrap_or_default();
        self.last_name = occurrence.time.as_nanosecond().max(self.last_name + 1);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{name}.{:x}", self.last_name)),
                namespace: Some(namespace),
                ..ObjectMeta::default()
            },
            involved_object: object,
            type_: Some(occurrence.severity.as_str().into()),
            reason: Some(occurrence.reason.clone()),
            message: Some(message),
            count: Some(1),
            first_timestamp: Some(seconds(occurrence.time)),
            last_timestamp: Some(seconds(occurrence.time)),
            source: Some(EventSource {
                component: Some("kubelet".into()),
                host: Some(self.node_name.clone()),
            }),
            reporting_component: Some("kubelet".into()),
            reporting_instance: Some(self.node_name.clone()),
            ..Event::default()
        }
    }
}

/// Writes events as they come, one after the other, until all recorders are gone. Without a client they are only
/// logged.
pub async fn run(mut queue: mpsc::Receiver<Occurrence>, client: Option<Client>, node_name: String) {
    let mut correlator = Correlator::new(&node_name);
    while let Some(occurrence) = queue.recv().await {
        let name = occurrence.object.name.as_deref().unwrap_or_default();
        tracing::debug!(object = name, reason = occurrence.reason, message = occurrence.message, "event");
        let Some(client) = &client else { continue };
        let Some(write) = correlator.correlate(&occurrence) else { continue };
        if let Err(status) = perform(client, write).await {
            tracing::warn!(reason = occurrence.reason, error = status.message, "event was not written");
        }
    }
}

async fn perform(client: &Client, write: Write) -> Result<(), model::Status> {
    match write {
        Write::Create(event) => {
            let namespace = event.metadata.namespace.clone();
            client.create(namespace.as_deref(), event.as_ref()).await.map(|_| ())
        }
        Write::Count { namespace, name, patch, event, .. } => {
            let answer = client.patch::<Event>(Some(&namespace), &name, None, &Patch::Merge(patch)).await;
            match answer {
                Err(status) if status.is(Reason::NotFound) => {
                    client.create(Some(&namespace), event.as_ref()).await.map(|_| ())
                }
                answer => answer.map(|_| ()),
            }
        }
    }
}

/// The collection of events of a namespace, for messages.
pub fn collection(namespace: &str) -> Path {
    Path::collection("", "v1", "events", Some(namespace))
}
