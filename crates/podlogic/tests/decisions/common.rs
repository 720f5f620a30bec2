//! Pods and observations from short texts.

use std::collections::BTreeMap;

use cri::runtime::{ContainerMetadata, ContainerState, ContainerStatus};
use cri::sandbox::{
    LinuxContainerResources, NamespaceMode, NamespaceOption, PodSandboxMetadata, PodSandboxState,
    PodSandboxStatus,
};
use k8s_openapi::api::core::v1::Pod;
use podlogic::{Observed, labels, pod};
use serde_json::{Value, json};

/// 2026-01-01T00:00:00Z.
pub const EPOCH_S: i64 = 1_767_225_600;

/// A Pod `p` of the default namespace from its spec.
pub fn pod_of(spec: Value) -> Pod {
    let metadata = json!({"name": "p", "namespace": "default", "uid": "u", "generation": 1});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod")
}

fn ns(second: i64) -> i64 {
    (EPOCH_S + second) * 1_000_000_000
}

fn sandbox(attempt: u32, ready: bool) -> PodSandboxStatus {
    let namespace_options = NamespaceOption { network: NamespaceMode::Pod, ..NamespaceOption::default() };
    PodSandboxStatus {
        id: format!("s{attempt}"),
        metadata: PodSandboxMetadata { attempt, uid: "u".into(), ..PodSandboxMetadata::default() },
        state: if ready { PodSandboxState::Ready } else { PodSandboxState::NotReady },
        created_at_ns: ns(i64::from(attempt)),
        ips: if ready { vec!["10.42.0.5".into()] } else { Vec::new() },
        namespace_options,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    }
}

/// One container: `name#attempt@sandbox state`, where state is `created`, `running`, `unknown` or `exit CODE`.
fn container(pod: &Pod, text: &str) -> ContainerStatus {
    let (head, state) = text.split_once(' ').expect("a name and a state");
    let (name, rest) = head.split_once('#').expect("an attempt");
    let (attempt, sandbox) = rest.split_once('@').expect("a sandbox");
    let attempt: u32 = attempt.parse().expect("a number");
    let at = i64::from(attempt) * 10;
    let (state, exit_code) = match state.split_once(' ') {
        Some((_, code)) => (ContainerState::Exited, code.parse().expect("a code")),
        None => match state {
            "created" => (ContainerState::Created, 0),
            "running" => (ContainerState::Running, 0),
            _ => (ContainerState::Unknown, 0),
        },
    };
    let exited = state == ContainerState::Exited;
    let reason = match (exited, exit_code) {
        (false, _) => "",
        (true, 0) => "Completed",
        (true, _) => "Error",
    };
    let annotations = pod::find_container(pod, name)
        .map(|(_, own)| labels::container_annotations(pod, &own, attempt))
        .unwrap_or_default();
    ContainerStatus {
        id: format!("{name}{attempt}"),
        pod_sandbox_id: sandbox.into(),
        metadata: ContainerMetadata { name: name.into(), attempt },
        state,
        created_at_ns: ns(at),
        started_at_ns: if state == ContainerState::Created { 0 } else { ns(at + 1) },
        finished_at_ns: if exited { ns(at + 5) } else { 0 },
        exit_code,
        image: "nginx:1.14".into(),
        image_id: "sha256:1".into(),
        image_ref: "docker.io/library/nginx@sha256:2".into(),
        reason: reason.into(),
        message: String::new(),
        labels: BTreeMap::new(),
        annotations,
        mounts: Vec::new(),
        log_path: String::new(),
        resources: LinuxContainerResources::default(),
        user: Some((0, 0, vec![0])),
        pid: 0,
    }
}

/// What is observed: sandboxes as `s0 ready; s1 lost`, containers as `c#0@s0 running; c#1@s0 exit 1`.
pub fn observe(pod: &Pod, sandboxes: &str, containers: &str) -> Observed {
    let parts = |text: &str| {
        text.split(';').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect::<Vec<_>>()
    };
    let sandboxes = parts(sandboxes)
        .iter()
        .map(|text| {
            let (name, state) = text.split_once(' ').expect("a name and a state");
            sandbox(name[1..].parse().expect("a number"), state == "ready")
        })
        .collect();
    Observed::new(sandboxes, parts(containers).iter().map(|text| container(pod, text)).collect())
}
