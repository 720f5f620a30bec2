//! The controllers at work: informers wake keys, deciders decide, the executor performs. One file per controller; each
//! runs as its own service account.

pub mod garbage;
pub mod namespace;
pub mod node;
pub mod pod_garbage;
pub mod scheduling;
mod scheduling_events;
pub mod service_account;

use std::sync::Arc;

use client::{Client, ListOptions, Path};
use model::tree::TreeExt;
use stdx::clock::Clock;
use stdx::entropy::Entropy;

use crate::informer::{Change, Handler, Informer};
use crate::queue::Queue;

/// What every controller needs.
#[derive(Clone)]
pub struct Context {
    /// The API, as whoever may watch everything that controllers watch.
    pub reader: Client,
    /// The API, as the controller's own user.
    pub client: Client,
    /// Time of day.
    pub clock: Clock,
    /// Jitter.
    pub entropy: Entropy,
}

impl Context {
    /// Starts an informer over a collection of all namespaces.
    pub fn informer(
        &self,
        group: &str,
        version: &str,
        plural: &str,
        handlers: Vec<Handler>,
    ) -> Arc<Informer> {
        let informer = Informer::new(Path::collection(group, version, plural, None), ListOptions::default());
        tokio::spawn(informer.clone().run(self.reader.clone(), self.entropy.clone(), handlers));
        informer
    }
}

/// A handler that puts a key made from each changed object into a queue.
pub fn enqueue<F>(queue: &Queue<String>, key: F) -> Vec<Handler>
where
    F: Fn(&serde_json::Value) -> Option<String> + Send + Sync + 'static,
{
    let queue = queue.clone();
    vec![Box::new(move |change: Change<'_>| {
        if let Some(key) = key(change.object()) {
            queue.add(key);
        }
    })]
}

/// The object's name.
pub fn by_name(object: &serde_json::Value) -> Option<String> {
    Some(object.name().to_owned())
}
