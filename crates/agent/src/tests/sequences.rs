//! From a Pod at the API to its status: starts, ends, restarts, deletion.

use std::time::Duration;

use serde_json::{Value, json};

use crate::testing::Harness;
use crate::testing::runtime::{Call, Fate};

const SECOND: Duration = Duration::from_secs(1);

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a str {
    let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|own| own["type"] == kind).and_then(|own| own["status"].as_str()).unwrap_or("-")
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready") == "True"
}

async fn harness() -> (Harness, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut harness = Harness::new(folder.path());
    harness.start().await;
    (harness, folder)
}

#[tokio::test(start_paused = true)]
async fn a_pod_becomes_ready_without_waiting_for_any_timer() {
    let (harness, _folder) = harness().await;
    harness.create("p", json!({"containers": [{"name": "c", "image": "nginx:1.14"}]}));
    let took = harness.until("p", SECOND, is_ready).await;
    assert!(took < Duration::from_millis(200), "took {took:?}");
    let pod = harness.pod("p").expect("the pod");
    let status = &pod["status"];
    assert_eq!(status["phase"], "Running");
    assert_eq!(status["podIP"], "10.42.0.2");
    assert_eq!(status["hostIPs"], json!([{"ip": "192.0.2.1"}]));
    assert_eq!(status["containerStatuses"][0]["image"], "docker.io/library/nginx:1.14");
    assert_eq!(status["containerStatuses"][0]["started"], true);
    for kind in ["PodReadyToStartContainers", "Initialized", "ContainersReady", "PodScheduled"] {
        assert_eq!(condition(&pod, kind), "True", "{kind}");
    }
    let config = harness.runtime.config("c").expect("the container's configuration");
    assert!(config.envs.contains(&("KUBERNETES_SERVICE_HOST".into(), "10.43.0.1".into())));
    let events = harness.events();
    assert!(events.contains(&"Pulling: Pulling image \"nginx:1.14\"".into()), "{events:?}");
    assert!(events.contains(&"Created: Container created".into()), "{events:?}");
    assert!(events.contains(&"Started: Container started".into()), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn init_containers_run_one_after_the_other() {
    let (harness, _folder) = harness().await;
    harness.runtime.script("i2", [Fate::Exits(0)]);
    harness.create(
        "p",
        json!({"initContainers": [{"name": "i1", "image": "a"}, {"name": "i2", "image": "a"}],
            "containers": [{"name": "c", "image": "a"}]}),
    );
    harness
        .until("p", SECOND, |pod| pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object())
        .await;
    let pod = harness.pod("p").expect("the pod");
    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"], "PodInitializing");
    harness.runtime.exit("i1", 0);
    harness.until("p", SECOND, is_ready).await;
    let started: Vec<Call> =
        harness.runtime.calls().into_iter().filter(|call| matches!(call, Call::Start(_))).collect();
    assert_eq!(started, [Call::Start("i1".into()), Call::Start("i2".into()), Call::Start("c".into())]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_backs_off() {
    let (harness, _folder) = harness().await;
    harness.runtime.script("c", std::iter::repeat_n(Fate::Exits(3), 4));
    harness.create("p", json!({"containers": [{"name": "c", "image": "a"}]}));
    let restarts =
        |count: i64| move |pod: &Value| pod["status"]["containerStatuses"][0]["restartCount"] == count;
    harness.until("p", SECOND, restarts(1)).await;
    // How it ended shows before that it waits.
    let ended =
        |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] == "Error";
    harness.until("p", Duration::from_millis(50), ended).await;
    let waiting = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    };
    let took = harness.until("p", 2 * SECOND, waiting).await;
    assert!((0.9..1.2).contains(&took.as_secs_f64()), "{took:?}");
    let pod = harness.pod("p").expect("the pod");
    assert_eq!(
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"],
        "back-off 10s restarting failed container=c pod=p_default(uid-p)"
    );
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(pod["status"]["phase"], "Running");
    let took = harness.until("p", 15 * SECOND, restarts(2)).await;
    assert!((9.0..11.0).contains(&took.as_secs_f64()), "{took:?}");
    let took = harness.until("p", 30 * SECOND, restarts(3)).await;
    assert!((19.0..21.0).contains(&took.as_secs_f64()), "{took:?}");
    let took = harness.until("p", 60 * SECOND, is_ready).await;
    assert!((39.0..41.0).contains(&took.as_secs_f64()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_ends_and_is_deleted_for_good() {
    let (harness, _folder) = harness().await;
    harness.runtime.script("c", [Fate::Stubborn]);
    harness.create(
        "p",
        json!({"containers": [{"name": "c", "image": "a"}], "terminationGracePeriodSeconds": 30}),
    );
    harness.until("p", SECOND, is_ready).await;
    harness.delete("p", 5);
    let took = harness.until("p", 20 * SECOND, Value::is_null).await;
    assert!((4.0..7.0).contains(&took.as_secs_f64()), "{took:?}");
    assert!(harness.events().contains(&"Killing: Stopping container c".into()));
    let calls = harness.runtime.calls();
    assert!(calls.contains(&Call::Stop("c".into(), 5)), "{calls:?}");
    assert!(calls.contains(&Call::RemoveSandbox), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn volumes_that_stay_are_tried_again_after_growing_pauses() {
    let (harness, _folder) = harness().await;
    harness.create("p", json!({"containers": [{"name": "c", "image": "a"}]}));
    harness.until("p", SECOND, is_ready).await;
    harness.volumes.failures.store(4, std::sync::atomic::Ordering::Relaxed);
    harness.delete("p", 0);
    // 2, 4, 8 and 16 seconds, less what news of the Pod shorten; the repair pass would come after 90.
    let took = harness.until("p", 60 * SECOND, Value::is_null).await;
    assert!((8.0..31.0).contains(&took.as_secs_f64()), "{took:?}");
    assert!(harness.events().contains(&"FailedUnMount: device or resource busy".into()));
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_ended_stays() {
    let (harness, _folder) = harness().await;
    harness.runtime.script("c", [Fate::Exits(0)]);
    harness.create("p", json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "a"}]}));
    harness.until("p", SECOND, |pod| pod["status"]["phase"] == "Succeeded").await;
    harness.pass(5 * SECOND).await;
    let pod = harness.pod("p").expect("the pod stays");
    assert_eq!(pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    assert_eq!(condition(&pod, "PodReadyToStartContainers"), "False");
    assert_eq!(condition(&pod, "Initialized"), "True");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_backs_off() {
    let (harness, _folder) = harness().await;
    harness.images.miss("redis123");
    harness.create("p", json!({"containers": [{"name": "c", "image": "redis123"}]}));
    let waiting = |reason: &'static str| {
        move |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
    };
    harness.until("p", SECOND, waiting("ErrImagePull")).await;
    harness.until("p", 10 * SECOND, waiting("ImagePullBackOff")).await;
    harness.images.appear("redis123");
    harness.until("p", 20 * SECOND, is_ready).await;
    let events = harness.events();
    for expected in [
        "Failed: Error: ErrImagePull",
        "Failed: Error: ImagePullBackOff",
        "BackOff: Back-off pulling image \"redis123\"",
        "Failed: Failed to pull image \"redis123\": rpc error: code = NotFound desc = failed to pull and unpack image \
         \"docker.io/library/redis123:latest\": failed to resolve image: docker.io/library/redis123:latest: not found",
    ] {
        assert!(events.iter().any(|event| event == expected), "{expected}: {events:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_agent_takes_over_what_runs() {
    let (mut harness, _folder) = harness().await;
    harness.create("p", json!({"containers": [{"name": "c", "image": "a"}]}));
    harness.until("p", SECOND, is_ready).await;
    let before = harness.runtime.calls().len();
    harness.start().await;
    harness.pass(3 * SECOND).await;
    assert_eq!(harness.runtime.calls().len(), before, "nothing is touched");
    harness.runtime.exit("c", 1);
    harness
        .until("p", SECOND, |pod| is_ready(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_sandbox_is_made_anew() {
    let (harness, _folder) = harness().await;
    harness.create("p", json!({"containers": [{"name": "c", "image": "a"}]}));
    harness.until("p", SECOND, is_ready).await;
    harness.runtime.kill_sandboxes();
    harness
        .until("p", SECOND, |pod| is_ready(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1)
        .await;
    let events = harness.events();
    let expected = "SandboxChanged: Pod sandbox changed, it will be killed and re-created.";
    assert!(events.iter().any(|event| event == expected), "{events:#?}");
    let pod = harness.pod("p").expect("the pod");
    assert_eq!(pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 137);
}

#[tokio::test(start_paused = true)]
async fn no_link_to_a_log_outlives_its_container() {
    let (harness, folder) = harness().await;
    harness.runtime.script("i", [Fate::Exits(0), Fate::Exits(0)]);
    let own = |name: &str| json!([{"name": name, "image": "a"}]);
    harness.create("p", json!({"initContainers": own("i"), "containers": own("c")}));
    harness.until("p", SECOND, is_ready).await;
    let links = || std::fs::read_dir(folder.path().join("links")).expect("a folder").count();
    assert_eq!(links(), 2);
    // In a new sandbox init containers run again; those of the older one are removed.
    harness.runtime.kill_sandboxes();
    harness
        .until("p", SECOND, |pod| is_ready(pod) && pod["status"]["containerStatuses"][0]["restartCount"] == 1)
        .await;
    assert_eq!(links(), 3);
    harness.delete("p", 0);
    harness.until("p", 20 * SECOND, Value::is_null).await;
    assert_eq!(links(), 0);
}

/// Otherwise its containers would run on until the agent is started once more.
#[tokio::test(start_paused = true)]
async fn what_a_pod_left_ends_although_the_runtime_is_busy_at_the_start() {
    let (mut harness, _folder) = harness().await;
    harness.create("p", json!({"containers": [{"name": "c", "image": "a"}]}));
    harness.until("p", SECOND, |pod| pod["status"]["phase"] == "Running").await;
    harness.agent = None;
    harness.api.remove(&Harness::path("p"));
    harness.runtime.fail_status(2);
    harness.start().await;
    harness.pass(20 * SECOND).await;
    let left = harness.runtime.containers();
    assert!(left.is_empty(), "{left:?}");
}
