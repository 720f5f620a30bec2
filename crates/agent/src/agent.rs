//! Starts the agent and spreads news: Pods from the API and events of the runtime go to the Pods' workers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use client::{WatchEvent, WatchOptions};
use cri::runtime::Event;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::{Mutex, RwLock};
use podlogic::dns::NodeDns;
use podlogic::limits::NodeLimits;
use podlogic::{labels, pod};
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::events::{self, Recorder};
use crate::images::Puller;
use crate::objects::Objects;
use crate::options::Options;
use crate::seams::NodeApiBackend;
use crate::shared::{Inbox, Mailbox, Shared};
use crate::statuses::Statuses;
use crate::{node, worker};

/// Pause before a broken watch is begun again.
const WATCH_RETRY: std::time::Duration = std::time::Duration::from_millis(200);

/// Why an agent could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The runtime does not answer.
    #[error("listing sandboxes: {0}")]
    Runtime(#[from] cri::Error),
}

/// A running agent. Dropping it stops its tasks; containers keep running.
pub struct Agent {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Agent {
    /// Starts an agent: takes over what runs, then follows its sources.
    ///
    /// # Errors
    /// When the runtime does not answer.
    pub async fn start(options: Options) -> Result<Agent, StartError> {
        let (recorder, occurrences) = Recorder::new(options.clock.clone());
        let shared = Arc::new(make_shared(options, recorder));
        let mut tasks = JoinSet::new();
        let options = &shared.options;
        tasks.spawn(events::run(occurrences, options.client.clone(), options.node_name.clone()));
        tasks.spawn(shared.objects.clone().watch_services());
        tasks.spawn(node::report::run(Arc::clone(&shared)));
        tasks.spawn(node::lease::run(Arc::clone(&shared)));
        let runtime_events = shared.runtime().events();
        tasks.spawn(spread_runtime_events(Arc::clone(&shared), runtime_events));
        let mut adopted: HashMap<String, Vec<String>> = HashMap::new();
        for sandbox in shared.runtime().list_pod_sandboxes(None).await? {
            if let Some(uid) = sandbox.labels.get(labels::POD_UID) {
                adopted.entry(uid.clone()).or_default().push(sandbox.id);
            }
        }
        let adopted = Arc::new(Mutex::new(adopted));
        if shared.options.client.is_some() {
            tasks.spawn(follow_pods(Arc::clone(&shared), adopted));
        }
        Ok(Agent { shared, _tasks: tasks })
    }

    /// What the node's API server asks.
    pub fn backend(&self) -> Arc<dyn NodeApiBackend> {
        Arc::new(Backend(Arc::clone(&self.shared)))
    }

    /// What tasks of the agent share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

fn make_shared(options: Options, recorder: Recorder) -> Shared {
    let (runtime_name, runtime_version) = options.runtime.version();
    let parallel =
        if options.config.serialize_image_pulls { 1 } else { options.config.max_parallel_image_pulls };
    let config = &options.config;
    let host_file = match config.resolv_conf.as_str() {
        "" => None,
        path => Some(std::fs::read_to_string(path).unwrap_or_default()),
    };
    let machine = crate::machine::Machine::read();
    let allocatable = machine.allocatable(config, &options.directories.root);
    let limits = NodeLimits {
        memory_bytes: machine.memory_bytes,
        cfs_quota: config.cpu_cfs_quota,
        cfs_period_us: i64::try_from(config.cpu_cfs_quota_period.as_micros()).unwrap_or(100_000),
        pod_pids_max: config.pod_pids_limit.max(0),
    };
    Shared {
        recorder: recorder.clone(),
        statuses: Statuses::new(options.client.clone()),
        puller: Puller::new(Arc::clone(&options.images), recorder, options.clock.clone(), parallel),
        objects: Objects::new(options.client.clone()),
        host_ips: options.node_ips.iter().map(ToString::to_string).collect(),
        dns: NodeDns {
            cluster_servers: config.cluster_dns.clone(),
            cluster_domain: config.cluster_domain.clone(),
            host_file,
        },
        limits,
        allocatable,
        node: RwLock::default(),
        node_known: tokio::sync::watch::Sender::new(false),
        node_changed: tokio::sync::Notify::new(),
        pods: Mutex::default(),
        runtime_name,
        runtime_version,
        options,
    }
}

/// Rings the workers whose Pods something happened to.
async fn spread_runtime_events(shared: Arc<Shared>, mut events: tokio::sync::mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event.pod_uid() {
            Some(uid) => {
                if let Some(mailbox) = shared.mailbox(uid) {
                    mailbox.wake.notify_one();
                }
            }
            None => shared.pods.lock().values().for_each(|mailbox| mailbox.wake.notify_one()),
        }
    }
}

type Adopted = Arc<Mutex<HashMap<String, Vec<String>>>>;

/// Hands a Pod to its worker, starting one for a new Pod.
pub fn deliver(shared: &Arc<Shared>, pod: Pod, adopted: &Adopted) {
    let uid = pod::uid(&pod).to_owned();
    let pod = Arc::new(pod);
    let mut pods = shared.pods.lock();
    if let Some(mailbox) = pods.get(&uid) {
        let before = mailbox.inbox.lock().pod.replace(Arc::clone(&pod));
        if before.is_none_or(|before| matters(&before, &pod)) {
            mailbox.ring();
        }
        return;
    }
    let inbox = Inbox { pod: Some(pod), ..Inbox::default() };
    let mailbox = Arc::new(Mailbox { uid: uid.clone(), inbox: Mutex::new(inbox), ..Mailbox::default() });
    pods.insert(uid.clone(), Arc::clone(&mailbox));
    drop(pods);
    let sandbox_ids = adopted.lock().remove(&uid).unwrap_or_default();
    tokio::spawn(worker::run(Arc::clone(shared), mailbox, sandbox_ids));
}

/// Whether a change of a Pod is more than the agent's own report coming back.
fn matters(before: &Pod, after: &Pod) -> bool {
    let own = |pod: &Pod| {
        let metadata = &pod.metadata;
        (
            metadata.deletion_timestamp.clone(),
            metadata.deletion_grace_period_seconds,
            metadata.labels.clone(),
            metadata.annotations.clone(),
        )
    };
    let gates = |pod: &Pod| {
        let gates = pod::spec(pod).readiness_gates.as_deref().unwrap_or_default();
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let mut states: Vec<(String, String)> = Vec::new();
        for condition in conditions.iter().filter(|own| gates.iter().any(|gate| gate.condition_type == own.type_)) {
            states.push((condition.type_.clone(), condition.status.clone()));
        }
        states
    };
    before.spec != after.spec || own(before) != own(after) || gates(before) != gates(after)
}

/// Tells a worker that its Pod is gone from its source.
pub fn remove(shared: &Shared, uid: &str, last: Option<Pod>) {
    let Some(mailbox) = shared.mailbox(uid) else { return };
    {
        let mut inbox = mailbox.inbox.lock();
        inbox.removed = true;
        if let Some(last) = last {
            inbox.pod = Some(Arc::new(last));
        }
    }
    mailbox.ring();
}

/// Follows the Pods of this node, for as long as it runs.
async fn follow_pods(shared: Arc<Shared>, adopted: Adopted) {
    let Some(client) = shared.options.client.clone() else { return };
    let selector = format!("spec.nodeName={}", shared.options.node_name);
    loop {
        let options = WatchOptions {
            field_selector: Some(selector.clone()),
            initial_events: true,
            bookmarks: true,
            ..WatchOptions::default()
        };
        match client.watch::<Pod>(None, &options).await {
            Ok(stream) => follow(&shared, stream, &adopted).await,
            Err(status) => tracing::warn!(error = status.message, "watching the node's pods"),
        }
        tokio::time::sleep(WATCH_RETRY).await;
    }
}

async fn follow(
    shared: &Arc<Shared>,
    mut stream: impl futures::Stream<Item = Result<WatchEvent<Pod>, model::Status>> + Unpin,
    adopted: &Adopted,
) {
    let mut initial: Option<HashSet<String>> = Some(HashSet::new());
    while let Some(event) = stream.next().await {
        match event {
            Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => {
                if let Some(initial) = &mut initial {
                    initial.insert(pod::uid(&pod).to_owned());
                }
                deliver(shared, pod, adopted);
            }
            Ok(WatchEvent::Deleted(pod)) => {
                let uid = pod::uid(&pod).to_owned();
                remove(shared, &uid, Some(pod));
            }
            Ok(WatchEvent::Bookmark { initial_end: true, .. }) => {
                if let Some(initial) = initial.take() {
                    forget_missing(shared, &initial);
                }
            }
            Ok(WatchEvent::Bookmark { .. }) => {}
            Err(status) => {
                tracing::debug!(error = status.message, "the watch of pods ended");
                return;
            }
        }
    }
}

/// Pods that went away while nobody watched.
fn forget_missing(shared: &Shared, present: &HashSet<String>) {
    let missing: Vec<String> = {
        let pods = shared.pods.lock();
        let missing = pods.iter().filter(|(uid, mailbox)| {
            !present.contains(*uid) && mailbox.pod().is_some_and(|pod| !pod::is_static(&pod))
        });
        missing.map(|(uid, _)| uid.clone()).collect()
    };
    for uid in missing {
        remove(shared, &uid, None);
    }
}
