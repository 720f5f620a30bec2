//! Mounts of volumes: tmpfs, and taking them away again.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// `statfs` type of tmpfs.
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Whether something of its own is mounted at `path`.
fn is_mounted(path: &Path) -> io::Result<bool> {
    Ok(below(path)?.iter().any(|mounted| mounted == path))
}

/// Mounts a tmpfs at `path` unless one is there.
pub fn ensure_tmpfs(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    let there = rustix::fs::statfs(path)?;
    #[allow(clippy::unnecessary_cast)] // the field's type differs between architectures
    if there.f_type as i64 == TMPFS_MAGIC && is_mounted(path)? {
        return Ok(());
    }
    sys::mount::mount("tmpfs", path, "mode=0755")
}

/// Mounts a tmpfs of at most so many bytes (0: the kernel's default) unless one is there.
pub fn sized_tmpfs(path: &Path, size_bytes: u64) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    if is_mounted(path)? {
        return Ok(());
    }
    let options =
        if size_bytes == 0 { "mode=0777".to_owned() } else { format!("mode=0777,size={size_bytes}") };
    sys::mount::mount("tmpfs", path, &options)
}

/// Mount points at and below a path, innermost last.
fn below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let lines = table.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescape);
    Ok(points.filter(|point| point.starts_with(path)).collect())
}

/// The kernel writes blanks and backslashes in octal.
fn unescape(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, octal.and_then(|digits| u8::from_str_radix(digits, 8).ok())) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// Unmounts whatever is mounted at and below a path, innermost first.
pub fn unmount_below(path: &Path) -> io::Result<()> {
    for point in below(path)?.iter().rev() {
        sys::mount::unmount(point)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        assert_eq!(unescape(b"/a\\040b\\134c"), PathBuf::from("/a b\\c"));
        assert!(below(Path::new("/proc")).unwrap().contains(&PathBuf::from("/proc")));
    }
}
