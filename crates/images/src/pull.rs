//! Pulls an image: resolve, fetch the documents, fetch and unpack the layers at once, settle them in order, enter it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cri::image::{AuthConfig, PullProgress, Pulled};
use cri::reference::Reference;
use cri::{Error, ErrorKind, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OwnedMutexGuard;
use tokio::sync::watch::Sender;
use tokio::task::JoinSet;

use crate::digest::{Digest, Hasher};
use crate::index::ImageRecord;
use crate::layers::FreshLayer;
use crate::manifest::{self, CONFIG_BYTES_MAX, Descriptor, Document, Manifest, ParsedConfig, host_platform};
use crate::registry::{RegistryError, Session, next_piece, unexpected_digest};
use crate::service::blocking;
use crate::store::{ImageStore, Lease};

/// Attempts at one layer, each going on where the last one stopped.
const DOWNLOADS_MAX: usize = 4;
/// Indexes within indexes, at most.
const INDEX_DEPTH_MAX: usize = 4;

/// Pulls an image and enters it under its name.
pub async fn pull(
    store: &Arc<ImageStore>,
    text: &str,
    credentials: Option<&AuthConfig>,
    progress: Option<Sender<PullProgress>>,
) -> Result<Pulled> {
    let reference = Reference::parse_for_pull(text).map_err(|error| {
        Error::new(ErrorKind::InvalidArgument, format!("failed to parse image reference {text:?}: {error}"))
    })?;
    let store_here = store.clone();
    let registries = blocking(move || store_here.registries().map_err(std::io::Error::other)).await?;
    let failed = |error: Error| {
        let message =
            format!("failed to pull and unpack image {:?}: {}", reference.to_string(), error.message);
        Error::new(error.kind, message)
    };
    let session = Session::new(&registries, &reference, credentials)
        .map_err(|error| failed(registry_error(error, "")))?;
    let pull = Pull {
        store: store.clone(),
        session: Arc::new(session),
        reference: reference.clone(),
        meter: Arc::new(Meter { progress, fetched: AtomicU64::new(0), total: AtomicU64::new(0) }),
    };
    pull.run().await.map_err(failed)
}

/// Counts fetched bytes and tells who listens.
struct Meter {
    progress: Option<Sender<PullProgress>>,
    fetched: AtomicU64,
    total: AtomicU64,
}

impl Meter {
    fn add(&self, fetched: u64, total: u64) {
        let fetched_bytes = self.fetched.fetch_add(fetched, Ordering::Relaxed) + fetched;
        let total_bytes = self.total.fetch_add(total, Ordering::Relaxed) + total;
        if let Some(progress) = &self.progress {
            progress.send_replace(PullProgress { fetched_bytes, total_bytes });
        }
    }

    fn take_back(&self, bytes: u64) {
        self.fetched.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct Pull {
    store: Arc<ImageStore>,
    session: Arc<Session>,
    reference: Reference,
    meter: Arc<Meter>,
}

/// The documents of an image, checked.
struct Documents {
    target: Digest,
    blobs: Vec<(Digest, bytes::Bytes)>,
    manifest: Manifest,
    config: ParsedConfig,
}

/// One layer's way into the store.
enum LayerState {
    /// It was there.
    Present,
    /// It waits for those below it; nobody else works at it meanwhile.
    Fresh(Box<FreshLayer>, OwnedMutexGuard<()>),
}

impl Pull {
    async fn run(&self) -> Result<Pulled> {
        let resolved = self
            .session
            .resolve(&self.reference)
            .await
            .map_err(|error| registry_error(error, "failed to resolve image: "))?;
        if let Some(pulled) = self.enter_known(&resolved.digest).await? {
            return Ok(pulled);
        }
        let mut lease = self.store.lease();
        let documents = self.documents(resolved.digest, resolved.document, &mut lease).await?;
        for chain_id in &documents.config.chain_ids {
            lease.add(chain_id);
        }
        self.layers(&documents).await?;
        self.enter(documents).await
    }

    /// The names that an image gets by this pull.
    fn names(&self, target: &Digest) -> Vec<String> {
        let mut names = vec![self.reference.with_digest(target.as_str())];
        if self.reference.tag.is_some() {
            names.push(self.reference.to_string());
        }
        names
    }

    /// If the image is here already, the name is all that is new.
    async fn enter_known(&self, target: &Digest) -> Result<Option<Pulled>> {
        let index = self.store.index();
        let known = index.images.values().find(|record| record.blobs.contains(target));
        let Some(record) = known.cloned() else { return Ok(None) };
        // Held before it is looked at: the image may be removed at this moment.
        let mut lease = self.store.lease();
        record.chain_ids.iter().chain(&record.blobs).for_each(|digest| lease.add(digest));
        let whole = record.chain_ids.iter().all(|chain_id| self.store.layers.record(chain_id).is_some())
            && record.blobs.iter().all(|blob| self.store.blob_path(blob).is_file());
        if !whole {
            return Ok(None);
        }
        let pulled = Pulled { image_id: record.id.to_string(), size_bytes: record.size_bytes };
        let names = self.names(target);
        if names.iter().any(|name| index.names.get(name) != Some(&pulled.image_id)) {
            let store = self.store.clone();
            blocking(move || {
                store.change_index(|index| index.add(record, &names))?;
                store.collect()
            })
            .await?;
        }
        Ok(Some(pulled))
    }

    async fn documents(
        &self,
        target: Digest,
        first: Option<bytes::Bytes>,
        lease: &mut Lease,
    ) -> Result<Documents> {
        let mut blobs = Vec::new();
        let mut digest = target.clone();
        let mut document = first;
        for _ in 0..INDEX_DEPTH_MAX {
            let bytes = match document.take() {
                Some(bytes) => bytes,
                None => self.session.manifest(&digest).await.map_err(|error| registry_error(error, ""))?,
            };
            lease.add(&digest);
            blobs.push((digest.clone(), bytes.clone()));
            match manifest::parse_document(&bytes)
                .map_err(|error| Error::unknown(format!("{digest}: {error}")))?
            {
                Document::Index(entries) => {
                    let entry = manifest::choose(&entries, &host_platform()).ok_or_else(|| {
                        Error::not_found(format!("no match for platform in manifest {digest}: not found"))
                    })?;
                    digest = entry.digest.clone();
                }
                Document::Manifest(manifest) => {
                    let config = self.config(&manifest, lease, &mut blobs).await?;
                    return Ok(Documents { target, blobs, manifest, config });
                }
            }
        }
        Err(Error::unknown(format!("{target}: more than {INDEX_DEPTH_MAX} indexes within each other")))
    }

    async fn config(
        &self,
        manifest: &Manifest,
        lease: &mut Lease,
        blobs: &mut Vec<(Digest, bytes::Bytes)>,
    ) -> Result<ParsedConfig> {
        let digest = &manifest.config.digest;
        lease.add(digest);
        let bytes = self
            .session
            .small_blob(digest, CONFIG_BYTES_MAX)
            .await
            .map_err(|error| registry_error(error, ""))?;
        let config = manifest::parse_config(&bytes).map_err(Error::unknown)?;
        blobs.push((digest.clone(), bytes));
        let (layers, diff_ids) = (manifest.layers.len(), config.diff_ids.len());
        if layers != diff_ids {
            return Err(Error::unknown(format!(
                "number of layers and diffIDs don't match: {layers} != {diff_ids}"
            )));
        }
        let limit = self.store.options.layer_bytes_max;
        if let Some(layer) = manifest.layers.iter().find(|layer| layer.size > limit) {
            let (digest, size) = (&layer.digest, layer.size);
            return Err(Error::unknown(format!(
                "layer {digest} has {size} bytes, more than the limit of {limit}"
            )));
        }
        Ok(config)
    }

    /// Fetches and unpacks all layers at once; settles each as soon as those below it are.
    async fn layers(&self, documents: &Documents) -> Result<()> {
        let chain_ids = &documents.config.chain_ids;
        let mut tasks = JoinSet::new();
        for (position, layer) in documents.manifest.layers.iter().enumerate() {
            let pull = self.clone();
            let layer = layer.clone();
            let (diff_id, chain_id) =
                (documents.config.diff_ids[position].clone(), chain_ids[position].clone());
            tasks.spawn(async move { (position, pull.layer(&layer, &diff_id, &chain_id).await) });
        }
        let mut states: Vec<Option<LayerState>> = chain_ids.iter().map(|_| None).collect();
        let mut settled = 0;
        // Leaving early drops the set, which ends the other downloads; what they have stays for the next attempt.
        while let Some(joined) = tasks.join_next().await {
            let (position, state) = joined.map_err(|error| Error::unknown(format!("pull: {error}")))?;
            states[position] = Some(state?);
            while let Some(state) = states.get_mut(settled).and_then(Option::take) {
                self.settle(state, chain_ids, settled).await?;
                settled += 1;
            }
        }
        Ok(())
    }

    async fn settle(&self, state: LayerState, chain_ids: &[Digest], position: usize) -> Result<()> {
        let LayerState::Fresh(fresh, guard) = state else { return Ok(()) };
        let store = self.store.clone();
        let chain_id = chain_ids[position].clone();
        let below: Vec<PathBuf> =
            chain_ids[..position].iter().rev().map(|chain_id| store.layers.path(chain_id)).collect();
        blocking(move || {
            store.layers.settle(*fresh, &chain_id, &below).map(|_| ()).map_err(std::io::Error::other)
        })
        .await
        .map_err(|error| self.extract_error(&chain_ids[position], &error.message))?;
        drop(guard);
        Ok(())
    }

    fn extract_error(&self, digest: &Digest, reason: &str) -> Error {
        Error::unknown(format!(
            "apply layer error for {:?}: failed to extract layer {digest}: {reason}",
            self.reference.to_string()
        ))
    }

    async fn layer(&self, layer: &Descriptor, diff_id: &Digest, chain_id: &Digest) -> Result<LayerState> {
        // Whoever pulls the same layer waits here, and then finds it.
        // (An uncompressed bottom layer has one digest for both, so the locks are told apart.)
        let guard = self.store.flight(&format!("layer {chain_id}")).lock_owned().await;
        if self.store.layers.record(chain_id).is_some() {
            return Ok(LayerState::Present);
        }
        let _blob_guard = self.store.flight(&format!("blob {}", layer.digest)).lock_owned().await;
        self.meter.add(0, layer.size);
        self.download(layer).await?;
        let permit = self.store.unpacks.acquire().await.map_err(|error| Error::unknown(error.to_string()))?;
        let store = self.store.clone();
        let path = store.partial_path(&layer.digest);
        let unpacked = tokio::task::spawn_blocking(move || {
            let unpacked = std::fs::File::open(&path)
                .map_err(crate::archive::ArchiveError::io("open the fetched layer"))
                .and_then(|file| store.layers.unpack(file));
            // Good or bad, it is of no more use: what was unpacked is kept instead.
            let _ = std::fs::remove_file(&path);
            unpacked
        })
        .await
        .map_err(|error| Error::unknown(format!("unpack: {error}")))?;
        drop(permit);
        let fresh = unpacked.map_err(|error| self.extract_error(diff_id, &error.to_string()))?;
        if fresh.diff_id != *diff_id {
            let text = format!("wrong diff id calculated on extraction {:?}", fresh.diff_id.as_str());
            return Err(self.extract_error(diff_id, &text));
        }
        Ok(LayerState::Fresh(Box::new(fresh), guard))
    }

    /// Fetches a layer's blob to disk and checks it; goes on where an earlier attempt stopped, with the next host
    /// when one fails.
    async fn download(&self, layer: &Descriptor) -> Result<()> {
        let _permit =
            self.store.downloads.acquire().await.map_err(|error| Error::unknown(error.to_string()))?;
        let path = self.store.partial_path(&layer.digest);
        let mut first: Option<Error> = None;
        for attempt in 0..DOWNLOADS_MAX.max(self.session.hosts()) {
            let host = attempt % self.session.hosts().max(1);
            match self.download_once(host, layer, &path).await {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::debug!(layer = %layer.digest, error = %error.message, "layer not fetched");
                    // Whole and wrong: the same host will send the same again.
                    let whole = error.kind == ErrorKind::FailedPrecondition && !path.exists();
                    let hopeless = whole && self.session.hosts() == 1;
                    first = first.or(Some(error));
                    if hopeless {
                        break;
                    }
                }
            }
        }
        Err(first.unwrap_or_else(|| Error::unknown("no host to fetch from")))
    }

    async fn download_once(&self, host: usize, layer: &Descriptor, path: &std::path::Path) -> Result<()> {
        let local = |error: std::io::Error| Error::unknown(format!("write {}: {error}", path.display()));
        let mut file = tokio::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .await
            .map_err(local)?;
        let (mut hasher, mut offset) = hash_existing(&mut file, layer).await.map_err(local)?;
        if offset < layer.size || layer.size == 0 {
            let response =
                self.session.open(host, "blobs", &layer.digest, offset).await.map_err(|error| {
                    registry_error(error, "failed to copy: httpReadSeeker: failed open: ")
                })?;
            if response.status() != http::StatusCode::PARTIAL_CONTENT && offset > 0 {
                // The host sends all of it again.
                file.set_len(0).await.map_err(local)?;
                tokio::io::AsyncSeekExt::rewind(&mut file).await.map_err(local)?;
                (hasher, offset) = (layer.digest.hasher(), 0);
            }
            self.meter.add(offset, 0);
            let mut body = response.into_body();
            loop {
                let piece = next_piece(&mut body).await;
                let Some(piece) = piece.map_err(|error| {
                    self.meter.take_back(offset);
                    Error::new(ErrorKind::Unavailable, format!("failed to copy: {error}"))
                })?
                else {
                    break;
                };
                offset += piece.len() as u64;
                self.meter.add(piece.len() as u64, 0);
                if offset > layer.size {
                    break;
                }
                hasher.update(&piece);
                file.write_all(&piece).await.map_err(local)?;
            }
            file.flush().await.map_err(local)?;
        }
        let wrong = if offset == layer.size {
            let found = hasher.finish();
            (found != layer.digest).then(|| unexpected_digest("layer", &found, &layer.digest).to_string())
        } else {
            Some(format!(
                "failed commit on ref \"layer-{0}\": unexpected commit size {offset}, expected {1}: failed precondition",
                layer.digest, layer.size
            ))
        };
        let Some(message) = wrong else { return Ok(()) };
        self.meter.take_back(offset);
        if offset >= layer.size {
            let _ = tokio::fs::remove_file(path).await;
        }
        Err(Error::new(ErrorKind::FailedPrecondition, message))
    }

    async fn enter(&self, documents: Documents) -> Result<Pulled> {
        let store = self.store.clone();
        let names = self.names(&documents.target);
        blocking(move || {
            for (digest, bytes) in &documents.blobs {
                store.write_blob(digest, bytes)?;
            }
            let documents_size: usize = documents.blobs.iter().map(|(_, bytes)| bytes.len()).sum();
            let layers_size: u64 = documents.manifest.layers.iter().map(|layer| layer.size).sum();
            let chain_ids = documents.config.chain_ids;
            let record = ImageRecord {
                id: documents.manifest.config.digest,
                target: documents.target,
                blobs: documents.blobs.iter().map(|(digest, _)| digest.clone()).collect(),
                unpacked_bytes: chain_ids
                    .iter()
                    .filter_map(|chain_id| store.layers.record(chain_id))
                    .map(|record| record.bytes)
                    .sum(),
                chain_ids,
                config: documents.config.config,
                size_bytes: layers_size + documents_size as u64,
                created: documents.config.created,
                pinned: false,
            };
            let pulled = Pulled { image_id: record.id.to_string(), size_bytes: record.size_bytes };
            store.change_index(|index| index.add(record, &names))?;
            store.collect()?;
            Ok(pulled)
        })
        .await
    }
}

/// Hashes what an earlier attempt left, and stands at its end.
async fn hash_existing(file: &mut tokio::fs::File, layer: &Descriptor) -> std::io::Result<(Hasher, u64)> {
    let mut hasher = layer.digest.hasher();
    let length = file.metadata().await?.len();
    if length > layer.size {
        file.set_len(0).await?;
        return Ok((hasher, 0));
    }
    let mut buffer = vec![0; 256 << 10];
    let mut offset = 0;
    loop {
        let count = file.read(&mut buffer).await?;
        if count == 0 {
            return Ok((hasher, offset));
        }
        hasher.update(&buffer[..count]);
        offset += count as u64;
    }
}

/// The kind that upstream's runtime answers with: only what does not exist has its own; refused credentials have
/// none, so that their text reaches the user without a code before it.
fn registry_error(error: RegistryError, prefix: &str) -> Error {
    let kind = match &error {
        RegistryError::NotFound(_) => ErrorKind::NotFound,
        RegistryError::Failed(text) if text.ends_with("failed precondition") => ErrorKind::FailedPrecondition,
        RegistryError::Denied(_) | RegistryError::Failed(_) => ErrorKind::Unknown,
    };
    Error::new(kind, format!("{prefix}{error}"))
}
