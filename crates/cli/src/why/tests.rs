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

/// What the scheduler says, a part of the cause, a part of the remedy.
const PENDING: &[(&str, &str, &str)] = &[
    ("1 Insufficient memory", "as much memory free", "lower resources.requests.memory"),
    ("1 Insufficient cpu", "as much CPU free", "resources.requests.cpu"),
    ("1 Insufficient nvidia.com/gpu", "as much free as it requests", "lower resources.requests"),
    ("1 node(s) had untolerated taint {a: b}", "taints that it does not tolerate", "spec.tolerations"),
    ("1 node(s) didn't match Pod's node affinity/selector", "labels that it wants", "carob label node"),
    ("1 node(s) didn't have free ports for the requested pod ports", "hostPort is taken", "another hostPort"),
    ("1 node(s) were unschedulable", "cordoned", "carob uncordon"),
    ("1 node(s) had untolerated taint(s) node.kubernetes.io/not-ready", "not ready", "carob why nodes"),
    ("persistentvolumeclaim \"data\" not found", "PersistentVolumeClaim", "carob get pvc"),
    ("pod has unbound immediate PersistentVolumeClaims", "not bound", "carob get pvc"),
    ("no nodes available to schedule pods", "no node at all", "carob status"),
];

#[test]
fn pending_pods() {
    for (words, cause, remedy) in PENDING {
        let object = pending(&format!("0/1 nodes are available: {words}. preemption: not helpful."));
        check(vec![(words, object, vec![], &[], cause, remedy)]);
    }
    let gates = json!({"schedulingGates": [{"name": "g"}]});
    let condition = json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]);
    let gated = merge(pending(""), json!({"spec": gates, "status": {"conditions": condition}}));
    let told = vec![event("FailedScheduling", "0/1 nodes are available: 1 Insufficient cpu.")];
    check(vec![
        ("nobody", pending(""), vec![], &[], "no scheduler has looked", "carob status"),
        ("event", pending(""), told, &[], "CPU", "cpu"),
        ("gate", gated, vec![], &[], "scheduling gates", "schedulingGates"),
    ]);
}

/// Exit code, reason, log, a part of the cause, a part of the remedy.
const CRASHES: &[(i64, &str, &[&str], &str, &str)] = &[
    (1, "Error", &["could not bind to address 0.0.0.0:80"], "(1: a general error", "port of its own"),
    (1, "Error", &["boom"], "(1: a general error", "carob logs web -c web --previous"),
    (0, "Completed", &[], "ends at once with 0", "sleep"),
    (126, "Error", &[], "cannot be executed", "command and args"),
    (127, "Error", &["sh: nosuch: not found"], "not found (127)", "command and args"),
    (137, "Error", &[], "SIGKILL", "terminationGracePeriodSeconds"),
    (137, "OOMKilled", &[], "more memory than its limit", "resources.limits.memory"),
    (139, "Error", &[], "SIGSEGV", "logs"),
    (143, "Error", &[], "SIGTERM", "logs"),
];

#[test]
fn containers_that_end_again_and_again() {
    for (code, reason, log, cause, remedy) in CRASHES {
        check(vec![(reason, crashing(*code, reason), vec![], log, cause, remedy)]);
    }
    let killed = event("Killing", "Container web failed liveness probe, will be restarted");
    let unhealthy = event("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 404");
    let probe = json!([{"name": "web", "livenessProbe": {"httpGet": {"path": "/not/exist", "port": 8080}}}]);
    let probed = merge(crashing(137, "Error"), json!({"spec": {"containers": probe}}));
    let refused = pod(json!({
        "restartCount": 1,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {
            "exitCode": 128, "reason": "StartError",
            "message": "exec: \"nosuch\": executable file not found in $PATH",
        }},
    }));
    let done = pod(json!({"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}));
    check(vec![
        (
            "liveness",
            probed,
            vec![unhealthy, killed],
            &[],
            "liveness probe fails (4 restarts)",
            "correct the probe",
        ),
        ("start", refused, vec![], &[], "command is not in the image", "command and args"),
        ("again", done, vec![], &[], "restartPolicy is Always", "sleep"),
    ]);
}

/// Phase, the Pod's reason, exit code, the container's reason, a part of the cause, a part of the remedy.
const ENDS: &[(&str, &str, i64, &str, &str, &str)] = &[
    ("Failed", "", 3, "Error", "its own code 3; it is not started again", "carob logs"),
    ("Failed", "", 137, "OOMKilled", "more memory than its limit", "memory"),
    ("Failed", "Evicted", 137, "Error", "Evicted", "requests"),
    ("Failed", "DeadlineExceeded", 137, "Error", "activeDeadlineSeconds", "raise"),
    ("Failed", "OutOfcpu", 137, "Error", "had not as much free", "lower"),
    ("Failed", "NodeAffinity", 137, "Error", "could not keep it", "create it again"),
    ("Succeeded", "", 0, "Completed", "Completed: all containers", ""),
];

#[test]
fn pods_that_ended() {
    for (phase, why, code, reason, cause, remedy) in ENDS {
        let own = pod(json!({"state": {"terminated": {"exitCode": code, "reason": reason}}}));
        let end = json!({"spec": {"restartPolicy": "Never"}, "status": {"phase": phase, "reason": why}});
        check(vec![(why, merge(own, end), vec![], &[], cause, remedy)]);
    }
}

/// The registry's words, a part of the cause, a part of the remedy.
const PULLS: &[(&str, &str, &str)] = &[
    ("docker.io/library/x:latest: not found", "no image of this name", "correct the name"),
    ("pull access denied, repository does not exist", "wants credentials", "imagePullSecrets"),
    ("dial tcp: lookup nosuch.example: no such host", "cannot be reached", "DNS"),
    ("dial tcp 127.0.0.1:1: connect: connection refused", "cannot be reached", "carob image import"),
    ("tls: x509: certificate signed by unknown authority", "certificate is not trusted", "registries.yaml"),
    ("429 Too Many Requests", "lets nobody in as often", "mirror"),
];

/// The reason and message of a container's waiting, a part of the cause, a part of the remedy.
const WAITS: &[(&str, &str, &str, &str)] = &[
    ("ErrImageNeverPull", "", "forbids to pull", "carob image pull"),
    ("InvalidImageName", "", "names no image", "NAME:TAG"),
    (
        "CreateContainerConfigError",
        "configmap \"conf\" not found",
        "ConfigMap \"conf\"",
        "create configmap conf",
    ),
    (
        "CreateContainerConfigError",
        "secret \"hush\" not found",
        "Secret \"hush\"",
        "create secret generic hush",
    ),
    (
        "CreateContainerConfigError",
        "couldn't find key colour in ConfigMap default/conf",
        "the key \"colour\", which the ConfigMap",
        "add the key",
    ),
    (
        "CreateContainerConfigError",
        "container has runAsNonRoot and image will run as root",
        "may not run as root",
        "runAsUser",
    ),
];

#[test]
fn containers_that_do_not_start() {
    let back_off = || waiting("ImagePullBackOff", "Back-off pulling image \"x\"");
    let failed = |words: &str| vec![event("Failed", &format!("Failed to pull image \"x\": {words}"))];
    for (words, cause, remedy) in PULLS {
        check(vec![(words, back_off(), failed(words), &[], cause, remedy)]);
    }
    let with_secret = merge(back_off(), json!({"spec": {"imagePullSecrets": [{"name": "s"}]}}));
    let refused = failed("401 Unauthorized");
    check(vec![("refused", with_secret, refused, &[], "refuses the credentials", "Secrets")]);
    for (reason, message, cause, remedy) in WAITS {
        check(vec![(message, waiting(reason, message), vec![], &[], cause, remedy)]);
    }
    let creating = || waiting("ContainerCreating", "");
    let mount = "MountVolume.SetUp failed for volume \"conf\" : configmap \"conf\" not found";
    let mount = vec![event("FailedMount", mount)];
    let sandbox = vec![event("FailedCreatePodSandBox", "cannot listen on hostPort 80")];
    let pulling = vec![event("Pulling", "Pulling image")];
    check(vec![
        ("mount", creating(), mount, &[], "ConfigMap that a volume shows", "optional"),
        ("sandbox", creating(), sandbox, &[], "network", "hostPort"),
        ("pulling", creating(), pulling, &[], "being pulled", "wait"),
    ]);
}

#[test]
fn init_containers() {
    let with_init = |status: Value| {
        let init = json!({"initContainers": [{"name": "wait", "image": "busybox"}]});
        let status = json!({"initContainerStatuses": [merge(json!({"name": "wait"}), status)]});
        merge(waiting("PodInitializing", ""), json!({"spec": init, "status": status}))
    };
    let running = with_init(json!({"state": {"running": {"startedAt": "2026-01-02T03:00:00Z"}}}));
    let failing = with_init(json!({
        "restartCount": 2,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
    }));
    let (wait, again) = ("init container \"wait\", which runs", "init container \"wait\" ends again");
    check(vec![
        ("runs", running, vec![], &[], wait, "carob logs web -c wait -f"),
        ("fails", failing, vec![], &[], again, "carob logs web -c wait --previous"),
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
