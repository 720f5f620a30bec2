//! What containers see: each Pod's script checks it from inside and ends with 0 if all is right.

use e2e::{create, ended, once, texts, with, with_container};
use serde_json::{Value, json};
use testkit::{Carob, wait};

/// Creates the Pods at once; each has to succeed.
async fn check(carob: &Carob, pods: &[Value]) {
    let client = carob.client();
    for pod in pods {
        create(&client, pod).await;
    }
    for pod in pods {
        let name = pod["metadata"]["name"].as_str().expect("a name");
        let done = wait::pod(&client, name, "ended", |pod| {
            let phase = pod.status.as_ref().and_then(|own| own.phase.as_deref());
            phase == Some("Succeeded") || phase == Some("Failed")
        });
        let done = done.await;
        let log = carob.kubectl().run(&["logs", name, "--all-containers"]);
        let phase = done.status.as_ref().and_then(|own| own.phase.clone()).unwrap_or_default();
        assert_eq!(phase, "Succeeded", "{name}: {:?}\n{}{}", ended(&done, "main"), log.stdout, log.stderr);
    }
}

/// A Pod that mounts one volume at `/v`.
fn volume(name: &str, script: &str, source: Value) -> Value {
    let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let mut volume = source;
    volume["name"] = json!("v");
    with_container(with(once(name, script), json!({ "spec": { "volumes": [volume] } })), mount)
}

#[tokio::test]
async fn commands_arguments_and_environment() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &texts("ConfigMap", "conf", &[("colour", "green"), ("SHAPE", "round")])).await;
    create(&client, &texts("Secret", "hush", &[("key", "s3cret")])).await;
    let field = |path: &str| json!({ "fieldRef": { "fieldPath": path } });
    let env = json!({ "env": [
        { "name": "PLAIN", "value": "a b" },
        { "name": "BOTH", "value": "$(PLAIN)-$(NONE)-$$(PLAIN)" },
        { "name": "NAME", "valueFrom": field("metadata.name") },
        { "name": "SPACE", "valueFrom": field("metadata.namespace") },
        { "name": "NODE", "valueFrom": field("spec.nodeName") },
        { "name": "ADDRESS", "valueFrom": field("status.podIP") },
        { "name": "LIMIT", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Mi" } } },
        { "name": "COLOUR", "valueFrom": { "configMapKeyRef": { "name": "conf", "key": "colour" } } },
        { "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "hush", "key": "key" } } },
    ], "envFrom": [{ "configMapRef": { "name": "conf" }, "prefix": "C_" }],
       "resources": { "limits": { "memory": "32Mi" } } });
    let seen = "set -x; test \"$PLAIN\" = 'a b' && test \"$BOTH\" = 'a b-$(NONE)-$$(PLAIN)' && test $NAME = env && \
        test $SPACE = default && test $NODE = node1 && test $LIMIT = 32 && test $COLOUR = green && test $KEY = s3cret && \
        test $C_SHAPE = round && hostname -i | grep -F $ADDRESS && test $(hostname) = env && \
        test -n $KUBERNETES_SERVICE_HOST && test $KUBERNETES_SERVICE_PORT = 443 && test $PATH";
    let arguments = |command: Value, args: Value| json!({ "command": command, "args": args });
    check(
        &carob,
        &[
            with_container(once("env", seen), env),
            with_container(once("args", ""), arguments(json!(null), json!(["sh", "-c", "exit 0"]))),
            with_container(once("both", ""), arguments(json!(["sh", "-c"]), json!(["test $0 = x", "x"]))),
            with_container(once("workdir", "test $(pwd) = /tmp"), json!({ "workingDir": "/tmp" })),
            with_container(once("user", "test $(id -u):$(id -g) = 1000:2000"), json!({ "securityContext": { "runAsUser": 1000, "runAsGroup": 2000 } })),
            with_container(once("frozen", "! touch /x"), json!({ "securityContext": { "readOnlyRootFilesystem": true } })),
            once("token", "cd /var/run/secrets/kubernetes.io/serviceaccount && test -s token && test $(cat namespace) = default && grep -q BEGIN ca.crt && ! touch x"),
            once("hosts", "grep -q \"$(hostname -i | cut -d' ' -f1).*hosts\" /etc/hosts && grep -q localhost /etc/hosts"),
        ],
    )
    .await;
}

#[tokio::test]
async fn volumes() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &texts("ConfigMap", "conf", &[("a", "one"), ("b", "two")])).await;
    create(&client, &texts("Secret", "hush", &[("key", "s3cret")])).await;
    let host = carob.path("shared");
    std::fs::create_dir(&host).expect("a directory");
    std::fs::write(host.join("from-host"), "hello").expect("a file");
    let labels = json!({ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } });
    let projected = json!({ "sources": [
        { "configMap": { "name": "conf", "items": [{ "key": "a", "path": "deep/a" }] } },
        { "secret": { "name": "hush" } },
        { "downwardAPI": { "items": [labels] } },
        { "serviceAccountToken": { "path": "token", "expirationSeconds": 600 } },
    ] });
    let labelled = json!({ "metadata": { "labels": { "app": "x" } } });
    let is_tmpfs = "grep -q ' /v tmpfs ' /proc/mounts";
    check(
        &carob,
        &[
            volume(
                "disk",
                "test $(stat -c %a /v) = 777 && echo x > /v/x && test $(cat /v/x) = x",
                json!({ "emptyDir": {} }),
            ),
            volume("memory", is_tmpfs, json!({ "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } })),
            volume(
                "conf",
                "test $(cat /v/a)$(cat /v/b) = onetwo",
                json!({ "configMap": { "name": "conf" } }),
            ),
            volume(
                "items",
                "test $(cat /v/c/d) = one && ! test -e /v/b",
                json!({ "configMap": { "name": "conf", "items": [{ "key": "a", "path": "c/d" }] } }),
            ),
            volume(
                "secret",
                &format!("test $(cat /v/key) = s3cret && test $(stat -Lc %a /v/key) = 400 && {is_tmpfs}"),
                json!({ "secret": { "secretName": "hush", "defaultMode": 256 } }),
            ),
            with(
                volume(
                    "downward",
                    "grep -q 'app=\"x\"' /v/labels",
                    json!({ "downwardAPI": { "items": [labels] } }),
                ),
                labelled.clone(),
            ),
            with(
                volume(
                    "projected",
                    "test $(cat /v/deep/a) = one && test -s /v/key && test -s /v/token && test -s /v/labels",
                    json!({ "projected": projected }),
                ),
                labelled,
            ),
            volume(
                "host",
                "test $(cat /v/from-host) = hello && echo back > /v/from-pod",
                json!({ "hostPath": { "path": host, "type": "Directory" } }),
            ),
            volume(
                "optional",
                "test -d /v && ! test -e /v/a",
                json!({ "configMap": { "name": "nosuch", "optional": true } }),
            ),
        ],
    )
    .await;
    assert_eq!(std::fs::read_to_string(host.join("from-pod")).expect("written"), "back\n");
}

#[tokio::test]
async fn containers_of_a_pod_share_network_and_volumes() {
    let carob = Carob::with_images();
    let mounts = json!([{ "name": "v", "mountPath": "/v" }]);
    let sh = |name: &str, text: &str| json!({ "name": name, "image": "busybox:1.28", "command": ["sh", "-c", text], "volumeMounts": mounts });
    let serve = "echo served > /v/page; httpd -p 8080 -h /v; until test -e /v/done; do sleep 0.1; done";
    let fetch = "until wget -qO- http://127.0.0.1:8080/page | grep served; do sleep 0.1; done; touch /v/done; \
                 test $(hostname) = pair";
    let spec = json!({ "containers": [sh("main", serve), sh("other", fetch)], "volumes": [{ "name": "v", "emptyDir": {} }] });
    let init = |number: u8| sh(&format!("init{number}"), &format!("echo {number} >> /v/order"));
    let ordered = json!({
        "initContainers": [init(1), init(2), init(3)],
        "containers": [sh("main", "test \"$(tr -d '\\n' < /v/order)\" = 123")],
        "volumes": [{ "name": "v", "emptyDir": {} }],
    });
    let pids = json!({ "shareProcessNamespace": true, "containers": [
        sh("main", "until ps | grep -q '[s]leep 12345'; do sleep 0.1; done; touch /v/done"),
        sh("other", "sleep 12345 & until test -e /v/done; do sleep 0.1; done"),
    ], "volumes": [{ "name": "v", "emptyDir": {} }] });
    check(
        &carob,
        &[
            with(once("pair", ""), json!({ "spec": spec })),
            with(once("ordered", ""), json!({ "spec": ordered })),
            with(once("pids", ""), json!({ "spec": pids })),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_changed_configmap_reaches_the_running_container() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &texts("ConfigMap", "conf", &[("a", "one")])).await;
    let wait_for = "until test $(cat /v/a) = two; do sleep 0.2; done";
    let pod = volume("watcher", wait_for, json!({ "configMap": { "name": "conf" } }));
    create(&client, &pod).await;
    wait::ready(&client, "watcher").await;
    carob.kubectl().succeed(&["patch", "configmap", "conf", "-p", r#"{"data":{"a":"two"}}"#]);
    wait::phase(&client, "watcher", "Succeeded").await;
}
