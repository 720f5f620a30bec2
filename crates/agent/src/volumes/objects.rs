//! ConfigMaps and Secrets that Pods of this node refer to: one watch per object, shared by all who need it, ended with
//! the last of them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use client::{Client, Path, WatchEvent, WatchOptions};
use futures::StreamExt;
use model::Status;
use parking_lot::Mutex;
use serde_json::Value;
use stdx::entropy::Entropy;
use tokio::sync::watch;

const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// `configmaps` or `secrets`.
    pub plural: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What is known of an object.
#[derive(Debug, Clone, Default)]
pub enum Known {
    /// Nothing yet.
    #[default]
    Asking,
    /// The API refuses to tell, or cannot be reached.
    Failed(Status),
    /// It is not there.
    Missing,
    /// It is there.
    Found(Arc<Value>),
}

/// A share in an object's watch; the watch ends with the last share.
pub struct Share {
    known: watch::Receiver<Known>,
    _task: Arc<Task>,
}

struct Task(tokio::task::AbortHandle, watch::Receiver<Known>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Share {
    /// What is known, once anything is.
    pub async fn known(&mut self) -> Known {
        match self.known.wait_for(|known| !matches!(known, Known::Asking)).await {
            Ok(known) => known.clone(),
            Err(_) => Known::Asking,
        }
    }

    /// Returns when it changed since it was last looked at.
    pub async fn changed(&mut self) {
        if self.known.changed().await.is_err() {
            // The watch is gone for good: there is nothing more to come.
            std::future::pending::<()>().await;
        }
    }
}

/// All watches.
pub struct ObjectCache {
    client: Option<Client>,
    entropy: Entropy,
    tasks: Mutex<HashMap<Key, Weak<Task>>>,
}

impl ObjectCache {
    /// An empty cache.
    pub fn new(client: Option<Client>, entropy: Entropy) -> Self {
        Self { client, entropy, tasks: Mutex::default() }
    }

    /// A share in the watch of an object; `None` without an API.
    pub fn share(&self, key: &Key) -> Option<Share> {
        let client = self.client.clone()?;
        let mut tasks = self.tasks.lock();
        tasks.retain(|_, task| task.strong_count() > 0);
        let task = match tasks.get(key).and_then(Weak::upgrade) {
            Some(task) => task,
            None => {
                let (sender, receiver) = watch::channel(Known::Asking);
                let handle = tokio::spawn(follow(client, key.clone(), sender, self.entropy.clone()));
                let task = Arc::new(Task(handle.abort_handle(), receiver));
                tasks.insert(key.clone(), Arc::downgrade(&task));
                task
            }
        };
        Some(Share { known: task.1.clone(), _task: task })
    }
}

async fn follow(client: Client, key: Key, sender: watch::Sender<Known>, entropy: Entropy) {
    let mut retry = RETRY_MIN;
    loop {
        match watch_once(&client, &key, &sender).await {
            Ok(()) => retry = RETRY_MIN,
            // Something that was known stays so until the API says otherwise.
            Err(status) => {
                sender.send_if_modified(|known| {
                    let asking = matches!(known, Known::Asking | Known::Failed(_));
                    if asking {
                        *known = Known::Failed(status);
                    }
                    asking
                });
                retry = (retry * 2).min(RETRY_MAX);
            }
        }
        let jitter = Duration::from_millis(entropy.below(1 + retry.as_millis() as u64 / 2));
        tokio::time::sleep(retry + jitter).await;
    }
}

async fn watch_once(client: &Client, key: &Key, sender: &watch::Sender<Known>) -> Result<(), Status> {
    let path = Path::collection("", "v1", key.plural, Some(&key.namespace));
    let options = WatchOptions {
        field_selector: Some(format!("metadata.name={}", key.name)),
        initial_events: true,
        ..WatchOptions::default()
    };
    let mut events = client.watch_path::<Value>(&path, &options).await?;
    let mut seen = false;
    while let Some(event) = events.next().await {
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                seen = true;
                sender.send_replace(Known::Found(Arc::new(object)));
            }
            WatchEvent::Deleted(_) => drop(sender.send_replace(Known::Missing)),
            WatchEvent::Bookmark { initial_end: true, .. } if !seen => {
                drop(sender.send_replace(Known::Missing))
            }
            WatchEvent::Bookmark { .. } => {}
        }
    }
    Ok(())
}
