//! Layer compression: gzip (also of several members), zstd (also of several frames) and none, told by magic bytes.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// A zstd window larger than this is refused: it is memory that the archive asks for.
const ZSTD_WINDOW_MAX: u64 = 128 << 20;
/// Read buffer, bytes.
const BUFFER_SIZE: usize = 128 << 10;

/// Wraps a reader so that it yields the uncompressed bytes.
///
/// # Errors
/// When the first bytes cannot be read.
pub fn open<'a>(reader: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut buffered = BufReader::with_capacity(BUFFER_SIZE, reader);
    let magic = peek(&mut buffered)?;
    Ok(match magic {
        Magic::Gzip => Box::new(MultiGzDecoder::new(buffered)),
        Magic::Zstd => Box::new(ZstdReader::new(buffered)),
        Magic::None => Box::new(buffered),
    })
}

enum Magic {
    Gzip,
    Zstd,
    None,
}

fn peek(reader: &mut impl BufRead) -> io::Result<Magic> {
    let start = reader.fill_buf()?;
    Ok(match start {
        [0x1f, 0x8b, ..] => Magic::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Magic::Zstd,
        _ => Magic::None,
    })
}

/// Reads all frames of a zstd stream and passes over skippable ones.
struct ZstdReader<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdReader<R> {
    fn new(source: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_MAX);
        Self { source, decoder, in_frame: false }
    }

    /// Starts the next frame; false at the end of the stream.
    fn start_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = io::copy(&mut (&mut self.source).take(u64::from(length)), &mut io::sink())?;
                    if skipped != u64::from(length) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
            }
        }
    }
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame {
                if !self.start_frame()? {
                    return Ok(0);
                }
                self.in_frame = true;
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            if self.decoder.is_finished() {
                self.in_frame = false;
                continue;
            }
            self.decoder
                .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn check(compressed: &[u8], expected: &[u8]) {
        let mut out = Vec::new();
        open(compressed).unwrap().read_to_end(&mut out).unwrap();
        assert_eq!(out, expected);
    }

    #[test]
    fn every_form_is_read_whole() {
        let text = b"some bytes ".repeat(20_000);
        let doubled = [&text[..], &text[..]].concat();
        check(&text, &text);
        check(&gzip(&text), &text);
        check(&[gzip(&text), gzip(&text)].concat(), &doubled);
        check(&zstd(&text), &text);
        let skippable = [&[0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..]].concat();
        check(&[skippable.clone(), zstd(&text), skippable, zstd(&text)].concat(), &doubled);
        check(b"", b"");
    }

    #[test]
    fn truncated_streams_are_errors() {
        let text: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for whole in [gzip(&text), zstd(&text)] {
            let mut out = Vec::new();
            assert!(open(&whole[..whole.len() / 2]).unwrap().read_to_end(&mut out).is_err());
        }
    }
}
