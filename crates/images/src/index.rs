//! What images there are: one JSON file, replaced as a whole, and held in memory.

use std::collections::{BTreeMap, BTreeSet};

use cri::image::{Image, ImageConfig};
use cri::reference::Reference;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// One image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Config digest: the image's identity.
    pub id: Digest,
    /// Digest of the manifest or index that its names stand for.
    pub target: Digest,
    /// Blobs kept: index, manifest, config. Compressed layers are dropped once unpacked.
    pub blobs: Vec<Digest>,
    /// Chain ids of its layers, bottom first.
    pub chain_ids: Vec<Digest>,
    /// What containers are made from.
    pub config: ImageConfig,
    /// Bytes of index, manifest, config and compressed layers, as a registry holds them.
    pub size_bytes: u64,
    /// Bytes of unpacked files.
    pub unpacked_bytes: u64,
    /// When it was made, as its config writes it.
    pub created: String,
    /// Never collected.
    pub pinned: bool,
}

/// All images and their names.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Index {
    /// By id.
    pub images: BTreeMap<String, ImageRecord>,
    /// Full names, with tag or with digest, to ids.
    pub names: BTreeMap<String, String>,
}

/// Something found by [`Index::find`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<'a> {
    /// By this full name.
    Name(&'a str, &'a str),
    /// By its id.
    Id(&'a str),
}

impl<'a> Found<'a> {
    /// The image's id.
    pub fn id(&self) -> &'a str {
        match self {
            Self::Name(_, id) | Self::Id(id) => id,
        }
    }
}

impl Index {
    /// Finds what a text stands for: an id, a name (normalised), or the unique beginning of an id.
    pub fn find(&self, text: &str) -> Option<Found<'_>> {
        if let Some((id, _)) = self.images.get_key_value(text) {
            return Some(Found::Id(id));
        }
        if let Ok(reference) = Reference::parse_for_pull(text)
            && let Some((name, id)) = self.names.get_key_value(&reference.to_string())
        {
            return Some(Found::Name(name, id));
        }
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if hex.is_empty() || hex.len() > 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let prefix = format!("sha256:{hex}");
        let mut matching = self.images.range(prefix.clone()..).take_while(|(id, _)| id.starts_with(&prefix));
        match (matching.next(), matching.next()) {
            (Some((id, _)), None) => Some(Found::Id(id)),
            _ => None,
        }
    }

    /// Adds an image with names; names it takes over from another image leave that one nameless.
    pub fn add(&mut self, mut record: ImageRecord, names: &[String]) {
        let id = record.id.to_string();
        if let Some(known) = self.images.get(&id) {
            record.pinned |= known.pinned;
            // The same image under another index keeps all its documents.
            for blob in &known.blobs {
                if !record.blobs.contains(blob) {
                    record.blobs.push(blob.clone());
                }
            }
        }
        self.images.insert(id.clone(), record);
        for name in names {
            self.names.insert(name.clone(), id.clone());
        }
    }

    /// Removes a name, and the image when it was its last one with a tag; or an image with all its names.
    pub fn remove(&mut self, text: &str) -> bool {
        let (name, id) = match self.find(text) {
            None => return false,
            Some(Found::Id(id)) => (None, id.to_owned()),
            Some(Found::Name(name, id)) => (Some(name.to_owned()), id.to_owned()),
        };
        if let Some(name) = name {
            self.names.remove(&name);
            // A digest alone keeps no image whose last tag was removed.
            if self.names.iter().any(|(other, target)| *target == id && !other.contains('@')) {
                return true;
            }
        }
        self.names.retain(|_, other| *other != id);
        self.images.remove(&id);
        true
    }

    /// The image as CRI shows it.
    pub fn image(&self, id: &str) -> Option<Image> {
        let record = self.images.get(id)?;
        let names = self.names.iter().filter(|(_, other)| *other == id).map(|(name, _)| name.clone());
        let (repo_digests, repo_tags) = names.partition(|name: &String| name.contains('@'));
        let user = record.config.user.split(':').next().unwrap_or_default();
        let uid = user.parse::<i64>().ok();
        Some(Image {
            id: id.to_owned(),
            repo_tags,
            repo_digests,
            size_bytes: record.size_bytes,
            uid,
            username: if uid.is_some() { String::new() } else { user.to_owned() },
            pinned: record.pinned,
        })
    }

    /// What the status of a container shows of its image: a repo digest if there is one, else the id.
    pub fn image_ref(&self, id: &str) -> String {
        let digest = self.names.iter().find(|(name, other)| *other == id && name.contains('@'));
        digest.map_or_else(|| id.to_owned(), |(name, _)| name.clone())
    }

    /// Blobs that an image needs.
    pub fn blobs(&self) -> BTreeSet<&Digest> {
        self.images.values().flat_map(|record| &record.blobs).collect()
    }

    /// Layers that an image needs.
    pub fn chain_ids(&self) -> BTreeSet<&Digest> {
        self.images.values().flat_map(|record| &record.chain_ids).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seed: &str, user: &str) -> ImageRecord {
        ImageRecord {
            id: Digest::of(seed.as_bytes()),
            target: Digest::of(b"target"),
            blobs: vec![Digest::of(b"target")],
            chain_ids: Vec::new(),
            config: ImageConfig { user: user.to_owned(), ..ImageConfig::default() },
            size_bytes: 7,
            unpacked_bytes: 9,
            created: String::new(),
            pinned: false,
        }
    }

    #[test]
    fn images_are_found_by_name_id_and_beginning() {
        let mut index = Index::default();
        let digest = format!("docker.io/library/app@{}", Digest::of(b"target"));
        index.add(record("a", "1000:5"), &["docker.io/library/app:latest".to_owned(), digest.clone()]);
        let id = Digest::of(b"a").to_string();
        for text in ["app", "docker.io/library/app:latest", &digest, &id, &id[7..], &id[7..20]] {
            assert_eq!(index.find(text).map(|found| found.id().to_owned()), Some(id.clone()), "{text}");
        }
        assert_eq!(index.find("other"), None);
        assert_eq!(index.find(""), None);
        let image = index.image(&id).unwrap();
        assert_eq!((image.uid, image.username.as_str()), (Some(1000), ""));
        assert_eq!(index.image_ref(&id), digest);
    }

    #[test]
    fn a_name_moves_and_the_last_one_takes_the_image() {
        let mut index = Index::default();
        index.add(record("a", "web"), &["docker.io/library/app:latest".to_owned()]);
        index.add(record("b", ""), &["docker.io/library/app:latest".to_owned()]);
        let (a, b) = (Digest::of(b"a").to_string(), Digest::of(b"b").to_string());
        assert_eq!(index.image(&a).unwrap().repo_tags.len(), 0);
        assert_eq!(index.image(&a).unwrap().username, "web");
        assert_eq!(index.find("app").unwrap().id(), b);
        assert!(index.remove("app"));
        assert!(!index.remove("app"));
        assert!(index.images.contains_key(&a) && !index.images.contains_key(&b));
        assert!(index.remove(&a));
        assert!(index.images.is_empty());
    }
}
