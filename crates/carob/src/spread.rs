//! Directories in which Pods' directories come and go. ext4 keeps a file's inode near its directory's and does not use one again
//! for a minute or more after it was freed, but looks at each of those first: where fifty Pods have gone, a new file costs half a
//! millisecond, and a Pod has dozens. Directories marked as the tops of unrelated trees (`FS_TOPDIR_FL`, chattr +T) get their
//! children's trees spread over the disk's groups, each with few freed inodes.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::Context;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// Makes directories, if need be, and marks them. Other file systems do not know the mark, or do not care.
///
/// # Errors
/// When one cannot be made or opened.
pub fn spread(directories: &[PathBuf]) -> anyhow::Result<()> {
    for path in directories {
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        let directory = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let marked = ioctl_getflags(&directory).and_then(|flags| match flags.contains(IFlags::TOPDIR) {
            true => Ok(()),
            false => ioctl_setflags(&directory, flags | IFlags::TOPDIR),
        });
        if let Err(error) = marked {
            tracing::debug!(path = %path.display(), %error, "children of this directory stay close together");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_and_stay_usable() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().join("a/b"), folder.path().join("a")];
        spread(&paths).unwrap();
        spread(&paths).unwrap();
        fs::write(paths[0].join("c"), "").unwrap();
        assert!(spread(&[paths[0].join("c/d")]).is_err(), "below a file");
    }
}
