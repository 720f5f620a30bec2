//! Lines of the CRI log format: `2016-10-06T00:17:09.669794202Z stdout F content`.

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written, RFC 3339.
    pub timestamp: &'a str,
    /// Where it came from.
    pub stream: Stream,
    /// What the container wrote: with its line feed, but for a partial line (`P`), which goes on in the next one.
    pub content: &'a [u8],
}

fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b' ')?;
    let (word, tail) = rest.split_at(end);
    *rest = &tail[1..];
    Some(word)
}

/// Whether a text looks as RFC 3339 with any number of decimals.
fn is_timestamp(text: &[u8]) -> bool {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let fits = |(byte, shape): (&u8, &u8)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == shape };
    if text.len() <= SHAPE.len() || !text.iter().zip(SHAPE).all(fits) {
        return false;
    }
    let rest = &text[SHAPE.len()..];
    let rest = match rest.strip_prefix(b".") {
        Some(decimals) => {
            let digits = decimals.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &decimals[digits..]
        }
        None => rest,
    };
    let offset = |rest: &[u8]| {
        let digits = [1, 2, 4, 5].iter().all(|at| rest[*at].is_ascii_digit());
        matches!(rest[0], b'+' | b'-') && rest[3] == b':' && digits
    };
    rest == b"Z" || (rest.len() == 6 && offset(rest))
}

/// Reads a line, which may or may not end with its line feed; `None` if it is none of this format.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut rest = line;
    let timestamp = word(&mut rest).filter(|text| is_timestamp(text))?;
    let stream = match word(&mut rest)? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let tags = word(&mut rest)?;
    // Later versions may add tags after the first.
    let partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
    let content = if partial { rest.strip_suffix(b"\n").unwrap_or(rest) } else { rest };
    Some(Line { timestamp: std::str::from_utf8(timestamp).ok()?, stream, content })
}

/// A timestamp with nine decimals, as clients see it.
pub fn fixed_decimals(timestamp: &str, out: &mut Vec<u8>) {
    let (seconds, rest) = timestamp.split_at(timestamp.len().min(19));
    let decimals = rest.strip_prefix('.').unwrap_or_default();
    let decimals: &str = &decimals[..decimals.bytes().take_while(u8::is_ascii_digit).count()];
    let zone = rest.trim_start_matches(|letter: char| letter == '.' || letter.is_ascii_digit());
    out.extend_from_slice(seconds.as_bytes());
    out.push(b'.');
    out.extend(decimals.bytes().chain(std::iter::repeat(b'0')).take(9));
    out.extend_from_slice(zone.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_read() {
        let at = "2016-10-06T00:17:09.669794202Z";
        let line = |stream, content| Some(Line { timestamp: at, stream, content });
        let table: [(&str, Option<Line<'_>>); 14] = [
            ("2016-10-06T00:17:09.669794202Z stdout F a b\n", line(Stream::Stdout, b"a b\n")),
            ("2016-10-06T00:17:09.669794202Z stderr F a", line(Stream::Stderr, b"a")),
            ("2016-10-06T00:17:09.669794202Z stdout P half\n", line(Stream::Stdout, b"half")),
            ("2016-10-06T00:17:09.669794202Z stdout P:TAG half\n", line(Stream::Stdout, b"half")),
            ("2016-10-06T00:17:09.669794202Z stdout F:TAG a\n", line(Stream::Stdout, b"a\n")),
            ("2016-10-06T00:17:09.669794202Z stdout F \n", line(Stream::Stdout, b"\n")),
            ("2016-10-06T00:17:09.669794202Z stdout F\n", None),
            ("2016-10-06T00:17:09.669794202Z stdin F a\n", None),
            ("2016-10-06T00:17:09.669794202Z stdout\n", None),
            ("2016-10-06 00:17:09Z stdout F a\n", None),
            ("yesterday stdout F a\n", None),
            ("2016-10-06T00:17:09.Z stdout F a\n", None),
            ("\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
        assert!(parse(b"2016-10-06T00:17:09+02:00 stdout F a").is_some());
    }

    #[test]
    fn timestamps_have_nine_decimals() {
        for (from, to) in [
            ("2016-10-06T00:17:09.669794202Z", "2016-10-06T00:17:09.669794202Z"),
            ("2016-10-06T00:17:09.66Z", "2016-10-06T00:17:09.660000000Z"),
            ("2016-10-06T00:17:09Z", "2016-10-06T00:17:09.000000000Z"),
            ("2016-10-06T00:17:09.5+02:00", "2016-10-06T00:17:09.500000000+02:00"),
        ] {
            let mut out = Vec::new();
            fixed_decimals(from, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), to);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_was_written_is_read(content in "[^\n]{0,80}", full in any::<bool>(), stderr in any::<bool>()) {
            let stream = if stderr { "stderr" } else { "stdout" };
            let tag = if full { "F" } else { "P" };
            let text = format!("2026-01-02T03:04:05.123456789Z {stream} {tag} {content}\n");
            let line = parse(text.as_bytes()).unwrap();
            let expected = if full { format!("{content}\n") } else { content };
            prop_assert_eq!(line.content, expected.as_bytes());
            prop_assert_eq!(line.stream == Stream::Stderr, stderr);
            let mut out = Vec::new();
            fixed_decimals(line.timestamp, &mut out);
            prop_assert_eq!(out, line.timestamp.as_bytes());
        }
    }
}
