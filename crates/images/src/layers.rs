//! Layer directories. A layer is identified by its chain id (its own content and all below it), because settling it
//! looks at the layers below; it lies in `layers/<32 hex digits of the chain id>` (short, because overlayfs' options
//! hold all of them) with `<same>.json` beside it, written last: a directory without it is a leftover.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::archive::ArchiveError;
use crate::archive::stream::TarStream;
use crate::archive::unpack::{
    self, UnpackOptions, Unpacked, descriptor_link, file_type, ignore_unsupported, is_whiteout, open_in_root,
    status,
};
use crate::archive::write::read_xattrs_of;
use crate::decompress;
use crate::digest::{Digest, HashingReader};
use crate::files::{self, Scratch};

/// Hexadecimal digits of a chain id in a directory name: 128 bits.
const NAME_LENGTH: usize = 32;
/// Bytes of an uncompressed archive beyond its files' content: headers and padding.
const ARCHIVE_OVERHEAD_MAX: u64 = 4 << 30;

/// What lies beside a layer directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerRecord {
    /// Chain id.
    pub chain_id: Digest,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// Bytes of file content.
    pub bytes: u64,
}

/// A layer unpacked but not settled.
#[derive(Debug)]
pub struct FreshLayer {
    scratch: Scratch,
    unpacked: Unpacked,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
}

/// The folder of layers. All calls block.
#[derive(Debug)]
pub struct Layers {
    folder: PathBuf,
    options: UnpackOptions,
}

impl Layers {
    /// Opens the folder and removes leftovers.
    ///
    /// # Errors
    /// Names the path.
    pub fn open(folder: PathBuf, options: UnpackOptions) -> io::Result<Self> {
        files::make_directory(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let settled = match path.extension() {
                Some(_) => {
                    path.extension().is_some_and(|extension| extension == "json")
                        && path.with_extension("").is_dir()
                }
                None => path.with_extension("json").is_file(),
            };
            if !settled {
                files::remove_tree(&path)?;
            }
        }
        Ok(Self { folder, options })
    }

    /// Where a layer lies, or would.
    pub fn path(&self, chain_id: &Digest) -> PathBuf {
        self.folder.join(&chain_id.hex()[..NAME_LENGTH])
    }

    /// What is known of a layer; `None` if it is not here.
    pub fn record(&self, chain_id: &Digest) -> Option<LayerRecord> {
        let bytes = fs::read(self.path(chain_id).with_extension("json")).ok()?;
        let record: LayerRecord = serde_json::from_slice(&bytes).ok()?;
        (record.chain_id == *chain_id).then_some(record)
    }

    /// Chain ids of all layers.
    ///
    /// # Errors
    /// Names the path.
    pub fn list(&self) -> io::Result<Vec<LayerRecord>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json")
                && let Ok(record) = serde_json::from_slice(&fs::read(&path)?)
            {
                found.push(record);
            }
        }
        Ok(found)
    }

    /// Takes a layer out of its place, at once; dropping the guard removes it, which may take long.
    ///
    /// # Errors
    /// Names the path.
    pub fn detach(&self, chain_id: &Digest) -> io::Result<Scratch> {
        let path = self.path(chain_id);
        files::remove_tree(&path.with_extension("json"))?;
        let away = self.folder.join(files::unique_name("tmp."));
        match fs::rename(&path, &away) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(files::with_path("move away", &path, error))
            }
            _ => Ok(Scratch::new(away)),
        }
    }

    /// Unpacks an archive (compressed or not) beside the layers.
    ///
    /// # Errors
    /// Says what is wrong with the archive; nothing of it stays.
    pub fn unpack(&self, archive: impl Read + Send) -> Result<FreshLayer, ArchiveError> {
        let scratch = Scratch::new(self.folder.join(files::unique_name("tmp.")));
        files::make_directory(scratch.path()).map_err(ArchiveError::io("prepare a layer"))?;
        let reader = decompress::open(archive).map_err(ArchiveError::io("read archive"))?;
        let bytes_max = self.options.bytes_max.saturating_add(ARCHIVE_OVERHEAD_MAX);
        let hashing = HashingReader::new(reader, Digest::of(b"").hasher(), bytes_max);
        let mut stream = TarStream::new(hashing);
        let unpacked = unpack::unpack(&mut stream, scratch.path(), &self.options)?;
        let mut hashing = stream.into_inner();
        // What trails the archive belongs to its digest.
        io::copy(&mut hashing, &mut io::sink()).map_err(ArchiveError::io("read archive"))?;
        let (diff_id, _) = hashing.finish();
        Ok(FreshLayer { scratch, unpacked, diff_id })
    }

    /// Settles an unpacked layer upon the layers below it (`below`: topmost first) and puts it in its place.
    ///
    /// # Errors
    /// Names the entry or path.
    pub fn settle(
        &self,
        fresh: FreshLayer,
        chain_id: &Digest,
        below: &[PathBuf],
    ) -> Result<LayerRecord, ArchiveError> {
        let record = LayerRecord {
            chain_id: chain_id.clone(),
            diff_id: fresh.diff_id.clone(),
            bytes: fresh.unpacked.bytes,
        };
        let action = || format!("settle layer {}", fresh.diff_id);
        Settler::open(fresh.scratch.path(), below)
            .and_then(|settler| settler.settle(&fresh.unpacked, &self.options))
            .map_err(ArchiveError::io(action()))?;
        let path = self.path(chain_id);
        let place = || -> io::Result<()> {
            files::remove_tree(&path)?;
            sync_file_system(&self.folder)?;
            fs::rename(fresh.scratch.path(), &path)
                .map_err(|error| files::with_path("rename to", &path, error))?;
            let text = serde_json::to_vec(&record).map_err(io::Error::other)?;
            files::write_atomically(&path.with_extension("json"), &text)
        };
        place().map_err(ArchiveError::io(action()))?;
        fresh.scratch.keep();
        Ok(record)
    }
}

/// Writes out what was unpacked, before a name says that it is whole.
fn sync_file_system(folder: &Path) -> io::Result<()> {
    let folder = fs::File::open(folder)?;
    Ok(rustix::fs::syncfs(&folder)?)
}

struct Settler {
    root: OwnedFd,
    below: Vec<OwnedFd>,
}

impl Settler {
    fn open(root: &Path, below: &[PathBuf]) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &Path| {
            rustix::fs::open(path, flags, Mode::empty())
                .map_err(|error| files::with_path("open layer", path, error.into()))
        };
        Ok(Self { root: open(root)?, below: below.iter().map(|path| open(path)).collect::<io::Result<_>>()? })
    }

    fn settle(&self, unpacked: &Unpacked, options: &UnpackOptions) -> io::Result<()> {
        if !unpacked.root_listed {
            self.inherit_directory(b"", options)?;
        }
        for path in &unpacked.implicit_directories {
            self.inherit_directory(path, options)?;
        }
        self.copy_foreign_links(&unpacked.foreign_links, options)?;
        for path in &unpacked.whiteouts {
            if self.find_below(path)?.is_none() {
                self.drop_whiteout(path, options)?;
            }
        }
        Ok(())
    }

    /// The topmost layer below that has the path, with the path opened (`O_PATH`); `None` if it is hidden or nowhere.
    fn find_below(&self, path: &[u8]) -> io::Result<Option<(usize, OwnedFd)>> {
        for (index, layer) in self.below.iter().enumerate() {
            match open_in_root(layer, path, OFlags::PATH | OFlags::NOFOLLOW) {
                Ok(found) => {
                    let hidden = is_whiteout(&rustix::fs::fstat(&found)?);
                    return Ok((!hidden).then_some((index, found)));
                }
                Err(Errno::NOENT) => {}
                Err(Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Overlayfs shows the attributes of the topmost directory: one that the archive does not list takes those of the
    /// directory below.
    fn inherit_directory(&self, path: &[u8], options: &UnpackOptions) -> io::Result<()> {
        let Ok(own) = open_in_root(&self.root, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
        else {
            return Ok(());
        };
        let Some((_, found)) = self.find_below(path)? else {
            if path.is_empty() {
                rustix::fs::fchmod(&own, Mode::from_raw_mode(0o755))?;
            }
            return Ok(());
        };
        let status = rustix::fs::fstat(&found)?;
        if file_type(&status) == FileType::Directory {
            copy_attributes(&found, &status, &own, options)?;
        }
        Ok(())
    }

    fn copy_foreign_links(&self, links: &[(Vec<u8>, Vec<u8>)], options: &UnpackOptions) -> io::Result<()> {
        let mut copied: HashMap<&[u8], &[u8]> = HashMap::new();
        for (path, target) in links {
            let missing = || {
                io::Error::other(format!(
                    "hard link {:?} to {:?}, which does not exist",
                    String::from_utf8_lossy(path),
                    String::from_utf8_lossy(target)
                ))
            };
            let (parent, name) = self.open_own_parent(path)?;
            let flags = AtFlags::empty();
            if let Some(first) = copied.get(target.as_slice()) {
                let (first_parent, first_name) = self.open_own_parent(first)?;
                rustix::fs::linkat(&first_parent, os(&first_name), &parent, os(&name), flags)?;
                continue;
            }
            let (layer, found) = self.find_below(target)?.ok_or_else(missing)?;
            let status = rustix::fs::fstat(&found)?;
            if file_type(&status) != FileType::RegularFile {
                return Err(missing());
            }
            let source = open_in_root(&self.below[layer], target, OFlags::RDONLY | OFlags::NOFOLLOW)?;
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(&parent, os(&name), create, Mode::from_raw_mode(0o600))?;
            copy_file(&fs::File::from(source), &fs::File::from(file.try_clone()?))?;
            copy_attributes(&found, &status, &file, options)?;
            copied.insert(target, path);
        }
        Ok(())
    }

    fn open_own_parent(&self, path: &[u8]) -> io::Result<(OwnedFd, Vec<u8>)> {
        let (parent, name) = split_name(path);
        Ok((open_in_root(&self.root, parent, OFlags::PATH | OFlags::DIRECTORY)?, name.to_vec()))
    }

    /// A whiteout of nothing would show up where overlayfs has nothing to merge.
    fn drop_whiteout(&self, path: &[u8], options: &UnpackOptions) -> io::Result<()> {
        let (parent, name) = match self.open_own_parent(path) {
            Ok(found) => found,
            Err(_) => return Ok(()),
        };
        let marked = match options.form {
            unpack::WhiteoutForm::Overlay => status(&parent, &name)?.filter(is_whiteout).map(|_| name),
            unpack::WhiteoutForm::Plain => Some([unpack::WHITEOUT_PREFIX.as_bytes(), &name].concat()),
        };
        let Some(marked) = marked else { return Ok(()) };
        match rustix::fs::unlinkat(&parent, os(&marked), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

fn os(bytes: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

fn split_name(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Copies content: by reference where the file system can, else within the kernel.
pub(crate) fn copy_file(mut from: &fs::File, mut to: &fs::File) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    io::copy(&mut from, &mut to).map(|_| ())
}

/// Copies owner, mode, attributes and times of `from` (with status `status`) to the open file `to`.
pub(crate) fn copy_attributes(
    from: &OwnedFd,
    status: &rustix::fs::Stat,
    to: &OwnedFd,
    options: &UnpackOptions,
) -> io::Result<()> {
    if options.privileged {
        rustix::fs::fchown(to, Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))?;
    }
    rustix::fs::fchmod(to, Mode::from_raw_mode(status.st_mode & 0o7777))?;
    for (key, value) in read_xattrs_of(from) {
        ignore_unsupported(rustix::fs::setxattr(descriptor_link(to), os(&key), &value, XattrFlags::empty()))?;
    }
    rustix::fs::futimens(to, &times_of(status))?;
    Ok(())
}

/// Access and modification time of a status.
pub(crate) fn times_of(status: &rustix::fs::Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: status.st_atime, tv_nsec: status.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: status.st_mtime, tv_nsec: status.st_mtime_nsec as _ },
    }
}
