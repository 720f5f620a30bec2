//! Whole statuses, as snapshots.

use std::collections::BTreeMap;

use crate::common::{EPOCH_S, observe, pod_of};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use podlogic::container_status::StartFailure;
use podlogic::pod::ProbeKind;
use podlogic::{StatusInput, generate_status};
use serde_json::{Value, json};

/// A status in short: `kind: "spec | sandboxes | containers"`.
struct Case<'a> {
    spec: Value,
    sandboxes: &'a str,
    containers: &'a str,
    failures: &'a [(&'a str, &'a str, &'a str)],
    verdicts: &'a [(&'a str, ProbeKind, bool)],
    is_terminal: bool,
    old: PodStatus,
}

impl Default for Case<'_> {
    fn default() -> Self {
        let spec = json!({"restartPolicy": "Always", "containers": [{"name": "c", "image": "nginx:1.14"}]});
        Case {
            spec,
            sandboxes: "s0 ready",
            containers: "",
            failures: &[],
            verdicts: &[],
            is_terminal: false,
            old: PodStatus::default(),
        }
    }
}

fn status(case: &Case<'_>) -> PodStatus {
    let pod = pod_of(case.spec.clone());
    let failures: BTreeMap<String, StartFailure> = case
        .failures
        .iter()
        .map(|(name, reason, message)| {
            ((*name).to_owned(), StartFailure { reason: (*reason).into(), message: (*message).into() })
        })
        .collect();
    let verdicts =
        case.verdicts.iter().map(|(id, kind, verdict)| (((*id).to_owned(), *kind), *verdict)).collect();
    generate_status(&StatusInput {
        pod: &pod,
        observed: &observe(&pod, case.sandboxes, case.containers),
        old: &case.old,
        failures: &failures,
        verdicts: &verdicts,
        host_ips: &["192.0.2.1".to_owned()],
        runtime_name: "carob",
        is_terminal: case.is_terminal,
        failed: None,
        now: Timestamp::from_second(EPOCH_S + 100).expect("a time"),
    })
}

#[test]
fn running() {
    insta::assert_json_snapshot!(status(&Case { containers: "c#0@s0 running", ..Case::default() }));
}

#[test]
fn new() {
    insta::assert_json_snapshot!(status(&Case { sandboxes: "", ..Case::default() }));
}

#[test]
fn crash_loop() {
    let message = "back-off 10s restarting failed container=c pod=p_default(u)";
    insta::assert_json_snapshot!(status(&Case {
        containers: "c#0@s0 exit 1; c#1@s0 exit 3",
        failures: &[("c", "CrashLoopBackOff", message)],
        ..Case::default()
    }));
}

#[test]
fn initializing_with_a_sidecar() {
    let spec = json!({"restartPolicy": "Always",
        "initContainers": [{"name": "s", "image": "nginx:1.14", "restartPolicy": "Always"},
            {"name": "i", "image": "nginx:1.14"}],
        "containers": [{"name": "c", "image": "nginx:1.14", "resources": {"requests": {"cpu": "100m"}},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "readOnly": true}]}]});
    let containers = "s#0@s0 running; i#0@s0 running";
    insta::assert_json_snapshot!(status(&Case { spec, containers, ..Case::default() }));
}

#[test]
fn succeeded_in_the_end() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "nginx:1.14"}]});
    insta::assert_json_snapshot!(status(&Case {
        spec,
        sandboxes: "s0 lost",
        containers: "c#0@s0 exit 0",
        is_terminal: true,
        ..Case::default()
    }));
}

/// (restart policy, containers, ends for good) → phase.
#[test]
fn phases() {
    for (policy, containers, is_terminal, expected) in [
        ("Always", "a#0@s0 running; b#0@s0 running", false, "Running"),
        ("Always", "a#0@s0 running", false, "Pending"),
        ("Always", "a#0@s0 running; b#0@s0 created", false, "Pending"),
        ("Always", "a#0@s0 exit 0; b#0@s0 exit 0", false, "Running"),
        ("Always", "a#0@s0 exit 0; b#0@s0 exit 0", true, "Succeeded"),
        ("Always", "a#0@s0 exit 0; b#0@s0 exit 143", true, "Failed"),
        ("OnFailure", "a#0@s0 exit 0; b#0@s0 exit 0", false, "Succeeded"),
        ("OnFailure", "a#0@s0 exit 0; b#0@s0 exit 1", false, "Running"),
        ("Never", "a#0@s0 exit 0; b#0@s0 exit 1", false, "Failed"),
        ("Never", "a#0@s0 exit 0; b#0@s0 running", false, "Running"),
    ] {
        let spec = json!({"restartPolicy": policy,
            "containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]});
        let status = status(&Case { spec, containers, is_terminal, ..Case::default() });
        assert_eq!(status.phase.as_deref(), Some(expected), "{policy} {containers} {is_terminal}");
    }
}

#[test]
fn readiness_and_startup_follow_verdicts() {
    let probe = json!({"exec": {"command": ["x"]}});
    let spec = json!({"restartPolicy": "Always", "containers": [
        {"name": "c", "image": "x", "readinessProbe": probe, "startupProbe": probe}]});
    for (verdicts, expected) in [
        (&[][..], (false, false)),
        (&[("c0", ProbeKind::Startup, true)][..], (true, false)),
        (&[("c0", ProbeKind::Startup, true), ("c0", ProbeKind::Readiness, true)][..], (true, true)),
        (&[("c0", ProbeKind::Readiness, true)][..], (false, false)),
    ] {
        let case = Case { spec: spec.clone(), containers: "c#0@s0 running", verdicts, ..Case::default() };
        let own = status(&case).container_statuses.expect("statuses").remove(0);
        assert_eq!((own.started, own.ready), (Some(expected.0), expected.1), "{verdicts:?}");
    }
}

#[test]
fn transitions_keep_their_time_and_readiness_survives_a_restart_of_the_agent() {
    let first = status(&Case { containers: "c#0@s0 running", ..Case::default() });
    let probe = json!({"exec": {"command": ["x"]}});
    let spec = json!({"restartPolicy": "Always",
        "containers": [{"name": "c", "image": "nginx:1.14", "readinessProbe": probe}]});
    let again = status(&Case { spec, containers: "c#0@s0 running", old: first.clone(), ..Case::default() });
    assert!(again.container_statuses.expect("statuses")[0].ready);
    assert_eq!(first.conditions, again.conditions);
    assert_eq!(first.start_time, again.start_time);
}
