//! Imports what `docker save` writes and OCI layouts in a tar archive, compressed or not. The archive is read once,
//! from start to end (it may come from a pipe), its members kept in a scratch folder under numbers, never under the
//! names it gives them.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cri::reference::Reference;
use cri::{Error, Result};
use serde::Deserialize;

use crate::archive::stream::{EntryKind, TarStream};
use crate::build::{LocalImage, Made, manifest_document};
use crate::decompress;
use crate::digest::{Digest, HashingReader};
use crate::files::{self, Scratch};
use crate::manifest::{
    CONFIG_BYTES_MAX, Descriptor, Document, MANIFEST_BYTES_MAX, ParsedConfig, choose, host_platform,
    parse_config, parse_document,
};
use crate::service::blocking;
use crate::store::{ImageStore, Lease};

/// Members of an archive, at most.
const MEMBERS_MAX: usize = 20_000;
/// Images in an archive, at most.
const IMAGES_MAX: usize = 1_000;
/// Links followed from one member to another, at most.
const LINKS_MAX: usize = 10;
/// Indexes within indexes, at most.
const INDEX_DEPTH_MAX: usize = 4;
/// Annotations that hold an image's name, the full one first.
const NAME_ANNOTATIONS: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

impl ImageStore {
    /// Imports all images of an archive, and says which.
    ///
    /// # Errors
    /// Says what is wrong with the archive; layers that no image names are removed again.
    pub async fn import(&self, archive: impl Read + Send + 'static) -> Result<Vec<Made>> {
        let store = self.arc();
        tokio::task::spawn_blocking(move || {
            let imported = store.import_blocking(archive);
            if imported.is_err()
                && let Err(error) = store.collect()
            {
                tracing::warn!(%error, "layers of a failed import stay until the next collection");
            }
            imported.map_err(|reason| Error::unknown(format!("failed to import images: {reason}")))
        })
        .await
        .map_err(|error| Error::unknown(format!("import: {error}")))?
    }

    /// [`ImageStore::import`] of a file, which may be a pipe.
    ///
    /// # Errors
    /// As [`ImageStore::import`]; names the file that cannot be opened.
    pub async fn import_file(&self, path: &Path) -> Result<Vec<Made>> {
        let opened = path.to_owned();
        let open = move || File::open(&opened).map_err(|error| files::with_path("open", &opened, error));
        self.import(blocking(open).await?).await
    }

    fn import_blocking(
        self: &Arc<Self>,
        archive: impl Read + Send,
    ) -> std::result::Result<Vec<Made>, String> {
        let folder = Scratch::new(self.options.data_dir.join(files::unique_name(".import-")));
        files::make_directory(folder.path()).map_err(|error| error.to_string())?;
        let members = Members::read(archive, folder.path().to_owned(), self.options.layer_bytes_max)?;
        let mut lease = self.lease();
        if members.has("manifest.json") {
            self.import_docker(&members, &mut lease)
        } else if members.has("index.json") {
            self.import_oci(&members, &mut lease)
        } else {
            Err("archive has neither manifest.json (docker save) nor index.json (OCI layout)".to_owned())
        }
    }

    fn import_docker(&self, members: &Members, lease: &mut Lease) -> std::result::Result<Vec<Made>, String> {
        #[derive(Deserialize)]
        struct Saved {
            #[serde(rename = "Config")]
            config: String,
            #[serde(rename = "RepoTags", default)]
            tags: Option<Vec<String>>,
            #[serde(rename = "Layers", default)]
            layers: Option<Vec<String>>,
        }
        let list = members.bytes("manifest.json", MANIFEST_BYTES_MAX)?;
        let list: Vec<Saved> =
            serde_json::from_slice(&list).map_err(|error| format!("manifest.json: {error}"))?;
        if list.len() > IMAGES_MAX {
            return Err(format!("manifest.json has more than the limit of {IMAGES_MAX} images"));
        }
        let mut made = Vec::new();
        for saved in list {
            let config = members.bytes(&saved.config, CONFIG_BYTES_MAX)?;
            let parsed = parse_config(&config)?;
            let paths = saved.layers.unwrap_or_default();
            self.import_layers(members, &paths, &parsed, lease)?;
            let mut layers = Vec::new();
            for (path, diff_id) in paths.iter().zip(&parsed.diff_ids) {
                layers.push((diff_id.clone(), members.size(path)?));
            }
            let manifest = manifest_document(&Digest::of(&config), config.len() as u64, &layers);
            let names = saved.tags.unwrap_or_default();
            let names =
                names.iter().map(|name| parse_name(name)).collect::<std::result::Result<Vec<_>, _>>()?;
            let packed: u64 = layers.iter().map(|(_, size)| size).sum();
            let image = LocalImage {
                names,
                size_bytes: packed + (config.len() + manifest.len()) as u64,
                config,
                documents: vec![manifest],
                pinned: false,
            };
            made.push(self.enter_local(image, lease).map_err(|error| error.to_string())?);
        }
        Ok(made)
    }

    fn import_oci(&self, members: &Members, lease: &mut Lease) -> std::result::Result<Vec<Made>, String> {
        let index = members.bytes("index.json", MANIFEST_BYTES_MAX)?;
        let Document::Index(entries) = parse_document(&index)? else {
            return Err("index.json has no list of manifests".to_owned());
        };
        if entries.len() > IMAGES_MAX {
            return Err(format!("index.json has more than the limit of {IMAGES_MAX} images"));
        }
        let mut made = Vec::new();
        for entry in &entries {
            let foreign = entry
                .platform
                .as_ref()
                .is_some_and(|_| choose(std::slice::from_ref(entry), &host_platform()).is_none());
            if !foreign {
                made.push(self.import_oci_image(members, entry, lease)?);
            }
        }
        if made.is_empty() {
            return Err("no match for platform in index.json".to_owned());
        }
        Ok(made)
    }

    fn import_oci_image(
        &self,
        members: &Members,
        entry: &Descriptor,
        lease: &mut Lease,
    ) -> std::result::Result<Made, String> {
        let names: Vec<Reference> = NAME_ANNOTATIONS
            .iter()
            .find_map(|key| entry.annotations.get(*key))
            // The layout's own name may be a tag alone, which names no image.
            .filter(|name| name.contains([':', '/']))
            .map(|name| parse_name(name))
            .transpose()?
            .into_iter()
            .collect();
        let mut documents = Vec::new();
        let mut digest = entry.digest.clone();
        for _ in 0..INDEX_DEPTH_MAX {
            let bytes = members.blob(&digest, MANIFEST_BYTES_MAX)?;
            documents.push(bytes.clone());
            match parse_document(&bytes)? {
                Document::Index(entries) => {
                    let chosen = choose(&entries, &host_platform())
                        .ok_or_else(|| format!("no match for platform in manifest {digest}"))?;
                    digest = chosen.digest.clone();
                }
                Document::Manifest(manifest) => {
                    let config = members.blob(&manifest.config.digest, CONFIG_BYTES_MAX)?;
                    let parsed = parse_config(&config)?;
                    for layer in &manifest.layers {
                        members.check(&layer.digest)?;
                    }
                    let paths: Vec<String> =
                        manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
                    self.import_layers(members, &paths, &parsed, lease)?;
                    let packed: u64 = manifest.layers.iter().map(|layer| layer.size).sum();
                    let written: usize = documents.iter().map(Vec::len).sum();
                    let size_bytes = packed + (written + config.len()) as u64;
                    let image = LocalImage { names, config, documents, size_bytes, pinned: false };
                    return self.enter_local(image, lease).map_err(|error| error.to_string());
                }
            }
        }
        Err(format!("{digest}: more than {INDEX_DEPTH_MAX} indexes within each other"))
    }

    fn import_layers(
        &self,
        members: &Members,
        paths: &[String],
        config: &ParsedConfig,
        lease: &mut Lease,
    ) -> std::result::Result<(), String> {
        if paths.len() != config.diff_ids.len() {
            return Err(format!(
                "number of layers and diffIDs don't match: {} != {}",
                paths.len(),
                config.diff_ids.len()
            ));
        }
        let mut below: Vec<PathBuf> = Vec::new();
        for (position, path) in paths.iter().enumerate() {
            let (diff_id, chain_id) = (&config.diff_ids[position], &config.chain_ids[position]);
            lease.add(chain_id);
            if self.layers.record(chain_id).is_none() {
                let fresh =
                    self.layers.unpack(members.open(path)?).map_err(|error| format!("{path}: {error}"))?;
                if fresh.diff_id != *diff_id {
                    return Err(format!("{path}: wrong diff id: {} instead of {diff_id}", fresh.diff_id));
                }
                self.layers.settle(fresh, chain_id, &below).map_err(|error| format!("{path}: {error}"))?;
            }
            below.insert(0, self.layers.path(chain_id));
        }
        Ok(())
    }
}

fn parse_name(text: &str) -> std::result::Result<Reference, String> {
    Reference::parse_for_pull(text).map_err(|error| format!("image name {text:?}: {error}"))
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

enum Member {
    /// Number of its file, and bytes.
    File(usize, u64),
    /// Path of another member.
    Link(String),
}

/// The members of an archive, by the path it gives them.
struct Members {
    folder: PathBuf,
    by_path: HashMap<String, Member>,
}

impl Members {
    fn read(archive: impl Read + Send, folder: PathBuf, bytes_max: u64) -> std::result::Result<Self, String> {
        let reader = decompress::open(archive).map_err(|error| format!("read archive: {error}"))?;
        let mut stream = TarStream::new(reader);
        let mut by_path = HashMap::new();
        let mut bytes = 0_u64;
        while let Some(entry) = stream.next_entry().map_err(|error| error.to_string())? {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            let number = by_path.len();
            if number >= MEMBERS_MAX {
                return Err(format!("archive has more than the limit of {MEMBERS_MAX} members"));
            }
            let member = match entry.kind {
                EntryKind::Directory => continue,
                EntryKind::Regular => {
                    bytes = bytes.saturating_add(entry.size);
                    if bytes > bytes_max {
                        return Err(format!("archive is larger than the limit of {bytes_max} bytes"));
                    }
                    let mut file = File::create_new(folder.join(number.to_string()))
                        .map_err(|error| format!("{path}: {error}"))?;
                    io::copy(&mut stream, &mut file).map_err(|error| format!("{path}: {error}"))?;
                    Member::File(number, entry.size)
                }
                // docker save writes equal layers once, and links.
                EntryKind::Symlink => Member::Link(join_link(&path, &String::from_utf8_lossy(&entry.link))),
                EntryKind::HardLink => Member::Link(normalise(&String::from_utf8_lossy(&entry.link))),
                _ => return Err(format!("archive member {path:?} is neither a file nor a link")),
            };
            if by_path.insert(normalise(&path), member).is_some() {
                return Err(format!("archive has {path:?} twice"));
            }
        }
        Ok(Self { folder, by_path })
    }

    fn has(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    fn find(&self, path: &str) -> std::result::Result<(usize, u64), String> {
        let mut current = normalise(path);
        for _ in 0..LINKS_MAX {
            match self.by_path.get(&current) {
                Some(Member::File(number, size)) => return Ok((*number, *size)),
                Some(Member::Link(target)) => current.clone_from(target),
                None => return Err(format!("archive has no member {path:?}")),
            }
        }
        Err(format!("archive member {path:?} is a link that does not end"))
    }

    fn size(&self, path: &str) -> std::result::Result<u64, String> {
        self.find(path).map(|(_, size)| size)
    }

    fn open(&self, path: &str) -> std::result::Result<File, String> {
        let (number, _) = self.find(path)?;
        File::open(self.folder.join(number.to_string())).map_err(|error| format!("{path}: {error}"))
    }

    fn bytes(&self, path: &str, bytes_max: u64) -> std::result::Result<Vec<u8>, String> {
        let (number, size) = self.find(path)?;
        if size > bytes_max {
            return Err(format!(
                "archive member {path:?} has {size} bytes, more than the limit of {bytes_max}"
            ));
        }
        fs::read(self.folder.join(number.to_string())).map_err(|error| format!("{path}: {error}"))
    }

    /// A small blob of an OCI layout, checked.
    fn blob(&self, digest: &Digest, bytes_max: u64) -> std::result::Result<Vec<u8>, String> {
        let path = blob_path(digest);
        let bytes = self.bytes(&path, bytes_max)?;
        let mut hasher = digest.hasher();
        hasher.update(&bytes);
        let found = hasher.finish();
        if found != *digest {
            return Err(format!("{path}: content has digest {found}"));
        }
        Ok(bytes)
    }

    /// Checks a large blob of an OCI layout.
    fn check(&self, digest: &Digest) -> std::result::Result<(), String> {
        let path = blob_path(digest);
        let mut reader = HashingReader::new(self.open(&path)?, digest.hasher(), u64::MAX);
        io::copy(&mut reader, &mut io::sink()).map_err(|error| format!("{path}: {error}"))?;
        let (found, _) = reader.finish();
        if found != *digest {
            return Err(format!("{path}: content has digest {found}"));
        }
        Ok(())
    }
}

/// Without `.` and empty components; `..` takes back one.
fn normalise(path: &str) -> String {
    let mut components: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => {
                components.pop();
            }
            other => components.push(other),
        }
    }
    components.join("/")
}

fn join_link(path: &str, target: &str) -> String {
    match path.rsplit_once('/') {
        Some((folder, _)) if !target.starts_with('/') => normalise(&format!("{folder}/{target}")),
        _ => normalise(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_through_links() {
        assert_eq!(normalise("./a//b/../c"), "a/c");
        assert_eq!(normalise("../../x"), "x");
        assert_eq!(join_link("abc/layer.tar", "../def/layer.tar"), "def/layer.tar");
        let link = |target: &str| Member::Link(target.to_owned());
        let by_path = HashMap::from([
            ("a".to_owned(), link("b")),
            ("b".to_owned(), Member::File(0, 7)),
            ("loop".to_owned(), link("loop")),
        ]);
        let members = Members { folder: PathBuf::new(), by_path };
        assert_eq!(members.find("./a"), Ok((0, 7)));
        assert!(members.find("loop").unwrap_err().contains("does not end"));
        assert!(members.find("none").is_err());
    }
}
