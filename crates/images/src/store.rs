//! The store: its folder, its state in memory, collection of what nothing needs.
//!
//! ```text
//! lock                held by the process that has the store open
//! store.json          version and form of the layers
//! index.json          images and their names
//! blobs/sha256/…      indexes, manifests, configs; compressed layers only until they are unpacked
//! ingest/…            blobs on their way in; kept for a day, so that a pull can go on where it stopped
//! layers/…            unpacked layers (see `layers`)
//! containers/ID/…     writable roots
//! ```

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use cri::image::{PreparedRoot, RootMount};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use stdx::clock::Clock;

use crate::archive::unpack::{UnpackOptions, WhiteoutForm};
use crate::digest::Digest;
use crate::files;
use crate::index::Index;
use crate::layers::Layers;
use crate::registries::Registries;
use crate::roots;

/// Version of the data folder.
const VERSION: u32 = 1;
/// Partial blobs older than this are removed when the store opens.
const PARTIAL_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

/// How containers' roots are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Snapshotter {
    /// Overlayfs where it works, else copies, with a warning.
    #[default]
    Auto,
    /// Overlayfs, or an error.
    Overlay,
    /// Copies.
    Copy,
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of the store; made if missing.
    pub data_dir: PathBuf,
    /// Mirrors, credentials and CAs in k3s' format; a missing file is an empty one. Read again at each pull.
    pub registries_file: Option<PathBuf>,
    /// How roots are made.
    pub snapshotter: Snapshotter,
    /// Wall clock.
    pub clock: Clock,
    /// Layers downloaded at once, all pulls together.
    pub downloads_max: usize,
    /// Layers unpacked at once, all pulls together.
    pub unpacks_max: usize,
    /// Bytes of one layer, at most, packed and unpacked.
    pub layer_bytes_max: u64,
    /// Entries of one layer, at most.
    pub layer_entries_max: u64,
}

impl Options {
    /// The defaults for a folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            registries_file: None,
            snapshotter: Snapshotter::Auto,
            clock: Clock::system(),
            downloads_max: 6,
            unpacks_max: 2,
            layer_bytes_max: 64 << 30,
            layer_entries_max: 4_000_000,
        }
    }
}

/// Why a store cannot be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder is of a later version.
    #[error(
        "image store {path} has version {found}, this program knows {VERSION}: \
         use the newer program, or another data folder"
    )]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Another process has the store open.
    #[error("image store {0} is in use by another process: ask that one, or stop it first")]
    Busy(PathBuf),
    /// Overlayfs was asked for and does not work.
    #[error(
        "overlayfs cannot be used in {path}: {source}; use the copying snapshotter or another file system"
    )]
    NoOverlay {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The registries file is wrong.
    #[error("{0}")]
    Registries(String),
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Serialize, Deserialize)]
struct StoreFile {
    version: u32,
    /// `overlay` or `plain`.
    whiteouts: String,
}

/// The image store. All state lies on disk; what is in memory answers the fast path.
pub struct ImageStore {
    pub(crate) options: Options,
    pub(crate) layers: Layers,
    pub(crate) unpack_options: UnpackOptions,
    pub(crate) downloads: tokio::sync::Semaphore,
    pub(crate) unpacks: tokio::sync::Semaphore,
    overlay: bool,
    this: Weak<Self>,
    /// Held as long as the store is open: what is in use is known to one process only.
    _lock: fs::File,
    state: Mutex<State>,
    /// Held while the index file is replaced.
    writer: Mutex<()>,
    /// One pull per digest at a time.
    flights: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) index: Arc<Index>,
    pub(crate) roots: HashMap<String, PreparedRoot>,
    /// Digests (of blobs and chains) that running operations need, counted.
    leases: HashMap<Digest, usize>,
}

/// Keeps digests from being collected while it lives.
pub(crate) struct Lease {
    store: Arc<ImageStore>,
    digests: Vec<Digest>,
}

impl Lease {
    pub(crate) fn add(&mut self, digest: &Digest) {
        *self.store.state.lock().leases.entry(digest.clone()).or_default() += 1;
        self.digests.push(digest.clone());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.store.state.lock();
        for digest in &self.digests {
            if let Some(count) = state.leases.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    state.leases.remove(digest);
                }
            }
        }
    }
}

impl ImageStore {
    /// Opens or makes a store, and removes what an earlier process left half done. Blocks; call it while starting.
    ///
    /// # Errors
    /// Names the path and the remedy.
    pub fn open(options: Options) -> Result<Arc<Self>, StoreError> {
        let folder = &options.data_dir;
        files::make_directory(folder)?;
        let lock = take_lock(folder)?;
        let (overlay, form) = choose_form(folder, options.snapshotter)?;
        for name in ["blobs/sha256", "blobs/sha512", "ingest", "containers"] {
            files::make_directory(&folder.join(name))?;
        }
        if let Some(path) = &options.registries_file {
            Registries::load(path).map_err(StoreError::Registries)?;
        }
        let unpack_options = UnpackOptions {
            form,
            privileged: rustix::process::geteuid().is_root(),
            entries_max: options.layer_entries_max,
            bytes_max: options.layer_bytes_max,
        };
        let layers = Layers::open(folder.join("layers"), unpack_options.clone())?;
        remove_leftovers(folder, &options.clock)?;
        let index = read_index(&folder.join("index.json"))?;
        let roots = read_roots(&folder.join("containers"))?;
        let store = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            _lock: lock,
            layers,
            unpack_options,
            downloads: tokio::sync::Semaphore::new(options.downloads_max.max(1)),
            unpacks: tokio::sync::Semaphore::new(options.unpacks_max.max(1)),
            overlay,
            state: Mutex::new(State { index: Arc::new(index), roots, leases: HashMap::new() }),
            writer: Mutex::new(()),
            flights: Mutex::new(HashMap::new()),
            options,
        });
        store.collect()?;
        Ok(store)
    }

    /// A handle for what outlives a call.
    pub(crate) fn arc(&self) -> Arc<Self> {
        self.this.upgrade().expect("the store lies in an Arc while it is used")
    }

    /// Whether roots are overlays (else copies).
    pub fn uses_overlay(&self) -> bool {
        self.overlay
    }

    /// The images and their names at this moment.
    pub fn index(&self) -> Arc<Index> {
        self.state.lock().index.clone()
    }

    /// Reads the registries file as it is now.
    pub(crate) fn registries(&self) -> Result<Registries, String> {
        match &self.options.registries_file {
            None => Ok(Registries::default()),
            Some(path) => Registries::load(path),
        }
    }

    pub(crate) fn lease(self: &Arc<Self>) -> Lease {
        Lease { store: self.clone(), digests: Vec::new() }
    }

    /// The lock under which one thing is fetched once.
    pub(crate) fn flight(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock();
        flights.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = flights.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::new(tokio::sync::Mutex::new(()));
        flights.insert(key.to_owned(), Arc::downgrade(&flight));
        flight
    }

    /// Changes the index: on disk before in memory. Blocks.
    pub(crate) fn change_index<T>(&self, change: impl FnOnce(&mut Index) -> T) -> io::Result<T> {
        let _writer = self.writer.lock();
        let mut index = Index::clone(&self.index());
        let result = change(&mut index);
        let bytes = serde_json::to_vec(&index).map_err(io::Error::other)?;
        files::write_atomically(&self.options.data_dir.join("index.json"), &bytes)?;
        self.state.lock().index = Arc::new(index);
        Ok(result)
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.options.data_dir.join("blobs").join(digest.algorithm()).join(digest.hex())
    }

    pub(crate) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.options.data_dir.join("ingest").join(format!("{}-{}", digest.algorithm(), digest.hex()))
    }

    /// Keeps a document whose digest is known to be right. Blocks.
    pub(crate) fn write_blob(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        let path = self.blob_path(digest);
        if path.is_file() { Ok(()) } else { files::write_atomically(&path, bytes) }
    }

    /// Removes blobs and layers that no image, container or running operation needs. Blocks.
    ///
    /// # Errors
    /// Names the path.
    pub fn collect(&self) -> io::Result<()> {
        // Most is needed: only what this look does not find is looked at closely.
        let index = self.index();
        let (layers, blobs) = (index.chain_ids(), index.blobs());
        for record in self.layers.list()? {
            if layers.contains(&record.chain_id) {
                continue;
            }
            let detached = {
                let state = self.state.lock();
                if self.layer_needed(&state, &record.chain_id) {
                    continue;
                }
                self.layers.detach(&record.chain_id)?
            };
            drop(detached);
        }
        for algorithm in ["sha256", "sha512"] {
            for entry in fs::read_dir(self.options.data_dir.join("blobs").join(algorithm))? {
                let entry = entry?;
                let name = entry.file_name();
                // On its way in.
                if name.to_string_lossy().starts_with('.') {
                    continue;
                }
                let digest = Digest::parse(&format!("{algorithm}:{}", name.to_string_lossy()));
                if digest.as_ref().is_ok_and(|digest| blobs.contains(digest)) {
                    continue;
                }
                let state = self.state.lock();
                let needed = digest.as_ref().is_ok_and(|digest| {
                    state.leases.contains_key(digest) || state.index.blobs().contains(digest)
                });
                if !needed {
                    files::remove_tree(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    fn layer_needed(&self, state: &State, chain_id: &Digest) -> bool {
        let path = self.layers.path(chain_id);
        state.leases.contains_key(chain_id)
            || state.index.chain_ids().contains(chain_id)
            || state
                .roots
                .values()
                .any(|root| matches!(&root.mount, RootMount::Overlay { lower, .. } if lower.contains(&path)))
    }

    fn root_folder(&self, container_id: &str) -> PathBuf {
        self.options.data_dir.join("containers").join(container_id)
    }

    /// [`cri::image::RootProvider::prepare_root`] without the copying.
    pub(crate) fn root_known(&self, container_id: &str) -> Option<PreparedRoot> {
        self.state.lock().roots.get(container_id).cloned()
    }

    pub(crate) fn prepare(&self, image: &str, container_id: &str) -> Result<PreparedRoot, cri::Error> {
        let folder = self.root_folder(container_id);
        let (mut root, layers) = {
            // The root is entered at once, so that the image's layers cannot be collected from under it.
            let mut state = self.state.lock();
            let index = state.index.clone();
            let id = index
                .find(image)
                .map(|found| found.id().to_owned())
                .ok_or_else(|| cri::Error::not_found(format!("image {image:?}: not found")))?;
            let record = &index.images[&id];
            let layers: Vec<PathBuf> =
                record.chain_ids.iter().rev().map(|chain_id| self.layers.path(chain_id)).collect();
            let root = PreparedRoot {
                mount: RootMount::Overlay {
                    lower: layers.clone(),
                    upper: folder.join("upper"),
                    work: folder.join("work"),
                },
                config: record.config.clone(),
                image_ref: index.image_ref(&id),
                image_id: id,
            };
            state.roots.insert(container_id.to_owned(), root.clone());
            (root, layers)
        };
        let made = if self.overlay && !layers.is_empty() {
            roots::make_overlay(&folder, layers, self.unpack_options.privileged)
        } else {
            let bottom_first: Vec<PathBuf> = layers.into_iter().rev().collect();
            roots::make_copy(&folder, &bottom_first, &self.unpack_options)
        };
        let saved = made.and_then(|mount| {
            root.mount = mount;
            roots::save(&folder, &root)
        });
        let mut state = self.state.lock();
        match saved {
            Ok(()) => {
                state.roots.insert(container_id.to_owned(), root.clone());
                Ok(root)
            }
            Err(error) => {
                state.roots.remove(container_id);
                drop(state);
                let _ = files::remove_tree(&folder);
                Err(cri::Error::unknown(format!(
                    "failed to prepare root of container {container_id:?}: {error}"
                )))
            }
        }
    }

    /// Removes a root; then, if its image is gone, the layers that only it used. Blocks.
    pub(crate) fn remove_container_root(&self, container_id: &str) -> io::Result<()> {
        files::remove_tree(&self.root_folder(container_id))?;
        let unused = {
            let mut state = self.state.lock();
            let removed = state.roots.remove(container_id);
            removed.is_some_and(|root| !state.index.images.contains_key(&root.image_id))
        };
        if unused { self.collect() } else { Ok(()) }
    }

    /// Containers that have a root here (for a daemon that takes over after a crash).
    pub fn container_ids(&self) -> BTreeSet<String> {
        self.state.lock().roots.keys().cloned().collect()
    }
}

impl std::fmt::Debug for ImageStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ImageStore").field("data_dir", &self.options.data_dir).finish_non_exhaustive()
    }
}

fn take_lock(folder: &Path) -> Result<fs::File, StoreError> {
    let path = folder.join("lock");
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| files::with_path("open", &path, error))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Busy(folder.to_owned())),
        Err(error) => Err(files::with_path("lock", &path, error.into()).into()),
    }
}

/// Decides whether overlays are used and in which form layers are kept. A store keeps the form it was made with;
/// the copying snapshotter reads both.
fn choose_form(folder: &Path, snapshotter: Snapshotter) -> Result<(bool, WhiteoutForm), StoreError> {
    let path = folder.join("store.json");
    let known: Option<StoreFile> = match fs::read(&path) {
        Ok(bytes) => Some(
            serde_json::from_slice(&bytes).map_err(|error| files::with_path("read", &path, error.into()))?,
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(files::with_path("read", &path, error).into()),
    };
    if let Some(found) = known.as_ref().filter(|known| known.version > VERSION) {
        return Err(StoreError::Newer { path: folder.to_owned(), found: found.version });
    }
    let plain = known.as_ref().is_some_and(|known| known.whiteouts == "plain");
    let overlay = match snapshotter {
        Snapshotter::Copy => false,
        Snapshotter::Overlay if plain => {
            let source = io::Error::other("its layers were unpacked for copying");
            return Err(StoreError::NoOverlay { path: folder.to_owned(), source });
        }
        Snapshotter::Overlay => {
            roots::probe_overlay(folder)
                .map_err(|source| StoreError::NoOverlay { path: folder.to_owned(), source })?;
            true
        }
        Snapshotter::Auto if plain => false,
        Snapshotter::Auto => match roots::probe_overlay(folder) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(
                    path = %folder.display(),
                    %error,
                    "overlayfs cannot be used here: every container gets a copy of its image, which is slower and \
                     takes more disk; put the data folder on a file system such as ext4 or xfs"
                );
                false
            }
        },
    };
    let form = match &known {
        Some(_) if plain => WhiteoutForm::Plain,
        Some(_) => WhiteoutForm::Overlay,
        None if overlay => WhiteoutForm::Overlay,
        None => WhiteoutForm::Plain,
    };
    if known.is_none() {
        let whiteouts = if form == WhiteoutForm::Plain { "plain" } else { "overlay" }.to_owned();
        let bytes =
            serde_json::to_vec(&StoreFile { version: VERSION, whiteouts }).map_err(io::Error::other)?;
        files::write_atomically(&path, &bytes)?;
    }
    Ok((overlay, form))
}

fn read_index(path: &Path) -> io::Result<Index> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|error| files::with_path("read", path, error.into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::default()),
        Err(error) => Err(files::with_path("read", path, error)),
    }
}

fn read_roots(folder: &Path) -> io::Result<HashMap<String, PreparedRoot>> {
    let mut roots = HashMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match roots::load(&path) {
            Some(root) if roots::is_container_id(&name) => {
                roots.insert(name, root);
            }
            // Never finished, or its removal was not.
            _ => files::remove_tree(&path)?,
        }
    }
    Ok(roots)
}

fn remove_leftovers(folder: &Path, clock: &Clock) -> io::Result<()> {
    for inner in ["", "blobs/sha256", "blobs/sha512"] {
        for entry in fs::read_dir(folder.join(inner))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                files::remove_tree(&entry.path())?;
            }
        }
    }
    let now = clock.now().as_second();
    for entry in fs::read_dir(folder.join("ingest"))? {
        let entry = entry?;
        let modified = std::os::unix::fs::MetadataExt::mtime(&entry.metadata()?);
        if now.saturating_sub(modified) > PARTIAL_AGE_MAX.as_secs() as i64 {
            files::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}
