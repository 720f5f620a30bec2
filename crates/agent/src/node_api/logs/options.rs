//! Parameters of a log request (`PodLogOptions`, ValidatePodLogOptions).

use jiff::{SignedDuration, Timestamp};

use super::super::query::Query;

/// Streams wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Which {
    /// Both.
    #[default]
    All,
    /// Standard output only.
    Stdout,
    /// Standard error only.
    Stderr,
}

/// What to show of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on until the container ended.
    pub follow: bool,
    /// The instance before.
    pub previous: bool,
    /// Put the time before each line.
    pub timestamps: bool,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// Only so many of the last lines.
    pub tail_lines: Option<u64>,
    /// Only so many bytes.
    pub limit_bytes: Option<u64>,
    /// Streams wanted.
    pub stream: Which,
}

/// Why parameters are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A value is no number, no time.
    Undecodable,
    /// Values that do not fit.
    Invalid,
}

fn number(query: &Query, name: &str) -> Result<Option<i64>, Fault> {
    let text = query.get(name).filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|_| Fault::Undecodable)).transpose()
}

impl Options {
    /// Reads them.
    ///
    /// # Errors
    /// When they are none.
    pub fn parse(query: &Query, now: Timestamp) -> Result<Self, Fault> {
        let tail = match query.get("tail").filter(|tail| !tail.is_empty()) {
            Some("all") => None,
            Some(_) => number(query, "tail")?,
            None => number(query, "tailLines")?,
        };
        let (limit, seconds) = (number(query, "limitBytes")?, number(query, "sinceSeconds")?);
        let time = query.get("sinceTime").filter(|text| !text.is_empty());
        let time: Option<Timestamp> =
            time.map(|text| text.parse().map_err(|_| Fault::Undecodable)).transpose()?;
        let stream = match query.get("stream").filter(|text| !text.is_empty()) {
            None | Some("All") => Which::All,
            Some("Stdout") => Which::Stdout,
            Some("Stderr") => Which::Stderr,
            Some(_) => return Err(Fault::Invalid),
        };
        let invalid = tail.is_some_and(|lines| lines < 0)
            || limit.is_some_and(|bytes| bytes < 1)
            || seconds.is_some_and(|seconds| seconds < 1)
            || (seconds.is_some() && time.is_some())
            || (stream != Which::All && tail.is_some());
        if invalid {
            return Err(Fault::Invalid);
        }
        let ago =
            |seconds: i64| now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN);
        Ok(Self {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            since: time.or(seconds.map(ago)),
            tail_lines: tail.and_then(|lines| u64::try_from(lines).ok()),
            limit_bytes: limit.and_then(|bytes| u64::try_from(bytes).ok()),
            stream,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_checked() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let check = |text: &str, expected: Result<Options, Fault>| {
            assert_eq!(Options::parse(&Query::parse(Some(text)), now), expected, "{text}");
        };
        let none = Options::default;
        check("", Ok(none()));
        check(
            "follow=true&previous=1&timestamps=false",
            Ok(Options { follow: true, previous: true, ..none() }),
        );
        check("tailLines=5", Ok(Options { tail_lines: Some(5), ..none() }));
        check("tail=all&tailLines=5", Ok(none()));
        check("tailLines=-1", Err(Fault::Invalid));
        check("tailLines=x", Err(Fault::Undecodable));
        check("limitBytes=0", Err(Fault::Invalid));
        check("limitBytes=7", Ok(Options { limit_bytes: Some(7), ..none() }));
        check(
            "sinceSeconds=60",
            Ok(Options { since: Some("2026-01-01T00:00:00Z".parse().unwrap()), ..none() }),
        );
        check(
            "sinceTime=2026-01-01T00:00:30Z",
            Ok(Options { since: "2026-01-01T00:00:30Z".parse().ok(), ..none() }),
        );
        check("sinceTime=never", Err(Fault::Undecodable));
        check("sinceSeconds=1&sinceTime=2026-01-01T00:00:30Z", Err(Fault::Invalid));
        check("stream=Stderr", Ok(Options { stream: Which::Stderr, ..none() }));
        check("stream=Stderr&tailLines=1", Err(Fault::Invalid));
        check("stream=Other", Err(Fault::Invalid));
    }
}
