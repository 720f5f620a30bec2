//! Images: the CRI image service, and what the runtime asks of the image store to make a container's root.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::sandbox::StringMap;

/// `AuthConfig`: credentials for one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// Base64 of `user:password`, as docker's configuration files hold it.
    pub auth: String,
    /// Registry these are for.
    pub server_address: String,
    /// OAuth2 refresh token.
    pub identity_token: String,
    /// Bearer token to send as it is.
    pub registry_token: String,
}

/// `Image`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Config digest, `sha256:…`: the image's identity.
    pub id: String,
    /// Full names with tags, `docker.io/library/nginx:1.14`.
    pub repo_tags: Vec<String>,
    /// Full names with manifest digests, `docker.io/library/nginx@sha256:…`.
    pub repo_digests: Vec<String>,
    /// Unpacked and compressed bytes on disk.
    pub size_bytes: u64,
    /// Numeric user of the image's config, if it is a number.
    pub uid: Option<i64>,
    /// User name of the image's config, if it is a name.
    pub username: String,
    /// Never collected.
    pub pinned: bool,
}

/// The part of an OCI image config that a container is made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `Env`, as `NAME=value`.
    pub env: Vec<String>,
    /// `WorkingDir`.
    pub working_dir: String,
    /// `User`: `uid`, `name`, `uid:gid`, `name:group`.
    pub user: String,
    /// `StopSignal`.
    pub stop_signal: String,
    /// `Volumes`: paths.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: StringMap,
}

/// Progress of a pull, for clients that show it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Bytes of layers fetched so far.
    pub fetched_bytes: u64,
    /// Bytes of all layers; 0 while unknown.
    pub total_bytes: u64,
}

/// What a successful pull brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Image id (config digest).
    pub image_id: String,
    /// Compressed size in bytes (`Image size: … bytes.` in the event).
    pub size_bytes: u64,
}

/// `runtime.v1.ImageService`.
#[async_trait]
pub trait ImageService: Send + Sync {
    /// All images.
    async fn list_images(&self) -> Result<Vec<Image>>;
    /// The image that a name, digest reference or id stands for; short names are normalised (`nginx` is
    /// `docker.io/library/nginx:latest`).
    async fn image_status(&self, reference: &str) -> Result<Option<Image>>;
    /// Fetches an image. `progress` is told now and then; errors carry containerd 2's words (`failed to pull and
    /// unpack image "…": failed to resolve reference "…": …: not found`).
    async fn pull_image(
        &self,
        reference: &str,
        auth: Option<&AuthConfig>,
        progress: Option<tokio::sync::watch::Sender<PullProgress>>,
    ) -> Result<Pulled>;
    /// Removes a name, or with an id the image. Blobs and layers go when nothing needs them any more.
    async fn remove_image(&self, reference: &str) -> Result<()>;
}

/// How a container's root file system is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootMount {
    /// Overlayfs: `lower` from top to bottom.
    Overlay {
        /// Read-only layers, topmost first.
        lower: Vec<PathBuf>,
        /// Writable layer.
        upper: PathBuf,
        /// Overlay's work directory.
        work: PathBuf,
    },
    /// A directory that is already the whole root (copying snapshotter, where overlayfs cannot be used).
    Directory {
        /// The root.
        path: PathBuf,
    },
}

/// A writable root prepared for one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedRoot {
    /// What to mount.
    pub mount: RootMount,
    /// The image's config.
    pub config: ImageConfig,
    /// Image id (config digest).
    pub image_id: String,
    /// What `status.containerStatuses[].imageID` shows: a repo digest if there is one, else the id.
    pub image_ref: String,
}

/// What the runtime needs of the image store.
#[async_trait]
pub trait RootProvider: Send + Sync {
    /// Prepares a writable root for the container `container_id` from a local image. Idempotent.
    async fn prepare_root(&self, image: &str, container_id: &str) -> Result<PreparedRoot>;
    /// Removes the writable root again. Idempotent.
    async fn remove_root(&self, container_id: &str) -> Result<()>;
    /// Removes the roots of all other containers: whoever prepared them died before anything knew of them.
    async fn retain_roots(&self, container_ids: &[String]) -> Result<()>;
}
