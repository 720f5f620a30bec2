//! Bytes in JSON as Go reads and writes them: standard base64, line breaks ignored.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Bytes as JSON has them.
pub fn text(bytes: &[u8]) -> String {
    ENGINE.encode(bytes)
}

/// The bytes of a canonical text.
pub fn bytes(text: &str) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}

/// Go's decoder wants padding but does not mind stray bits in the last letter.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// Rewrites base64 as Go would after reading it; the error is Go's.
pub fn canonical(text: &str) -> Result<String, String> {
    let clean: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    match ENGINE.decode(&clean) {
        Ok(bytes) => Ok(ENGINE.encode(bytes)),
        Err(_) => Err(format!("illegal base64 data at input byte {}", bad_byte(text.as_bytes()))),
    }
}

/// Where Go would stop: the first letter outside the alphabet, or where a group ends early.
fn bad_byte(text: &[u8]) -> usize {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let mut group = 0;
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if group >= 2 => {
                let rest: Vec<u8> =
                    text[at..].iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
                let needed = 4 - group;
                let padded = rest.iter().take_while(|byte| **byte == b'=').count();
                return if padded < needed { text.len() } else { at + needed };
            }
            byte if letter(*byte) => group = (group + 1) % 4,
            _ => return at,
        }
    }
    // Go reports the start of what it could not finish.
    text.len().saturating_sub(group)
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn reads_as_go_does() {
        for (text, want) in [
            ("aGk=", Ok("aGk=")),
            ("aG\nk=", Ok("aGk=")),
            ("", Ok("")),
            ("not base64", Err("illegal base64 data at input byte 3")),
            ("a b", Err("illegal base64 data at input byte 1")),
            ("aGk", Err("illegal base64 data at input byte 0")),
        ] {
            assert_eq!(canonical(text), want.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
    }
}
