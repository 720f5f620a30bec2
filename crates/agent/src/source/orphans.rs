//! What earlier Pods left on the node: sandboxes, directories, logs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use cri::sandbox::{PodSandboxMetadata, PodSandboxStatus};
use k8s_openapi::api::core::v1::{Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::files;
use crate::shared::Shared;
use crate::source::{Adopted, deliver, remove};

/// Ends sandboxes of Pods that nobody knows any more, and removes what lies about. Called once all sources were read.
pub async fn collect(shared: &Arc<Shared>, adopted: &Adopted) {
    // By what the runtime said at the start: it may not answer now, and nobody else would ever ask again.
    let left: Vec<(String, PodSandboxMetadata)> = {
        let adopted = adopted.lock();
        let first = |(uid, all): (&String, &Vec<PodSandboxStatus>)| {
            all.first().map(|own| (uid.clone(), own.metadata.clone()))
        };
        adopted.iter().filter_map(first).collect()
    };
    for (uid, metadata) in left {
        // A Pod with nothing but its identity: enough to end what it left.
        let pod = Pod {
            metadata: ObjectMeta {
                name: Some(metadata.name),
                namespace: Some(metadata.namespace),
                uid: Some(uid.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec::default()),
            status: None,
        };
        deliver(shared, pod, adopted);
        remove(shared, &uid, None);
    }
    let live: BTreeSet<String> = shared.pods.lock().keys().cloned().collect();
    let names: Vec<String> = live.iter().cloned().collect();
    shared.options.volumes.retain(&names).await;
    remove_unknown(&shared.options.directories.root.join("pods"), |name| live.contains(name)).await;
    let known = |name: &str| name.rsplit('_').next().is_some_and(|uid| live.contains(uid));
    remove_unknown(&shared.options.directories.pod_logs, known).await;
    remove_dangling(&shared.options.directories.container_links).await;
}

async fn remove_unknown(folder: &Path, known: impl Fn(&str) -> bool) {
    let Ok(entries) = files::read_dir(folder).await else { return };
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        if known(&name) {
            continue;
        }
        // Volumes that are still mounted must never be deleted through.
        let mounted = is_mount_below(&entry.path()).await;
        if mounted {
            tracing::warn!(path = %entry.path().display(), "an orphaned pod still has volumes mounted");
            continue;
        }
        if let Err(error) = files::remove_tree(entry.path()).await {
            tracing::warn!(path = %entry.path().display(), %error, "removing what an earlier pod left");
        }
    }
}

async fn is_mount_below(path: &Path) -> bool {
    let text = files::read_to_string("/proc/self/mountinfo").await.unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| Path::new(point).starts_with(path))
}

async fn remove_dangling(folder: &Path) {
    let Ok(entries) = files::read_dir(folder).await else { return };
    for entry in entries {
        if files::metadata(entry.path()).await.is_err()
            && let Err(error) = files::remove_file(entry.path()).await
        {
            tracing::warn!(path = %entry.path().display(), %error, "removing a link to a log that is gone");
        }
    }
}
