//! An image service in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use cri::image::{AuthConfig, Image, ImageService, PullProgress, Pulled};
use cri::{Error, ErrorKind, Result};
use parking_lot::Mutex;

/// Images in memory: those of `missing` cannot be pulled. Cheap to clone.
#[derive(Clone, Default)]
pub struct FakeImages {
    present: Arc<Mutex<BTreeMap<String, Image>>>,
    missing: Arc<Mutex<Vec<String>>>,
}

fn normal(reference: &str) -> String {
    cri::reference::Reference::parse_for_pull(reference)
        .map_or_else(|_| reference.to_owned(), |own| own.to_string())
}

impl FakeImages {
    /// Puts an image there; returns it.
    pub fn add(&self, reference: &str) -> Image {
        let name = normal(reference);
        let image = Image {
            id: format!("sha256:{name}"),
            repo_tags: vec![name.clone()],
            size_bytes: 1000,
            ..Image::default()
        };
        self.present.lock().insert(name, image.clone());
        image
    }

    /// Changes an image that is there.
    pub fn change(&self, reference: &str, change: impl FnOnce(&mut Image)) {
        if let Some(image) = self.present.lock().get_mut(&normal(reference)) {
            change(image);
        }
    }

    /// Pulls of this image fail.
    pub fn miss(&self, reference: &str) {
        self.missing.lock().push(normal(reference));
    }

    /// Pulls of this image work (again).
    pub fn appear(&self, reference: &str) {
        self.missing.lock().retain(|own| *own != normal(reference));
    }
}

#[async_trait]
impl ImageService for FakeImages {
    async fn list_images(&self) -> Result<Vec<Image>> {
        Ok(self.present.lock().values().cloned().collect())
    }

    async fn image_status(&self, reference: &str) -> Result<Option<Image>> {
        let present = self.present.lock();
        let by_id = present.values().find(|image| image.id == reference);
        Ok(by_id.or_else(|| present.get(&normal(reference))).cloned())
    }

    async fn pull_image(
        &self,
        reference: &str,
        _: Option<&AuthConfig>,
        _: Option<tokio::sync::watch::Sender<PullProgress>>,
    ) -> Result<Pulled> {
        let name = normal(reference);
        if self.missing.lock().contains(&name) {
            let message = format!(
                "failed to pull and unpack image {name:?}: failed to resolve image: {name}: not found"
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let image = self.add(reference);
        Ok(Pulled { image_id: image.id, size_bytes: 500 })
    }

    async fn remove_image(&self, reference: &str) -> Result<()> {
        self.present.lock().remove(&normal(reference));
        Ok(())
    }
}
