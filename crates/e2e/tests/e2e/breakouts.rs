//! Ways out of containers that other runtimes once had, and what a Pod reaches of the control plane without a right.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use e2e::{create, every_container_ended, once, sleeper, waiting, with, with_container};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};
use testkit::command::succeed;
use testkit::leftovers::processes_in;
use testkit::{Carob, wait};

/// Descriptors that a runtime may have left open.
const DESCRIPTORS: std::ops::Range<u32> = 3..24;

/// A container that ends with 7 if it got anywhere.
fn intruder(name: String, change: Value) -> Value {
    let container = json!({ "name": name, "image": "busybox:1.28", "command": ["sh", "-c", "exit 7"] });
    with(container, change)
}

/// Directories and programs are not found by descriptors that the runtime has open.
#[tokio::test]
async fn descriptors_of_the_runtime_lead_nowhere() {
    let carob = Carob::with_images();
    let client = carob.client();
    let mut containers = Vec::new();
    for number in DESCRIPTORS {
        let directory = format!("/proc/self/fd/{number}");
        let program = format!("/proc/self/fd/{number}/../../../../../../../../bin/sh");
        containers.push(intruder(format!("directory-{number}"), json!({ "workingDir": directory })));
        containers
            .push(intruder(format!("program-{number}"), json!({ "command": [program, "-c", "exit 7"] })));
    }
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "intruders" },
        "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": containers },
    });
    create(&client, &pod).await;
    let all = containers.len();
    let ended = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|own| own.container_statuses.as_ref());
        statuses.is_some_and(|own| own.len() == all) && every_container_ended(pod)
    };
    let pod = wait::pod(&client, "intruders", "ended", ended).await;
    let mut found = Vec::new();
    for status in pod.status.into_iter().flat_map(|own| own.container_statuses).flatten() {
        let end = status.state.and_then(|state| state.terminated).expect("it ended");
        if end.exit_code != 128 || end.reason.as_deref() != Some("StartError") {
            found.push(format!("{}: {} {:?} {:?}", status.name, end.exit_code, end.reason, end.message));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A link in a volume does not make a part of the volume of what it points to; one that stays in it does.
#[tokio::test]
async fn links_in_volumes_lead_nowhere() {
    let carob = Carob::with_images();
    let client = carob.client();
    let plant = json!({
        "name": "plant", "image": "busybox:1.28",
        "command": ["sh", "-c", "cd /v; mkdir inner; ln -s / root; ln -s /etc inner/etc; ln -s inner link; ln -s /none none"],
        "volumeMounts": [{ "name": "v", "mountPath": "/v" }],
    });
    let volume =
        json!({ "spec": { "initContainers": [plant], "volumes": [{ "name": "v", "emptyDir": {} }] } });
    let part =
        |part: &str| json!({ "volumeMounts": [{ "name": "v", "mountPath": "/part", "subPath": part }] });
    let refused = [
        ("etc", "inner/etc", "prepare subPath"),
        ("root", "root", "prepare subPath"),
        ("made", "root/tmp/made-by-a-sub-path", "create subPath directory"),
        ("none", "none", "create subPath directory"),
    ];
    for (name, path, _) in refused {
        create(&client, &with_container(with(sleeper(name), volume.clone()), part(path))).await;
    }
    // What is missing is made for everybody, as the volume itself.
    let pod = with(once("inside", "stat -c %a /part"), volume);
    create(&client, &with_container(pod, part("link/new"))).await;
    wait::phase(&client, "inside", "Succeeded").await;
    assert_eq!(carob.kubectl().ok("logs inside"), "777\n");
    for (name, _, what) in refused {
        let refused = |pod: &Pod| {
            waiting(pod, "main").is_some_and(|(reason, _)| reason == "CreateContainerConfigError")
        };
        let pod = wait::pod(&client, name, "refused", refused).await;
        let (_, message) = waiting(&pod, "main").expect("it waits");
        assert_eq!(message, format!("failed to {what} for volumeMount \"v\" of container \"main\""));
    }
    assert!(!Path::new("/tmp/made-by-a-sub-path").exists());
}

/// Settings of the kernel that are the node's are not written for a Pod; those of its own namespaces are.
#[tokio::test]
async fn settings_of_the_node_are_not_a_pods() {
    let carob = Carob::with_images();
    let client = carob.client();
    // Should it be written all the same, nothing changes.
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("a pattern");
    let with_setting = |name: &str, setting: &str, value: &str| {
        let settings = json!([{ "name": setting, "value": value }]);
        with(
            once(name, "cat /proc/sys/net/ipv4/tcp_fin_timeout"),
            json!({ "spec": { "securityContext": { "sysctls": settings } } }),
        )
    };
    create(&client, &with_setting("node", "kernel.core_pattern", pattern.trim())).await;
    create(&client, &with_setting("own", "net.ipv4.tcp_fin_timeout", "17")).await;
    let pod = wait::phase(&client, "node", "Failed").await;
    let status = pod.status.expect("a status");
    assert_eq!(status.reason.as_deref(), Some("SysctlForbidden"));
    let message = status.message.unwrap_or_default();
    assert_eq!(message, "Pod was rejected: forbidden sysctl: \"kernel.core_pattern\" not allowlisted");
    wait::phase(&client, "own", "Succeeded").await;
    assert_eq!(carob.kubectl().ok("logs own"), "17\n");
}

/// What a Pod is told by the APIs of node and cluster, and that the store is nowhere to be found.
#[tokio::test]
async fn pods_reach_neither_node_nor_store_without_a_right() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &sleeper("inside")).await;
    wait::ready(&client, "inside").await;
    let node = wait::one(&client, None, testkit::carob::NODE, "there", |_: &Node| true).await;
    let endpoints = node.status.as_ref().and_then(|own| own.daemon_endpoints.as_ref());
    let port = endpoints.and_then(|own| own.kubelet_endpoint.as_ref()).expect("a port").port;
    let node = format!("https://{}:{port}", testkit::carob::node_address());
    let ask = |line: &str| carob.kubectl().succeed(&["exec", "inside", "--", "sh", "-c", line]);
    let token = ask("cat /var/run/secrets/kubernetes.io/serviceaccount/token");
    let api = ask("echo https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT");
    let pid = in_containers(&carob).first().expect("a process of the Pod").to_string();
    let command = "/exec/default/inside/main?command=id&output=1";
    let rows = [
        (node.as_str(), "/pods", "401", "403"),
        (&node, "/metrics", "401", "403"),
        (&node, "/logs/", "401", "403"),
        (&node, "/containerLogs/default/inside/main", "401", "403"),
        (&node, command, "401", "403"),
        (api.trim(), "/api/v1/secrets", "403", "403"),
        (api.trim(), "/api/v1/namespaces/kube-system/secrets", "403", "403"),
        (api.trim(), "/api/v1/namespaces/default/pods/inside/exec?command=id&stdout=1", "403", "403"),
        (api.trim(), "/api/v1/nodes/node1/proxy/pods", "403", "403"),
    ];
    for (server, path, without, with_token) in rows {
        for (header, expected) in [(None, without), (Some(token.as_str()), with_token), (Some("x"), "401")] {
            // As the Pod asks: with its address, by its routes.
            let mut curl = Command::new("nsenter");
            curl.args(["--net", "--target", &pid, "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}"]);
            if let Some(token) = header {
                curl.args(["-H", &format!("Authorization: Bearer {token}")]);
            }
            let code = succeed(curl.arg(format!("{server}{path}"))).expect("an answer");
            assert_eq!(code, expected, "{server}{path} {header:?}");
        }
    }
    store_is_out_of_reach(&carob, port);
}

fn store_is_out_of_reach(carob: &Carob, node_port: i32) {
    let daemon = format!("pid={},", carob.daemon_pid());
    let sockets = succeed(Command::new("ss").args(["-Hltnp"])).expect("ss lists sockets");
    let listening = sockets.lines().filter(|line| line.contains(&daemon));
    let ports: Vec<&str> = listening
        .filter_map(|line| line.split_whitespace().nth(3)?.rsplit_once(':').map(|(_, port)| port))
        .collect();
    let config = fs::read_to_string(carob.kubeconfig()).expect("a kubeconfig");
    let api = config.lines().find_map(|line| line.trim().strip_prefix("server: ")).expect("a server");
    let api = api.trim_end_matches('/').rsplit_once(':').expect("a port").1;
    let unknown: Vec<&&str> =
        ports.iter().filter(|port| **port != api && **port != node_port.to_string()).collect();
    assert!(ports.len() >= 2 && unknown.is_empty(), "the daemon listens to {unknown:?}:\n{sockets}");
    let store =
        succeed(Command::new("find").arg(carob.prefix()).args(["-name", "store.redb"])).expect("find");
    let store = Path::new(store.trim());
    let file = fs::metadata(store).expect("the store is a file");
    assert_eq!(file.mode() & 0o077, 0, "{} is for its owner only", store.display());
    let inside = in_containers(carob);
    assert!(!inside.is_empty(), "no process of a container was looked at");
    for pid in inside {
        // The path as the container would reach it: through its own root, whatever is mounted there.
        for path in mounts_of(pid) {
            let inside = format!("/proc/{pid}/root{path}");
            let find =
                succeed(Command::new("find").args([&inside, "-xdev", "-inum", &file.ino().to_string()]));
            let found = find.unwrap_or_default();
            let same = found.lines().any(|line| fs::metadata(line).is_ok_and(|own| own.dev() == file.dev()));
            assert!(!same, "process {pid} sees the store: {found}");
        }
    }
}

/// Processes of containers: those that have a mount namespace of their own.
fn in_containers(carob: &Carob) -> Vec<i32> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let own = namespace("self");
    let pids = processes_in(&format!("/carob-{}", carob.id())).into_iter();
    pids.filter(|pid| namespace(&pid.to_string()).is_some_and(|other| Some(other) != own)).collect()
}

/// Mount points of a process that may hold files of the node.
fn mounts_of(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    let kernel = [" - proc ", " - sysfs ", " - cgroup", " - mqueue ", " - devpts "];
    let lines = text.lines().filter(|line| !kernel.iter().any(|kind| line.contains(kind)));
    lines.filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}
