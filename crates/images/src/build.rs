//! Makes images without a registry: from a folder, an archive of a root file system, or single files. The same input
//! gives the same image id.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use cri::reference::Reference;
use cri::{Error, ErrorKind, Result};
use serde_json::json;

use crate::archive::ArchiveError;
use crate::archive::write::{SourceFile, write_files, write_folder};
use crate::digest::{Digest, chain_ids};
use crate::index::ImageRecord;
use crate::manifest::{OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, host_platform, parse_config};
use crate::store::{ImageStore, Lease};

/// Chunks between writer and unpacker, at most.
const PIPE_CHUNKS: usize = 16;
/// Bytes of a chunk.
const PIPE_CHUNK: usize = 256 << 10;
/// `created` of images built without one: results must not depend on today.
const CREATED: &str = "1970-01-01T00:00:00Z";
/// `PATH` of images built without one.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the image's files come from.
#[derive(Debug, Clone)]
pub enum BuildSource {
    /// A folder that becomes the root.
    Folder(PathBuf),
    /// A tar archive (compressed or not) of a root.
    Archive(PathBuf),
    /// Single files: path in the image, content, mode. Owner 0:0.
    Files(Vec<(String, SourceFile, u32)>),
}

/// The image's config.
#[derive(Debug, Clone, Default)]
pub struct BuildConfig {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `Env`, as `NAME=value`; `PATH` is added if missing.
    pub env: Vec<String>,
    /// `User`.
    pub user: String,
    /// `WorkingDir`.
    pub working_dir: String,
    /// Labels.
    pub labels: cri::sandbox::StringMap,
    /// `ExposedPorts`, as `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// Never collected.
    pub pinned: bool,
}

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Files.
    pub source: BuildSource,
    /// Name, normalised as in a pull.
    pub name: String,
    /// Config.
    pub config: BuildConfig,
}

/// An image that was built or imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Image id.
    pub id: String,
    /// Full names.
    pub names: Vec<String>,
}

impl ImageStore {
    /// Builds an image.
    ///
    /// # Errors
    /// Names the option, file or entry that is wrong.
    pub async fn build(&self, options: BuildOptions) -> Result<Made> {
        let store = self.arc();
        tokio::task::spawn_blocking(move || store.build_blocking(&options))
            .await
            .map_err(|error| Error::unknown(format!("build: {error}")))?
    }

    /// Builds an image of single files: path in the image, source, mode.
    ///
    /// # Errors
    /// As [`ImageStore::build`].
    pub async fn build_from_files(
        &self,
        name: &str,
        files: &[(String, SourceFile, u32)],
        config: BuildConfig,
    ) -> Result<Made> {
        let source = BuildSource::Files(files.to_vec());
        self.build(BuildOptions { source, name: name.to_owned(), config }).await
    }

    fn build_blocking(self: &Arc<Self>, options: &BuildOptions) -> Result<Made> {
        let wrong = |message: String| Error::new(ErrorKind::InvalidArgument, message);
        let reference = Reference::parse_for_pull(&options.name)
            .map_err(|error| wrong(format!("image name {:?}: {error}", options.name)))?;
        if reference.digest.is_some() {
            return Err(wrong(format!(
                "image name {:?} has a digest, which is not known before",
                options.name
            )));
        }
        let failed = |error: &dyn std::fmt::Display| {
            Error::unknown(format!("failed to build image {:?}: {error}", reference.to_string()))
        };
        let (fresh, size) = match &options.source {
            BuildSource::Archive(path) => {
                let file = File::open(path)
                    .map_err(|error| failed(&crate::files::with_path("open", path, error)))?;
                let size = file.metadata().map(|found| found.len()).unwrap_or_default();
                (self.layers.unpack(file).map_err(|error| failed(&error))?, size)
            }
            BuildSource::Folder(path) if !path.is_dir() => {
                return Err(wrong(format!("{}: not a directory", path.display())));
            }
            source => self.unpack_written(source).map_err(|error| failed(&error))?,
        };
        let diff_id = fresh.diff_id.clone();
        let mut lease = self.lease();
        // A layer alone is its own chain.
        lease.add(&diff_id);
        let layer = match self.layers.record(&diff_id) {
            Some(known) => known,
            None => self.layers.settle(fresh, &diff_id, &[]).map_err(|error| failed(&error))?,
        };
        let config = config_document(&options.config, &diff_id);
        let manifest = manifest_document(&Digest::of(&config), config.len() as u64, &[(layer.diff_id, size)]);
        let image = LocalImage {
            names: vec![reference.clone()],
            size_bytes: size + (config.len() + manifest.len()) as u64,
            config,
            documents: vec![manifest],
            pinned: options.config.pinned,
        };
        self.enter_local(image, &mut lease).map_err(|error| failed(&error))
    }

    /// Writes the source as an archive straight into the unpacker; the layer's digest is that of the archive.
    fn unpack_written(
        &self,
        source: &BuildSource,
    ) -> std::result::Result<(crate::layers::FreshLayer, u64), ArchiveError> {
        let (sender, receiver) = sync_channel::<Vec<u8>>(PIPE_CHUNKS);
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                let mut out = PipeWriter { sender, buffer: Vec::with_capacity(PIPE_CHUNK), bytes: 0 };
                let written = match source {
                    BuildSource::Folder(path) => write_folder(&mut out, path),
                    BuildSource::Files(files) => write_files(&mut out, files),
                    BuildSource::Archive(_) => Err(io::ErrorKind::Unsupported.into()),
                };
                written.and_then(|()| out.flush()).map(|()| out.bytes)
            });
            let unpacked = self.layers.unpack(PipeReader { receiver, chunk: Vec::new(), read: 0 });
            let written =
                writer.join().unwrap_or_else(|_| Err(io::Error::other("the packing thread failed")));
            match (unpacked, written) {
                // The unpacker's complaint is the cause of the writer's broken pipe, and not the other way round.
                (Err(error), Ok(_)) => Err(error),
                (Err(error), Err(broken)) if broken.kind() == io::ErrorKind::BrokenPipe => Err(error),
                (_, Err(error)) => Err(ArchiveError::Io { action: "pack files".to_owned(), source: error }),
                (Ok(fresh), Ok(size)) => Ok((fresh, size)),
            }
        })
    }

    /// Enters an image whose layers are settled (and leased).
    pub(crate) fn enter_local(&self, image: LocalImage, lease: &mut Lease) -> io::Result<Made> {
        let parsed = parse_config(&image.config).map_err(io::Error::other)?;
        let id = Digest::of(&image.config);
        let target = image.documents.first().map_or_else(|| id.clone(), |document| Digest::of(document));
        let mut blobs = Vec::new();
        for document in image.documents.iter().chain([&image.config]) {
            let digest = Digest::of(document);
            lease.add(&digest);
            self.write_blob(&digest, document)?;
            blobs.push(digest);
        }
        let chain_ids = chain_ids(&parsed.diff_ids);
        let layers = chain_ids.iter().filter_map(|chain_id| self.layers.record(chain_id));
        let record = ImageRecord {
            id: id.clone(),
            target: target.clone(),
            blobs,
            unpacked_bytes: layers.map(|record| record.bytes).sum(),
            chain_ids,
            config: parsed.config,
            size_bytes: image.size_bytes,
            created: parsed.created,
            pinned: image.pinned,
        };
        let mut names: Vec<String> = image.names.iter().map(Reference::to_string).collect();
        let made = Made { id: id.to_string(), names: names.clone() };
        names.extend(image.names.iter().map(|name| name.with_digest(target.as_str())));
        self.change_index(|index| index.add(record, &names))?;
        self.collect()?;
        Ok(made)
    }
}

/// An image that comes from this machine.
pub(crate) struct LocalImage {
    /// Its names, with tag or digest.
    pub names: Vec<Reference>,
    /// Its config.
    pub config: Vec<u8>,
    /// Index (if any) and manifest; the first is what the names stand for.
    pub documents: Vec<Vec<u8>>,
    /// Bytes as a registry would hold them.
    pub size_bytes: u64,
    /// Never collected.
    pub pinned: bool,
}

fn config_document(config: &BuildConfig, diff_id: &Digest) -> Vec<u8> {
    let platform = host_platform();
    let mut env = config.env.clone();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.insert(0, DEFAULT_PATH.to_owned());
    }
    let mut inner = serde_json::Map::new();
    let mut put = |key: &str, value: serde_json::Value, present: bool| {
        if present {
            inner.insert(key.to_owned(), value);
        }
    };
    put("Cmd", json!(config.cmd), !config.cmd.is_empty());
    put("Entrypoint", json!(config.entrypoint), !config.entrypoint.is_empty());
    put("Env", json!(env), true);
    let ports: serde_json::Map<String, serde_json::Value> =
        config.exposed_ports.iter().map(|port| (port.clone(), json!({}))).collect();
    put("ExposedPorts", json!(ports), !ports.is_empty());
    put("Labels", json!(config.labels), !config.labels.is_empty());
    put("User", json!(config.user), !config.user.is_empty());
    put("WorkingDir", json!(config.working_dir), !config.working_dir.is_empty());
    let mut document = json!({
        "architecture": platform.architecture,
        "config": inner,
        "created": CREATED,
        "history": [{ "created": CREATED, "created_by": "carob image build" }],
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    if !platform.variant.is_empty() {
        document["variant"] = json!(platform.variant);
    }
    document.to_string().into_bytes()
}

/// A manifest of uncompressed layers: digest and bytes of their archives.
pub(crate) fn manifest_document(config: &Digest, config_size: u64, layers: &[(Digest, u64)]) -> Vec<u8> {
    let layers: Vec<_> = layers
        .iter()
        .map(|(digest, size)| json!({ "mediaType": OCI_LAYER, "digest": digest, "size": size }))
        .collect();
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": OCI_CONFIG, "digest": config, "size": config_size },
        "layers": layers,
    })
    .to_string()
    .into_bytes()
}

/// The writing end of a bounded pipe between threads.
struct PipeWriter {
    sender: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    bytes: u64,
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(PIPE_CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        self.bytes += count as u64;
        if self.buffer.len() == PIPE_CHUNK {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(PIPE_CHUNK));
        if chunk.is_empty() {
            return Ok(());
        }
        self.sender.send(chunk).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

struct PipeReader {
    receiver: Receiver<Vec<u8>>,
    chunk: Vec<u8>,
    read: usize,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.chunk.len() {
            match self.receiver.recv() {
                Ok(chunk) => (self.chunk, self.read) = (chunk, 0),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len() - self.read);
        buffer[..count].copy_from_slice(&self.chunk[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}
