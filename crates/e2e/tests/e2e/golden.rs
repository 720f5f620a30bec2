//! Recorded command lines, run again: by upstream's kubectl and by carob's own, against carob.

use std::time::Duration;

use client::kubeconfig::Kubeconfig;
use e2e::golden::{self, Line, Masks, words};
use similar::TextDiff;
use testkit::clients::Kind;
use testkit::{Carob, Kubectl, Options, wait};

/// Lines that set up what the others look at.
const SETUP: usize = 14;

/// How often a line is run again that may have met a container in the moment of its restart, and after which time.
const RESTART_ATTEMPTS: usize = 6;
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// A difference that is known and right.
struct Accepted {
    /// The line, or how it begins if it ends with `*`.
    line: &'static str,
    /// Which client shows it; both if none.
    client: Option<Kind>,
    /// Why it is right.
    reason: &'static str,
}

const fn both(line: &'static str, reason: &'static str) -> Accepted {
    Accepted { line, client: None, reason }
}

const ACCEPTED: [Accepted; 6] = [
    both(
        "logs crash --previous",
        "the recorded node had cleared the log away already; here it is there, and empty",
    ),
    Accepted {
        line: "logs myweb -c nosuch",
        client: Some(Kind::Stock),
        reason: "an older kubectl names no containers",
    },
    Accepted {
        line: "exec multipod -c nosuch -- true",
        client: Some(Kind::Stock),
        reason: "an older kubectl asks the server",
    },
    both("auth whoami", "the administrator has another name"),
    both("logs myweb", "the recorded image of httpd lacks a library and its children abort"),
    both(
        "describe node node1",
        "the recorded machine counts huge pages, and the node has another age and load",
    ),
];

fn accepted(line: &str, kind: Kind) -> Option<&'static Accepted> {
    let fits = |own: &&Accepted| match own.line.strip_suffix('*') {
        Some(head) => line.starts_with(head),
        None => line == own.line,
    };
    ACCEPTED.iter().filter(fits).find(|own| own.client.is_none_or(|client| client == kind))
}

/// What is wrong with an answer; nothing if it is as recorded.
fn difference(masks: &Masks, recorded: &Line, found: &testkit::Answer) -> String {
    let mut wrong = String::new();
    if recorded.code != found.code {
        wrong += &format!("exit code {} instead of {}\n", found.code, recorded.code);
    }
    for (name, old, new) in
        [("stdout", &recorded.stdout, &found.stdout), ("stderr", &recorded.stderr, &found.stderr)]
    {
        let (old, new) = (masks.apply(&recorded.line, old), masks.apply(&recorded.line, new));
        if old != new {
            let diff = TextDiff::from_lines(&old, &new);
            wrong += &diff.unified_diff().context_radius(1).header("recorded", name).to_string();
        }
    }
    wrong
}

/// The kubeconfig with the names that were recorded.
fn rename(carob: &Carob) -> std::path::PathBuf {
    let mut config = Kubeconfig::read(&carob.kubeconfig()).expect("a kubeconfig");
    config.clusters[0].name = "c".into();
    config.users[0].name = "u".into();
    config.contexts[0].name = "x".into();
    config.contexts[0].context.cluster = "c".into();
    config.contexts[0].context.user = "u".into();
    config.current_context = "x".into();
    let path = carob.path("golden.kubeconfig");
    std::fs::write(&path, serde_saphyr::to_string(&config).expect("YAML")).expect("written");
    path
}

/// Waits until the Pods are as they were when the lines were recorded.
async fn settle(carob: &Carob) {
    let client = carob.client();
    for name in ["multipod", "nginx-pod", "envpod", "volume-pod", "held"] {
        wait::ready(&client, name).await;
    }
    wait::phase(&client, "done", "Succeeded").await;
    wait::phase(&client, "oom", "Failed").await;
    wait::event(&client, "big", "FailedScheduling").await;
    let stuck = |pod: &_| e2e::waiting(pod, "redis").is_some_and(|own| own.0 == "ImagePullBackOff");
    wait::pod(&client, "redis", "stuck", stuck).await;
    let initialising = |pod: &_| e2e::ended(pod, "init-ok").is_some();
    wait::pod(&client, "myapp-pod", "initialising", initialising).await;
    wait::event(&client, "echo-rp", "Unhealthy").await;
    for name in ["crash", "myweb"] {
        let again = |pod: &k8s_openapi::api::core::v1::Pod| {
            let statuses = pod.status.iter().flat_map(|own| own.container_statuses.iter().flatten());
            statuses.into_iter().any(|own| own.restart_count >= 2)
        };
        wait::pod(&client, name, "restarted", again).await;
    }
    wait::pod(&client, "liveness-exam", "restarted", |pod| e2e::restarts(pod) >= 1).await;
}

async fn run(kind: Kind) {
    // The recorded node had one address, of IPv4.
    let address = testkit::carob::node_address();
    let carob = Carob::start_with_images(Options { flags: &["--node-ip", &address], ..Options::default() });
    let golden = golden::kubectl();
    let folder = carob.path("golden");
    std::fs::create_dir(&folder).expect("a directory");
    for (name, text) in &golden.files {
        std::fs::write(folder.join(name), text).expect("written");
    }
    let kubectl = Kubectl::new(kind, &rename(&carob), &folder);
    let masks = Masks::default();
    let mut wrong = Vec::new();
    let mut same = 0;
    for (number, recorded) in golden.lines.iter().enumerate() {
        if number == SETUP {
            settle(&carob).await;
        }
        if recorded.line.starts_with("delete pods --all") {
            // Its finalizers were removed some lines before.
            wait::gone::<k8s_openapi::api::core::v1::Pod>(&carob.client(), Some("default"), "held").await;
        }
        let answer = || difference(&masks, recorded, &kubectl.run(&words(&recorded.line)));
        let mut difference = answer();
        for _ in 0..RESTART_ATTEMPTS {
            if difference.is_empty() || !recorded.line.starts_with("get ") {
                break;
            }
            // It may have met a container while that ran for a moment, between two failures.
            tokio::time::sleep(RESTART_PAUSE).await;
            difference = answer();
        }
        match (accepted(&recorded.line, kind), difference.is_empty()) {
            (None, true) => same += 1,
            (None, false) => wrong.push(format!("## kubectl {}\n{difference}", recorded.line)),
            (Some(_), false) => {}
            (Some(own), true) => {
                wrong.push(format!(
                    "## kubectl {}\nno longer differs, though: {}\n",
                    recorded.line, own.reason
                ));
            }
        }
    }
    let count = wrong.len();
    assert!(wrong.is_empty(), "{same} lines are as recorded, {count} are not:\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn upstreams_kubectl_finds_what_was_recorded() {
    run(Kind::Stock).await;
}

#[tokio::test]
async fn carobs_kubectl_says_what_was_recorded() {
    run(Kind::Own).await;
}
