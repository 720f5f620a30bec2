//! One row per case: an object with its events and the end of its log, and what is said about it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Diagnosis, Facts, decide};

/// A Pod on node1 whose container `web` has this status.
fn pod(status: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "nodeName": "node1", "restartPolicy": "Always",
            "containers": [{"name": "web", "image": "nginx:1.14"}],
        },
        "status": {"phase": "Running", "containerStatuses": [merge(json!({"name": "web", "restartCount": 0}), status)]},
    })
}

fn merge(mut own: Value, change: Value) -> Value {
    match (&mut own, change) {
        (Value::Object(own), Value::Object(change)) => {
            for (key, value) in change {
                let old = own.remove(&key).unwrap_or(Value::Null);
                own.insert(key, merge(old, value));
            }
        }
        (own, change) => *own = change,
    }
    own
}

fn waiting(reason: &str, message: &str) -> Value {
    pod(json!({"state": {"waiting": {"reason": reason, "message": message}}}))
}

fn crashing(code: i64, reason: &str) -> Value {
    pod(json!({
        "restartCount": 4,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 1m20s restarting failed container"}},
        "lastState": {"terminated": {"exitCode": code, "reason": reason}},
    }))
}

fn pending(message: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "web", "resources": {"requests": {"memory": "1Ti"}}}], "nodeSelector": {"disk": "ssd"}},
        "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
        ]},
    })
}

fn event(reason: &str, message: &str) -> Value {
    json!({"type": "Warning", "reason": reason, "message": message, "count": 3})
}

fn node(status: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "node1"},
        "status": {"conditions": [{"type": "Ready", "status": status, "reason": "R", "message": "the runtime is not well"}]},
    })
}

fn judge(object: &Value, events: &[Value], node: Option<&Value>, log: &[&str]) -> Vec<Diagnosis> {
    let lines = log.iter().map(|line| (*line).to_owned()).collect();
    let logs: BTreeMap<String, Vec<String>> =
        if log.is_empty() { BTreeMap::new() } else { [("web".to_owned(), lines)].into() };
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    decide(&Facts { object, events, node, logs: &logs, now })
}

/// Words that the cause, and words that the remedy has to have.
type Row<'a> = (&'a str, Value, Vec<Value>, &'a [&'a str], &'a str, &'a str);

fn check(rows: Vec<Row<'_>>) {
    let ready = node("True");
    for (name, object, events, log, cause, remedy) in rows {
        let found = judge(&object, &events, Some(&ready), log);
        let text: String = found.iter().map(Diagnosis::text).collect();
        assert!(found[0].cause.contains(cause), "{name}: {text}");
        assert!(found[0].remedy.join("\n").contains(remedy), "{name}: {text}");
        assert!(!found[0].healthy || remedy.is_empty(), "{name}: {text}");
    }
}

#[test]
fn pending_pods() {
    let case = |words: &str| {
        pending(&format!(
            "0/1 nodes are available: {words}. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ))
    };
    check(vec![
        (
            "memory",
            case("1 Insufficient memory"),
            vec![],
            &[],
            "as much memory free",
            "lower resources.requests.memory",
        ),
        ("cpu", case("1 Insufficient cpu"), vec![], &[], "as much CPU free", "resources.requests.cpu"),
        (
            "device",
            case("1 Insufficient nvidia.com/gpu"),
            vec![],
            &[],
            "as much free as it requests",
            "lower resources.requests",
        ),
        (
            "taint",
            case("1 node(s) had untolerated taint {key: value}"),
            vec![],
            &[],
            "taints that it does not tolerate",
            "spec.tolerations",
        ),
        (
            "selector",
            case("1 node(s) didn't match Pod's node affinity/selector"),
            vec![],
            &[],
            "labels that it wants",
            "carob label node",
        ),
        (
            "volume",
            pending("persistentvolumeclaim \"data\" not found"),
            vec![],
            &[],
            "PersistentVolumeClaim",
            "carob get pvc",
        ),
        (
            "unbound",
            pending("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
            vec![],
            &[],
            "not bound",
            "carob get pvc",
        ),
        (
            "ports",
            case("1 node(s) didn't have free ports for the requested pod ports"),
            vec![],
            &[],
            "hostPort is taken",
            "another hostPort",
        ),
        ("cordoned", case("1 node(s) were unschedulable"), vec![], &[], "cordoned", "carob uncordon"),
        (
            "not ready",
            case("1 node(s) had untolerated taint(s) node.kubernetes.io/not-ready"),
            vec![],
            &[],
            "not ready",
            "carob why nodes",
        ),
        (
            "none",
            pending("no nodes available to schedule pods"),
            vec![],
            &[],
            "no node at all",
            "carob status",
        ),
        ("nobody", pending(""), vec![], &[], "no scheduler has looked", "carob status"),
        (
            "event",
            pending(""),
            vec![event("FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.")],
            &[],
            "CPU",
            "cpu",
        ),
        (
            "gate",
            merge(
                pending(""),
                json!({"spec": {"schedulingGates": [{"name": "g"}]}, "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}}),
            ),
            vec![],
            &[],
            "scheduling gates",
            "schedulingGates",
        ),
    ]);
}

#[test]
fn containers_that_end() {
    let killed = event("Killing", "Container web failed liveness probe, will be restarted");
    let unhealthy = event("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 404");
    let probed = merge(
        crashing(137, "Error"),
        json!({"spec": {"containers": [{"name": "web", "livenessProbe": {"httpGet": {"path": "/not/exist", "port": 8080}}}]}}),
    );
    let done = pod(json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}));
    let never = |code: i64, reason: &str| {
        let own = pod(json!({"state": {"terminated": {"exitCode": code, "reason": reason}}}));
        merge(own, json!({"spec": {"restartPolicy": "Never"}, "status": {"phase": "Failed"}}))
    };
    check(vec![
        (
            "1",
            crashing(1, "Error"),
            vec![],
            &["could not bind to address 0.0.0.0:80"],
            "(1: a general error",
            "port of its own",
        ),
        (
            "log",
            crashing(1, "Error"),
            vec![],
            &["boom"],
            "(1: a general error",
            "carob logs web -c web --previous",
        ),
        ("0", crashing(0, "Completed"), vec![], &[], "ends at once with 0", "sleep"),
        ("126", crashing(126, "Error"), vec![], &[], "cannot be executed", "command and args"),
        (
            "127",
            crashing(127, "Error"),
            vec![],
            &["sh: nosuch: not found"],
            "not found (127)",
            "command and args",
        ),
        ("137", crashing(137, "Error"), vec![], &[], "SIGKILL", "terminationGracePeriodSeconds"),
        (
            "memory",
            crashing(137, "OOMKilled"),
            vec![],
            &[],
            "more memory than its limit",
            "resources.limits.memory",
        ),
        ("143", crashing(143, "Error"), vec![], &[], "SIGTERM", "logs"),
        (
            "liveness",
            probed,
            vec![unhealthy, killed],
            &[],
            "liveness probe fails (4 restarts)",
            "correct the probe",
        ),
        (
            "start",
            merge(
                crashing(128, "StartError"),
                json!({"status": {"containerStatuses": [{"name": "web", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 128, "reason": "StartError", "message": "exec: \"nosuch\": executable file not found in $PATH"}}}]}}),
            ),
            vec![],
            &[],
            "command is not in the image",
            "command and args",
        ),
        ("again", done, vec![], &[], "restartPolicy is Always", "sleep"),
        (
            "never",
            never(3, "Error"),
            vec![],
            &["bad"],
            "its own code 3; it is not started again",
            "carob logs",
        ),
        ("never, memory", never(137, "OOMKilled"), vec![], &[], "more memory than its limit", "memory"),
        (
            "evicted",
            merge(never(137, "Error"), json!({"status": {"reason": "Evicted", "message": "low on memory"}})),
            vec![],
            &[],
            "Evicted",
            "requests",
        ),
        (
            "deadline",
            merge(never(137, "Error"), json!({"status": {"reason": "DeadlineExceeded"}})),
            vec![],
            &[],
            "activeDeadlineSeconds",
            "raise",
        ),
        (
            "completed",
            merge(never(0, "Completed"), json!({"status": {"phase": "Succeeded"}})),
            vec![],
            &[],
            "Completed: all containers",
            "",
        ),
    ]);
}

#[test]
fn containers_that_do_not_start() {
    let pulled = |words: &str| vec![event("Failed", &format!("Failed to pull image \"x\": {words}"))];
    let back_off = || waiting("ImagePullBackOff", "Back-off pulling image \"x\"");
    let init = json!({
        "spec": {"initContainers": [{"name": "wait", "image": "busybox"}]},
        "status": {"phase": "Pending", "initContainerStatuses": [{"name": "wait", "state": {"running": {"startedAt": "2026-01-02T03:00:00Z"}}}]},
    });
    let init_failed = json!({
        "spec": {"initContainers": [{"name": "wait", "image": "busybox"}]},
        "status": {"initContainerStatuses": [{"name": "wait", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]},
    });
    let creating = || waiting("ContainerCreating", "");
    check(vec![
        (
            "name",
            back_off(),
            pulled("docker.io/library/x:latest: not found"),
            &[],
            "no image of this name",
            "correct the name",
        ),
        (
            "private",
            back_off(),
            pulled("pull access denied, repository does not exist or may require authorization"),
            &[],
            "wants credentials",
            "imagePullSecrets",
        ),
        (
            "refused",
            merge(back_off(), json!({"spec": {"imagePullSecrets": [{"name": "s"}]}})),
            pulled("401 Unauthorized"),
            &[],
            "refuses the credentials",
            "Secrets",
        ),
        (
            "unreachable",
            back_off(),
            pulled("dial tcp: lookup nosuch.example: no such host"),
            &[],
            "cannot be reached",
            "DNS",
        ),
        ("never", waiting("ErrImageNeverPull", ""), vec![], &[], "forbids to pull", "carob image pull"),
        ("invalid", waiting("InvalidImageName", ""), vec![], &[], "names no image", "NAME:TAG"),
        (
            "configmap",
            waiting("CreateContainerConfigError", "configmap \"conf\" not found"),
            vec![],
            &[],
            "ConfigMap \"conf\"",
            "carob create configmap conf",
        ),
        (
            "secret",
            waiting("CreateContainerConfigError", "secret \"hush\" not found"),
            vec![],
            &[],
            "Secret \"hush\"",
            "carob create secret generic hush",
        ),
        (
            "key",
            waiting("CreateContainerConfigError", "couldn't find key colour in ConfigMap default/conf"),
            vec![],
            &[],
            "the key \"colour\", which the ConfigMap",
            "add the key",
        ),
        (
            "root",
            waiting("CreateContainerConfigError", "container has runAsNonRoot and image will run as root"),
            vec![],
            &[],
            "may not run as root",
            "runAsUser",
        ),
        (
            "mount",
            creating(),
            vec![event(
                "FailedMount",
                "MountVolume.SetUp failed for volume \"conf\" : configmap \"conf\" not found",
            )],
            &[],
            "ConfigMap that a volume shows",
            "optional",
        ),
        (
            "sandbox",
            creating(),
            vec![event("FailedCreatePodSandBox", "cannot listen on hostPort 80")],
            &[],
            "network",
            "hostPort",
        ),
        ("pulling", creating(), vec![event("Pulling", "Pulling image")], &[], "being pulled", "wait"),
        (
            "init",
            merge(creating(), init),
            vec![],
            &[],
            "init container \"wait\", which runs",
            "carob logs web -c wait -f",
        ),
        (
            "init fails",
            merge(creating(), init_failed),
            vec![],
            &[],
            "init container \"wait\" ends again",
            "carob logs web -c wait --previous",
        ),
    ]);
}

#[test]
fn pods_that_run() {
    let running = |ready: bool| {
        let own = pod(json!({"ready": ready, "started": true, "state": {"running": {"startedAt": "x"}}}));
        let status = if ready { "True" } else { "False" };
        merge(
            own,
            json!({"status": {"conditions": [{"type": "Ready", "status": status, "reason": "ContainersNotReady"}]}}),
        )
    };
    let probe = json!({"spec": {"containers": [{"name": "web", "readinessProbe": {"httpGet": {"path": "/no", "port": 80}}}]}});
    let unhealthy = event("Unhealthy", "Readiness probe failed: connection refused");
    check(vec![
        ("ready", running(true), vec![], &[], "it is well", ""),
        (
            "readiness",
            merge(running(false), probe),
            vec![unhealthy],
            &[],
            "readiness probe fails, so it gets no requests",
            "correct the probe",
        ),
        ("not yet", running(false), vec![], &[], "not ready yet", "-w"),
    ]);
    let found = judge(&running(true), &[], Some(&node("Unknown")), &[]);
    assert!(
        found[0].cause.contains("is not ready") && found[0].remedy[0].contains("carob why node/node1"),
        "{found:?}"
    );
    let found = judge(&running(true), &[], None, &[]);
    assert!(found[0].cause.contains("is not there"), "{found:?}");
}

#[test]
fn pods_that_do_not_go() {
    let deleted =
        json!({"metadata": {"deletionTimestamp": "2026-01-02T03:03:00Z", "deletionGracePeriodSeconds": 30}});
    let running = merge(pod(json!({"state": {"running": {}}})), deleted.clone());
    let held = merge(
        merge(pod(json!({"state": {"terminated": {"exitCode": 0}}})), deleted),
        json!({"metadata": {"finalizers": ["example.com/hold"]}}),
    );
    let ready = node("True");
    for (object, node, cause, remedy) in [
        (
            &held,
            Some(&ready),
            "waits for its finalizers: example.com/hold",
            "{\"metadata\":{\"finalizers\":null}}",
        ),
        (&running, Some(&ready), "did not end in the time", "--now"),
        (&running, None, "node \"node1\" is not there", "--force --grace-period=0"),
        (&running, Some(&node("Unknown")), "node \"node1\" is not ready", "--force"),
    ] {
        let found = judge(object, &[], node, &[]);
        assert!(found[0].cause.contains(cause) && found[0].remedy.join("\n").contains(remedy), "{found:?}");
    }
}

#[test]
fn nodes_and_other_kinds() {
    let cordoned = merge(
        node("True"),
        json!({"spec": {"unschedulable": true, "taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]}}),
    );
    let full = merge(
        node("True"),
        json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]}}),
    );
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "x"}, "status": {"phase": "Pending"}});
    for (object, events, causes) in [
        (node("True"), vec![], vec!["Ready: it takes Pods"]),
        (node("False"), vec![], vec!["NotReady: the runtime is not well"]),
        (node("Unknown"), vec![], vec!["does not report any more"]),
        (cordoned, vec![], vec!["cordoned", "taints"]),
        (full, vec![], vec!["DiskPressure"]),
        (
            claim.clone(),
            vec![event("ProvisioningFailed", "no class")],
            vec!["it is warned about (phase Pending)"],
        ),
        (claim, vec![], vec!["nothing that it or its events say is wrong (phase Pending)"]),
    ] {
        let found = judge(&object, &events, None, &[]);
        assert_eq!(found.len(), causes.len(), "{found:?}");
        for (diagnosis, cause) in found.iter().zip(causes) {
            assert!(diagnosis.cause.contains(cause), "{diagnosis:?}");
        }
    }
}
