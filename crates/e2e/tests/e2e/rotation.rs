//! Logs that grow too long are rotated while they are written and followed: no line is lost.

use std::fs;
use std::path::Path;

use e2e::{chaos, create, ended, restarts, script, with};
use testkit::{Carob, Options, wait};

/// Small logs, looked at as often as is allowed.
const SMALL_LOGS: &str =
    "containerLogMaxSize: 20Ki\ncontainerLogMaxFiles: 3\ncontainerLogMonitorInterval: 3s\n";
/// Lines that a container writes in some twelve seconds.
const LINES: usize = 400;

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn followers_and_readers_lose_no_line() {
    let carob = Carob::start_with_images(Options { kubelet: SMALL_LOGS, ..Options::default() });
    let client = carob.client();
    let text = format!(
        "n=0; while test $n -lt {LINES}; do echo $n {}; n=$((n+1)); usleep 30000; done; exit 3",
        "x".repeat(300)
    );
    create(
        &client,
        &with(script("writer", &text), serde_json::json!({ "spec": { "restartPolicy": "OnFailure" } })),
    )
    .await;
    let pod = wait::ready(&client, "writer").await;
    let kubectl = carob.kubectl();
    let following = tokio::task::spawn_blocking(move || kubectl.ok("logs -f writer"));
    let again = |pod: &_| restarts(pod) == 1;
    let restarted = wait::pod(&client, "writer", "restarted", again).await;
    assert_eq!(ended(&restarted, "main").map(|own| own.0), Some(3));
    let numbers = |text: &str| -> Vec<usize> {
        text.lines()
            .map(|line| line.split(' ').next().unwrap_or_default().parse().expect("a number"))
            .collect()
    };
    let followed = numbers(&following.await.expect("kubectl ended"));
    let all: Vec<usize> = (0..LINES).collect();
    assert_eq!(followed, all, "who follows sees every line once");

    let logs = carob.path(&format!("var/log/pods/default_writer_{}/main", chaos::node_uid(&pod)));
    let rotated: Vec<String> = names(&logs).into_iter().filter(|name| name.starts_with("0.log.")).collect();
    assert_eq!(rotated.len(), 2, "three files at most, the present one included: {:?}", names(&logs));
    assert!(rotated[0].ends_with(".gz") && !rotated[1].ends_with(".gz"), "{rotated:?}");
    // What is left of it are its last lines: the present file shows those after the last rotation.
    let previous = numbers(&carob.kubectl().ok("logs writer --previous"));
    let first = previous.first().copied().expect("lines");
    assert!(first > 0, "it was rotated");
    assert_eq!(previous, (first..LINES).collect::<Vec<_>>());
    carob.kubectl().ok("delete pod writer --grace-period=1");
    assert!(!logs.exists(), "all of them are removed with the Pod");
}
