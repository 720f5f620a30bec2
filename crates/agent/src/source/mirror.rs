//! Mirror Pods: what the API shows of static Pods. Recreated when deleted or when the static Pod changed.

use std::sync::Arc;

use client::DeleteOptions;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use podlogic::pod::{self, HASH_ANNOTATION, MIRROR_ANNOTATION};
use tokio::time::Duration;

use crate::shared::{Mailbox, Shared};

/// Pause after the first failure, and the longest.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(20);

/// The post box of the static Pod that a mirror stands for.
fn original(shared: &Shared, mirror: &Pod) -> Option<Arc<Mailbox>> {
    let pods = shared.pods.lock();
    let own = pods.values().find(|mailbox| {
        mailbox.pod().is_some_and(|pod| {
            pod::is_static(&pod)
                && pod::name(&pod) == pod::name(mirror)
                && pod::namespace(&pod) == pod::namespace(mirror)
                && !mailbox.inbox.lock().removed
        })
    });
    own.cloned()
}

/// A mirror appeared or changed.
pub fn seen(shared: &Arc<Shared>, mirror: Pod) {
    let Some(mailbox) = original(shared, &mirror) else {
        // Its static Pod is gone.
        tokio::spawn(delete_surely(Arc::clone(shared), Arc::new(mirror)));
        return;
    };
    let key = |pod: &Pod| (pod.metadata.uid.clone(), pod.metadata.deletion_timestamp.clone());
    let after = key(&mirror);
    let before = mailbox.inbox.lock().mirror.replace(Arc::new(mirror));
    if before.is_none_or(|before| key(&before) != after) {
        mailbox.wake.notify_one();
    }
}

/// A mirror is gone.
pub fn gone(shared: &Shared, mirror: &Pod) {
    let Some(mailbox) = original(shared, mirror) else { return };
    let mut inbox = mailbox.inbox.lock();
    if inbox.mirror.as_ref().is_some_and(|own| own.metadata.uid == mirror.metadata.uid) {
        inbox.mirror = None;
        drop(inbox);
        mailbox.wake.notify_one();
    }
}

/// Deletes a mirror at once. Answers whether it is gone.
pub async fn delete(shared: &Shared, mirror: &Pod) -> bool {
    let Some(client) = &shared.options.client else { return true };
    let options = DeleteOptions { uid: mirror.metadata.uid.clone(), ..DeleteOptions::now() };
    let (namespace, name) = (pod::namespace(mirror), pod::name(mirror));
    match client.delete::<Pod>(Some(namespace), name, &options).await {
        Ok(_) => true,
        Err(status) if status.is(model::Reason::NotFound) || status.is(model::Reason::Conflict) => true,
        Err(status) => {
            tracing::warn!(pod = name, namespace, error = status.message, "deleting a mirror pod");
            false
        }
    }
}

/// Deletes the mirror of a static Pod that is gone: again and again while the API server or its store fails. Ends with
/// the first answer that it is deleted, or another by now.
pub async fn delete_surely(shared: Arc<Shared>, mirror: Arc<Pod>) {
    let mut failures = 0;
    while !delete(&shared, &mirror).await {
        tokio::time::sleep(pause_after(failures)).await;
        failures += 1;
    }
}

/// How long to wait after so many failures in a row before.
pub fn pause_after(failures: u32) -> Duration {
    (RETRY * 2u32.saturating_pow(failures.min(5))).min(RETRY_MAX)
}

/// Makes sure that a static Pod has its mirror. Answers whether nothing is left to do: after `false` it is to be tried
/// again, since no event tells when the API server can write again.
pub async fn reconcile(shared: &Arc<Shared>, mailbox: &Mailbox, static_pod: &Pod) -> bool {
    let Some(client) = &shared.options.client else { return true };
    let hash = pod::annotation(static_pod, HASH_ANNOTATION).unwrap_or_default();
    let mirror = mailbox.inbox.lock().mirror.clone();
    if let Some(mirror) = mirror {
        let fits = pod::annotation(&mirror, MIRROR_ANNOTATION) == Some(hash) && !pod::is_deleted(&mirror);
        if fits {
            return true;
        }
        if !delete(shared, &mirror).await {
            return false;
        }
        mailbox.inbox.lock().mirror = None;
    }
    let node = shared.node.read().clone();
    let Some(uid) = node.as_ref().and_then(|node| node.metadata.uid.clone()) else { return true };
    let mut copy = static_pod.clone();
    copy.status = None;
    copy.metadata.uid = None;
    copy.metadata.resource_version = None;
    copy.metadata.annotations.get_or_insert_default().insert(MIRROR_ANNOTATION.into(), hash.to_owned());
    copy.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: shared.options.node_name.clone(),
        uid,
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    let namespace = pod::namespace(static_pod);
    match client.create(Some(namespace), &copy).await {
        Ok(mirror) => mailbox.inbox.lock().mirror = Some(Arc::new(mirror)),
        Err(status) if status.is(model::Reason::AlreadyExists) => {
            // Either our own, made before a restart, or that of an earlier file, which is to be deleted first.
            let present = client.get::<Pod>(Some(namespace), pod::name(static_pod)).await;
            let fits = |own: &Pod| pod::annotation(own, MIRROR_ANNOTATION) == Some(hash);
            let Some(present) = present.ok().filter(fits) else { return false };
            mailbox.inbox.lock().mirror = Some(Arc::new(present));
        }
        Err(status) => {
            let name = pod::name(static_pod);
            tracing::warn!(pod = name, namespace, error = status.message, "creating a mirror pod");
            return false;
        }
    }
    true
}
