//! Directories in which Pods' directories come and go, on an ext4 without a journal (virtual machines often have one). There a freed
//! inode is not used again for a minute or more, and whoever makes a file looks at each of those in its directory's group first:
//! where fifty Pods have gone, a new file costs half a millisecond, and a Pod has dozens. Directories marked as the tops of unrelated
//! trees (`FS_TOPDIR_FL`, chattr +T) get their children's trees spread over the disk's groups, each with few freed inodes.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::Context;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// Makes directories, if need be, and marks those that are better off with it.
///
/// # Errors
/// When one cannot be made or opened.
pub fn spread(directories: &[PathBuf]) -> anyhow::Result<()> {
    for path in directories {
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        let directory = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        if !lacks_journal(&directory) {
            continue;
        }
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

/// Whether this is an ext4 that says it has no journal.
fn lacks_journal(directory: &File) -> bool {
    let journal = || -> std::io::Result<String> {
        let device = directory.metadata()?.dev();
        let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let path = fs::canonicalize(PathBuf::from("/sys/dev/block").join(number))?;
        let name = path.file_name().unwrap_or_default();
        fs::read_to_string(PathBuf::from("/sys/fs/ext4").join(name).join("journal_task"))
    };
    journal().is_ok_and(|text| text.trim() == "<none>")
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
