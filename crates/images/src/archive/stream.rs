//! Reads a tar archive entry by entry (ustar, GNU long names, pax). Every size that the archive states is bounded
//! before memory is taken for it.

use std::io::{self, Read};

use super::ArchiveError;

/// Bytes of a tar block.
const BLOCK: usize = 512;
/// Bytes of one pax record block or long name, at most.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Extension headers before one entry, at most.
const EXTENSIONS_MAX: usize = 16;
/// Bytes of a path or link target, at most (the kernel's `PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file with content.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Another name of an earlier entry.
    HardLink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
}

/// Keys and values of pax records or extended attributes.
pub type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// One entry's header.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Path as written.
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Kind.
    pub kind: EntryKind,
    /// Permission bits with set-uid, set-gid and sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Bytes of content.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: Records,
}

/// Reads entries; between two calls of [`TarStream::next_entry`] it reads the content of the entry.
pub struct TarStream<R> {
    reader: R,
    content_left: u64,
    padding: u64,
    ended: bool,
}

#[derive(Default)]
struct Extensions {
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Records,
}

impl<R: Read> TarStream<R> {
    /// Wraps an uncompressed archive.
    pub fn new(reader: R) -> Self {
        Self { reader, content_left: 0, padding: 0, ended: false }
    }

    /// The reader behind the archive (after the end: to read what trails it).
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The next entry; `None` at the end. Unread content of the entry before is passed over.
    ///
    /// # Errors
    /// When the archive is cut short, a header is wrong or a bound is broken.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        let mut extensions = Extensions::default();
        for _ in 0..=EXTENSIONS_MAX {
            self.skip_content()?;
            let Some(header) = self.read_header()? else { return Ok(None) };
            let size = header.entry_size().map_err(invalid("size"))?;
            match header.entry_type().as_byte() {
                b'L' => extensions.long_path = Some(trim_nul(self.read_extension(size)?)),
                b'K' => extensions.long_link = Some(trim_nul(self.read_extension(size)?)),
                b'x' => extensions.pax.extend(parse_pax(&self.read_extension(size)?)?),
                b'g' => {
                    self.read_extension(size)?;
                }
                _ => {
                    let entry = make_entry(&header, extensions)?;
                    self.content_left = entry.size;
                    self.padding = padding(entry.size);
                    return Ok(Some(entry));
                }
            }
        }
        Err(ArchiveError::Invalid(format!(
            "archive has more than {EXTENSIONS_MAX} extension headers in a row"
        )))
    }

    fn read_header(&mut self) -> Result<Option<tar::Header>, ArchiveError> {
        if self.ended {
            return Ok(None);
        }
        let mut block = [0_u8; BLOCK];
        let read = read_full(&mut self.reader, &mut block)?;
        // An archive may end without its two zero blocks, but not within a block.
        if read == 0 || (read == BLOCK && block.iter().all(|byte| *byte == 0)) {
            self.ended = true;
            return Ok(None);
        }
        if read < BLOCK {
            return Err(ArchiveError::Invalid("archive is cut short within a header".to_owned()));
        }
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(&block);
        let sum: u32 =
            block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        if header.cksum().ok() != Some(sum) {
            return Err(ArchiveError::Invalid("archive has a header with a wrong checksum".to_owned()));
        }
        Ok(Some(header))
    }

    fn read_extension(&mut self, size: u64) -> Result<Vec<u8>, ArchiveError> {
        if size > EXTENSION_BYTES_MAX {
            return Err(ArchiveError::Invalid(format!(
                "archive has an extension header of {size} bytes, more than {EXTENSION_BYTES_MAX}"
            )));
        }
        let mut bytes = vec![0; size as usize];
        let read = read_full(&mut self.reader, &mut bytes)?;
        if read < bytes.len() {
            return Err(ArchiveError::Invalid("archive is cut short within an extension header".to_owned()));
        }
        self.padding = padding(size);
        Ok(bytes)
    }

    fn skip_content(&mut self) -> Result<(), ArchiveError> {
        let bytes = self.content_left + self.padding;
        if bytes == 0 {
            return Ok(());
        }
        let skipped = io::copy(&mut (&mut self.reader).take(bytes), &mut io::sink())
            .map_err(ArchiveError::io("read archive"))?;
        // The padding of the last entry may be missing.
        if skipped < self.content_left {
            return Err(ArchiveError::Invalid("archive is cut short within a file".to_owned()));
        }
        (self.content_left, self.padding) = (0, 0);
        Ok(())
    }
}

impl<R: Read> Read for TarStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.content_left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.reader.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "archive is cut short within a file"));
        }
        self.content_left -= count as u64;
        Ok(count)
    }
}

fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

fn invalid(field: &str) -> impl FnOnce(io::Error) -> ArchiveError {
    move |error| ArchiveError::Invalid(format!("archive has a header with a wrong {field}: {error}"))
}

fn trim_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> Result<usize, ArchiveError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ArchiveError::io("read archive")(error)),
        }
    }
    Ok(filled)
}

/// Parses pax records, `LENGTH KEY=VALUE\n` each; values may hold any byte.
fn parse_pax(mut bytes: &[u8]) -> Result<Records, ArchiveError> {
    let wrong = || ArchiveError::Invalid("archive has a malformed pax record".to_owned());
    let mut records = Vec::new();
    while !bytes.is_empty() && bytes[0] != 0 {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length: usize =
            std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        if length < space + 3 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(wrong());
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        bytes = &bytes[length..];
    }
    Ok(records)
}

fn make_entry(header: &tar::Header, extensions: Extensions) -> Result<Entry, ArchiveError> {
    let path = extensions.long_path.unwrap_or_else(|| header.path_bytes().into_owned());
    let link = extensions
        .long_link
        .unwrap_or_else(|| header.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default());
    let mut entry = Entry {
        path,
        link,
        kind: EntryKind::Regular,
        mode: header.mode().map_err(invalid("mode"))? & 0o7777,
        uid: narrow(header.uid().map_err(invalid("uid"))?, "uid")?,
        gid: narrow(header.gid().map_err(invalid("gid"))?, "gid")?,
        mtime: (i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(0), 0),
        size: header.entry_size().map_err(invalid("size"))?,
        device: (0, 0),
        xattrs: Vec::new(),
    };
    apply_pax(&mut entry, extensions.pax)?;
    if entry.path.len() > PATH_BYTES_MAX || entry.link.len() > PATH_BYTES_MAX {
        return Err(ArchiveError::Invalid(format!("archive has a path of more than {PATH_BYTES_MAX} bytes")));
    }
    if entry.path.contains(&0) || entry.link.contains(&0) {
        return Err(ArchiveError::entry(&entry.path, "path has a NUL byte"));
    }
    entry.kind = kind_of(header, &entry.path)?;
    if matches!(entry.kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
        entry.device = (
            header.device_major().ok().flatten().unwrap_or(0),
            header.device_minor().ok().flatten().unwrap_or(0),
        );
    }
    // Some writers state a size for entries that have no content in the archive.
    if entry.kind != EntryKind::Regular {
        entry.size = 0;
    }
    Ok(entry)
}

fn narrow(value: u64, field: &str) -> Result<u32, ArchiveError> {
    u32::try_from(value)
        .map_err(|_| ArchiveError::Invalid(format!("archive has a {field} of {value}, out of range")))
}

fn kind_of(header: &tar::Header, path: &[u8]) -> Result<EntryKind, ArchiveError> {
    Ok(match header.entry_type().as_byte() {
        // Archives older than POSIX mark a directory only by its final slash.
        0 | b'0' | b'7' if path.ends_with(b"/") => EntryKind::Directory,
        0 | b'0' | b'7' => EntryKind::Regular,
        b'1' => EntryKind::HardLink,
        b'2' => EntryKind::Symlink,
        b'3' => EntryKind::CharDevice,
        b'4' => EntryKind::BlockDevice,
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        b'S' => return Err(ArchiveError::entry(path, "sparse entries are not supported")),
        other => {
            return Err(ArchiveError::entry(path, format!("unsupported entry type {:?}", char::from(other))));
        }
    })
}

fn apply_pax(entry: &mut Entry, records: Records) -> Result<(), ArchiveError> {
    for (key, value) in records {
        let text = || String::from_utf8_lossy(&value).into_owned();
        let number = |field: &str| {
            text().parse::<u64>().map_err(|_| {
                ArchiveError::Invalid(format!("archive has a pax record {field}={:?}, not a number", text()))
            })
        };
        match key.as_slice() {
            b"path" => entry.path = value,
            b"linkpath" => entry.link = value,
            b"size" => entry.size = number("size")?,
            b"uid" => entry.uid = narrow(number("uid")?, "uid")?,
            b"gid" => entry.gid = narrow(number("gid")?, "gid")?,
            b"mtime" => entry.mtime = parse_pax_time(&text()).unwrap_or((0, 0)),
            other => {
                if other.starts_with(b"GNU.sparse.") {
                    return Err(ArchiveError::entry(&entry.path, "sparse entries are not supported"));
                }
                if let Some(name) = other.strip_prefix(b"SCHILY.xattr.") {
                    entry.xattrs.push((name.to_vec(), value));
                }
            }
        }
    }
    Ok(())
}

/// `SECONDS[.FRACTION]`, also negative.
fn parse_pax_time(text: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if whole.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_records_keep_newlines_in_values() {
        let records = parse_pax(b"12 key=a\nb=\n").unwrap();
        assert_eq!(records, vec![(b"key".to_vec(), b"a\nb=".to_vec())]);
        for wrong in
            [&b"5 a=b"[..], b"99 a=b\n", b"x a=b\n", b"4 ab\n", b"3  \n", b"184467440737095516160 a=b\n"]
        {
            assert!(parse_pax(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn pax_times_have_fractions_and_signs() {
        assert_eq!(parse_pax_time("12"), Some((12, 0)));
        assert_eq!(parse_pax_time("12.5"), Some((12, 500_000_000)));
        assert_eq!(parse_pax_time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(parse_pax_time("x"), None);
    }

    #[test]
    fn huge_extensions_take_no_memory() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::new(b'L'));
        header.set_size(1 << 40);
        header.set_cksum();
        let error = TarStream::new(&header.as_bytes()[..]).next_entry().unwrap_err();
        assert!(error.to_string().contains("extension header"), "{error}");
    }
}
