//! `subPath`: a part of a volume, found without following any link out of it. The part is bound to a place of the Pod's
//! own at once, so that nobody can put a link there between the check and the mount.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use k8s_openapi::api::core::v1::VolumeMount;
use podlogic::env;
use sys::path::Missing;

/// The part of a volume that is mounted; `None` is all of it.
///
/// # Errors
/// The message of `CreateContainerConfigError` for an expression that does not work out.
pub fn of(mount: &VolumeMount, envs: &[(String, String)]) -> Result<Option<String>, String> {
    let expression = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty());
    let text = match (expression, mount.sub_path.as_deref()) {
        (Some(expression), _) => {
            let lookup =
                |name: &str| envs.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.clone());
            let expanded = env::expand(expression, &lookup);
            if expanded.contains("$(") {
                return Err(format!("missing value for {expression:?}"));
            }
            expanded
        }
        (None, Some(text)) => text.to_owned(),
        (None, None) => return Ok(None),
    };
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('/') || text.split('/').any(|part| part == "..") {
        return Err(format!("error SubPath `{text}` must not be an absolute path or contain '..'"));
    }
    Ok(Some(text))
}

/// Binds `volume`'s part to `place`. A missing part becomes a directory.
///
/// # Errors
/// When the part leads out of the volume or cannot be bound.
pub fn bind(volume: &Path, part: &str, place: &Path) -> io::Result<()> {
    let root = sys::path::open_location(volume)?;
    let found = sys::path::open_or_make(root.as_fd(), &Path::new("/").join(part), Missing::Directory)?;
    let mount = sys::mount::copy_at(found.as_fd(), true)?;
    // A container that restarts finds its place taken: its last mount goes first.
    super::mounts::unmount_below(place)?;
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if sys::path::is_directory(found.as_fd())? {
        std::fs::create_dir_all(place)?;
    } else if !place.exists() {
        std::fs::File::create(place)?;
    }
    let target = sys::path::open_location(place)?;
    sys::mount::attach(mount.as_fd(), target.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_inside() {
        let of_path =
            |path: &str| of(&VolumeMount { sub_path: Some(path.into()), ..VolumeMount::default() }, &[]);
        assert_eq!(of_path("a/b"), Ok(Some("a/b".into())));
        assert_eq!(of_path(""), Ok(None));
        assert!(of_path("../a").is_err());
        assert!(of_path("/a").is_err());
        let expression = VolumeMount { sub_path_expr: Some("$(POD)/x".into()), ..VolumeMount::default() };
        assert_eq!(of(&expression, &[("POD".into(), "p".into())]), Ok(Some("p/x".into())));
        assert!(of(&expression, &[]).is_err());
        assert!(of(&expression, &[("POD".into(), "..".into())]).is_err());
    }
}
