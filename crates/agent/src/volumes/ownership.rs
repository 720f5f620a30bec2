//! `fsGroup`: volumes that belong to the Pod's group.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// Who files belong to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// User, where it is not root.
    pub uid: Option<u32>,
    /// `securityContext.fsGroup`.
    pub group: Option<u32>,
}

impl Owner {
    /// Gives a file or directory to its owner: with a group, the group may read what the user may (and write what it
    /// may write), and new files in directories belong to it too.
    ///
    /// # Errors
    /// When owner or mode cannot be set.
    pub fn apply(self, path: &Path, mode: u32, directory: bool) -> io::Result<()> {
        if self.uid.is_some() || self.group.is_some() {
            chown(path, self.uid, self.group)?;
        }
        if self.group.is_none() {
            return Ok(());
        }
        let group = (mode & 0o700) >> 3;
        let mode = if directory { mode | 0o2770 } else { mode | group | 0o040 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    /// Gives a directory and all in it to the group, once: what the group owns already is left alone.
    ///
    /// # Errors
    /// When owner or mode cannot be set.
    pub fn apply_tree(self, root: &Path) -> io::Result<()> {
        let Some(group) = self.group else { return Ok(()) };
        let metadata = fs::symlink_metadata(root)?;
        if metadata.gid() == group && metadata.mode() & 0o2070 == 0o2070 {
            return Ok(());
        }
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.apply_tree(&entry.path())?;
            } else if !kind.is_symlink() {
                self.apply(&entry.path(), entry.metadata()?.mode() & 0o777 | 0o060, false)?;
            }
        }
        self.apply(root, metadata.mode() & 0o777, true)
    }
}
