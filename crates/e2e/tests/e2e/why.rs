//! `carob why` about real Pods in real trouble: each case is made, and the cause, a piece of evidence and of the remedy
//! are compared.

use std::process::Command;

use client::Client;
use e2e::{create, ended, once, script, sleeper, waiting, with, with_container};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use testkit::{Carob, wait};

/// A Pod in trouble.
struct Case {
    pod: Value,
    /// When it is there.
    state: State,
    cause: &'static str,
    evidence: &'static str,
    remedy: &'static str,
}

enum State {
    /// The container waits for this reason.
    Waits(&'static str),
    /// There is an event of this reason.
    Event(&'static str),
    Phase(&'static str),
    Ready,
}

fn why(carob: &Carob, arguments: &[&str]) -> String {
    let mut command = Command::new(testkit::carob::binary().expect("the binary"));
    command.arg("why").args(arguments).env("KUBECONFIG", carob.kubeconfig());
    let answer = testkit::command::run(&mut command).expect("carob starts");
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    answer.stdout
}

async fn reached(client: &Client, name: &str, state: &State) {
    match state {
        State::Waits(reason) => {
            let is = |pod: &Pod| waiting(pod, "main").is_some_and(|own| own.0 == *reason);
            wait::pod(client, name, reason, is).await;
        }
        State::Event(reason) => drop(wait::event(client, name, reason).await),
        State::Phase(phase) => drop(wait::phase(client, name, phase).await),
        State::Ready => drop(wait::ready(client, name).await),
    }
}

fn probe(field: &str) -> Value {
    json!({ field: { "exec": { "command": ["cat", "/nosuch"] }, "periodSeconds": 1, "failureThreshold": 1 } })
}

fn starting() -> Vec<Case> {
    let request = json!({ "resources": { "requests": { "memory": "100Ti" } } });
    let env = |source: Value| json!({ "env": [{ "name": "X", "valueFrom": source }] });
    let init = json!({ "spec": { "initContainers": [{ "name": "wait", "image": "busybox:1.28",
        "command": ["sh", "-c", "echo waiting for mydb; sleep 100000"] }] } });
    vec![
        Case {
            pod: with_container(sleeper("big"), request),
            state: State::Event("FailedScheduling"),
            cause: "Pending: no node has as much memory free as it requests",
            evidence: "container \"main\" requests memory: 100Ti",
            remedy: "lower resources.requests.memory",
        },
        Case {
            pod: with(sleeper("picky"), json!({ "spec": { "nodeSelector": { "disk": "ssd" } } })),
            state: State::Event("FailedScheduling"),
            cause: "Pending: no node has the labels that it wants",
            evidence: "spec.nodeSelector wants disk=ssd",
            remedy: "carob label node",
        },
        Case {
            pod: with_container(sleeper("nosuch"), json!({ "image": "redis123" })),
            state: State::Waits("ImagePullBackOff"),
            cause: "the image \"redis123\" of container \"main\" cannot be pulled: the registry has no image of this name and tag",
            evidence: "container \"main\" waits: ImagePullBackOff",
            remedy: "correct the name or the tag",
        },
        Case {
            pod: with_container(sleeper("far"), json!({ "image": "127.0.0.1:1/far:1" })),
            state: State::Waits("ImagePullBackOff"),
            cause: "the image \"127.0.0.1:1/far:1\" of container \"main\" cannot be pulled: the registry cannot be reached",
            evidence: "connection refused",
            remedy: "carob image import",
        },
        Case {
            pod: with_container(
                sleeper("config"),
                env(json!({ "configMapKeyRef": { "name": "conf", "key": "a" } })),
            ),
            state: State::Waits("CreateContainerConfigError"),
            cause: "container \"main\" cannot be made: the ConfigMap \"conf\" is not there",
            evidence: "\"conf\" not found",
            remedy: "carob create configmap conf",
        },
        Case {
            pod: with_container(
                sleeper("secret"),
                env(json!({ "secretKeyRef": { "name": "hush", "key": "a" } })),
            ),
            state: State::Waits("CreateContainerConfigError"),
            cause: "container \"main\" cannot be made: the Secret \"hush\" is not there",
            evidence: "\"hush\" not found",
            remedy: "carob create secret generic hush",
        },
        Case {
            pod: with(sleeper("init"), init),
            state: State::Event("Started"),
            cause: "the others wait for the init container \"wait\", which runs and has not ended",
            evidence: "running since 20",
            remedy: "carob logs init -c wait -f",
        },
    ]
}

fn ending() -> Vec<Case> {
    let eat = "x=a; while true; do x=$x$x; done";
    let limit = json!({ "resources": { "limits": { "memory": "16Mi" } } });
    vec![
        Case {
            pod: script("crash", "echo could not bind to address [::]:80; exit 1"),
            state: State::Waits("CrashLoopBackOff"),
            cause: "container \"main\" ends again and again, and is started again later and later: the program failed (1: a general error of its own)",
            evidence: "log: could not bind to address [::]:80",
            remedy: "each needs a port of its own",
        },
        Case {
            pod: script("ubuntu", "true"),
            state: State::Waits("CrashLoopBackOff"),
            cause: "container \"main\" ends again and again, and is started again later and later: its program ends at once with 0, as if its work were done",
            evidence: "last exit code 0 (Completed)",
            remedy: "a container lives as long as its program",
        },
        Case {
            pod: once("missing", "nosuchprogram"),
            state: State::Phase("Failed"),
            cause: "container \"main\" has failed: its command was not found (127); it is not started again: restartPolicy is Never",
            evidence: "log: sh: nosuchprogram: not found",
            remedy: "correct command and args",
        },
        Case {
            pod: with_container(once("eater", eat), limit),
            state: State::Phase("Failed"),
            cause: "container \"main\" has failed: it used more memory than its limit and was killed (OOMKilled); it is not started again: restartPolicy is Never",
            evidence: "exit code 137 (OOMKilled)",
            remedy: "raise resources.limits.memory of the container (it is 16Mi)",
        },
        Case {
            pod: with_container(sleeper("alive"), probe("livenessProbe")),
            state: State::Waits("CrashLoopBackOff"),
            cause: "liveness probe fails",
            evidence: "livenessProbe: command cat /nosuch",
            remedy: "correct the probe's path, port or command",
        },
        Case {
            pod: with_container(sleeper("unready"), probe("readinessProbe")),
            state: State::Event("Unhealthy"),
            cause: "container \"main\" runs, but is not ready: its readiness probe fails, so it gets no requests; it is not restarted for that",
            evidence: "Readiness probe failed",
            remedy: "try it from inside: `carob exec unready -c main -- …`",
        },
        Case {
            pod: once("done", "true"),
            state: State::Phase("Succeeded"),
            cause: "Completed: all containers did their work and ended with 0",
            evidence: "spec.restartPolicy is Never",
            remedy: "",
        },
        Case {
            pod: sleeper("well"),
            state: State::Ready,
            cause: "it is well: its container runs and is ready",
            evidence: "node node1, address ",
            remedy: "",
        },
    ]
}

async fn check(cases: Vec<Case>) {
    let carob = Carob::with_images();
    let client = carob.client();
    for case in &cases {
        create(&client, &case.pod).await;
    }
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case.pod["metadata"]["name"].as_str().expect("a name");
        reached(&client, name, &case.state).await;
        let text = why(&carob, &[&format!("pod/{name}")]);
        if ![case.cause, case.evidence, case.remedy].iter().all(|part| text.contains(part)) {
            wrong.push(text);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all = why(&carob, &["pods", "-o", "json"]);
    let all: Value = serde_json::from_str(&all).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(cases.len()));
    assert_eq!(why(&carob, &["node/node1"]).lines().nth(1), Some("  Ready: it takes Pods"));
}

#[tokio::test]
async fn pods_that_do_not_start() {
    check(starting()).await;
}

#[tokio::test]
async fn pods_that_end_or_are_not_ready() {
    check(ending()).await;
}

#[tokio::test]
async fn a_pod_held_by_a_finalizer_is_let_go_by_the_remedy() {
    let carob = Carob::with_images();
    let client = carob.client();
    let held = with(once("held", "true"), json!({ "metadata": { "finalizers": ["example.com/hold"] } }));
    create(&client, &held).await;
    wait::pod(&client, "held", "ended", |pod| ended(pod, "main").is_some()).await;
    carob.kubectl().succeed(&["delete", "pod", "held", "--wait=false"]);
    let text = why(&carob, &["held"]);
    assert!(text.contains("Terminating: it waits for its finalizers: example.com/hold"), "{text}");
    let patch = "{\"metadata\":{\"finalizers\":null}}";
    assert!(text.contains(&format!("`carob patch pod held -p '{patch}'`")), "{text}");
    carob.kubectl().succeed(&["patch", "pod", "held", "-p", patch]);
    wait::gone::<Pod>(&client, Some("default"), "held").await;
}
