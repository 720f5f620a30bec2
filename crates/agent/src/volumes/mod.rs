//! Volumes that need no driver: emptyDir, hostPath, configMap, secret, downwardAPI, projected. Everything is made at
//! once and without waiting for anything but the API; what comes from the API is kept current by watches.

pub mod atomic;
pub mod empty_dir;
pub mod host_path;
pub mod mounts;
pub mod objects;
pub mod ownership;
pub mod pod_volumes;
pub mod render;
pub mod sub_path;
pub mod tokens;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use client::Client;
use cri::runtime::{Mount, MountPropagation};
use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use podlogic::pod;
use stdx::clock::Clock;
use stdx::entropy::Entropy;
use tokio::sync::Mutex;

use crate::seams::{PreparedVolumes, VolumeError, VolumeFacts, Volumes};
use objects::ObjectCache;
use pod_volumes::PodVolumes;

/// What volumes are made from.
pub struct Options {
    /// The node's root directory (`/var/lib/kubelet`): Pods' directories are below `pods/`.
    pub root: PathBuf,
    /// Where one tmpfs for all secrets and tokens is mounted.
    pub memory_root: PathBuf,
    /// The API; without it, volumes that need it fail.
    pub client: Option<Client>,
    /// Time of day.
    pub clock: Clock,
    /// Random names.
    pub entropy: Entropy,
}

/// What every volume's making needs.
pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) memory_root: PathBuf,
    pub(crate) client: Option<Client>,
    pub(crate) objects: ObjectCache,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
}

impl Shared {
    /// A Pod's directory.
    pub(crate) fn pod_directory(&self, uid: &str) -> PathBuf {
        self.root.join("pods").join(uid)
    }
}

/// The volumes of this node's Pods.
pub struct LocalVolumes {
    shared: Arc<Shared>,
    pods: Mutex<HashMap<String, Arc<Mutex<PodVolumes>>>>,
}

impl LocalVolumes {
    /// Mounts the tmpfs for secrets, if a daemon before this one did not.
    ///
    /// # Errors
    /// When it cannot be mounted: secrets must not reach a disk.
    pub fn open(options: Options) -> std::io::Result<Arc<Self>> {
        mounts::ensure_tmpfs(&options.memory_root)?;
        let Options { root, memory_root, client, clock, entropy } = options;
        let objects = ObjectCache::new(client.clone(), entropy.clone());
        let shared = Arc::new(Shared { root, memory_root, client, objects, clock, entropy });
        Ok(Arc::new(Self { shared, pods: Mutex::default() }))
    }

    /// Unmounts the tmpfs: when the node is taken down and no Pod is left.
    ///
    /// # Errors
    /// When something still uses it.
    pub fn close(&self) -> std::io::Result<()> {
        mounts::unmount_below(&self.shared.memory_root)
    }

    async fn pod_volumes(&self, uid: &str) -> Arc<Mutex<PodVolumes>> {
        let mut pods = self.pods.lock().await;
        pods.entry(uid.to_owned()).or_insert_with(|| Arc::new(Mutex::new(PodVolumes::default()))).clone()
    }
}

/// The wrapper that upstream's event message has around every cause.
pub(crate) fn set_up_failed(volume: &str, why: impl std::fmt::Display) -> VolumeError {
    VolumeError {
        reason: "FailedMount",
        message: format!("MountVolume.SetUp failed for volume {volume:?} : {why}"),
    }
}

/// The kinds that are not made here, by the name of their field.
fn unsupported(volume: &Volume) -> VolumeError {
    set_up_failed(&volume.name, "no volume plugin matched: this kind of volume is not supported on this node")
}

#[async_trait]
impl Volumes for LocalVolumes {
    async fn prepare(&self, pod: &Pod, facts: VolumeFacts<'_>) -> Result<PreparedVolumes, VolumeError> {
        if pod::spec(pod).volumes.as_ref().is_none_or(Vec::is_empty) {
            return Ok(PreparedVolumes::default());
        }
        let volumes = self.pod_volumes(pod::uid(pod)).await;
        let mut volumes = volumes.lock().await;
        volumes.prepare(&self.shared, pod, facts).await
    }

    async fn container_mounts(
        &self,
        pod: &Pod,
        container: &Container,
        envs: &[(String, String)],
        prepared: &PreparedVolumes,
    ) -> Result<Vec<Mount>, String> {
        let mut mounts = Vec::new();
        for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
            let Some(path) = prepared.paths.get(&mount.name) else {
                return Err(format!(
                    "cannot find volume {:?} to mount into container {:?}",
                    mount.name, container.name
                ));
            };
            let sub_path = sub_path::of(mount, envs)?;
            let host_path = match sub_path.as_deref() {
                None => path.clone(),
                Some(sub_path) => {
                    let place = self.shared.pod_directory(pod::uid(pod)).join("volume-subpaths");
                    let place = place.join(&mount.name).join(&container.name).join(index.to_string());
                    sub_path::bind(path, sub_path, &place).map_err(|failed| {
                        let error = failed.cause();
                        tracing::warn!(pod = pod::name(pod), volume = mount.name, sub_path, %error, "subPath failed");
                        failed.message(&mount.name, &container.name)
                    })?;
                    place
                }
            };
            let read_only = mount.read_only.unwrap_or(false);
            let recursive =
                read_only && matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible"));
            mounts.push(Mount {
                container_path: container_path(&mount.mount_path),
                host_path: host_path.to_string_lossy().into_owned(),
                readonly: read_only || always_read_only(pod, &mount.name),
                recursive_read_only: recursive,
                propagation: match mount.mount_propagation.as_deref() {
                    Some("HostToContainer") => MountPropagation::HostToContainer,
                    Some("Bidirectional") => MountPropagation::Bidirectional,
                    _ => MountPropagation::Private,
                },
                ..Mount::default()
            });
        }
        Ok(mounts)
    }

    async fn teardown(&self, pod_uid: &str) -> Result<(), VolumeError> {
        let volumes = self.pods.lock().await.remove(pod_uid);
        if let Some(volumes) = volumes {
            volumes.lock().await.stop();
        }
        let shared = self.shared.clone();
        let uid = pod_uid.to_owned();
        let removed = tokio::task::spawn_blocking(move || remove(&shared, &uid)).await;
        removed.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|error| VolumeError {
            reason: "FailedUnMount",
            message: format!("UnmountVolume.TearDown failed for pod {pod_uid}: {error}"),
        })
    }

    async fn retain(&self, live: &[String]) {
        let mut left = Vec::new();
        for folder in [self.shared.root.join("pods"), self.shared.memory_root.clone()] {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        }
        left.sort();
        left.dedup();
        for uid in left.into_iter().filter(|uid| !live.contains(uid)) {
            if let Err(error) = self.teardown(&uid).await {
                tracing::warn!(uid, %error, "what a pod left cannot be removed");
            }
        }
    }
}

/// A mount path is relative to the root where it is not absolute, as upstream has it.
fn container_path(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// What comes from the API is never writable: its next update would undo any change.
fn always_read_only(pod: &Pod, name: &str) -> bool {
    let volume = pod::spec(pod).volumes.iter().flatten().find(|volume| volume.name == name);
    volume.is_some_and(|volume| {
        volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.downward_api.is_some()
            || volume.projected.is_some()
    })
}

/// Takes away all that volumes left of a Pod. Nothing is deleted through a mount.
fn remove(shared: &Shared, uid: &str) -> std::io::Result<()> {
    let directory = shared.pod_directory(uid);
    mounts::unmount_below(&directory)?;
    for part in ["volumes", "volume-subpaths"] {
        sys::tree::remove(&directory.join(part))?;
    }
    sys::tree::remove(&shared.memory_root.join(uid))
}

/// Paths by volume name.
pub(crate) type Paths = BTreeMap<String, PathBuf>;
