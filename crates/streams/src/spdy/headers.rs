//! Header blocks: names and values with their lengths, compressed as one zlib stream per direction.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::dictionary::dictionary;

/// Longest header block, uncompressed.
pub const HEADER_BYTES_MAX: usize = 64 << 10;

/// Names (in lower case) and values.
pub type Headers = Vec<(String, String)>;

/// Compresses header blocks; each depends on those before.
pub struct Compressor(Compress);

impl Default for Compressor {
    fn default() -> Self {
        let mut compress = Compress::new(Compression::default(), true);
        // Only a broken state refuses a dictionary, and this one is new.
        let _ = compress.set_dictionary(dictionary());
        Self(compress)
    }
}

impl Compressor {
    /// Compresses one block.
    pub fn compress(&mut self, headers: &[(String, String)]) -> Vec<u8> {
        let mut plain = Vec::new();
        let length = |length: usize| u32::try_from(length).unwrap_or_default().to_be_bytes();
        plain.extend_from_slice(&length(headers.len()));
        for (name, value) in headers {
            for text in [name.to_lowercase(), value.clone()] {
                plain.extend_from_slice(&length(text.len()));
                plain.extend_from_slice(text.as_bytes());
            }
        }
        let mut packed = Vec::with_capacity(plain.len() + 64);
        let start = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - start).unwrap_or(plain.len());
            packed.reserve(256);
            let status = self.0.compress_vec(&plain[done..], &mut packed, FlushCompress::Sync);
            let done = usize::try_from(self.0.total_in() - start).unwrap_or(plain.len());
            // Room left after a sync flush means that all of it is out.
            if status.is_err() || (done == plain.len() && packed.len() < packed.capacity()) {
                return packed;
            }
        }
    }
}

/// Decompresses header blocks.
pub struct Decompressor(Decompress);

impl Default for Decompressor {
    fn default() -> Self {
        Self(Decompress::new(true))
    }
}

impl Decompressor {
    /// Decompresses one block.
    ///
    /// # Errors
    /// When it is broken or too long; the connection is lost then.
    pub fn decompress(&mut self, packed: &[u8]) -> Result<Headers, &'static str> {
        let mut plain = Vec::with_capacity(1024);
        let start = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - start).unwrap_or(packed.len());
            if plain.len() > HEADER_BYTES_MAX {
                return Err("SPDY headers are too long");
            }
            plain.reserve(1024);
            let before = (self.0.total_in(), self.0.total_out());
            match self.0.decompress_vec(&packed[done..], &mut plain, FlushDecompress::Sync) {
                Ok(Status::Ok | Status::BufError) => {}
                Ok(Status::StreamEnd) => return parse(&plain),
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0
                        .set_dictionary(dictionary())
                        .map_err(|_| "SPDY headers need another dictionary")?;
                    continue;
                }
                Err(_) => return Err("SPDY headers are not compressed as they should be"),
            }
            if before == (self.0.total_in(), self.0.total_out()) {
                return parse(&plain);
            }
        }
    }
}

fn parse(mut plain: &[u8]) -> Result<Headers, &'static str> {
    let count = number(&mut plain)?;
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = text(&mut plain)?;
        headers.push((name, text(&mut plain)?));
    }
    Ok(headers)
}

fn number(bytes: &mut &[u8]) -> Result<usize, &'static str> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or("SPDY headers end too soon")?;
    *bytes = rest;
    Ok(u32::from_be_bytes(*head) as usize)
}

fn text(bytes: &mut &[u8]) -> Result<String, &'static str> {
    let length = number(bytes)?;
    let head = bytes.get(..length).ok_or("SPDY headers end too soon")?;
    *bytes = &bytes[length..];
    Ok(String::from_utf8_lossy(head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn blocks_are_read_as_written() {
        let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
        for port in ["80", "443", "8080"] {
            let headers: Headers = vec![
                ("streamtype".into(), "data".into()),
                ("port".into(), port.into()),
                ("long".into(), "x".repeat(5000)),
            ];
            assert_eq!(decompressor.decompress(&compressor.compress(&headers)), Ok(headers));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Decompressor::default().decompress(&bytes);
            let _ = parse(&bytes);
        }
    }
}
