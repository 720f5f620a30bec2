//! Events, in the core form.

use model::tree::TreeExt;
use serde_json::Value;

use super::cells::{Row, row};
use super::{Printer, age, column, text, wide};

pub(super) const PRINTERS: &[Printer] = &[Printer {
    group: "",
    kind: "Event",
    columns: &[
        text("Last Seen"),
        text("Type"),
        text("Reason"),
        text("Object"),
        wide("Subobject"),
        wide("Source"),
        text("Message"),
        wide("First Seen"),
        wide("Count"),
        column("Name", "string", "name", 1),
    ],
    cells: event,
}];

fn event(event: &Row<'_>) -> Vec<Value> {
    let since = |path: &[&str]| age::since(event.text(path), event.now);
    let seen = |field: &str| event.has(&[field]).then(|| since(&[field]));
    let first = seen("firstTimestamp").unwrap_or_else(|| since(&["eventTime"]));
    let mut last = seen("lastTimestamp").unwrap_or_else(|| first.clone());
    let mut count = event.number(&["count"]);
    if event.has(&["series"]) {
        last = since(&["series", "lastObservedTime"]);
        count = event.number(&["series", "count"]);
    } else if count == 0 {
        // Events of the newer API happen once and have no count.
        count = 1;
    }
    let kind = event.text(&["involvedObject", "kind"]).to_lowercase();
    let target = match event.text(&["involvedObject", "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    row![
        last,
        event.text(&["type"]),
        event.text(&["reason"]),
        target,
        event.text(&["involvedObject", "fieldPath"]),
        source(event.object),
        event.text(&["message"]).trim(),
        first,
        count,
        event.name(),
    ]
}

fn source(event: &Value) -> String {
    let first = |paths: [&[&str]; 2]| paths.iter().map(|path| event.text(path)).find(|text| !text.is_empty());
    let component = first([&["source", "component"], &["reportingComponent"]]).unwrap_or_default();
    match first([&["source", "host"], &["reportingInstance"]]) {
        Some(instance) => format!("{component}, {instance}"),
        None => component.to_owned(),
    }
}
