//! `subPath`: a part of a volume. What its links mean is worked out first, as the node sees them, and must lie in the
//! volume; then the part is opened without following any link, and bound to a place of the Pod's own at once, so that
//! nobody can put a link there between the check and the mount. The outcomes are those of upstream's
//! `pkg/volume/util/subpath`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::VolumeMount;
use podlogic::env;

/// What could not be done with a part of a volume. The cause is for the log: it says something of the node.
#[derive(Debug)]
pub enum Failed {
    /// A part that is missing could not be made.
    Create(io::Error),
    /// It leads out of the volume, or could not be bound.
    Prepare(io::Error),
}

impl Failed {
    /// The message of `CreateContainerConfigError`.
    pub fn message(&self, volume: &str, container: &str) -> String {
        let what = match self {
            Self::Create(_) => "create subPath directory",
            Self::Prepare(_) => "prepare subPath",
        };
        format!("failed to {what} for volumeMount {volume:?} of container {container:?}")
    }

    /// Why.
    pub fn cause(&self) -> &io::Error {
        match self {
            Self::Create(error) | Self::Prepare(error) => error,
        }
    }
}

/// The part of a volume that is mounted; `None` is all of it.
///
/// # Errors
/// The message of `CreateContainerConfigError` for an expression that does not work out.
pub fn of(mount: &VolumeMount, envs: &[(String, String)]) -> Result<Option<String>, String> {
    let expression = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty());
    let text = match (expression, mount.sub_path.as_deref()) {
        (Some(expression), _) => expand(expression, envs)?,
        (None, Some(text)) => text.to_owned(),
        (None, None) => return Ok(None),
    };
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('/') {
        return Err(format!("error SubPath `{text}` must not be an absolute path"));
    }
    if text.split('/').any(|part| part == "..") {
        return Err(format!("unable to provision SubPath `{text}`: must not contain '..'"));
    }
    Ok(Some(text))
}

/// An expression with its variables put in: each must be there, and must not be empty.
fn expand(expression: &str, envs: &[(String, String)]) -> Result<String, String> {
    let missing = std::cell::RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        let value = envs.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.clone());
        let value = value.unwrap_or_default();
        if value.is_empty() {
            missing.borrow_mut().insert(name.to_owned());
        }
        Some(value)
    };
    let expanded = env::expand(expression, &lookup);
    let missing: Vec<String> = missing.into_inner().into_iter().collect();
    if missing.is_empty() { Ok(expanded) } else { Err(format!("missing value for {}", missing.join(", "))) }
}

/// Binds `volume`'s part to `place`. A missing part becomes directories of the volume's mode.
///
/// # Errors
/// When the part leads out of the volume, cannot be made or cannot be bound.
pub fn bind(volume: &Path, part: &str, place: &Path) -> Result<(), Failed> {
    let volume = fs::canonicalize(volume).map_err(Failed::Prepare)?;
    let inner = resolve(&volume, part)?;
    bind_existing(&volume, &inner, place).map_err(Failed::Prepare)
}

/// Where a part lies in the volume once its links are followed. A missing part is made.
fn resolve(volume: &Path, part: &str) -> Result<PathBuf, Failed> {
    let path = volume.join(part);
    if fs::metadata(&path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        make(volume, part).map_err(Failed::Create)?;
    }
    below(volume, &path).map_err(Failed::Prepare)
}

/// What a path of the node is called below the volume once its links are followed.
fn below(volume: &Path, path: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(path)?;
    let inner = real.strip_prefix(volume).map_err(|_| io::Error::other("it leads out of the volume"))?;
    Ok(inner.to_owned())
}

/// Makes the directories that are missing, each below the one before, whatever anybody puts there meanwhile.
fn make(volume: &Path, part: &str) -> io::Result<()> {
    let root = sys::path::open_location(volume)?;
    let mode = fs::metadata(volume)?.permissions().mode() & 0o7777;
    let mut names = Path::new(part).components().filter(|own| matches!(own, Component::Normal(_))).peekable();
    let mut there = volume.to_owned();
    while let Some(name) = names.peek() {
        let next = there.join(name);
        match fs::metadata(&next) {
            Ok(_) => there = next,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        }
        names.next();
    }
    let mut directory = sys::path::open_beneath(root.as_fd(), &below(volume, &there)?, sys::path::O_PATH)?;
    for name in names {
        directory = sys::path::make_directory_of_mode(directory.as_fd(), Path::new(&name), mode)?;
    }
    Ok(())
}

fn bind_existing(volume: &Path, inner: &Path, place: &Path) -> io::Result<()> {
    let root = sys::path::open_location(volume)?;
    let found = sys::path::open_beneath(root.as_fd(), inner, sys::path::O_PATH)?;
    let mount = sys::mount::copy_at(found.as_fd(), false)?;
    // A container that restarts finds its place taken: its last mount goes first.
    super::mounts::unmount_below(place)?;
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent)?;
    }
    if sys::path::is_directory(found.as_fd())? {
        fs::create_dir_all(place)?;
    } else if !place.exists() {
        fs::File::create(place)?;
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
        assert_eq!(of_path("../a"), Err("unable to provision SubPath `../a`: must not contain '..'".into()));
        assert_eq!(of_path("/a"), Err("error SubPath `/a` must not be an absolute path".into()));
    }

    #[test]
    fn expressions_need_all_their_variables() {
        let envs =
            [("POD", "p"), ("UP", ".."), ("EMPTY", "")].map(|(name, value)| (name.into(), value.into()));
        let rows = [
            ("$(POD)/x", Ok("p/x")),
            ("$$(POD)/$POD", Ok("$(POD)/$POD")),
            ("$(B)/$(A)/$(B)", Err("missing value for A, B")),
            ("$(EMPTY)", Err("missing value for EMPTY")),
            ("a/$(UP)", Err("unable to provision SubPath `a/..`: must not contain '..'")),
        ];
        for (expression, expected) in rows {
            let mount = VolumeMount { sub_path_expr: Some(expression.into()), ..VolumeMount::default() };
            let expected = expected.map(|text| Some(text.to_owned())).map_err(str::to_owned);
            assert_eq!(of(&mount, &envs), expected, "{expression}");
        }
    }

    /// Where a part leads in a volume with links; what is missing is made.
    #[test]
    fn links_are_what_they_are_on_the_node() {
        let node = tempfile::tempdir().unwrap();
        let node = fs::canonicalize(node.path()).unwrap();
        let volume = node.join("volume");
        for folder in ["volume/inner", "elsewhere/there"] {
            fs::create_dir_all(node.join(folder)).unwrap();
        }
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o2775)).unwrap();
        fs::write(volume.join("file"), "x").unwrap();
        let absolute = volume.join("inner").display().to_string();
        for (link, target) in [
            ("root", "/"),
            ("out", "../elsewhere"),
            ("round", "../volume/inner"),
            ("relative", "inner"),
            ("absolute", absolute.as_str()),
            ("dangling", "/nonexistent"),
            ("loop", "loop"),
        ] {
            std::os::unix::fs::symlink(target, volume.join(link)).unwrap();
        }
        let resolved = |part: &str| match resolve(&volume, part) {
            Ok(inner) => Ok(inner.display().to_string()),
            Err(Failed::Create(_)) => Err("create"),
            Err(Failed::Prepare(_)) => Err("prepare"),
        };
        let rows = [
            (".", Ok("")),
            ("inner", Ok("inner")),
            ("file", Ok("file")),
            ("relative", Ok("inner")),
            ("round", Ok("inner")),
            ("absolute", Ok("inner")),
            ("relative/new/one", Ok("inner/new/one")),
            ("absolute/./other/", Ok("inner/other")),
            ("root", Err("prepare")),
            ("root/etc", Err("prepare")),
            ("out", Err("prepare")),
            ("out/there", Err("prepare")),
            ("out/new", Err("create")),
            ("dangling", Err("create")),
            ("dangling/new", Err("create")),
            ("loop", Err("prepare")),
            ("file/new", Err("prepare")),
        ];
        for (part, expected) in rows {
            assert_eq!(resolved(part), expected.map(str::to_owned), "{part}");
        }
        let mode = fs::metadata(volume.join("inner/new/one")).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o2775, "what is made has the volume's mode");
        assert_eq!(fs::read_dir(node.join("elsewhere")).unwrap().count(), 1, "nothing is made elsewhere");
    }
}
