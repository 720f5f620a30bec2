//! Images made in memory, and a small registry that misbehaves on demand.
#![allow(dead_code, missing_docs)]

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cri::image::RootMount;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use images::archive::write::write_files;
use images::digest::Digest;
use images::{ImageStore, Options, SourceFile};
use parking_lot::Mutex;
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::json;

/// A layer of text files.
pub fn layer(files: &[(&str, &str)]) -> Vec<u8> {
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), SourceFile::Bytes(text.as_bytes().to_vec()), 0o644))
        .collect();
    let mut archive = Vec::new();
    write_files(&mut archive, &files).unwrap();
    archive
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// An image in memory.
#[derive(Clone)]
pub struct Fixture {
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
    /// Uncompressed and as sent.
    pub layers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Fixture {
    /// Uncompressed layers, each with its form on the wire.
    pub fn new(layers: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|(plain, _)| Digest::of(plain)).collect();
        let config = json!({
            "architecture": images::manifest::host_platform().architecture,
            "os": "linux",
            "config": { "Cmd": ["/bin/app"], "User": "web" },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        })
        .to_string()
        .into_bytes();
        let descriptors: Vec<_> = layers
            .iter()
            .map(|(_, sent)| {
                json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                        "digest": Digest::of(sent), "size": sent.len() })
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": images::manifest::OCI_MANIFEST,
            "config": { "mediaType": images::manifest::OCI_CONFIG, "digest": Digest::of(&config), "size": config.len() },
            "layers": descriptors,
        })
        .to_string()
        .into_bytes();
        Self { config, manifest, layers }
    }

    pub fn simple() -> Self {
        let bottom = layer(&[("etc/os", "bottom"), ("bin/app", "app")]);
        let top = layer(&[("etc/name", "top")]);
        Self::new(vec![(bottom.clone(), gzip(&bottom)), (top.clone(), zstd(&top))])
    }

    pub fn target(&self) -> Digest {
        Digest::of(&self.manifest)
    }
}

/// What the registry does with a request before its usual answer.
pub type Hook = dyn Fn(&Request<Incoming>) -> Option<Response<Full<Bytes>>> + Send + Sync;

/// A registry on a free port of this machine.
pub struct FakeRegistry {
    pub address: SocketAddr,
    pub seen: Arc<Mutex<Vec<String>>>,
    content: Arc<Mutex<HashMap<String, Bytes>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeRegistry {
    pub async fn start(hook: Box<Hook>) -> Self {
        Self::start_with(hook, None).await
    }

    /// With TLS if a server config is given.
    pub async fn start_with(hook: Box<Hook>, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let content: Arc<Mutex<HashMap<String, Bytes>>> = Arc::default();
        let hook = Arc::new(hook);
        let task = tokio::spawn({
            let (seen, content) = (seen.clone(), content.clone());
            async move {
                loop {
                    let Ok((stream, _)) = listener.accept().await else { return };
                    let (seen, content, hook) = (seen.clone(), content.clone(), hook.clone());
                    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                        seen.lock().push(format!("{} {}", request.method(), request.uri()));
                        let response = hook(&request).unwrap_or_else(|| answer(&content.lock(), &request));
                        async move { Ok::<_, std::convert::Infallible>(response) }
                    });
                    let tls = tls.clone().map(tokio_rustls::TlsAcceptor::from);
                    tokio::spawn(async move {
                        let server = hyper::server::conn::http1::Builder::new();
                        let Some(tls) = tls else {
                            let _ = server.serve_connection(TokioIo::new(stream), service).await;
                            return;
                        };
                        if let Ok(stream) = tls.accept(stream).await {
                            let _ = server.serve_connection(TokioIo::new(stream), service).await;
                        }
                    });
                }
            }
        });
        Self { address, seen, content, task }
    }

    pub async fn plain() -> Self {
        Self::start(Box::new(|_| None)).await
    }

    /// Serves an image as `repository:tag` and by its digests.
    pub fn put(&self, repository: &str, tag: &str, image: &Fixture) {
        self.put_manifest(repository, tag, &image.manifest);
        self.put_blob(repository, &image.config);
        for (_, sent) in &image.layers {
            self.put_blob(repository, sent);
        }
    }

    pub fn put_manifest(&self, repository: &str, tag: &str, manifest: &[u8]) {
        let mut content = self.content.lock();
        for object in [tag, Digest::of(manifest).as_str()] {
            content.insert(format!("/v2/{repository}/manifests/{object}"), manifest.to_vec().into());
        }
    }

    pub fn put_blob(&self, repository: &str, bytes: &[u8]) {
        let path = format!("/v2/{repository}/blobs/{}", Digest::of(bytes));
        self.content.lock().insert(path, bytes.to_vec().into());
    }

    pub fn put_at(&self, path: String, bytes: &[u8]) {
        self.content.lock().insert(path, bytes.to_vec().into());
    }

    pub fn count(&self, part: &str) -> usize {
        self.seen.lock().iter().filter(|line| line.contains(part)).count()
    }
}

fn answer(content: &HashMap<String, Bytes>, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let Some(bytes) = content.get(request.uri().path()) else {
        return status(StatusCode::NOT_FOUND);
    };
    let from = request.headers().get("range").and_then(|value| {
        value.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
    });
    let mut response = Response::builder();
    let mut bytes = bytes.clone();
    if let Some(from) = from {
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()));
        bytes = bytes.slice(from..);
    }
    if request.uri().path().contains("/manifests/") {
        response = response.header("docker-content-digest", Digest::of(&bytes).as_str());
    }
    if request.method() == Method::HEAD {
        response = response.header("content-length", bytes.len());
        bytes = Bytes::new();
    }
    response.body(Full::new(bytes)).unwrap()
}

pub fn status(code: StatusCode) -> Response<Full<Bytes>> {
    Response::builder().status(code).body(Full::new(Bytes::new())).unwrap()
}

/// A store in a fresh folder, with a registries file if one is given.
pub fn store(scratch: &std::path::Path, registries: Option<&str>) -> Arc<ImageStore> {
    let mut options = Options::new(scratch.join("store"));
    options.snapshotter = images::Snapshotter::Copy;
    let file = scratch.join("registries.yaml");
    if let Some(text) = registries {
        std::fs::write(&file, text).unwrap();
    }
    options.registries_file = Some(file);
    ImageStore::open(options).unwrap()
}

/// Files left in a folder of the store.
pub fn left(scratch: &std::path::Path, folder: &str) -> usize {
    std::fs::read_dir(scratch.join("store").join(folder)).unwrap().count()
}

/// Looks into a root as a container would.
pub fn with_root(mount: &RootMount, scratch: &Path, look: impl FnOnce(&Path)) {
    match mount {
        RootMount::Directory { path } => look(path),
        RootMount::Overlay { lower, upper, work } => {
            let lower: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
            let data = format!(
                "lowerdir={},upperdir={},workdir={}",
                lower.join(":"),
                upper.display(),
                work.display()
            );
            let merged = scratch.join("merged");
            std::fs::create_dir_all(&merged).unwrap();
            let data = std::ffi::CString::new(data).unwrap();
            rustix::mount::mount("overlay", &merged, "overlay", MountFlags::empty(), data.as_c_str())
                .unwrap();
            look(&merged);
            rustix::mount::unmount(&merged, UnmountFlags::empty()).unwrap();
        }
    }
}
