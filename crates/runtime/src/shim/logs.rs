//! Container logs in the CRI format: time, stream, `F` (a whole line) or `P` (a part), text.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Longer lines are written in parts.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, also a terminal's.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Position in pairs of streams.
    pub fn index(self) -> usize {
        match self {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Writes one container's log.
pub struct LogWriter {
    path: PathBuf,
    file: File,
    unfinished: [Vec<u8>; 2],
}

impl LogWriter {
    /// Opens the log, making it and its directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: open(path)?, unfinished: [Vec::new(), Vec::new()] })
    }

    /// Opens the path again, after the file was renamed.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }

    /// Writes the lines that `data` completes.
    pub fn append(&mut self, stream: Stream, data: &[u8], now_ns: i64) -> io::Result<()> {
        let mut text = Vec::with_capacity(data.len() + 64);
        format_lines(&mut self.unfinished[stream.index()], data, stream, now_ns, &mut text);
        self.file.write_all(&text)
    }

    /// Writes what is left without a line end.
    pub fn finish(&mut self, stream: Stream, now_ns: i64) -> io::Result<()> {
        let rest = std::mem::take(&mut self.unfinished[stream.index()]);
        if rest.is_empty() {
            return Ok(());
        }
        let mut text = Vec::new();
        write_line(&rest, stream, b'F', now_ns, &mut text);
        self.file.write_all(&text)
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}

fn format_lines(unfinished: &mut Vec<u8>, data: &[u8], stream: Stream, now_ns: i64, text: &mut Vec<u8>) {
    let mut rest = data;
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n');
        let part = &rest[..end.unwrap_or(rest.len())];
        let room = LINE_BYTES_MAX - unfinished.len();
        if part.len() > room {
            unfinished.extend_from_slice(&part[..room]);
            write_line(unfinished, stream, b'P', now_ns, text);
            unfinished.clear();
            rest = &rest[room..];
            continue;
        }
        unfinished.extend_from_slice(part);
        match end {
            Some(end) => {
                write_line(unfinished, stream, b'F', now_ns, text);
                unfinished.clear();
                rest = &rest[end + 1..];
            }
            None => break,
        }
    }
}

fn write_line(line: &[u8], stream: Stream, tag: u8, now_ns: i64, text: &mut Vec<u8>) {
    text.extend_from_slice(timestamp(now_ns).as_bytes());
    text.push(b' ');
    text.extend_from_slice(stream.name().as_bytes());
    text.extend_from_slice(&[b' ', tag, b' ']);
    text.extend_from_slice(line);
    text.push(b'\n');
}

/// RFC 3339 with nine digits, in UTC.
fn timestamp(ns: i64) -> String {
    let (seconds, fraction) = (ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil date from days, counting years from March so that leap days come last.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME_NS: i64 = 1_475_713_029_669_794_202;

    #[test]
    fn times() {
        for (ns, text) in [
            (TIME_NS, "2016-10-06T00:17:09.669794202Z"),
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00.000000000Z"),
            (4_107_542_399_000_000_001, "2100-02-28T23:59:59.000000001Z"),
        ] {
            assert_eq!(timestamp(ns), text);
        }
    }

    fn check(pieces: &[&[u8]], expected: &[(u8, usize)]) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/0.log");
        let mut log = LogWriter::open(&path).unwrap();
        for piece in pieces {
            log.append(Stream::Stdout, piece, TIME_NS).unwrap();
        }
        log.finish(Stream::Stdout, TIME_NS).unwrap();
        let text = std::fs::read(&path).unwrap();
        let head = b"2016-10-06T00:17:09.669794202Z stdout ";
        let lines: Vec<(u8, usize)> = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                assert!(line.starts_with(head));
                (line[head.len()], line.len() - head.len() - 2)
            })
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn lines_are_whole_or_parts() {
        check(&[b"one\ntwo\n"], &[(b'F', 3), (b'F', 3)]);
        check(&[b"on", b"e\n\nrest"], &[(b'F', 3), (b'F', 0), (b'F', 4)]);
        let long = vec![b'x'; LINE_BYTES_MAX];
        check(&[&long, b"\n"], &[(b'F', LINE_BYTES_MAX)]);
        check(&[&long, b"y\n"], &[(b'P', LINE_BYTES_MAX), (b'F', 1)]);
        check(
            &[&[&long[..], &long[..], b"z"].concat()],
            &[(b'P', LINE_BYTES_MAX), (b'P', LINE_BYTES_MAX), (b'F', 1)],
        );
    }
}
