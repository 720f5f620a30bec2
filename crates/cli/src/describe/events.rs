//! The events of an object.

use jiff::Timestamp;
use model::tree::TreeExt;
use serde_json::Value;

use super::Writer;
use crate::text::since;

/// `40s (x4 over 76s)`, `76s`.
pub fn interval(event: &Value, now: Timestamp) -> String {
    let first = match event.text(&["eventTime"]) {
        "" => since(event.text(&["firstTimestamp"]), now),
        time => since(time, now),
    };
    if let Some(series) = event.at(&["series"]) {
        let last = since(series.text(&["lastObservedTime"]), now);
        return format!("{last} (x{} over {first})", series.integer(&["count"]).unwrap_or(0));
    }
    let count = event.integer(&["count"]).unwrap_or(0);
    if count > 1 {
        return format!("{} (x{count} over {first})", since(event.text(&["lastTimestamp"]), now));
    }
    first
}

/// The section.
pub(crate) fn write(events: &[Value], now: Timestamp, writer: &mut Writer) {
    if events.is_empty() {
        writer.field(0, "Events", "<none>");
        return;
    }
    let mut events: Vec<&Value> = events.iter().collect();
    events.sort_by_key(|event| model::time::parse(event.text(&["lastTimestamp"])));
    writer.line(0, "Events:");
    writer.line(1, "Type\tReason\tAge\tFrom\tMessage");
    writer.line(1, "----\t------\t----\t----\t-------");
    for event in events {
        let from = match event.text(&["source", "component"]) {
            "" => event.text(&["reportingComponent"]),
            component => component,
        };
        let mut message = event.text(&["message"]).trim().to_owned();
        let field = event.text(&["involvedObject", "fieldPath"]);
        if !field.is_empty() {
            message = format!("{field}: {message}");
        }
        let (kind, reason) = (event.text(&["type"]), event.text(&["reason"]));
        writer.line(1, format!("{kind}\t{reason}\t{}\t{from}\t{message}", interval(event, now)));
    }
}
