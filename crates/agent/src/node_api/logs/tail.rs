//! Where the last lines of a file begin.

use std::io::{self, Read, Seek, SeekFrom};

const BLOCK_BYTES: u64 = 64 << 10;

/// The offset of the first of the last `lines` lines; a last line without line feed does not count.
///
/// # Errors
/// When the file cannot be read.
pub fn start(file: &mut (impl Read + Seek), lines: u64) -> io::Result<u64> {
    let mut right = file.seek(SeekFrom::End(0))?;
    let mut seen = 0;
    let mut block = Vec::new();
    while right > 0 {
        let left = right.saturating_sub(BLOCK_BYTES);
        file.seek(SeekFrom::Start(left))?;
        block.resize(usize::try_from(right - left).map_err(io::Error::other)?, 0);
        file.read_exact(&mut block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            seen += 1;
            if seen > lines {
                return Ok(left + at as u64 + 1);
            }
        }
        right = left;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn last_lines_are_found() {
        let check = |text: &str, lines: u64, expected: &str| {
            let at = start(&mut Cursor::new(text), lines).unwrap();
            assert_eq!(&text[usize::try_from(at).unwrap()..], expected, "{lines} of {text:?}");
        };
        check("a\nb\nc\n", 0, "");
        check("a\nb\nc\n", 1, "c\n");
        check("a\nb\nc\n", 2, "b\nc\n");
        check("a\nb\nc\n", 3, "a\nb\nc\n");
        check("a\nb\nc\n", 9, "a\nb\nc\n");
        check("a\nb\nc", 1, "b\nc");
        check("", 3, "");
        let long = format!("{}\nlast\n", "x".repeat(200_000));
        check(&long, 1, "last\n");
    }
}
