//! Files that change all at once (upstream's atomic writer): they live in a directory of their own time, `..data` points
//! at it, and each name is a link through `..data`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path};

use jiff::Timestamp;
use stdx::entropy::Entropy;

use super::ownership::Owner;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// A file to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Contents.
    pub data: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner, where it is not root.
    pub uid: Option<u32>,
}

/// Files by path relative to the volume.
pub type Files = BTreeMap<String, File>;

/// A path that stays inside: relative, without `..`, and not in the writer's own names.
pub fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("invalid path: must not be empty: \"\"".into());
    }
    if path.starts_with('/') {
        return Err(format!("invalid path: must be relative path: {path}"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!("invalid path: must not contain '..': {path}"));
    }
    if path.starts_with("..") {
        return Err(format!("invalid path: must not start with '..': {path}"));
    }
    Ok(())
}

/// Puts exactly these files into `directory`, all at once. The same files as before change nothing. Returns whether
/// anything changed.
///
/// # Errors
/// When a file cannot be written; what was there stays.
pub fn write(
    directory: &Path,
    files: &Files,
    owner: Owner,
    now: Timestamp,
    entropy: &Entropy,
) -> io::Result<bool> {
    fs::create_dir_all(directory)?;
    let present = fs::read_link(directory.join(DATA)).ok();
    if let Some(present) = &present
        && same(&directory.join(present), files)
    {
        return Ok(false);
    }
    let stamp = now.strftime("%Y_%m_%d_%H_%M_%S");
    let fresh = format!("..{stamp}.{}", entropy.below(u64::from(u32::MAX)));
    let written = fill(&directory.join(&fresh), files, owner).and_then(|()| {
        let link = directory.join(DATA_NEW);
        remove_if_there(&link)?;
        symlink(&fresh, &link)?;
        fs::rename(&link, directory.join(DATA))
    });
    if let Err(error) = written {
        // Nothing half-done stays; the first error is the one that counts.
        let _ = sys::tree::remove(&directory.join(&fresh));
        return Err(error);
    }
    link_names(directory, files)?;
    owner.apply(directory, 0o777, true)?;
    if let Some(present) = present {
        sys::tree::remove(&directory.join(present))?;
    }
    Ok(true)
}

fn fill(folder: &Path, files: &Files, owner: Owner) -> io::Result<()> {
    fs::create_dir(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for (name, file) in files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, &file.data)?;
        // The mode is set after the write: what is created obeys the umask.
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
        Owner { uid: file.uid, ..owner }.apply(&path, file.mode, false)?;
    }
    owner.apply(folder, 0o755, true)
}

/// Whether a folder holds exactly these files.
fn same(folder: &Path, files: &Files) -> bool {
    let mut found = BTreeSet::new();
    if collect(folder, folder, &mut found).is_err() || found.len() != files.len() {
        return false;
    }
    files.iter().all(|(name, file)| {
        let path = folder.join(name);
        found.contains(name)
            && fs::read(&path).is_ok_and(|data| data == file.data)
            && fs::metadata(&path).is_ok_and(|own| own.permissions().mode() & 0o700 == file.mode & 0o700)
    })
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect(root, &entry.path(), found)?;
        } else if let Ok(name) = entry.path().strip_prefix(root) {
            found.insert(name.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

/// Makes the links that users see, and removes those of names that are gone.
fn link_names(directory: &Path, files: &Files) -> io::Result<()> {
    let first = |name: &String| match Path::new(name).components().next() {
        Some(Component::Normal(part)) => Some(part.to_owned()),
        _ => None,
    };
    let wanted: BTreeSet<_> = files.keys().filter_map(first).collect();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        if !name.to_string_lossy().starts_with("..") && !wanted.contains(&name) {
            remove_if_there(&directory.join(name))?;
        }
    }
    for name in wanted {
        let link = directory.join(&name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(&name), &link)?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        let file = |data: &str| File { data: data.into(), mode: 0o640, uid: None };
        list.iter().map(|(name, data)| ((*name).to_owned(), file(data))).collect()
    }

    #[test]
    fn files_change_all_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (path, entropy) = (folder.path().join("v"), Entropy::seeded(1));
        let put = |list: &[(&str, &str)]| {
            write(&path, &files(list), Owner::default(), Timestamp::UNIX_EPOCH, &entropy).unwrap()
        };
        assert!(put(&[("a", "1"), ("d/b", "2")]));
        assert!(!put(&[("a", "1"), ("d/b", "2")]), "nothing new");
        assert_eq!(fs::read_to_string(path.join("d/b")).unwrap(), "2");
        assert_eq!(fs::metadata(path.join("a")).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(put(&[("a", "3"), ("c", "4")]));
        assert_eq!(fs::read_to_string(path.join("a")).unwrap(), "3");
        assert!(!path.join("d").exists(), "a name that is gone");
        let left = fs::read_dir(&path).unwrap().count();
        assert_eq!(left, 4, "..data, its folder, a and c");
        assert!(put(&[]));
        assert!(!path.join("a").exists());
    }

    #[test]
    fn paths_stay_inside() {
        for bad in ["", "/a", "a/../b", "../a", "..data", ".."] {
            assert!(check_path(bad).is_err(), "{bad}");
        }
        for good in ["a", "a/b", "a..b", "a/..b"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
    }
}
