//! What all tasks of the agent share.

use std::collections::BTreeMap;
use std::sync::Arc;

use cri::runtime::RuntimeService;
use k8s_openapi::api::core::v1::{Node, Pod};
use model::quantity::Quantity;
use parking_lot::{Mutex, RwLock};
use podlogic::actions::Verdicts;
use podlogic::dns::NodeDns;
use podlogic::limits::NodeLimits;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::events::Recorder;
use crate::images::Puller;
use crate::objects::Objects;
use crate::options::Options;
use crate::statuses::Statuses;

/// The wish to end a Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Termination {
    /// Grace in seconds instead of the Pod's own.
    pub grace_s: Option<i64>,
    /// `status.reason` and `status.message` of the failed Pod (evictions, rejections).
    pub failed: Option<(String, String)>,
}

/// What a Pod's worker reacts to.
#[derive(Debug, Default)]
pub struct Inbox {
    /// The Pod as last seen.
    pub pod: Option<Arc<Pod>>,
    /// The mirror of a static Pod, as last seen.
    pub mirror: Option<Arc<Pod>>,
    /// Someone wants it to end.
    pub termination: Option<Termination>,
    /// The Pod is no longer known to its source.
    pub removed: bool,
}

/// One Pod's post box: written by sources, runtime events and probes, read by its worker.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// Pod UID.
    pub uid: String,
    /// What changed.
    pub inbox: Mutex<Inbox>,
    /// Results of probes.
    pub verdicts: Mutex<Verdicts>,
    /// Rings when something changed; several rings count as one.
    pub wake: Notify,
    /// Rings when the Pod has to end, for those who wait within a step.
    pub ending: Notify,
}

impl Mailbox {
    /// The Pod as last seen.
    pub fn pod(&self) -> Option<Arc<Pod>> {
        self.inbox.lock().pod.clone()
    }

    /// Whether the Pod has to end.
    pub fn must_end(&self) -> bool {
        let inbox = self.inbox.lock();
        inbox.removed
            || inbox.termination.is_some()
            || inbox.pod.as_ref().is_some_and(|pod| podlogic::pod::is_deleted(pod))
    }

    /// Tells the worker that something changed.
    pub fn ring(&self) {
        self.wake.notify_one();
        if self.must_end() {
            self.ending.notify_one();
        }
    }
}

/// What all tasks share.
pub struct Shared {
    /// As started.
    pub options: Options,
    /// `carob`.
    pub runtime_name: String,
    /// Version of the runtime.
    pub runtime_version: String,
    /// Events.
    pub recorder: Recorder,
    /// Pod statuses.
    pub statuses: Statuses,
    /// Images.
    pub puller: Puller,
    /// ConfigMaps, Secrets, Services.
    pub objects: Objects,
    /// The node's addresses as texts.
    pub host_ips: Vec<String>,
    /// Name servers.
    pub dns: NodeDns,
    /// Limits.
    pub limits: NodeLimits,
    /// What the node can give.
    pub allocatable: BTreeMap<String, Quantity>,
    /// The Node object as last seen.
    pub node: RwLock<Option<Arc<Node>>>,
    /// Whether the Node object is known.
    pub node_known: watch::Sender<bool>,
    /// Rings when the node's status has to be written.
    pub node_changed: Notify,
    /// Pods that hold resources of the node, by UID.
    pub admitted: Mutex<BTreeMap<String, Arc<Pod>>>,
    /// Stops the workers.
    pub stop: CancellationToken,
    /// Counts Pods of which nothing is left on the node.
    pub ended: watch::Sender<u64>,
    /// Post boxes by Pod UID.
    pub pods: Mutex<BTreeMap<String, Arc<Mailbox>>>,
}

impl Shared {
    /// The runtime.
    pub fn runtime(&self) -> &Arc<dyn RuntimeService> {
        &self.options.runtime
    }

    /// A Pod's post box.
    pub fn mailbox(&self, uid: &str) -> Option<Arc<Mailbox>> {
        self.pods.lock().get(uid).cloned()
    }

    /// Now.
    pub fn now(&self) -> jiff::Timestamp {
        self.options.clock.now()
    }
}
