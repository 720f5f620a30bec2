//! Pods of this node at the API, by a watch.

use std::collections::HashSet;
use std::sync::Arc;

use client::{WatchEvent, WatchOptions};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use podlogic::pod;

use crate::shared::Shared;
use crate::source::{Adopted, deliver, mirror, orphans, remove};

/// Pause before a broken watch is begun again.
const WATCH_RETRY: std::time::Duration = std::time::Duration::from_millis(200);

/// Follows the Pods of this node, for as long as it runs.
pub async fn follow_pods(shared: Arc<Shared>, adopted: Adopted) {
    let Some(client) = shared.options.client.clone() else { return };
    let options = WatchOptions {
        field_selector: Some(format!("spec.nodeName={}", shared.options.node_name)),
        initial_events: true,
        bookmarks: true,
        ..WatchOptions::default()
    };
    loop {
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
            Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) if pod::is_mirror(&pod) => {
                mirror::seen(shared, pod);
            }
            Ok(WatchEvent::Deleted(pod)) if pod::is_mirror(&pod) => mirror::gone(shared, &pod),
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
                    orphans::collect(shared, adopted).await;
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
