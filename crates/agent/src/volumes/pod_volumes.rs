//! The volumes of one Pod: made once, then kept current.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Volume};
use model::quantity::Quantity;
use podlogic::downward::Facts;
use podlogic::pod;

use super::objects::{Key, Known, Share};
use super::ownership::Owner;
use super::tokens::{self, Token, TokenKey};
use super::{Paths, Shared, atomic, empty_dir, host_path, render, set_up_failed, unsupported};
use crate::seams::{PreparedVolumes, VolumeError, VolumeFacts};

/// After a renewal failed.
const RENEW_RETRY: Duration = Duration::from_secs(10);

/// State of a Pod's volumes.
#[derive(Default)]
pub struct PodVolumes {
    made: Option<Made>,
    updater: Option<tokio::task::AbortHandle>,
}

/// What was made, and from which Pod.
struct Made {
    prepared: PreparedVolumes,
    /// Labels and annotations, which the downward API shows.
    shown: Shown,
}

type Shown = (Option<BTreeMap<String, String>>, Option<BTreeMap<String, String>>);

fn shown(pod: &Pod) -> Shown {
    (pod.metadata.labels.clone(), pod.metadata.annotations.clone())
}

/// Everything that the files of a Pod's API-backed volumes are made from.
struct Contents {
    shared: Arc<Shared>,
    pod: Pod,
    host_ips: Vec<String>,
    allocatable: BTreeMap<String, Quantity>,
    shares: HashMap<Key, Share>,
    tokens: HashMap<TokenKey, Token>,
}

impl PodVolumes {
    /// Makes what is not there yet.
    pub(super) async fn prepare(
        &mut self,
        shared: &Arc<Shared>,
        pod: &Pod,
        facts: VolumeFacts<'_>,
    ) -> Result<PreparedVolumes, VolumeError> {
        let present = shown(pod);
        if let Some(made) = &self.made
            && made.shown == present
        {
            return Ok(made.prepared.clone());
        }
        self.stop();
        let mut contents = Contents::new(shared, pod, facts);
        contents.gather().await?;
        let prepared = PreparedVolumes { paths: contents.make(facts).await? };
        if !contents.shares.is_empty() || !contents.tokens.is_empty() {
            self.updater = Some(tokio::spawn(contents.keep_current()).abort_handle());
        }
        self.made = Some(Made { prepared: prepared.clone(), shown: present });
        Ok(prepared)
    }

    /// Ends the updates.
    pub fn stop(&mut self) {
        if let Some(updater) = self.updater.take() {
            updater.abort();
        }
        self.made = None;
    }
}

impl Drop for PodVolumes {
    fn drop(&mut self) {
        self.stop();
    }
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod::spec(pod).volumes.iter().flatten()
}

/// The one user that all containers run as, if they say so.
fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod::spec(pod);
    let default = spec.security_context.as_ref().and_then(|own| own.run_as_user);
    let containers = spec.containers.iter().chain(pod::init_containers(pod));
    let mut users =
        containers.map(|own| own.security_context.as_ref().and_then(|own| own.run_as_user).or(default));
    let first = users.next()??;
    users.all(|own| own == Some(first)).then_some(first).and_then(|user| u32::try_from(user).ok())
}

fn owner(pod: &Pod) -> Owner {
    let group = pod::spec(pod).security_context.as_ref().and_then(|own| own.fs_group);
    Owner { uid: None, group: group.and_then(|group| u32::try_from(group).ok()) }
}

/// Where a volume lies below the Pod's directory: upstream's plug-in names.
fn plugin(volume: &Volume) -> &'static str {
    if volume.config_map.is_some() {
        "kubernetes.io~configmap"
    } else if volume.secret.is_some() {
        "kubernetes.io~secret"
    } else if volume.downward_api.is_some() {
        "kubernetes.io~downward-api"
    } else if volume.projected.is_some() {
        "kubernetes.io~projected"
    } else {
        "kubernetes.io~empty-dir"
    }
}

impl Contents {
    fn new(shared: &Arc<Shared>, pod: &Pod, facts: VolumeFacts<'_>) -> Self {
        Self {
            shared: shared.clone(),
            pod: pod.clone(),
            host_ips: facts.host_ips.to_vec(),
            allocatable: facts.allocatable.clone(),
            shares: HashMap::new(),
            tokens: HashMap::new(),
        }
    }

    /// Asks for all objects and tokens, each once.
    async fn gather(&mut self) -> Result<(), VolumeError> {
        let mut wanted: BTreeMap<TokenKey, String> = BTreeMap::new();
        for volume in volumes(&self.pod) {
            let (keys, tokens) = render::needs(&self.pod, volume);
            if self.shared.client.is_none() && !(keys.is_empty() && tokens.is_empty()) {
                return Err(set_up_failed(&volume.name, "this node runs without an API server"));
            }
            for key in keys {
                if let Some(share) = self.shared.objects.share(&key) {
                    self.shares.entry(key).or_insert(share);
                }
            }
            wanted.extend(tokens.into_iter().map(|key| (key, volume.name.clone())));
        }
        for (key, volume) in wanted {
            self.renew(&key).await.map_err(|why| set_up_failed(&volume, why))?;
        }
        Ok(())
    }

    async fn renew(&mut self, key: &TokenKey) -> Result<(), String> {
        let Some(client) = &self.shared.client else { return Ok(()) };
        let token = tokens::request(client, &self.pod, key, self.shared.clock.now()).await;
        self.tokens.insert(key.clone(), token.map_err(|status| status.message)?);
        Ok(())
    }

    /// Makes every volume; the first that fails ends it.
    fn make_local(&self, volume: &Volume, facts: VolumeFacts<'_>) -> Option<Result<PathBuf, String>> {
        if let Some(source) = &volume.empty_dir {
            let path = self.disk_path(volume);
            return Some(empty_dir::make(&path, source, &self.pod, owner(&self.pod), facts));
        }
        volume.host_path.as_ref().map(host_path::make)
    }

    fn disk_path(&self, volume: &Volume) -> PathBuf {
        let directory = self.shared.pod_directory(pod::uid(&self.pod));
        directory.join("volumes").join(plugin(volume)).join(&volume.name)
    }

    /// Secrets and tokens live in memory only.
    fn content_path(&self, volume: &Volume) -> PathBuf {
        if volume.secret.is_some() || volume.projected.is_some() {
            return self.shared.memory_root.join(pod::uid(&self.pod)).join(&volume.name);
        }
        self.disk_path(volume)
    }

    async fn make(&mut self, facts: VolumeFacts<'_>) -> Result<Paths, VolumeError> {
        let known = self.known().await;
        let mut paths = Paths::new();
        for volume in volumes(&self.pod) {
            let made = match self.make_local(volume, facts) {
                Some(made) => made,
                None => match self.write(volume, &known) {
                    Some(written) => written,
                    None => return Err(unsupported(volume)),
                },
            };
            paths.insert(volume.name.clone(), made.map_err(|why| set_up_failed(&volume.name, why))?);
        }
        Ok(paths)
    }

    /// What is known of the objects, once something is of each.
    async fn known(&mut self) -> HashMap<Key, Known> {
        let mut known = HashMap::new();
        for (key, share) in &mut self.shares {
            known.insert(key.clone(), share.known().await);
        }
        known
    }

    /// Writes the files of a volume; `None` if it has none from the API.
    fn write(&self, volume: &Volume, known: &HashMap<Key, Known>) -> Option<Result<PathBuf, String>> {
        let tokens = self.tokens.iter().map(|(key, token)| (key.clone(), token.text.clone())).collect();
        let pod_ips: Vec<String> = Vec::new();
        let sources = render::Sources {
            facts: Facts {
                pod: &self.pod,
                pod_ips: &pod_ips,
                host_ips: &self.host_ips,
                allocatable: &self.allocatable,
            },
            objects: known,
            tokens: &tokens,
            user: common_user(&self.pod),
            group: owner(&self.pod).group.is_some(),
        };
        let files = render::files(&sources, volume)?;
        let path = self.content_path(volume);
        Some(files.and_then(|files| {
            let now = self.shared.clock.now();
            atomic::write(&path, &files, owner(&self.pod), now, &self.shared.entropy)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            Ok(path)
        }))
    }

    /// Rewrites files whenever an object changes, and renews tokens when their time comes. Ends only by being dropped.
    async fn keep_current(mut self) {
        loop {
            let renewal = self.tokens.iter().min_by_key(|(_, token)| token.renew_at);
            let renewal = renewal.map(|(key, token)| (key.clone(), token.renew_at));
            let now = self.shared.clock.now();
            let wait =
                renewal.as_ref().map(|(_, at)| at.duration_since(now).try_into().unwrap_or(Duration::ZERO));
            let changes = self.shares.values_mut().map(|share| Box::pin(share.changed()));
            let changed = async {
                if changes.len() == 0 {
                    return std::future::pending().await;
                }
                futures::future::select_all(changes).await;
            };
            let due = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = due => {
                    if let Some((key, _)) = renewal
                        && let Err(why) = self.renew(&key).await
                    {
                        tracing::warn!(pod = pod::name(&self.pod), why, "a token cannot be renewed, trying again");
                        tokio::time::sleep(RENEW_RETRY).await;
                    }
                }
            }
            self.rewrite().await;
        }
    }

    async fn rewrite(&mut self) {
        let known = self.known().await;
        for volume in volumes(&self.pod) {
            // What is missing now stays as it was: the containers go on with what they have.
            if let Some(Err(why)) = self.write(volume, &known) {
                tracing::warn!(
                    pod = pod::name(&self.pod),
                    volume = volume.name,
                    why,
                    "a volume cannot be updated"
                );
            }
        }
    }
}
