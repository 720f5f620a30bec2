//! Pods come and go by the hundred: nothing of them stays on the machine, and the daemon does not grow; then the same while
//! their processes and the daemon are killed. `CAROB_LEAK_ROUNDS` and `CAROB_LEAK_KILL_ROUNDS` make it longer,
//! `CAROB_LEAK_SEED` repeats a run.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use e2e::{chaos, create, with};
use k8s_openapi::api::core::v1::{Event, Pod};
use rustix::process::Signal;
use serde_json::{Value, json};
use stdx::entropy::Entropy;
use testkit::{Carob, leftovers, wait};
use tokio::time::Instant;

/// Rounds where nothing else is said, and Pods in each.
const ROUNDS: u64 = 4;
const PODS: u64 = 30;
/// Rounds with kills where nothing else is said.
const KILL_ROUNDS: u64 = 3;
/// How long what is cleared up beside other work may take.
const SETTLES: Duration = Duration::from_secs(150);
/// Between two looks at the machine: nothing tells of control groups and namespaces.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// What the daemon may grow by over all rounds, beyond what the objects (events) it keeps need.
const GROWTH_KIB_MAX: i64 = 12 << 10;

/// What an instance has on the machine; sets of names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Machine {
    processes: usize,
    mounts: usize,
    links: BTreeSet<String>,
    groups: BTreeSet<String>,
    rules: usize,
    run: usize,
    records: usize,
    roots: usize,
    pods: BTreeSet<String>,
    logs: BTreeSet<String>,
    links_to_logs: usize,
    addresses: usize,
}

fn names(folder: impl AsRef<Path>) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Control groups of Pods, in all hierarchies.
fn groups(id: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for hierarchy in names("/sys/fs/cgroup").into_iter().chain([String::from(".")]) {
        for class in ["", "/besteffort", "/burstable"] {
            let folder = format!("/sys/fs/cgroup/{hierarchy}/carob-{id}/kubepods{class}");
            let pods = names(&folder).into_iter().filter(|name| name.starts_with("pod"));
            found.extend(pods.map(|name| format!("{folder}/{name}")));
        }
    }
    found
}

fn machine(carob: &Carob) -> Machine {
    let id = carob.id();
    let run = format!("/run/carob/{id}");
    let prefix = carob.prefix().display().to_string();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let rules = std::process::Command::new("nft").args(["list", "ruleset"]).output().expect("nft runs");
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    let own_table = rules.split("\ntable ").filter(|table| table.contains(id));
    Machine {
        processes: leftovers::processes_in(&format!("/carob-{id}/shims")).len()
            + leftovers::processes_in(&format!("/carob-{id}/kubepods")).len(),
        mounts: mounts.lines().filter(|line| line.contains(&prefix) || line.contains(&run)).count(),
        links: names(format!("/sys/class/net/cb-{id}/brif")),
        groups: groups(id),
        rules: own_table.map(|table| table.lines().count()).sum(),
        run: names(format!("{run}/pods")).len(),
        records: names(carob.path("var/lib/carob/runtime/pods")).len(),
        roots: names(carob.path("var/lib/carob/images/containers")).len(),
        pods: names(carob.path("var/lib/kubelet/pods")),
        logs: names(carob.path("var/log/pods")),
        links_to_logs: names(carob.path("var/log/containers")).len(),
        addresses: names(format!("/run/carob/{id}/net/sandboxes")).len(),
    }
}

/// Descriptors of the daemon, and its memory.
fn daemon(carob: &Carob) -> (usize, i64) {
    let pid = carob.daemon_pid();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the daemon runs");
    let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a sum");
    let pss_kib = pss.trim().trim_end_matches(" kB").trim().parse().expect("a number");
    (names(format!("/proc/{pid}/fd")).len(), pss_kib)
}

/// Pods of several shapes that are ready at once, with what leaves traces: volumes, a host port, a probe, two
/// containers.
fn pod(round: u64, number: u64) -> Value {
    let own = |name: &str| json!({ "name": name, "image": "busybox:1.28", "command": ["sh", "-c", "sleep 100000"] });
    let volumes = json!([
        { "name": "disk", "emptyDir": {} }, { "name": "memory", "emptyDir": { "medium": "Memory" } },
        { "name": "secret", "secret": { "secretName": "hush" } },
    ]);
    let mounted = with(
        own("main"),
        json!({ "volumeMounts": [
            { "name": "disk", "mountPath": "/disk" }, { "name": "memory", "mountPath": "/memory" },
            { "name": "secret", "mountPath": "/secret" },
        ] }),
    );
    let probe = json!({ "readinessProbe": { "exec": { "command": ["true"] }, "periodSeconds": 1 } });
    let port = json!({ "ports": [{ "containerPort": 80, "hostPort": 21_000 + number }] });
    let limits = json!({ "resources": { "limits": { "memory": "32Mi" } } });
    let spec = match number % 6 {
        0 => json!({ "containers": [mounted], "volumes": volumes }),
        1 => json!({ "containers": [own("main"), own("other")], "shareProcessNamespace": true }),
        2 => json!({ "containers": [with(own("main"), probe)] }),
        3 => json!({ "containers": [with(own("main"), port)] }),
        4 => {
            json!({ "containers": [with(own("main"), limits)], "initContainers": [with(own("init"), json!({ "command": ["true"] }))] })
        }
        _ => json!({ "containers": [own("main")] }),
    };
    let spec = with(json!({ "terminationGracePeriodSeconds": 0 }), spec);
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("leak-{round}-{number}") }, "spec": spec })
}

/// All Pods of a round, from their creation until nothing of them is left. `kills`: meanwhile, processes are killed.
async fn round(carob: &Carob, random: &Entropy, number: u64, kills: bool) {
    let client = carob.client();
    let pods: Vec<Value> = (0..PODS).map(|own| pod(number, own)).collect();
    let posts = pods.iter().map(|own| create(&client, own));
    let made = futures::future::join_all(posts).await;
    if kills {
        chaos::pause(random, 1_500).await;
        for own in made.iter().filter(|_| random.below(4) == 0) {
            chaos::kill_pod_process(carob, own["metadata"]["uid"].as_str().unwrap_or_default());
        }
        restart(carob, random).await;
    } else {
        let all = |pods: &wait::Objects<Pod>| {
            let ready = pods.values().filter(|pod| wait::condition(pod, "Ready") == "True").count();
            (ready as u64 == PODS).then_some(())
        };
        wait::until(&client, Some("default"), "", "all Pods ready", all).await;
    }
    let client = carob.client();
    for own in &pods {
        let path =
            format!("/api/v1/namespaces/default/pods/{}", own["metadata"]["name"].as_str().expect("a name"));
        client.call::<Value>(http::Method::DELETE, &path, None::<&Value>).await.expect("deleted");
    }
    if kills {
        restart(carob, random).await;
    }
    let none = |pods: &wait::Objects<Pod>| pods.is_empty().then_some(());
    wait::until(&carob.client(), Some("default"), "", "all Pods gone", none).await;
}

async fn restart(carob: &Carob, random: &Entropy) {
    chaos::pause(random, 500).await;
    carob.end_daemon(Signal::KILL);
    let answer = carob.up(&[]);
    assert_eq!(answer.code, 0, "{}\n{}", answer.stderr, carob.log_tail());
}

/// Waits until the machine looks as before.
async fn check(carob: &Carob, before: &Machine) {
    let begin = Instant::now();
    loop {
        let now = machine(carob);
        if now == *before {
            return;
        }
        assert!(begin.elapsed() < SETTLES, "left behind; before:\n{before:#?}\nnow:\n{now:#?}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn events(carob: &Carob) -> i64 {
    let list = carob.client().list::<Event>(Some("default"), &client::ListOptions::default()).await;
    i64::try_from(list.expect("events").items.len()).unwrap_or(0)
}

#[tokio::test]
async fn pods_leave_nothing_behind() {
    let random = chaos::seeded("CAROB_LEAK_SEED");
    let rounds = chaos::number("CAROB_LEAK_ROUNDS", ROUNDS).max(2);
    let carob = Carob::with_images();
    create(&carob.client(), &e2e::texts("Secret", "hush", &[("key", "s3cret")])).await;
    // The first round warms up: image, pools of threads and of memory.
    let idle = machine(&carob);
    round(&carob, &random, 0, false).await;
    check(&carob, &idle).await;
    let ((handles, memory_kib), known) = (daemon(&carob), events(&carob).await);
    for number in 1..=rounds {
        round(&carob, &random, number, false).await;
        check(&carob, &idle).await;
        eprintln!("round {number}: {:?} descriptors and KiB, {known} events at first", daemon(&carob));
    }
    let ((handles_after, memory_after_kib), more) = (daemon(&carob), events(&carob).await - known);
    assert!(handles_after <= handles + 8, "descriptors: {handles} before, {handles_after} after");
    let growth_kib = memory_after_kib - memory_kib;
    // An event is kept for an hour: as a tree, as bytes, and in the ring of changes.
    let bound_kib = GROWTH_KIB_MAX + more * 16;
    assert!(growth_kib < bound_kib, "the daemon grew by {growth_kib} KiB with {more} events more");
    let kills = chaos::number("CAROB_LEAK_KILL_ROUNDS", KILL_ROUNDS);
    for number in rounds + 1..=rounds + kills {
        round(&carob, &random, number, true).await;
        check(&carob, &idle).await;
        eprintln!("round {number} with kills: {:?} descriptors and KiB", daemon(&carob));
    }
}
