//! Manifests, indexes and image configs (OCI image specification, docker's schema 2), as far as a node needs them.

use std::collections::BTreeMap;

use cri::image::ImageConfig;
use serde::{Deserialize, Deserializer, Serialize};

use crate::digest::{Digest, chain_ids};

/// Bytes of a manifest or index, at most (containerd's bound).
pub const MANIFEST_BYTES_MAX: u64 = 4 * 1048 * 1048;
/// Bytes of an image config, at most.
pub const CONFIG_BYTES_MAX: u64 = 16 << 20;
/// Layers of an image, at most (overlayfs' own bound is 500; the kernel's options page is shorter).
pub const LAYERS_MAX: usize = 128;

/// OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI config.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, not compressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Reference to content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// Media type.
    #[serde(rename = "mediaType", default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Digest.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// Platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Platform of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `v8`, …
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// A manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// Media type.
    #[serde(rename = "mediaType", default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Image config.
    pub config: Descriptor,
    /// Layers, bottom first.
    pub layers: Vec<Descriptor>,
}

/// What a manifest request may answer with.
#[derive(Debug)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Images for several platforms.
    Index(Vec<Descriptor>),
}

/// Tells manifest from index by what it holds.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_document(bytes: &[u8]) -> Result<Document, String> {
    #[derive(Deserialize)]
    struct Shape {
        #[serde(rename = "schemaVersion", default)]
        schema_version: u32,
        manifests: Option<Vec<Descriptor>>,
        config: Option<serde::de::IgnoredAny>,
        #[serde(rename = "fsLayers")]
        old_layers: Option<serde::de::IgnoredAny>,
    }
    let shape: Shape = serde_json::from_slice(bytes).map_err(|error| format!("manifest: {error}"))?;
    if shape.old_layers.is_some() || shape.schema_version == 1 {
        return Err("media type \"application/vnd.docker.distribution.manifest.v1+prettyjws\" is no longer supported \
                    since containerd v2.0, please rebuild the image as \
                    \"application/vnd.docker.distribution.manifest.v2+json\" or \
                    \"application/vnd.oci.image.manifest.v1+json\": not implemented"
            .to_owned());
    }
    match (shape.manifests, shape.config) {
        (Some(manifests), None) => Ok(Document::Index(manifests)),
        (None, Some(_)) => {
            let manifest: Manifest =
                serde_json::from_slice(bytes).map_err(|error| format!("manifest: {error}"))?;
            if manifest.layers.len() > LAYERS_MAX {
                return Err(format!(
                    "manifest has {} layers, more than the limit of {LAYERS_MAX}",
                    manifest.layers.len()
                ));
            }
            Ok(Document::Manifest(manifest))
        }
        _ => Err("manifest has neither a config nor a list of manifests".to_owned()),
    }
}

/// The platform that this program was built for.
pub fn host_platform() -> Platform {
    let (architecture, variant) = match std::env::consts::ARCH {
        "x86_64" => ("amd64", ""),
        "aarch64" => ("arm64", "v8"),
        "arm" => ("arm", "v7"),
        "x86" => ("386", ""),
        "powerpc64" => ("ppc64le", ""),
        other => (other, ""),
    };
    Platform { architecture: architecture.to_owned(), os: "linux".to_owned(), variant: variant.to_owned() }
}

/// The entry of an index for a platform: the same variant first, then one that the host can run.
pub fn choose<'a>(entries: &'a [Descriptor], host: &Platform) -> Option<&'a Descriptor> {
    let rank = |entry: &Descriptor| -> Option<u32> {
        let Some(platform) = &entry.platform else { return Some(9) };
        if platform.os != host.os || platform.architecture != host.architecture {
            return None;
        }
        match (platform.variant.as_str(), host.variant.as_str()) {
            (offered, wanted) if offered == wanted => Some(0),
            ("", "v8") | ("v8", "") => Some(0),
            ("", _) => Some(1),
            (offered, wanted) => {
                let level = |text: &str| text.trim_start_matches('v').parse::<u32>().ok();
                let difference = level(wanted)?.checked_sub(level(offered)?)?;
                Some(1 + difference)
            }
        }
    };
    entries
        .iter()
        .filter(|entry| !matches!(&entry.platform, Some(platform) if platform.os == "unknown"))
        .filter_map(|entry| rank(entry).map(|rank| (rank, entry)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry)
}

/// The parts of an image config that the store keeps.
#[derive(Debug, Clone)]
pub struct ParsedConfig {
    /// What containers are made from.
    pub config: ImageConfig,
    /// Digests of the uncompressed layers, bottom first.
    pub diff_ids: Vec<Digest>,
    /// Chain ids, bottom first.
    pub chain_ids: Vec<Digest>,
    /// When the image was made, as the config writes it.
    pub created: String,
}

#[derive(Deserialize, Default)]
struct RawConfig {
    #[serde(default)]
    os: String,
    #[serde(default, deserialize_with = "null_default")]
    config: RawInner,
    #[serde(default, deserialize_with = "null_default")]
    rootfs: RawRoot,
    #[serde(default, deserialize_with = "null_default")]
    created: String,
}

#[derive(Deserialize, Default)]
struct RawRoot {
    #[serde(default, deserialize_with = "null_default")]
    diff_ids: Vec<Digest>,
}

#[derive(Deserialize, Default)]
struct RawInner {
    #[serde(rename = "Entrypoint", default, deserialize_with = "null_default")]
    entrypoint: Vec<String>,
    #[serde(rename = "Cmd", default, deserialize_with = "null_default")]
    cmd: Vec<String>,
    #[serde(rename = "Env", default, deserialize_with = "null_default")]
    env: Vec<String>,
    #[serde(rename = "WorkingDir", default, deserialize_with = "null_default")]
    working_dir: String,
    #[serde(rename = "User", default, deserialize_with = "null_default")]
    user: String,
    #[serde(rename = "StopSignal", default, deserialize_with = "null_default")]
    stop_signal: String,
    #[serde(rename = "Volumes", default, deserialize_with = "null_default")]
    volumes: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(rename = "Labels", default, deserialize_with = "null_default")]
    labels: BTreeMap<String, String>,
}

/// Writers differ in whether they write `null` for what is empty.
fn null_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Parses an image config.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_config(bytes: &[u8]) -> Result<ParsedConfig, String> {
    let raw: RawConfig = serde_json::from_slice(bytes).map_err(|error| format!("image config: {error}"))?;
    if !raw.os.is_empty() && raw.os != "linux" {
        return Err(format!("image config: operating system {:?} is not linux", raw.os));
    }
    if raw.rootfs.diff_ids.len() > LAYERS_MAX {
        return Err(format!("image config: more than the limit of {LAYERS_MAX} layers"));
    }
    let inner = raw.config;
    Ok(ParsedConfig {
        config: ImageConfig {
            entrypoint: inner.entrypoint,
            cmd: inner.cmd,
            env: inner.env,
            working_dir: inner.working_dir,
            user: inner.user,
            stop_signal: inner.stop_signal,
            volumes: inner.volumes.into_keys().collect(),
            labels: inner.labels,
        },
        chain_ids: chain_ids(&raw.rootfs.diff_ids),
        diff_ids: raw.rootfs.diff_ids,
        created: raw.created,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(os: &str, architecture: &str, variant: &str) -> Descriptor {
        Descriptor {
            media_type: OCI_MANIFEST.to_owned(),
            digest: Digest::of(format!("{os}{architecture}{variant}").as_bytes()),
            size: 1,
            platform: Some(Platform {
                architecture: architecture.to_owned(),
                os: os.to_owned(),
                variant: variant.to_owned(),
            }),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn the_nearest_platform_is_chosen() {
        let entries = [
            entry("unknown", "unknown", ""),
            entry("windows", "amd64", ""),
            entry("linux", "arm", "v6"),
            entry("linux", "arm", "v7"),
            entry("linux", "arm64", "v8"),
            entry("linux", "amd64", "v3"),
            entry("linux", "amd64", ""),
        ];
        let cases = [
            ("amd64", "", Some(6)),
            ("arm", "v7", Some(3)),
            ("arm", "v5", None),
            ("arm64", "", Some(4)),
            ("s390x", "", None),
        ];
        for (architecture, variant, expected) in cases {
            let host = Platform {
                architecture: architecture.to_owned(),
                os: "linux".to_owned(),
                variant: variant.to_owned(),
            };
            assert_eq!(
                choose(&entries, &host),
                expected.map(|index: usize| &entries[index]),
                "{architecture}{variant}"
            );
        }
    }

    #[test]
    fn documents_are_told_apart() {
        let digest = Digest::of(b"");
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{digest}","size":1}}]}}"#);
        assert!(
            matches!(parse_document(index.as_bytes()), Ok(Document::Index(entries)) if entries.len() == 1)
        );
        let manifest =
            format!(r#"{{"schemaVersion":2,"config":{{"digest":"{digest}","size":1}},"layers":[]}}"#);
        assert!(matches!(parse_document(manifest.as_bytes()), Ok(Document::Manifest(_))));
        for wrong in [
            r#"{}"#,
            "[]",
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            r#"{"config":{"digest":"sha256:x","size":1},"layers":[]}"#,
        ] {
            assert!(parse_document(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn configs_may_hold_nulls() {
        let parsed = parse_config(
            br#"{"os":"linux","config":{"Entrypoint":null,"Cmd":["sh"],"Volumes":{"/data":{}},"User":"1000"},"rootfs":{"diff_ids":null}}"#,
        )
        .unwrap();
        assert_eq!(parsed.config.cmd, ["sh"]);
        assert_eq!(parsed.config.volumes, ["/data"]);
        assert!(parse_config(br#"{"os":"windows"}"#).is_err());
    }
}
