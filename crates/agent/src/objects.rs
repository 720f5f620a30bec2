//! ConfigMaps, Secrets and Services that containers refer to.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::{Client, WatchEvent, WatchOptions};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Secret, Service};
use model::{Reason, Status};
use parking_lot::Mutex;
use podlogic::env::{self, Fetched, Sources};
use tokio::sync::watch;

/// Pause before a broken watch is begun again.
const WATCH_RETRY: std::time::Duration = std::time::Duration::from_millis(200);

/// Objects of the API that Pods refer to. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    client: Option<Client>,
    services: Arc<Mutex<BTreeMap<(String, String), Service>>>,
    synced: Arc<watch::Sender<bool>>,
}

/// Why an object could not be had. The node names the missing one by its kind, not by its resource as the API does.
fn lacking(kind: &str, name: &str, status: Status) -> Fetched {
    if status.is(Reason::NotFound) {
        Fetched::Missing(format!("{kind} {name:?} not found"))
    } else {
        Fetched::Failed(status.message)
    }
}

impl Objects {
    /// Reads through this client.
    pub fn new(client: Option<Client>) -> Self {
        Self { client, services: Arc::default(), synced: Arc::new(watch::Sender::new(false)) }
    }

    /// Keeps the services current, for as long as it runs.
    pub async fn watch_services(self) {
        let Some(client) = self.client.clone() else { return };
        loop {
            let options = WatchOptions { initial_events: true, ..WatchOptions::default() };
            match client.watch::<Service>(None, &options).await {
                Ok(stream) => self.follow(stream).await,
                Err(status) => tracing::warn!(error = status.message, "watching services"),
            }
            tokio::time::sleep(WATCH_RETRY).await;
        }
    }

    async fn follow(
        &self,
        mut stream: impl futures::Stream<Item = Result<WatchEvent<Service>, Status>> + Unpin,
    ) {
        let key = |service: &Service| {
            let metadata = &service.metadata;
            (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
        };
        let mut fresh = Some(BTreeMap::new());
        while let Some(event) = stream.next().await {
            match event {
                Ok(WatchEvent::Added(service) | WatchEvent::Modified(service)) => match &mut fresh {
                    Some(fresh) => {
                        fresh.insert(key(&service), service);
                    }
                    None => {
                        self.services.lock().insert(key(&service), service);
                    }
                },
                Ok(WatchEvent::Deleted(service)) => match &mut fresh {
                    Some(fresh) => {
                        fresh.remove(&key(&service));
                    }
                    None => {
                        self.services.lock().remove(&key(&service));
                    }
                },
                Ok(WatchEvent::Bookmark { initial_end: true, .. }) => {
                    if let Some(fresh) = fresh.take() {
                        *self.services.lock() = fresh;
                    }
                    self.synced.send_replace(true);
                }
                Ok(WatchEvent::Bookmark { .. }) => {}
                Err(status) => {
                    tracing::debug!(error = status.message, "the watch of services ended");
                    return;
                }
            }
        }
    }

    /// Variables of the services a Pod sees; waits until services are known.
    pub async fn service_variables(&self, namespace: &str, links: bool) -> BTreeMap<String, String> {
        if self.client.is_some() {
            // The sender lives as long as this object, so waiting cannot fail.
            let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
        }
        let services = self.services.lock();
        env::service_variables(services.values(), namespace, links)
    }

    /// A Secret.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Secret, Status> {
        match &self.client {
            Some(client) => client.get(Some(namespace), name).await,
            None => Err(Status::internal(format!(
                "couldn't get secret {namespace}/{name}, no kubeClient defined"
            ))),
        }
    }

    async fn config_map_entries(&self, namespace: &str, name: &str) -> Fetched {
        let Some(client) = &self.client else {
            let message = format!("couldn't get configMap {namespace}/{name}, no kubeClient defined");
            return Fetched::Failed(message);
        };
        match client.get::<ConfigMap>(Some(namespace), name).await {
            Ok(map) => Fetched::Found(map.data.unwrap_or_default()),
            Err(status) => lacking("configmap", name, status),
        }
    }

    async fn secret_entries(&self, namespace: &str, name: &str) -> Fetched {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.secret(namespace, name).await {
            Ok(secret) => {
                let entries = secret.data.unwrap_or_default();
                Fetched::Found(entries.into_iter().map(|(key, value)| (key, text(&value.0))).collect())
            }
            Err(status) => lacking("secret", name, status),
        }
    }

    /// What a container's environment refers to.
    pub async fn sources(&self, namespace: &str, container: &Container) -> Sources {
        let (maps, secrets) = env::needed(container);
        let mut sources = Sources::default();
        for name in maps {
            let fetched = self.config_map_entries(namespace, &name).await;
            sources.config_maps.insert(name, fetched);
        }
        for name in secrets {
            let fetched = self.secret_entries(namespace, &name).await;
            sources.secrets.insert(name, fetched);
        }
        sources
    }
}
