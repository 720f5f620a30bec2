//! Times and durations as Go reads them, with Go's errors.

use model::time;

/// `metav1.Time`: RFC 3339, kept to the second, in UTC.
pub fn seconds(text: &str) -> Result<String, String> {
    parse(text, "2006-01-02T15:04:05Z07:00", false).map(time::format_seconds)
}

/// `metav1.MicroTime`: RFC 3339 with six decimal places.
pub fn micros(text: &str) -> Result<String, String> {
    parse(text, "2006-01-02T15:04:05.000000Z07:00", true).map(time::format_micros)
}

/// `metav1.Duration`, written as Go does (`1m30s`).
pub fn duration(text: &str) -> Result<String, String> {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    match stdx::duration::parse_go(rest) {
        Ok(duration) if duration.is_zero() => Ok("0s".into()),
        Ok(duration) => Ok(format!("{sign}{}", stdx::duration::format_go(duration))),
        Err(_) if sign == "-" => Err(format!("time: invalid duration {text:?}")),
        Err(error) => Err(error),
    }
}

/// The parts of the layout: the layout's text, digits expected (0: the text itself).
const PARTS: &[(&str, usize, u32)] = &[
    ("2006", 4, 9999),
    ("-", 0, 0),
    ("01", 2, 12),
    ("-", 0, 0),
    ("02", 2, 31),
    ("T", 0, 0),
    ("15", 2, 23),
    (":", 0, 0),
    ("04", 2, 59),
    (":", 0, 0),
    ("05", 2, 59),
];

fn parse(text: &str, layout: &str, micros: bool) -> Result<jiff::Timestamp, String> {
    let fail = |rest: &str, part: &str| {
        format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {part:?}")
    };
    let mut rest = text;
    for (part, digits, max) in PARTS {
        let width = if *digits == 0 { part.len() } else { *digits };
        let Some(taken) = rest.get(..width) else { return Err(fail(rest, part)) };
        let fits =
            if *digits == 0 { taken == *part } else { taken.bytes().all(|byte| byte.is_ascii_digit()) };
        if !fits {
            return Err(fail(rest, part));
        }
        if *digits == 2 && taken.parse::<u32>().is_ok_and(|number| number > *max) {
            let name = match *part {
                "01" => "month",
                "02" => "day",
                "15" => "hour",
                "04" => "minute",
                _ => "second",
            };
            return Err(format!("parsing time {text:?}: {name} out of range"));
        }
        rest = &rest[width..];
    }
    let fraction =
        rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    if micros && fraction != 6 {
        return Err(fail(rest, ".000000"));
    }
    if fraction > 0 {
        rest = &rest[fraction + 1..];
    }
    let zone = rest == "Z" || (rest.len() == 6 && rest.starts_with(['+', '-']) && rest.as_bytes()[3] == b':');
    if !zone {
        return Err(fail(rest, "Z07:00"));
    }
    time::parse(text).ok_or_else(|| format!("parsing time {text:?}: day out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_in_go() {
        let layout = "2006-01-02T15:04:05Z07:00";
        for (text, want) in [
            ("2026-01-02T03:04:05Z", Ok("2026-01-02T03:04:05Z".to_owned())),
            ("2026-01-02T03:04:05.9+02:00", Ok("2026-01-02T01:04:05Z".to_owned())),
            ("x", Err(format!("parsing time \"x\" as \"{layout}\": cannot parse \"x\" as \"2006\""))),
            ("", Err(format!("parsing time \"\" as \"{layout}\": cannot parse \"\" as \"2006\""))),
            (
                "2026-13-02T03:04:05Z",
                Err("parsing time \"2026-13-02T03:04:05Z\": month out of range".to_owned()),
            ),
            (
                "2026-01-02 03",
                Err(format!("parsing time \"2026-01-02 03\" as \"{layout}\": cannot parse \" 03\" as \"T\"")),
            ),
        ] {
            assert_eq!(seconds(text), want, "{text}");
        }
        assert_eq!(micros("2026-01-02T03:04:05.000001Z").unwrap(), "2026-01-02T03:04:05.000001Z");
        assert!(micros("2026-01-02T03:04:05Z").is_err());
        assert_eq!(duration("90s").unwrap(), "1m30s");
        assert_eq!(duration("-5m").unwrap(), "-5m0s");
        assert_eq!(duration("5").unwrap_err(), "time: missing unit in duration \"5\"");
    }
}
