//! Real inputs with faults, for tests of parsers: bytes flipped, parts lost, repeated, nested or put elsewhere.

use crate::entropy::Entropy;

/// Longest result; a parser that needs more to break is tested by hand.
const BYTES_MAX: usize = 64 << 10;

/// What breaks parsers.
const SPLINTERS: &[&[u8]] = &[
    b"",
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"\"",
    b"'",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\xc3\x28",
    b"\xef\xbb\xbf",
    b"\xf0\x9f\xa6\x80",
    b"{",
    b"}",
    b"[",
    b"]",
    b"(",
    b")",
    b"{{",
    b"}}",
    b":",
    b"=",
    b"==",
    b"!=",
    b",",
    b"..",
    b"-",
    b"--- ",
    b"|",
    b">",
    b"#",
    b"%",
    b"&a ",
    b"*a",
    b"!!binary ",
    b"<<: ",
    b"~",
    b"$",
    b"@",
    b"null",
    b"true",
    b"0",
    b"-1",
    b"1e309",
    b"1e-400",
    b"0x7f",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"18446744073709551616",
    b"99999999999999999999999999999999999999999",
    b"0.0000000000000000000000000001",
];

/// What is repeated to nest deeply.
const NESTS: &[&[u8]] =
    &[b"[", b"{\"a\":", b"(", b"{{", b"- ", b"a: {", b"..", b"!", b"[?(@.a==", b"&a [", b"\\"];

/// One of `inputs` with a few faults: the same for the same seed.
///
/// # Panics
/// When there are no inputs.
pub fn mutated<I: AsRef<[u8]>>(inputs: &[I], seed: u64) -> Vec<u8> {
    let random = Entropy::seeded(seed);
    let below = |bound: usize| usize::try_from(random.below(bound.max(1) as u64)).unwrap_or(0);
    let mut bytes = inputs[below(inputs.len())].as_ref().to_vec();
    for _ in 0..=below(4) {
        let at = below(bytes.len() + 1);
        let end = (at + below(24)).min(bytes.len());
        match below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << below(8),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            4 => {
                let other = inputs[below(inputs.len())].as_ref();
                let from = below(other.len() + 1);
                let to = (from + below(200)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            5 => {
                let nest = NESTS[below(NESTS.len())];
                let count = [3, 100, 10_000][below(3)].min(BYTES_MAX / nest.len());
                bytes.splice(at..at, nest.repeat(count));
            }
            _ => drop(bytes.splice(at..end, SPLINTERS[below(SPLINTERS.len())].iter().copied())),
        }
        bytes.truncate(BYTES_MAX);
    }
    bytes
}

/// The same as text; what is no UTF-8 is replaced.
pub fn mutated_text<I: AsRef<[u8]>>(inputs: &[I], seed: u64) -> String {
    String::from_utf8_lossy(&mutated(inputs, seed)).into_owned()
}
