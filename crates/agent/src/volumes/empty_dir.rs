//! `emptyDir`: a directory of the node's disk, or a tmpfs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod};
use model::quantity::Quantity;
use podlogic::pod;

use super::mounts;
use super::ownership::Owner;
use crate::seams::VolumeFacts;

/// Makes the directory at `path`.
///
/// # Errors
/// Says what failed.
pub fn make(
    path: &Path,
    source: &EmptyDirVolumeSource,
    pod: &Pod,
    owner: Owner,
    facts: VolumeFacts<'_>,
) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let fresh = !path.exists();
    match source.medium.as_deref().unwrap_or_default() {
        "" => fs::create_dir_all(path).map_err(failed)?,
        "Memory" => mounts::sized_tmpfs(path, memory_bytes(source, pod, facts)).map_err(failed)?,
        other => return Err(format!("storage medium {other:?} is not supported on this node")),
    }
    if fresh {
        // After the creation: the umask must not take anything away.
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).map_err(failed)?;
        owner.apply_tree(path).map_err(failed)?;
    }
    Ok(path.to_owned())
}

/// Size of a tmpfs: its limit, but no more than the Pod's containers may use, or the node can give.
fn memory_bytes(source: &EmptyDirVolumeSource, pod: &Pod, facts: VolumeFacts<'_>) -> u64 {
    let bytes = |quantity: &Quantity| u64::try_from(quantity.value()).unwrap_or(0);
    let read = |text: &str| Quantity::parse(text).map(|own| bytes(&own)).unwrap_or(0);
    let limit = |container: &k8s_openapi::api::core::v1::Container| {
        let limits = container.resources.as_ref().and_then(|own| own.limits.as_ref());
        limits.and_then(|limits| limits.get("memory")).map(|own| read(&own.0))
    };
    let node = facts.allocatable.get("memory").map_or(0, bytes);
    // One container without a limit may use all that the node has.
    let containers: Option<u64> = pod::spec(pod).containers.iter().map(limit).sum();
    let ceiling = containers.filter(|own| *own > 0).unwrap_or(node);
    let wanted = source.size_limit.as_ref().map_or(0, |own| read(&own.0));
    match (wanted, ceiling) {
        (0, ceiling) => ceiling,
        (wanted, 0) => wanted,
        (wanted, ceiling) => wanted.min(ceiling),
    }
}
