//! `hostPath`: a path of the node, checked or made as its type says.

use std::fs::{self, FileType};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::HostPathVolumeSource;

/// What a type demands: (type, what the message says, test).
type Check = (&'static str, &'static str, fn(&FileType) -> bool);

const CHECKS: [Check; 7] = [
    ("DirectoryOrCreate", "is not a directory", FileType::is_dir),
    ("Directory", "is not a directory", FileType::is_dir),
    ("FileOrCreate", "is not a file", FileType::is_file),
    ("File", "is not a file", FileType::is_file),
    ("Socket", "is not a socket file", FileType::is_socket),
    ("CharDevice", "is not a character device", FileType::is_char_device),
    ("BlockDevice", "is not a block device", FileType::is_block_device),
];

/// Checks (or makes) the path. Without a type, a path that is missing becomes a directory, as runtimes do.
///
/// # Errors
/// Upstream's words: `hostPath type check failed: /x is not a directory`.
pub fn make(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let missing = !path.exists();
    match kind {
        "" | "DirectoryOrCreate" if missing => {
            fs::create_dir_all(path).map_err(failed)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        }
        "FileOrCreate" if missing => {
            fs::OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(failed)?;
        }
        _ => {}
    }
    let Some((_, words, check)) = CHECKS.iter().find(|(name, ..)| *name == kind) else {
        return Ok(path.to_owned());
    };
    match fs::metadata(path) {
        Ok(metadata) if check(&metadata.file_type()) => Ok(path.to_owned()),
        _ => Err(format!("hostPath type check failed: {} {words}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_or_made() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, kind: &str| {
            let path = folder.path().join(name).to_string_lossy().into_owned();
            let type_ = Some(kind.to_owned());
            make(&HostPathVolumeSource { path, type_ })
                .map(drop)
                .map_err(|text| text.replace(&folder.path().to_string_lossy().into_owned(), ""))
        };
        assert_eq!(check("a", "Directory"), Err("hostPath type check failed: /a is not a directory".into()));
        assert_eq!(check("a", "DirectoryOrCreate"), Ok(()));
        assert_eq!(check("a", "File"), Err("hostPath type check failed: /a is not a file".into()));
        assert_eq!(check("b", "FileOrCreate"), Ok(()));
        assert_eq!(check("b", "Socket"), Err("hostPath type check failed: /b is not a socket file".into()));
        assert_eq!(check("c", ""), Ok(()));
    }
}
