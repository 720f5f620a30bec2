//! What of each line is shown: a pure machine, fed with bytes of the file.

use jiff::Timestamp;

use super::line::{self, Line};
use super::options::Options;
use super::wants;

/// Longest line; what is longer is no log.
const LINE_BYTES_MAX: usize = 16 << 20;

/// Whether more is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// Yes.
    More,
    /// No: a limit is reached.
    Enough,
    /// The file is no log.
    Broken(String),
}

/// Turns bytes of a log file into what a client sees.
pub struct Formatter {
    options: Options,
    /// Bytes that may still be shown.
    remaining: u64,
    /// Lines that may still be read.
    lines: Option<u64>,
    /// The next line begins one of the container's.
    fresh: bool,
    /// The format has been seen to be right.
    known: bool,
    /// The beginning of a line that is not all there yet.
    rest: Vec<u8>,
}

impl Formatter {
    /// For one reading.
    pub fn new(options: &Options) -> Self {
        Self {
            remaining: options.limit_bytes.unwrap_or(u64::MAX),
            lines: options.tail_lines.filter(|_| !options.follow),
            options: options.clone(),
            fresh: true,
            known: false,
            rest: Vec::new(),
        }
    }

    /// Takes bytes of the file and adds to `out` what is shown of them.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Flow {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = bytes.split_at(end + 1);
            bytes = tail;
            let flow = if self.rest.is_empty() {
                self.line(head, out)
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(head);
                self.line(&whole, out)
            };
            if flow != Flow::More {
                return flow;
            }
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > LINE_BYTES_MAX {
            return Flow::Broken(format!("a log line is longer than {LINE_BYTES_MAX} bytes"));
        }
        Flow::More
    }

    /// The file is at its end for good.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Flow {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() { Flow::More } else { self.line(&rest, out) }
    }

    /// The next bytes come from another file.
    pub fn other_file(&mut self) {
        self.rest.clear();
    }

    fn line(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Flow {
        if self.lines == Some(0) {
            return Flow::Enough;
        }
        let Some(line) = line::parse(bytes) else {
            if self.known {
                return Flow::More;
            }
            let text = String::from_utf8_lossy(bytes);
            return Flow::Broken(format!("failed to get parse function: unsupported log format: {text:?}"));
        };
        self.known = true;
        self.show(&line, out);
        self.lines = self.lines.map(|lines| lines - 1);
        self.fresh = line.content.last().is_none_or(|byte| *byte == b'\n');
        if self.remaining == 0 { Flow::Enough } else { Flow::More }
    }

    fn show(&mut self, line: &Line<'_>, out: &mut Vec<u8>) {
        let is_old = |since: Timestamp| line.timestamp.parse::<Timestamp>().is_ok_and(|time| time < since);
        if self.options.since.is_some_and(is_old) || !wants(self.options.stream, line.stream) {
            return;
        }
        let start = out.len();
        if self.options.timestamps && self.fresh {
            line::fixed_decimals(line.timestamp, out);
            out.push(b' ');
        }
        out.extend_from_slice(line.content);
        let allowed = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        out.truncate(start.saturating_add(allowed));
        self.remaining -= (out.len() - start) as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::Which;
    use super::*;
    use proptest::prelude::*;

    const LOG: &str = "2026-01-01T00:00:01.5Z stdout F one\n\
        2026-01-01T00:00:02Z stderr P t\n\
        2026-01-01T00:00:03Z stderr F wo\n\
        no log line\n\
        2026-01-01T00:00:04Z stdout F three\n";

    fn shown(options: &Options, log: &str) -> (String, Flow) {
        let mut out = Vec::new();
        let mut formatter = Formatter::new(options);
        let mut flow = formatter.feed(log.as_bytes(), &mut out);
        if flow == Flow::More {
            flow = formatter.finish(&mut out);
        }
        (String::from_utf8(out).unwrap(), flow)
    }

    #[test]
    fn options_choose_what_is_shown() {
        let check = |options: Options, expected: &str, flow: Flow| {
            assert_eq!(shown(&options, LOG), (expected.to_owned(), flow), "{options:?}");
        };
        let none = Options::default;
        check(none(), "one\ntwo\nthree\n", Flow::More);
        check(Options { stream: Which::Stderr, ..none() }, "two\n", Flow::More);
        check(Options { limit_bytes: Some(6), ..none() }, "one\ntw", Flow::Enough);
        check(Options { tail_lines: Some(2), ..none() }, "one\nt", Flow::Enough);
        check(Options { tail_lines: Some(2), follow: true, ..none() }, "one\ntwo\nthree\n", Flow::More);
        check(Options { since: "2026-01-01T00:00:03Z".parse().ok(), ..none() }, "wo\nthree\n", Flow::More);
        let timed = "2026-01-01T00:00:01.500000000Z one\n2026-01-01T00:00:02.000000000Z two\n\
            2026-01-01T00:00:04.000000000Z three\n";
        check(Options { timestamps: true, ..none() }, timed, Flow::More);
    }

    #[test]
    fn other_formats_are_refused() {
        let expected = "failed to get parse function: unsupported log format: \"text\\n\"";
        assert_eq!(shown(&Options::default(), "text\n"), (String::new(), Flow::Broken(expected.into())));
        assert_eq!(shown(&Options::default(), "2026-01-01T00:00:01Z stdout F end").0, "end");
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(cuts in proptest::collection::vec(0..LOG.len(), 0..6)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let (mut out, mut at) = (Vec::new(), 0);
            let mut formatter = Formatter::new(&Options { timestamps: true, ..Options::default() });
            for cut in cuts.into_iter().chain([LOG.len()]) {
                prop_assert_eq!(formatter.feed(&LOG.as_bytes()[at..cut], &mut out), Flow::More);
                at = cut;
            }
            let whole = shown(&Options { timestamps: true, ..Options::default() }, LOG).0;
            prop_assert_eq!(String::from_utf8(out).unwrap(), whole);
        }
    }
}
