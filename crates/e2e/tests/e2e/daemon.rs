//! The daemon's own life: containers outlive it, a second one is refused, errors name what to do.

use std::net::TcpListener;

use e2e::{container, create, script, sleeper};
use k8s_openapi::api::core::v1::Pod;
use rustix::process::Signal;
use testkit::{Carob, Options, wait};

/// Container id and restarts of a Pod.
fn identity(pod: &Pod) -> (Option<String>, i32) {
    (container(pod, "main").and_then(|own| own.container_id.clone()), e2e::restarts(pod))
}

async fn containers_survive(signal: Signal) {
    let carob = Carob::with_images();
    let client = carob.client();
    let counting = "n=0; while true; do echo tick $n; n=$((n+1)); sleep 0.2; done";
    create(&client, &script("clock", counting)).await;
    create(&client, &script("short", "until test -e /tmp/go; do sleep 0.1; done; exit 4")).await;
    let before = identity(&wait::ready(&client, "clock").await);
    wait::ready(&client, "short").await;
    carob.end_daemon(signal);
    let answer = carob.up(&[]);
    assert_eq!(answer.code, 0, "{}\n{}", answer.stderr, carob.log_tail());
    let client = carob.client();
    let kubectl = carob.kubectl();
    kubectl.ok("exec clock -- true");
    assert_eq!(identity(&wait::ready(&client, "clock").await), before, "the same container runs on");
    let log = kubectl.ok("logs clock");
    let numbers: Vec<u32> = log.lines().filter_map(|line| line.strip_prefix("tick ")?.parse().ok()).collect();
    assert!(
        numbers.iter().enumerate().all(|(index, number)| index as u32 == *number),
        "no line is lost: {log}"
    );
    // Ends are noticed after the take-over, too.
    kubectl.ok("exec short -- touch /tmp/go");
    let pod = wait::pod(&client, "short", "restarted", |pod| e2e::restarts(pod) >= 1).await;
    assert_eq!(e2e::ended(&pod, "main").map(|(code, _)| code), Some(4));
    kubectl.ok("delete pod clock short");
}

#[tokio::test]
async fn containers_survive_a_restart_of_the_daemon() {
    containers_survive(Signal::TERM).await;
}

#[tokio::test]
async fn containers_survive_a_crash_of_the_daemon() {
    containers_survive(Signal::KILL).await;
}

#[tokio::test]
async fn an_exit_while_the_daemon_is_away_is_noticed() {
    let carob = Carob::with_images();
    let client = carob.client();
    let host = carob.path("notes");
    std::fs::create_dir(&host).expect("a directory");
    let text = format!("until test -e {0}/go; do sleep 0.1; done; echo gone > {0}/gone; exit 9", "/v");
    let volume = serde_json::json!({ "spec": { "restartPolicy": "Never", "volumes": [{ "name": "v", "hostPath": { "path": host } }] } });
    let mount = serde_json::json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    create(&client, &e2e::with_container(e2e::with(script("brief", &text), volume), mount)).await;
    wait::ready(&client, "brief").await;
    carob.end_daemon(Signal::KILL);
    std::fs::write(host.join("go"), "").expect("written");
    while !host.join("gone").exists() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(carob.up(&[]).code, 0, "{}", carob.log_tail());
    let pod = wait::phase(&carob.client(), "brief", "Failed").await;
    assert_eq!(e2e::ended(&pod, "main"), Some((9, "Error".into())));
}

#[tokio::test]
async fn up_is_idempotent_and_down_leaves_objects() {
    let carob = Carob::with_images();
    create(&carob.client(), &sleeper("kept")).await;
    wait::ready(&carob.client(), "kept").await;
    let pid = carob.daemon_pid();
    let again = carob.up(&[]);
    assert_eq!((again.code, carob.daemon_pid()), (0, pid), "{}", again.stderr);
    let conflict = carob.up(&["--pod-cidr", "10.250.0.0/16"]);
    assert_eq!(conflict.code, 1);
    assert!(conflict.stderr.contains("--pod-cidr 10.250.0.0/16 conflicts with"), "{}", conflict.stderr);
    let status = carob.verb("status", &[]);
    assert_eq!(status.code, 0, "{}{}", status.stdout, status.stderr);
    assert!(
        status.stdout.contains(&pid.to_string()) && status.stdout.contains(carob.id()),
        "{}",
        status.stdout
    );
    let before = wait::ready(&carob.client(), "kept").await;
    assert_eq!(carob.verb("down", &["--grace", "1s"]).code, 0);
    assert_ne!(carob.verb("status", &[]).code, 0, "nothing runs");
    assert_eq!(carob.verb("down", &[]).code, 0, "down is idempotent");
    assert_eq!(carob.up(&[]).code, 0, "{}", carob.log_tail());
    let back = |pod: &Pod| wait::condition(pod, "Ready") == "True" && identity(pod).0 != identity(&before).0;
    let after = wait::pod(&carob.client(), "kept", "running again", back).await;
    assert_eq!(after.metadata.uid, before.metadata.uid, "as after a reboot of the node");
}

#[tokio::test]
async fn errors_of_starting_say_what_to_do() {
    let carob = Carob::start(Options::default());
    let prefix = carob.prefix().display().to_string();
    let second = testkit::carob::carob(&["server", "--prefix", &prefix]);
    assert_eq!(second.code, 1);
    let data = carob.path("var/lib/carob");
    assert!(
        second.stderr.contains(&format!("data directory {} is in use by another carob", data.display())),
        "{}",
        second.stderr
    );
    let other = tempfile::tempdir().expect("a directory");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("bound").to_string();
    let flags = ["--kubelet-port", "0", "--pod-cidr", "10.222.0.0/16", "--service-cidr", "10.223.0.0/16"];
    let place = other.path().display().to_string();
    let mut arguments = vec!["server", "--prefix", &place, "--listen", &taken];
    arguments.extend(flags);
    let answer = testkit::carob::carob(&arguments);
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains(&taken) && answer.stderr.contains("in use"), "{}", answer.stderr);
    // It has come as far as having a directory for what runs.
    assert_eq!(testkit::carob::carob(&["down", "--prefix", &place]).code, 0);
    for (flag, value) in
        [("--store", "etcd://127.0.0.1"), ("--listen", "nonsense"), ("--node-ip", "x"), ("--pod-cidr", "y")]
    {
        let folder = tempfile::tempdir().expect("a directory");
        let place = folder.path().display().to_string();
        let answer = testkit::carob::carob(&["server", "--prefix", &place, flag, value]);
        assert_eq!(answer.code, 1, "{flag}");
        assert!(answer.stderr.contains(&format!("{flag} {value}")), "{flag}: {}", answer.stderr);
    }
}

#[tokio::test]
async fn two_clusters_do_not_meet() {
    let (one, two) = (Carob::with_images(), Carob::with_images());
    for carob in [&one, &two] {
        create(&carob.client(), &sleeper("same")).await;
    }
    let first = wait::ready(&one.client(), "same").await;
    let second = wait::ready(&two.client(), "same").await;
    assert_ne!(first.metadata.uid, second.metadata.uid);
    assert_ne!(e2e::address(&first), e2e::address(&second));
    drop(one);
    assert_eq!(two.kubectl().ok("exec same -- echo alive"), "alive\n");
    assert_eq!(wait::ready(&two.client(), "same").await.metadata.uid, second.metadata.uid);
}

#[tokio::test]
async fn a_killed_pod_process_is_an_end_with_137() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &sleeper("victim")).await;
    wait::ready(&client, "victim").await;
    let inside = testkit::leftovers::processes_in(&format!("/carob-{}/kubepods", carob.id()));
    let shims = testkit::leftovers::processes_in(&format!("/carob-{}/shims", carob.id()));
    // Others are prepared for Pods to come: the Pod's own is the parent of its container.
    let parents: Vec<i32> = inside.into_iter().filter_map(parent).filter(|pid| shims.contains(pid)).collect();
    assert_eq!(parents.len(), 1, "one small process for each Pod: {parents:?} of {shims:?}");
    let pid = rustix::process::Pid::from_raw(parents[0]).expect("a process id");
    rustix::process::kill_process(pid, Signal::KILL).expect("killed");
    let restarted = |pod: &Pod| e2e::restarts(pod) >= 1 && wait::condition(pod, "Ready") == "True";
    let pod = wait::pod(&client, "victim", "restarted in a new sandbox", restarted).await;
    assert_eq!(e2e::ended(&pod, "main").map(|(code, _)| code), Some(137));
}

/// The process that started another one.
fn parent(pid: i32) -> Option<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
