//! The store as CRI's image service and as the runtime's source of roots.

use async_trait::async_trait;
use cri::image::{AuthConfig, Image, ImageService, PreparedRoot, PullProgress, Pulled, RootProvider};
use cri::{Error, ErrorKind, Result};

use crate::roots;
use crate::store::ImageStore;

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Error::unknown(error.to_string())),
        Err(error) => Err(Error::unknown(format!("image store: {error}"))),
    }
}

#[async_trait]
impl ImageService for ImageStore {
    async fn list_images(&self) -> Result<Vec<Image>> {
        let index = self.index();
        Ok(index.images.keys().filter_map(|id| index.image(id)).collect())
    }

    async fn image_status(&self, reference: &str) -> Result<Option<Image>> {
        let index = self.index();
        Ok(index.find(reference).and_then(|found| index.image(found.id())))
    }

    async fn pull_image(
        &self,
        reference: &str,
        auth: Option<&AuthConfig>,
        progress: Option<tokio::sync::watch::Sender<PullProgress>>,
    ) -> Result<Pulled> {
        crate::pull::pull(&self.arc(), reference, auth, progress).await
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        if self.index().find(reference).is_none() {
            return Ok(());
        }
        let (store, reference) = (self.arc(), reference.to_owned());
        blocking(move || {
            store.change_index(|index| index.remove(&reference))?;
            store.collect()
        })
        .await
    }
}

#[async_trait]
impl RootProvider for ImageStore {
    async fn prepare_root(&self, image: &str, container_id: &str) -> Result<PreparedRoot> {
        if !roots::is_container_id(container_id) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("container id {container_id:?} cannot be a folder's name"),
            ));
        }
        if let Some(root) = self.root_known(container_id) {
            return Ok(root);
        }
        if self.uses_overlay() {
            // A handful of system calls: faster than a change of threads.
            return self.prepare(image, container_id);
        }
        let (store, image, container_id) = (self.arc(), image.to_owned(), container_id.to_owned());
        tokio::task::spawn_blocking(move || store.prepare(&image, &container_id))
            .await
            .map_err(|error| Error::unknown(format!("image store: {error}")))?
    }

    async fn remove_root(&self, container_id: &str) -> Result<()> {
        if !roots::is_container_id(container_id) {
            return Ok(());
        }
        let (store, container_id) = (self.arc(), container_id.to_owned());
        blocking(move || store.remove_container_root(&container_id)).await
    }

    async fn retain_roots(&self, container_ids: &[String]) -> Result<()> {
        let surplus = self.container_ids().into_iter().filter(|id| !container_ids.contains(id));
        for id in surplus {
            self.remove_root(&id).await?;
        }
        Ok(())
    }
}
