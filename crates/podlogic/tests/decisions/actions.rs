//! What is done next, as a table: restart policy, sandboxes, containers → actions.

use crate::common::{observe, pod_of};
use podlogic::pod::ProbeKind;
use podlogic::{ContainerKind, compute_actions};
use serde_json::{Value, json};

/// Actions in short: `sandbox 1; kill c0 "…"; start init 0, main 1`.
fn describe(spec: &Value, sandboxes: &str, containers: &str, failed: &[(&str, ProbeKind)]) -> String {
    let pod = pod_of(spec.clone());
    let observed = observe(&pod, sandboxes, containers);
    let verdicts = failed.iter().map(|(id, kind)| (((*id).to_owned(), *kind), false)).collect();
    let actions = compute_actions(&pod, &observed, &verdicts);
    let mut parts = Vec::new();
    if actions.kill_pod {
        parts.push("kill pod".to_owned());
    }
    if actions.create_sandbox {
        parts.push(format!("sandbox {}", actions.attempt));
    }
    for own in &actions.kill {
        parts.push(format!("kill {} ({})", own.container_id, own.message));
    }
    for start in &actions.start {
        let kind = match start.kind {
            ContainerKind::Init => "init",
            ContainerKind::Main => "main",
            ContainerKind::Ephemeral => "ephemeral",
        };
        parts.push(format!("start {kind} {}", start.index));
    }
    parts.join("; ")
}

#[track_caller]
fn check(spec: &Value, sandboxes: &str, containers: &str, expected: &str) {
    assert_eq!(describe(spec, sandboxes, containers, &[]), expected, "{sandboxes} | {containers}");
}

fn with_policy(policy: &str) -> Value {
    json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]})
}

#[test]
fn main_containers() {
    let (always, on_failure, never) = (with_policy("Always"), with_policy("OnFailure"), with_policy("Never"));
    check(&always, "", "", "kill pod; sandbox 0; start main 0; start main 1");
    check(&always, "s0 ready", "", "start main 0; start main 1");
    check(&always, "s0 ready", "a#0@s0 running; b#0@s0 running", "");
    check(&always, "s0 ready", "a#0@s0 running; b#0@s0 exit 0", "start main 1");
    check(&always, "s0 ready", "a#0@s0 running; b#0@s0 created", "start main 1");
    check(&on_failure, "s0 ready", "a#0@s0 running; b#0@s0 exit 0", "");
    check(&on_failure, "s0 ready", "a#0@s0 running; b#0@s0 exit 1", "start main 1");
    check(&never, "s0 ready", "a#0@s0 running; b#0@s0 exit 1", "");
    check(&never, "s0 ready", "a#0@s0 exit 0; b#0@s0 exit 1", "kill pod");
    check(
        &always,
        "s0 ready",
        "a#0@s0 running; b#0@s0 unknown",
        "kill b0 (Container is in \"unknown\" state, try killing it before restart); start main 1",
    );
}

#[test]
fn lost_sandboxes() {
    let (always, on_failure, never) = (with_policy("Always"), with_policy("OnFailure"), with_policy("Never"));
    let both = "a#0@s0 exit 137; b#0@s0 exit 0";
    check(&always, "s0 lost", both, "kill pod; sandbox 1; start main 0; start main 1");
    check(&on_failure, "s0 lost", both, "kill pod; sandbox 1; start main 0");
    check(&never, "s0 lost", both, "kill pod");
    check(&never, "s0 lost", "", "kill pod; sandbox 1; start main 0; start main 1");
    check(&on_failure, "s0 lost", "a#0@s0 exit 0; b#0@s0 exit 0", "kill pod");
    check(&always, "s0 ready; s1 ready", "", "kill pod; sandbox 2; start main 0; start main 1");
}

#[test]
fn init_containers() {
    let spec = json!({"restartPolicy": "OnFailure", "initContainers": [{"name": "i", "image": "x"}, {"name": "j", "image": "x"}],
        "containers": [{"name": "c", "image": "x"}]});
    check(&spec, "", "", "kill pod; sandbox 0; start init 0");
    check(&spec, "s0 ready", "", "start init 0");
    check(&spec, "s0 ready", "i#0@s0 running", "");
    check(&spec, "s0 ready", "i#0@s0 exit 1", "start init 0");
    check(&spec, "s0 ready", "i#0@s0 exit 0", "start init 1");
    check(&spec, "s0 ready", "j#0@s0 exit 0", "start main 0");
    check(&spec, "s0 ready", "i#0@s0 exit 0; j#0@s0 exit 0; c#0@s0 exit 1", "start main 0");
    let mut never = spec.clone();
    never["restartPolicy"] = json!("Never");
    check(&never, "s0 ready", "i#0@s0 exit 1", "kill pod");
    never["initContainers"][0]["restartPolicyRules"] =
        json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}]);
    check(&never, "s0 ready", "i#0@s0 exit 1", "start init 0");
    check(&never, "s0 ready", "i#0@s0 exit 2", "kill pod");
}

#[test]
fn sidecars() {
    let spec = json!({"restartPolicy": "Never",
        "initContainers": [{"name": "s", "image": "x", "restartPolicy": "Always"}, {"name": "i", "image": "x"}],
        "containers": [{"name": "c", "image": "x"}]});
    check(&spec, "s0 ready", "", "start init 0");
    check(&spec, "s0 ready", "s#0@s0 running", "start init 1");
    check(&spec, "s0 ready", "s#0@s0 running; i#0@s0 exit 0", "start main 0");
    check(&spec, "s0 ready", "s#0@s0 exit 1; i#0@s0 exit 0; c#0@s0 running", "start init 0");
    check(&spec, "s0 ready", "s#0@s0 running; i#0@s0 exit 0; c#0@s0 exit 0", "kill pod");
}

#[test]
fn failed_probes() {
    let always = with_policy("Always");
    let running = "a#0@s0 running; b#0@s0 running";
    assert_eq!(
        describe(&always, "s0 ready", running, &[("a0", ProbeKind::Liveness)]),
        "kill a0 (Container a failed liveness probe, will be restarted); start main 0"
    );
    assert_eq!(
        describe(&with_policy("Never"), "s0 ready", running, &[("a0", ProbeKind::Startup)]),
        "kill a0 (Container a failed startup probe)"
    );
    assert_eq!(describe(&always, "s0 ready", running, &[("a0", ProbeKind::Readiness)]), "");
}

#[test]
fn changed_images_and_ephemeral_containers() {
    let pod = pod_of(with_policy("Always"));
    let observed = observe(&pod, "s0 ready", "a#0@s0 running; b#0@s0 running");
    let mut spec = with_policy("Always");
    spec["containers"][1]["image"] = json!("other");
    spec["ephemeralContainers"] = json!([{"name": "e", "image": "x"}]);
    let actions = compute_actions(&pod_of(spec), &observed, &Default::default());
    assert_eq!(actions.kill[0].message, "Container b definition changed, will be restarted");
    assert_eq!(actions.start[0].kind, ContainerKind::Ephemeral);
    assert_eq!((actions.start[1].kind, actions.start[1].index), (ContainerKind::Main, 1));
}
