//! Events: the same objects under two names of their fields.

use serde_json::Value;

/// (core/v1, events.k8s.io/v1)
const NAMES: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// From core/v1 to events.k8s.io/v1.
pub fn from_core(object: &mut Value) {
    rename(object, NAMES.iter().copied());
}

/// From events.k8s.io/v1 to core/v1.
pub fn to_core(object: &mut Value) {
    rename(object, NAMES.iter().map(|(core, events)| (*events, *core)));
}

fn rename<'a>(object: &mut Value, names: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(map) = object.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::registry;

    #[test]
    fn events_go_there_and_back() {
        let registry = registry();
        let core = registry.by_path("", "v1", "events").unwrap();
        let events = registry.by_path("events.k8s.io", "v1", "events").unwrap();
        let object = json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "message": "m", "count": 2, "reason": "R",
            "involvedObject": {"kind": "Pod", "name": "p"}, "source": {"component": "kubelet"}, "type": "Normal",
            "reportingComponent": "kubelet", "reportingInstance": "n", "eventTime": null,
            "firstTimestamp": "2026-01-02T03:04:05Z", "lastTimestamp": "2026-01-02T03:04:05Z",
        });
        let shown = super::super::convert(core, events, object.clone());
        assert_eq!(shown["apiVersion"], "events.k8s.io/v1");
        assert_eq!((&shown["note"], &shown["regarding"]["name"]), (&json!("m"), &json!("p")));
        assert_eq!(super::super::convert(events, core, shown), object);
    }
}
