//! Durations in Go's writing (`1h2m3.5s`), as flags, events and API fields carry them.

use std::time::Duration;

/// Writes a duration as Go's `time.Duration.String` does: `0s`, `1.5s`, `2m0s`, `1h0m0s`, `12.345ms`.
pub fn format_go(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".into();
    }
    if nanos < 1_000_000_000 {
        let (unit, scale) = match nanos {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{}{unit}", decimal(nanos, scale));
    }
    let total_s = nanos / 1_000_000_000;
    let (hours, minutes) = (total_s / 3600, total_s / 60 % 60);
    let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / scale` without trailing zeros.
fn decimal(value: u128, scale: u128) -> String {
    let (whole, rest) = (value / scale, value % scale);
    if rest == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    format!("{whole}.{}", format!("{rest:0width$}").trim_end_matches('0'))
}

/// Reads Go's writing of a duration; a bare `0` counts, other bare numbers do not. The error is Go's text.
pub fn parse_go(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() || rest.starts_with('-') {
        return Err(invalid());
    }
    let mut total_ns = 0u128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = &rest[..digits];
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = &rest[..letters];
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + fraction.len() == 0 || fraction.contains('.') {
            return Err(invalid());
        }
        let scale: u128 = match unit {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        // More digits than these are less than a nanosecond of any unit.
        let fraction = &fraction[..fraction.len().min(18)];
        let parts: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| invalid())? };
        let width = u32::try_from(fraction.len()).unwrap_or_default();
        total_ns += u128::from(whole) * scale + u128::from(parts) * scale / 10u128.pow(width);
        if total_ns > i64::MAX as u128 {
            return Err(invalid());
        }
        rest = &rest[letters..];
    }
    u64::try_from(total_ns).map(Duration::from_nanos).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn writes_and_reads_as_go_does() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (12_345_000, "12.345ms"),
            (1_000_000_000, "1s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (3_661_500_000_000, "1h1m1.5s"),
        ] {
            assert_eq!(format_go(Duration::from_nanos(nanos)), text);
            assert_eq!(parse_go(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        assert_eq!(parse_go("5"), Err("time: missing unit in duration \"5\"".into()));
        assert_eq!(parse_go("5x"), Err("time: unknown unit \"x\" in duration \"5x\"".into()));
        assert_eq!(parse_go(""), Err("time: invalid duration \"\"".into()));
        for wrong in [".s", "1.2.3s", "1..s", "99999999999999999999h", "9223372037s", "-1s"] {
            assert_eq!(parse_go(wrong), Err(format!("time: invalid duration {wrong:?}")));
        }
        assert_eq!(parse_go("1.s.5s0.0000000001s"), Ok(Duration::from_millis(1500)));
    }

    proptest! {
        #[test]
        fn writing_and_reading_agree(nanos in 0..=i64::MAX as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_go(&format_go(duration)), Ok(duration));
        }

        #[test]
        fn nothing_panics(seed: u64) {
            let text = crate::mutate::mutated_text(&["1h30m5.5s", "100ms", "1.5µs", "0", "+3h"], seed);
            if let Ok(duration) = parse_go(&text) {
                prop_assert_eq!(parse_go(&format_go(duration)), Ok(duration));
            }
        }
    }
}
