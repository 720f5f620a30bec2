//! The journal: what was acknowledged since the database was last on disk as a whole.
//!
//! To synchronise the database costs two waits for the disk and some thirty pages for each group of changes. So a group is
//! written here first, as one frame behind the other, synchronised once, and committed to the database in memory only. When
//! there is no room for the next frame, the database itself is synchronised and the journal begins anew at its start.
//! After a crash the frames that continue the database's revision are performed again.
//!
//! A frame: checksum of the rest (8 bytes, XXH3), length of the changes (4), revision before them (8), the changes. Behind
//! the newest frame lie old ones; none of them continues the newest revision, because revisions only grow.

use std::io;

use bytes::Bytes;
use redb::StorageBackend;
use twox_hash::XxHash3_64;

const CHECKSUM_BYTES: usize = 8;
const HEADER_BYTES: usize = CHECKSUM_BYTES + 4 + 8;
/// Revision, expiry in seconds of Unix time (0: none), lengths of key and value.
const CHANGE_BYTES: usize = 8 + 8 + 4 + 4;
/// The length of a value that is none: a deletion.
const DELETED: u32 = u32::MAX;
/// The file grows by so much at a time, ahead of its use: a write that gives the file no new block is synchronised faster.
const GROWTH_BYTES: usize = 256 << 10;

/// One key's change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) key: String,
    /// None: deleted.
    pub(super) to: Option<Content>,
}

/// What a key is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) value: Bytes,
    pub(super) expires_s: Option<u64>,
}

/// The changes of one group, as they are written.
pub(super) struct Frame(Vec<u8>);

impl Frame {
    /// No changes yet, after this revision.
    pub(super) fn after(revision: u64) -> Self {
        let mut bytes = vec![0; HEADER_BYTES - 8];
        bytes.extend_from_slice(&revision.to_le_bytes());
        Self(bytes)
    }

    /// Adds a change that made, or took part in, a revision.
    pub(super) fn push(&mut self, revision: u64, change: &Change) {
        let (expires_s, value) = match &change.to {
            Some(content) => (content.expires_s.unwrap_or(0), Some(&content.value)),
            None => (0, None),
        };
        // Requests are bounded, so lengths fit.
        let length = |length: usize| u32::try_from(length).unwrap_or(DELETED);
        self.0.extend_from_slice(&revision.to_le_bytes());
        self.0.extend_from_slice(&expires_s.to_le_bytes());
        self.0.extend_from_slice(&length(change.key.len()).to_le_bytes());
        self.0.extend_from_slice(&value.map_or(DELETED, |value| length(value.len())).to_le_bytes());
        self.0.extend_from_slice(change.key.as_bytes());
        self.0.extend_from_slice(value.map_or(&[][..], |value| &value[..]));
    }

    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn seal(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - HEADER_BYTES).unwrap_or(u32::MAX);
        self.0[CHECKSUM_BYTES..CHECKSUM_BYTES + 4].copy_from_slice(&length.to_le_bytes());
        let checksum = XxHash3_64::oneshot(&self.0[CHECKSUM_BYTES..]);
        self.0[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
        self.0
    }
}

/// The file of frames.
pub(super) struct Journal {
    storage: Box<dyn StorageBackend>,
    /// Frames end before this place, unless the journal is empty.
    bytes_max: u64,
    /// Where the next frame goes.
    end: u64,
    /// Whether all that the database holds in memory only is on disk here. If not, the database is synchronised before
    /// anything else is acknowledged or a frame overwritten.
    is_sound: bool,
}

impl Journal {
    /// A journal and the changes in it, with their revisions, that continue `revision`. What is found, here and in the
    /// database, may be in the system's memory only (who was killed had not waited for the disk), so no frame is taken
    /// before [`Journal::clear`].
    ///
    /// # Errors
    /// What the storage says, or that a frame is not what this program writes.
    pub(super) fn open(
        storage: Box<dyn StorageBackend>,
        bytes_max: u64,
        revision: u64,
    ) -> io::Result<(Self, Vec<(u64, Change)>)> {
        let mut journal = Self { storage, bytes_max, end: 0, is_sound: false };
        let mut changes: Vec<(u64, Change)> = Vec::new();
        let length = journal.storage.len()?;
        let mut newest = revision;
        while let Some(body) = journal.frame(length, newest)? {
            journal.end += (HEADER_BYTES + body.len()) as u64;
            let found = decode(&body).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "the journal has a frame of an unknown form")
            })?;
            newest = found.last().map_or(newest, |(revision, _)| *revision);
            changes.extend(found);
        }
        Ok((journal, changes))
    }

    /// The next frame's changes, if it is whole and continues `revision`.
    fn frame(&self, length: u64, revision: u64) -> io::Result<Option<Vec<u8>>> {
        if self.end + HEADER_BYTES as u64 > length {
            return Ok(None);
        }
        let mut header = [0; HEADER_BYTES];
        self.storage.read(self.end, &mut header)?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| header[at + index]));
        let bytes =
            u64::from(u32::from_le_bytes(std::array::from_fn(|index| header[CHECKSUM_BYTES + index])));
        let (checksum, after) = (number(0), number(HEADER_BYTES - 8));
        let end = self.end + HEADER_BYTES as u64 + bytes;
        if after != revision || bytes == 0 || end > length {
            return Ok(None);
        }
        let mut frame = header[CHECKSUM_BYTES..].to_vec();
        frame.resize(usize::try_from(end - self.end).map_or(0, |all| all - CHECKSUM_BYTES), 0);
        self.storage.read(self.end + HEADER_BYTES as u64, &mut frame[HEADER_BYTES - CHECKSUM_BYTES..])?;
        let is_whole = XxHash3_64::oneshot(&frame) == checksum;
        Ok(is_whole.then(|| frame.split_off(HEADER_BYTES - CHECKSUM_BYTES)))
    }

    /// Whether a frame can be written here. If not, the database has to be synchronised.
    pub(super) fn takes(&self, frame: &Frame) -> bool {
        self.is_sound && self.end + frame.bytes() <= self.bytes_max
    }

    /// Writes a frame; it is on disk when this returns.
    ///
    /// # Errors
    /// What the storage says. The frame may be there all the same.
    pub(super) fn append(&mut self, frame: Frame) -> io::Result<()> {
        let end = self.end + frame.bytes();
        // Until it is known to be on disk nothing may follow it.
        self.is_sound = false;
        let length = self.storage.len()?;
        if end > length {
            let growth = (end - length).max(GROWTH_BYTES as u64).min(self.bytes_max.max(end) - length);
            let zeros = vec![0; usize::try_from(growth).unwrap_or(GROWTH_BYTES)];
            self.storage.set_len(length + growth)?;
            self.storage.write(length, &zeros)?;
        }
        self.storage.write(self.end, &frame.seal())?;
        self.storage.sync_data()?;
        self.end = end;
        self.is_sound = true;
        Ok(())
    }

    /// Begins anew: the database is on disk as a whole.
    pub(super) fn clear(&mut self) {
        self.end = 0;
        self.is_sound = true;
    }
}

/// The changes of a frame with their revisions; none if they have another form.
fn decode(mut body: &[u8]) -> Option<Vec<(u64, Change)>> {
    let mut changes = Vec::new();
    while !body.is_empty() {
        let (header, rest) = body.split_at_checked(CHANGE_BYTES)?;
        let long = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let (revision, expires_s) = (long(0)?, long(8)?);
        let (key, rest) = rest.split_at_checked(short(16)? as usize)?;
        let key = std::str::from_utf8(key).ok()?.to_owned();
        let (to, rest) = match short(20)? {
            DELETED => (None, rest),
            length => {
                let (value, rest) = rest.split_at_checked(length as usize)?;
                let value = Bytes::copy_from_slice(value);
                (Some(Content { value, expires_s: Some(expires_s).filter(|at_s| *at_s > 0) }), rest)
            }
        };
        changes.push((revision, Change { key, to }));
        body = rest;
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    use super::*;

    const BYTES_MAX: u64 = 4096;

    fn put(key: &str, value: impl Into<Bytes>, expires_s: Option<u64>) -> Change {
        Change { key: key.into(), to: Some(Content { value: value.into(), expires_s }) }
    }

    fn frame(after: u64, changes: &[(u64, Change)]) -> Frame {
        let mut frame = Frame::after(after);
        for (revision, change) in changes {
            frame.push(*revision, change);
        }
        frame
    }

    fn holding(bytes: &[u8]) -> Box<dyn StorageBackend> {
        let storage = InMemoryBackend::new();
        storage.set_len(bytes.len() as u64).unwrap();
        storage.write(0, bytes).unwrap();
        Box::new(storage)
    }

    fn bytes_of(journal: &Journal) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(journal.storage.len().unwrap()).unwrap()];
        journal.storage.read(0, &mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8], revision: u64) -> Vec<(u64, Change)> {
        Journal::open(holding(bytes), BYTES_MAX, revision).unwrap().1
    }

    /// An empty journal that takes frames.
    fn fresh() -> Journal {
        let mut journal = Journal::open(holding(&[]), BYTES_MAX, 1).unwrap().0;
        journal.clear();
        journal
    }

    #[test]
    fn what_was_written_is_found_from_its_revision_on() {
        let mut journal = fresh();
        let first = vec![(8, put("/a", "1", None)), (9, Change { key: "/b".into(), to: None })];
        let second = vec![(10, put("/a", "", Some(77))), (10, put("/c", vec![0xff; 300], None))];
        journal.append(frame(7, &first)).unwrap();
        journal.append(frame(9, &second)).unwrap();
        let bytes = bytes_of(&journal);
        assert_eq!(read(&bytes, 7), [first, second].concat());
        assert_eq!(read(&bytes, 6), [], "they continue another revision");
        assert_eq!(read(&bytes, 9), [], "the database has them, at least the first");
    }

    #[test]
    fn old_frames_behind_new_ones_are_not_taken() {
        let mut journal = fresh();
        for revision in 1..10 {
            journal.append(frame(revision, &[(revision + 1, put("/old", "1", None))])).unwrap();
        }
        journal.clear();
        let new = vec![(11, put("/new", "1", None))];
        // As long as the old ones, so that one of those begins right behind it.
        journal.append(frame(10, &new)).unwrap();
        assert_eq!(read(&bytes_of(&journal), 10), new);
    }

    #[test]
    fn it_takes_no_more_than_it_may_hold_and_nothing_before_the_database_is_on_disk() {
        let large = |bytes: usize| frame(1, &[(2, put("/a", vec![0; bytes], None))]);
        let overhead = HEADER_BYTES + CHANGE_BYTES + 2;
        let fits = usize::try_from(BYTES_MAX).unwrap() - overhead;
        let mut journal = fresh();
        assert!(journal.takes(&large(fits)) && !journal.takes(&large(fits + 1)));
        journal.append(large(fits)).unwrap();
        assert!(!journal.takes(&large(0)));
        assert_eq!(journal.storage.len().unwrap(), BYTES_MAX);
        let (mut again, found) = Journal::open(holding(&bytes_of(&journal)), BYTES_MAX, 1).unwrap();
        assert_eq!(found.len(), 1);
        again.end = 0;
        assert!(!again.takes(&large(0)), "what was found may not be on disk yet");
        again.clear();
        assert!(again.takes(&large(0)));
    }

    #[test]
    fn a_frame_of_another_form_is_an_error_not_a_loss() {
        let mut journal = fresh();
        let mut odd = Frame::after(1);
        odd.0.extend_from_slice(b"something else");
        journal.append(odd).unwrap();
        let error = Journal::open(holding(&bytes_of(&journal)), BYTES_MAX, 1).err().unwrap();
        assert_eq!(error.to_string(), "the journal has a frame of an unknown form");
    }

    proptest! {
        /// Whatever happens to the end of the file, the frames before it are found and nothing else is.
        #[test]
        fn damage_ends_the_chain(at in 0_usize..600, value: u8) {
            let mut journal = fresh();
            let mut ends = Vec::new();
            let changes: Vec<_> = (2..7).map(|revision| (revision, put("/k", vec![1; 60], None))).collect();
            for (revision, change) in &changes {
                journal.append(frame(revision - 1, &[(*revision, change.clone())])).unwrap();
                ends.push(usize::try_from(journal.end).unwrap());
            }
            let mut bytes = bytes_of(&journal);
            let was = std::mem::replace(&mut bytes[at], value);
            let whole = if was == value { ends.len() } else { ends.iter().filter(|end| **end <= at).count() };
            prop_assert_eq!(read(&bytes, 1), &changes[..whole]);
            let whole = ends.iter().filter(|end| **end <= at).count();
            prop_assert_eq!(read(&bytes[..at], 1), &changes[..whole]);
        }
    }
}
