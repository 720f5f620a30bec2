//! Times as the API writes them: `metav1.Time` with seconds, `metav1.MicroTime` with microseconds.

use jiff::Timestamp;

/// `2026-01-02T03:04:05Z`.
pub fn format_seconds(time: Timestamp) -> String {
    format!("{:.0}", Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// `2026-01-02T03:04:05.678901Z`.
pub fn format_micros(time: Timestamp) -> String {
    format!("{time:.6}")
}

/// Reads an RFC 3339 time.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_as_upstream_does() {
        let time = parse("2026-01-02T03:04:05.987654321Z").unwrap();
        assert_eq!(format_seconds(time), "2026-01-02T03:04:05Z");
        assert_eq!(format_micros(time), "2026-01-02T03:04:05.987654Z");
    }
}
