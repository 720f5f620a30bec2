//! Starts the agent and spreads news: Pods from the API and events of the runtime go to the Pods' workers.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri::runtime::Event;
use cri::sandbox::PodSandboxStatus;
use parking_lot::{Mutex, RwLock};
use podlogic::dns::NodeDns;
use podlogic::labels;
use podlogic::limits::NodeLimits;
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::events::{self, Recorder};
use crate::images::Puller;
use crate::objects::Objects;
use crate::options::Options;
use crate::seams::NodeApiBackend;
use crate::shared::Shared;
use crate::statuses::Statuses;
use crate::{housekeeping, node, source};

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
        let mut adopted: BTreeMap<String, Vec<PodSandboxStatus>> = BTreeMap::new();
        for sandbox in shared.runtime().list_pod_sandboxes(None).await? {
            if let Some(uid) = sandbox.labels.get(labels::POD_UID) {
                adopted.entry(uid.clone()).or_default().push(sandbox);
            }
        }
        let adopted = Arc::new(Mutex::new(adopted));
        if let Some(folder) = shared.options.config.static_pod_path.clone() {
            // Read once before anything else, so that mirrors and sandboxes of static Pods find their owners.
            source::files::synchronise(&shared, &folder, &adopted).await;
            tasks.spawn(source::files::follow(Arc::clone(&shared), folder, Arc::clone(&adopted)));
        }
        if shared.options.client.is_some() {
            tasks.spawn(source::api::follow_pods(Arc::clone(&shared), adopted));
        } else {
            source::orphans::collect(&shared, &adopted).await;
        }
        tasks.spawn(housekeeping::run(Arc::clone(&shared)));
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

impl Drop for Agent {
    fn drop(&mut self) {
        self.shared.stop.cancel();
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
        admitted: Mutex::default(),
        stop: tokio_util::sync::CancellationToken::new(),
        ended: tokio::sync::watch::Sender::new(0),
        pods: Mutex::default(),
        runtime_name,
        runtime_version,
        options,
    }
}

/// Rings the workers whose Pods something happened to.
async fn spread_runtime_events(shared: Arc<Shared>, mut events: tokio::sync::mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::ContainerStopped { pod_uid, .. } | Event::SandboxStopped { pod_uid, .. } => {
                if let Some(mailbox) = shared.mailbox(&pod_uid) {
                    mailbox.wake.notify_one();
                }
            }
            Event::Overflow => shared.pods.lock().values().for_each(|mailbox| mailbox.wake.notify_one()),
            // The agent's own doing, which it looks at anyway.
            Event::ContainerCreated { .. }
            | Event::ContainerStarted { .. }
            | Event::ContainerDeleted { .. } => {}
        }
    }
}
