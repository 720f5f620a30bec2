//! Ages as people read them (k8s.io/apimachinery/pkg/util/duration): `5s`, `3m20s`, `7d4h`, `2y35d`.

use jiff::Timestamp;

/// Seconds between two times, whole, towards zero.
pub fn seconds_between(from: Timestamp, to: Timestamp) -> i64 {
    let millis = to.as_millisecond().saturating_sub(from.as_millisecond());
    millis / 1000
}

/// A duration of so many seconds, with two units where the first is small.
pub fn human(seconds: i64) -> String {
    match seconds {
        ..-1 => return "<invalid>".into(),
        -1 => return "0s".into(),
        0..120 => return format!("{seconds}s"),
        _ => {}
    }
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let days = hours / 24;
    match hours {
        _ if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        0..8 => pair(hours, 'h', minutes % 60, 'm'),
        8..48 => format!("{hours}h"),
        48..192 => pair(days, 'd', hours % 24, 'h'),
        192..17_520 => format!("{days}d"),
        17_520..70_080 => pair(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

fn pair(large: i64, large_unit: char, small: i64, small_unit: char) -> String {
    if small == 0 {
        format!("{large}{large_unit}")
    } else {
        format!("{large}{large_unit}{small}{small_unit}")
    }
}

/// A duration of so many seconds, in its largest unit.
pub fn short_human(seconds: i64) -> String {
    match seconds {
        ..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3600),
        86_400..31_536_000 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

/// How long ago an RFC 3339 time was; empty or unreadable is `<unknown>`.
pub fn since(text: &str, now: Timestamp) -> String {
    match model::time::parse(text) {
        Some(time) => human(seconds_between(time, now)),
        None => "<unknown>".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_upstreams() {
        let day = 86_400;
        for (seconds, want, short) in [
            (-5, "<invalid>", "<invalid>"),
            (-1, "0s", "0s"),
            (0, "0s", "0s"),
            (119, "119s", "1m"),
            (120, "2m", "2m"),
            (200, "3m20s", "3m"),
            (599, "9m59s", "9m"),
            (600, "10m", "10m"),
            (3 * 3600 - 1, "179m", "2h"),
            (3 * 3600, "3h", "3h"),
            (3 * 3600 + 60, "3h1m", "3h"),
            (8 * 3600 + 60, "8h", "8h"),
            (47 * 3600, "47h", "1d"),
            (2 * day, "2d", "2d"),
            (7 * day + 4 * 3600, "7d4h", "7d"),
            (8 * day + 4 * 3600, "8d", "8d"),
            (800 * day, "2y70d", "2y"),
            (730 * day, "2y", "2y"),
            (8 * 365 * day, "8y", "8y"),
        ] {
            assert_eq!((human(seconds).as_str(), short_human(seconds).as_str()), (want, short), "{seconds}");
        }
    }
}
