//! Text in columns, and times as people read them.

pub mod tabs;
pub mod wrap;

use jiff::Timestamp;

/// `Sat, 21 Nov 2026 06:14:12 +0000`.
pub fn rfc1123(text: &str) -> String {
    match model::time::parse(text) {
        Some(time) => time.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S %z").to_string(),
        None => "Mon, 01 Jan 0001 00:00:00 +0000".into(),
    }
}

/// How long ago a time was; absent is `<unknown>`.
pub fn since(text: &str, now: Timestamp) -> String {
    resources::columns::age::since(text, now)
}

/// An error of the system as Go says it: without the number.
pub fn io_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => "permission denied".into(),
        std::io::ErrorKind::NotFound => "no such file or directory".into(),
        std::io::ErrorKind::IsADirectory => "is a directory".into(),
        std::io::ErrorKind::NotADirectory => "not a directory".into(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or(&text).to_lowercase()
        }
    }
}
