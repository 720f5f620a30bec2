//! Static Pods: files of a folder, followed by inotify.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Toleration};
use podlogic::pod::{self, HASH_ANNOTATION, SEEN_ANNOTATION, SOURCE_ANNOTATION};
use resources::rules::rules_for;
use rustix::fs::inotify;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::unix::pipe;
use tokio::time::Duration;

use crate::shared::Shared;
use crate::source::{Adopted, deliver, remove};

/// Bytes of a file, at most.
const FILE_BYTES_MAX: u64 = 10 << 20;
/// Pause after a change in the folder, so that a file written in pieces is read once.
const SETTLE: Duration = Duration::from_millis(20);
/// Pause before a folder that cannot be watched is looked at again.
const REPAIR: Duration = Duration::from_secs(20);

/// Why a file is no static Pod.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("reading {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds no Pod.
    #[error("invalid pod in {path}: {problem}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

/// Reads a static Pod from a file's text.
///
/// # Errors
/// Says why the text is no Pod.
pub fn parse(path: &Path, text: &str, node_name: &str, now: Timestamp) -> Result<Pod, FileError> {
    let invalid = |problem: String| FileError::Invalid { path: path.into(), problem };
    let mut tree: Value = serde_saphyr::from_str(text).map_err(|error| invalid(error.to_string()))?;
    if tree["kind"] != "Pod" || tree["apiVersion"] != "v1" {
        return Err(invalid(format!("expected a v1 Pod, found {} {}", tree["apiVersion"], tree["kind"])));
    }
    let hash = Sha256::digest(format!("{tree}\0host:{node_name}\0file:{}", path.display()));
    rules_for("", "Pod").default(&mut tree);
    let mut pod: Pod = serde_json::from_value(tree).map_err(|error| invalid(error.to_string()))?;
    let name = pod.metadata.name.take().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| invalid("name is needed for the pod".into()))?;
    let uid = pod.metadata.uid.take().filter(|uid| !uid.is_empty());
    let uid = uid.unwrap_or_else(|| hash[..16].iter().map(|byte| format!("{byte:02x}")).collect());
    pod.metadata.name = Some(format!("{name}-{}", node_name.to_lowercase()));
    pod.metadata.namespace.get_or_insert_with(|| "default".into());
    pod.metadata.uid = Some(uid.clone());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(SOURCE_ANNOTATION.into(), "file".into());
    annotations.insert(SEEN_ANNOTATION.into(), now.to_string());
    annotations.insert(HASH_ANNOTATION.into(), uid);
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node_name.into());
    // Static Pods stay whatever happens to the node.
    let tolerations = spec.tolerations.get_or_insert_default();
    let stays = Toleration {
        operator: Some("Exists".into()),
        effect: Some("NoExecute".into()),
        ..Toleration::default()
    };
    if !tolerations.contains(&stays) {
        tolerations.push(stays);
    }
    pod.status = None;
    Ok(pod)
}

fn read_file(path: &Path, node_name: &str, now: Timestamp) -> Result<Pod, FileError> {
    let failed = |source: io::Error| FileError::Read { path: path.into(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.len() > FILE_BYTES_MAX {
        let problem = format!("the file is longer than {FILE_BYTES_MAX} bytes");
        return Err(FileError::Invalid { path: path.into(), problem });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(path, &text, node_name, now)
}

/// All static Pods of a folder (or of one file). Files that hold none are named in the log and left out; hidden files
/// are skipped.
fn read_folder(folder: &Path, node_name: &str, now: Timestamp) -> BTreeMap<String, Pod> {
    let mut paths = Vec::new();
    match std::fs::read_dir(folder) {
        Ok(entries) => paths.extend(entries.flatten().map(|entry| entry.path())),
        Err(_) if folder.is_file() => paths.push(folder.to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(path = %folder.display(), %error, "reading the static pods"),
    }
    paths.sort();
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let mut pods = BTreeMap::new();
    for path in paths.iter().filter(|path| !hidden(path) && path.is_file()) {
        match read_file(path, node_name, now) {
            Ok(pod) => {
                pods.insert(pod::uid(&pod).to_owned(), pod);
            }
            Err(error) => tracing::warn!(%error, "static pod"),
        }
    }
    pods
}

/// Reads the folder and tells the workers what changed.
pub async fn synchronise(shared: &Arc<Shared>, folder: &Path, adopted: &Adopted) {
    let (path, name, now) = (folder.to_owned(), shared.options.node_name.clone(), shared.now());
    let Ok(pods) = tokio::task::spawn_blocking(move || read_folder(&path, &name, now)).await else { return };
    let known: Vec<(String, bool)> = {
        let boxes = shared.pods.lock();
        let own = boxes.iter().filter(|(_, mailbox)| mailbox.pod().is_some_and(|pod| pod::is_static(&pod)));
        own.map(|(uid, mailbox)| (uid.clone(), mailbox.inbox.lock().removed)).collect()
    };
    for (uid, removed) in &known {
        if !removed && !pods.contains_key(uid) {
            remove(shared, uid, None);
        }
    }
    for (uid, pod) in pods {
        if !known.iter().any(|(known, _)| *known == uid) {
            deliver(shared, pod, adopted);
        }
    }
}

/// Something that tells of changes in a folder. An inotify descriptor is read as a pipe is; what exactly changed does
/// not matter, the folder is read anew.
struct Watch(pipe::Receiver);

impl Watch {
    fn new(folder: &Path) -> io::Result<Self> {
        let descriptor = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        let changes = inotify::WatchFlags::CLOSE_WRITE
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MOVED_FROM
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::DELETE_SELF;
        inotify::add_watch(&descriptor, folder, changes)?;
        Ok(Self(pipe::Receiver::from_owned_fd_unchecked(descriptor)?))
    }

    /// Returns after a change.
    async fn changed(&self) -> io::Result<()> {
        self.0.readable().await?;
        let mut buffer = [0; 4096];
        loop {
            match self.0.try_read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Follows the folder for as long as it runs.
pub async fn follow(shared: Arc<Shared>, folder: PathBuf, adopted: Adopted) {
    loop {
        let watch = Watch::new(&folder);
        synchronise(&shared, &folder, &adopted).await;
        let Ok(watch) = watch else {
            // The folder does not exist (yet).
            tokio::time::sleep(REPAIR).await;
            continue;
        };
        while watch.changed().await.is_ok() {
            tokio::time::sleep(SETTLE).await;
            synchronise(&shared, &folder, &adopted).await;
            if !folder.exists() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_in_the_folder_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let watch = Watch::new(folder.path()).expect("a watch");
        std::fs::write(folder.path().join("a.yaml"), "x").expect("a file");
        let noticed = tokio::time::timeout(Duration::from_secs(5), watch.changed()).await;
        noticed.expect("in time").expect("noticed");
        let nothing = tokio::time::timeout(Duration::from_millis(20), watch.changed()).await;
        assert!(nothing.is_err(), "one change is told once");
    }
}
