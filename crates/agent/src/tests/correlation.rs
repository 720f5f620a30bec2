//! What becomes of events that repeat, resemble each other, or are too many; and status patches.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod, PodCondition, PodStatus};
use serde_json::json;

use crate::events::{Correlator, Occurrence, Severity, Write};
use crate::statuses::patch;

fn occurrence(message: &str, second: i64) -> Occurrence {
    Occurrence {
        object: ObjectReference {
            kind: Some("Pod".into()),
            name: Some("p".into()),
            namespace: Some("default".into()),
            uid: Some("u".into()),
            ..ObjectReference::default()
        },
        severity: Severity::Warning,
        reason: "BackOff".into(),
        message: message.into(),
        time: Timestamp::from_second(second).expect("a time"),
    }
}

#[test]
fn equal_events_are_counted() {
    let mut correlator = Correlator::new("n");
    let Some(Write::Create(first)) = correlator.correlate(&occurrence("m", 1)) else { panic!("created") };
    assert_eq!(first.count, Some(1));
    assert_eq!(first.source.as_ref().and_then(|own| own.host.as_deref()), Some("n"));
    for count in 2..5 {
        let Some(Write::Count { name, patch, .. }) = correlator.correlate(&occurrence("m", i64::from(count)))
        else {
            panic!("counted")
        };
        assert_eq!(Some(name), first.metadata.name);
        assert_eq!(patch["count"], count);
    }
}

#[test]
fn similar_events_are_put_together() {
    let mut correlator = Correlator::new("n");
    let mut last = None;
    for index in 0..12 {
        last = correlator.correlate(&occurrence(&format!("message {index}"), 1));
    }
    let Some(Write::Count { patch, count, .. }) = last else { panic!("put together") };
    assert_eq!(patch["message"], "(combined from similar events): message 11");
    assert_eq!(count, 3);
}

#[test]
fn an_object_that_causes_too_many_events_is_cut_off() {
    let mut correlator = Correlator::new("n");
    let written = (0..40).filter(|_| correlator.correlate(&occurrence("m", 1)).is_some()).count();
    assert_eq!(written, 25);
    assert!(correlator.correlate(&occurrence("m", 400)).is_some(), "one more after five minutes");
}

#[test]
fn a_patch_holds_what_changed() {
    let condition = |kind: &str, status: &str, reason: Option<&str>| PodCondition {
        type_: kind.into(),
        status: status.into(),
        reason: reason.map(str::to_owned),
        ..PodCondition::default()
    };
    let before = PodStatus {
        phase: Some("Pending".into()),
        message: Some("old".into()),
        conditions: Some(vec![condition("Ready", "False", Some("X")), condition("Other", "True", None)]),
        ..PodStatus::default()
    };
    let after = PodStatus {
        phase: Some("Running".into()),
        conditions: Some(vec![condition("Other", "False", None), condition("Ready", "True", None)]),
        ..PodStatus::default()
    };
    let mut pod = Pod::default();
    pod.metadata.uid = Some("u".into());
    assert_eq!(patch(&pod, &after, &after), None);
    assert_eq!(
        patch(&pod, &before, &after),
        Some(json!({"metadata": {"uid": "u"}, "status": {
            "phase": "Running",
            "message": null,
            "$setElementOrder/conditions": [{"type": "Other"}, {"type": "Ready"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": null}],
        }}))
    );
}
