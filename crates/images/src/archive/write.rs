//! Writes tar archives the same way every time: sorted names, pax for what ustar cannot hold, no times of today.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::unpack::{descriptor_link, file_type, xattr_kept};

/// One file to put into an archive.
#[derive(Debug, Clone)]
pub enum SourceFile {
    /// The content of a file on disk.
    Path(PathBuf),
    /// Content in memory.
    Bytes(Vec<u8>),
    /// A directory.
    Directory,
    /// A symbolic link to this target.
    Symlink(String),
}

/// Appends one entry per file; directories above are made by the unpacker. Owner 0:0, time 0.
///
/// # Errors
/// Names the file that cannot be read.
pub fn write_files(out: &mut dyn Write, files: &[(String, SourceFile, u32)]) -> io::Result<()> {
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by(|a, b| a.0.trim_start_matches('/').cmp(b.0.trim_start_matches('/')));
    for (path, source, mode) in sorted {
        let path = path.trim_start_matches('/').as_bytes();
        let mut header = Header::new(path, *mode);
        match source {
            SourceFile::Path(from) => {
                let mut file = std::fs::File::open(from)
                    .map_err(|error| crate::files::with_path("open", from, error))?;
                header.size = file.metadata()?.len();
                header.write(out)?;
                copy_content(&mut file, out, header.size)?;
            }
            SourceFile::Bytes(bytes) => {
                header.size = bytes.len() as u64;
                header.write(out)?;
                copy_content(&mut bytes.as_slice(), out, header.size)?;
            }
            SourceFile::Directory => {
                header.kind = tar::EntryType::Directory;
                header.write(out)?;
            }
            SourceFile::Symlink(target) => {
                header.kind = tar::EntryType::Symlink;
                header.link = target.as_bytes().to_vec();
                header.write(out)?;
            }
        }
    }
    finish(out)
}

/// Writes a whole folder, names sorted, with owners, modes, times, attributes, devices and hard links as on disk.
///
/// # Errors
/// Names the file that cannot be read.
pub fn write_folder(out: &mut dyn Write, root: &Path) -> io::Result<()> {
    let mut links: std::collections::HashMap<(u64, u64), Vec<u8>> = std::collections::HashMap::new();
    let mut pending: Vec<(PathBuf, Vec<u8>)> = vec![(root.to_owned(), Vec::new())];
    while let Some((path, inner)) = pending.pop() {
        let metadata =
            path.symlink_metadata().map_err(|error| crate::files::with_path("look at", &path, error))?;
        if metadata.file_type().is_socket() {
            continue;
        }
        write_one(out, &path, &inner, &metadata, &mut links)
            .map_err(|error| crate::files::with_path("pack", &path, error))?;
        if metadata.is_dir() {
            let mut names: Vec<_> = std::fs::read_dir(&path)?
                .map(|entry| entry.map(|entry| entry.file_name()))
                .collect::<io::Result<_>>()?;
            // The list is worked off from its end.
            names.sort_by(|a, b| b.cmp(a));
            for name in names {
                let mut inner_path = inner.clone();
                if !inner_path.is_empty() {
                    inner_path.push(b'/');
                }
                inner_path.extend_from_slice(name.as_bytes());
                pending.push((path.join(&name), inner_path));
            }
        }
    }
    finish(out)
}

fn write_one(
    out: &mut dyn Write,
    path: &Path,
    inner: &[u8],
    metadata: &std::fs::Metadata,
    links: &mut std::collections::HashMap<(u64, u64), Vec<u8>>,
) -> io::Result<()> {
    let mut header = Header::new(if inner.is_empty() { b"./" } else { inner }, metadata.mode() & 0o7777);
    header.uid = metadata.uid();
    header.gid = metadata.gid();
    header.mtime = metadata.mtime().max(0) as u64;
    let kind = metadata.file_type();
    if !metadata.is_dir() && metadata.nlink() > 1 {
        if let Some(first) = links.get(&(metadata.dev(), metadata.ino())) {
            header.kind = tar::EntryType::Link;
            header.link = first.clone();
            return header.write(out);
        }
        links.insert((metadata.dev(), metadata.ino()), inner.to_vec());
    }
    header.xattrs = read_xattrs(path, kind.is_symlink());
    if kind.is_file() {
        let mut file = std::fs::File::open(path)?;
        header.size = metadata.len();
        header.write(out)?;
        return copy_content(&mut file, out, header.size);
    }
    header.kind = if kind.is_dir() {
        if !header.path.ends_with(b"/") {
            header.path.push(b'/');
        }
        tar::EntryType::Directory
    } else if kind.is_symlink() {
        header.link = std::fs::read_link(path)?.into_os_string().as_bytes().to_vec();
        tar::EntryType::Symlink
    } else if kind.is_fifo() {
        tar::EntryType::Fifo
    } else {
        header.device = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        if kind.is_block_device() { tar::EntryType::Block } else { tar::EntryType::Char }
    };
    header.write(out)
}

/// The attributes that an image keeps, sorted; none where the file system has none.
pub(crate) fn read_xattrs(path: &Path, link: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0_u8; 64 << 10];
    let listed =
        if link { rustix::fs::llistxattr(path, &mut names) } else { rustix::fs::listxattr(path, &mut names) };
    let Ok(length) = listed else { return Vec::new() };
    let mut value = vec![0_u8; 64 << 10];
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && xattr_kept(name))
        .filter_map(|name| {
            let key = std::ffi::OsStr::from_bytes(name);
            let read = if link {
                rustix::fs::lgetxattr(path, key, &mut value)
            } else {
                rustix::fs::getxattr(path, key, &mut value)
            };
            read.ok().map(|length| (name.to_vec(), value[..length].to_vec()))
        })
        .collect();
    found.sort();
    found
}

/// [`read_xattrs`] of an open file.
pub(crate) fn read_xattrs_of(file: impl std::os::fd::AsFd) -> Vec<(Vec<u8>, Vec<u8>)> {
    let link = rustix::fs::fstat(file.as_fd()).is_ok_and(|found| file_type(&found) == FileType::Symlink);
    if link { Vec::new() } else { read_xattrs(Path::new(&descriptor_link(file)), false) }
}

struct Header {
    path: Vec<u8>,
    link: Vec<u8>,
    kind: tar::EntryType,
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: u64,
    size: u64,
    device: (u32, u32),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Header {
    fn new(path: &[u8], mode: u32) -> Self {
        Self {
            path: path.to_vec(),
            link: Vec::new(),
            kind: tar::EntryType::Regular,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        let mut records: Vec<u8> = Vec::new();
        // Long names go to pax records as a whole: splitting them over ustar's prefix is not worth its rules.
        put_name(&mut header.as_ustar_mut().expect("a ustar header").name, &self.path, b"path", &mut records);
        put_name(
            &mut header.as_ustar_mut().expect("a ustar header").linkname,
            &self.link,
            b"linkpath",
            &mut records,
        );
        header.set_entry_type(self.kind);
        header.set_mode(self.mode);
        header.set_uid(self.uid.into());
        header.set_gid(self.gid.into());
        header.set_mtime(self.mtime);
        header.set_size(self.size);
        header.set_device_major(self.device.0)?;
        header.set_device_minor(self.device.1)?;
        for (key, value) in &self.xattrs {
            push_record(&mut records, &[b"SCHILY.xattr.", key.as_slice()].concat(), value);
        }
        if !records.is_empty() {
            let mut extension = tar::Header::new_ustar();
            extension.set_path("pax")?;
            extension.set_entry_type(tar::EntryType::XHeader);
            extension.set_size(records.len() as u64);
            extension.set_mode(0o644);
            extension.set_cksum();
            out.write_all(extension.as_bytes())?;
            copy_content(&mut records.as_slice(), out, records.len() as u64)?;
        }
        header.set_cksum();
        out.write_all(header.as_bytes())
    }
}

fn put_name(field: &mut [u8; 100], name: &[u8], key: &[u8], records: &mut Vec<u8>) {
    if name.len() > field.len() {
        push_record(records, key, name);
    }
    let length = name.len().min(field.len());
    field[..length].copy_from_slice(&name[..length]);
}

fn push_record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let payload = key.len() + value.len() + 3;
    let mut length = payload + 1;
    while length.to_string().len() + payload != length {
        length = length.to_string().len() + payload;
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn copy_content(from: &mut dyn Read, out: &mut dyn Write, size: u64) -> io::Result<()> {
    let copied = io::copy(&mut from.take(size), out)?;
    if copied != size {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "file shrank while it was read"));
    }
    let padding = (512 - size % 512) % 512;
    out.write_all(&[0; 512][..padding as usize])
}

fn finish(out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&[0; 1024])
}

#[cfg(test)]
mod tests {
    use super::super::stream::{EntryKind, TarStream};
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let long = format!("{}/file", "folder/".repeat(40).trim_end_matches('/'));
        let files = vec![
            (long.clone(), SourceFile::Bytes(vec![7; 1000]), 0o640),
            ("/a/link".to_owned(), SourceFile::Symlink("../x".to_owned()), 0o777),
            ("a".to_owned(), SourceFile::Directory, 0o1777),
        ];
        let mut archive = Vec::new();
        write_files(&mut archive, &files).unwrap();
        let mut again = Vec::new();
        write_files(&mut again, &files).unwrap();
        assert_eq!(archive, again);
        let mut stream = TarStream::new(archive.as_slice());
        let mut seen = Vec::new();
        while let Some(entry) = stream.next_entry().unwrap() {
            seen.push((String::from_utf8(entry.path).unwrap(), entry.kind, entry.mode, entry.size));
        }
        assert_eq!(
            seen,
            vec![
                ("a".to_owned(), EntryKind::Directory, 0o1777, 0),
                ("a/link".to_owned(), EntryKind::Symlink, 0o777, 0),
                (long, EntryKind::Regular, 0o640, 1000),
            ]
        );
    }

    #[test]
    fn pax_lengths_count_themselves() {
        for size in [1, 85, 86, 87, 88, 89, 90, 980, 990, 1000] {
            let mut records = Vec::new();
            push_record(&mut records, b"key", &vec![b'x'; size]);
            let stated: usize = String::from_utf8_lossy(&records).split(' ').next().unwrap().parse().unwrap();
            assert_eq!(stated, records.len());
        }
    }
}
