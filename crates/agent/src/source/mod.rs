//! Where Pods come from: the API and files of the node. Both end in [`deliver`] and [`remove`].

pub mod api;
pub mod files;
pub mod mirror;
pub mod orphans;

use std::collections::BTreeMap;
use std::sync::Arc;

use cri::sandbox::PodSandboxStatus;
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use podlogic::pod;

use crate::shared::{Inbox, Mailbox, Shared};
use crate::worker;

/// Sandboxes found when the agent started, by Pod UID.
pub type Adopted = Arc<Mutex<BTreeMap<String, Vec<PodSandboxStatus>>>>;

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
    let found = adopted.lock().remove(&uid).unwrap_or_default();
    let sandbox_ids = found.into_iter().map(|own| own.id).collect();
    let stop = shared.stop.clone();
    tokio::spawn(stop.run_until_cancelled_owned(worker::run(Arc::clone(shared), mailbox, sandbox_ids)));
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
        let conditions =
            pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let mut states: Vec<(String, String)> = Vec::new();
        for condition in
            conditions.iter().filter(|own| gates.iter().any(|gate| gate.condition_type == own.type_))
        {
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
