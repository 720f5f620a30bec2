//! Probes, hooks, sidecars, deadlines, admission.

use std::time::Duration;

use cri::runtime::ExecOutput;
use serde_json::{Value, json};

use crate::testing::Harness;
use crate::testing::runtime::{Call, Fate};

const SECOND: Duration = Duration::from_secs(1);

async fn harness() -> (Harness, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut harness = Harness::new(folder.path());
    harness.start().await;
    (harness, folder)
}

fn container(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

fn is_ready(pod: &Value) -> bool {
    container(pod)["ready"] == true
}

#[tokio::test(start_paused = true)]
async fn a_failed_liveness_probe_restarts_the_container() {
    let (harness, _folder) = harness().await;
    harness.runtime.on_exec(|_, _| {
        let stderr = b"ls: /tmp/healthy: No such file or directory".to_vec();
        Ok(ExecOutput { stdout: Vec::new(), stderr, exit_code: 1 })
    });
    let probe = json!({"exec": {"command": ["ls", "/tmp/healthy"]}, "periodSeconds": 5, "failureThreshold": 3,
        "successThreshold": 1, "timeoutSeconds": 1});
    harness.create(
        "p",
        json!({"terminationGracePeriodSeconds": 7, "containers": [{"name": "c", "image": "a", "livenessProbe": probe}]}),
    );
    harness.until("p", SECOND, is_ready).await;
    let took = harness.until("p", 30 * SECOND, |pod| container(pod)["restartCount"] == 1).await;
    assert!((14.0..16.5).contains(&took.as_secs_f64()), "{took:?}");
    let events = harness.events();
    for expected in [
        "Unhealthy: Liveness probe failed: ls: /tmp/healthy: No such file or directory",
        "Killing: Container c failed liveness probe, will be restarted",
    ] {
        assert!(events.iter().any(|event| event == expected), "{expected}: {events:#?}");
    }
    assert!(harness.runtime.calls().contains(&Call::Stop("c".into(), 7)));
}

#[tokio::test(start_paused = true)]
async fn readiness_decides_about_ready_and_startup_comes_first() {
    let (harness, _folder) = harness().await;
    let state = std::sync::Arc::new(std::sync::atomic::AtomicI32::new(1));
    let code = state.clone();
    harness.runtime.on_exec(move |_, command| {
        let exit_code =
            if command == ["startup"] { 0 } else { code.load(std::sync::atomic::Ordering::Relaxed) };
        Ok(ExecOutput { exit_code, ..ExecOutput::default() })
    });
    let probe = |command: &str| {
        json!({"exec": {"command": [command]}, "periodSeconds": 2, "failureThreshold": 1, "successThreshold": 1,
            "timeoutSeconds": 1})
    };
    harness.create(
        "p",
        json!({"containers": [{"name": "c", "image": "a", "readinessProbe": probe("ready"),
            "startupProbe": probe("startup")}]}),
    );
    harness.until("p", SECOND, |pod| container(pod)["state"]["running"].is_object()).await;
    assert_eq!(container(&harness.pod("p").expect("the pod"))["started"], false);
    harness.until("p", 3 * SECOND, |pod| container(pod)["started"] == true).await;
    let pod = harness.pod("p").expect("the pod");
    assert_eq!(container(&pod)["ready"], false);
    state.store(0, std::sync::atomic::Ordering::Relaxed);
    harness.until("p", 5 * SECOND, is_ready).await;
    state.store(1, std::sync::atomic::Ordering::Relaxed);
    harness.until("p", 5 * SECOND, |pod| !is_ready(pod)).await;
    assert_eq!(container(&harness.pod("p").expect("the pod"))["restartCount"], 0);
}

#[tokio::test(start_paused = true)]
async fn sidecars_start_first_and_end_last() {
    let (harness, _folder) = harness().await;
    harness.create(
        "p",
        json!({"initContainers": [{"name": "s1", "image": "a", "restartPolicy": "Always"},
            {"name": "s2", "image": "a", "restartPolicy": "Always"}],
            "containers": [{"name": "c", "image": "a"}], "terminationGracePeriodSeconds": 10}),
    );
    harness.until("p", SECOND, is_ready).await;
    harness.delete("p", 10);
    harness.until("p", 10 * SECOND, Value::is_null).await;
    let calls = harness.runtime.calls();
    let names =
        |wanted: fn(&Call) -> Option<&String>| calls.iter().filter_map(wanted).cloned().collect::<Vec<_>>();
    let started = names(|call| if let Call::Start(name) = call { Some(name) } else { None });
    let stopped = names(|call| if let Call::Stop(name, _) = call { Some(name) } else { None });
    assert_eq!(started, ["s1", "s2", "c"]);
    assert_eq!(stopped, ["c", "s2", "s1"]);
}

#[tokio::test(start_paused = true)]
async fn hooks_run_after_start_and_before_stop() {
    let (harness, _folder) = harness().await;
    let lifecycle =
        json!({"postStart": {"exec": {"command": ["hello"]}}, "preStop": {"sleep": {"seconds": 3}}});
    harness.create(
        "p",
        json!({"terminationGracePeriodSeconds": 10,
            "containers": [{"name": "c", "image": "a", "lifecycle": lifecycle}]}),
    );
    harness.until("p", SECOND, is_ready).await;
    assert!(harness.runtime.calls().contains(&Call::Exec("hello".into())));
    harness.delete("p", 10);
    let took = harness.until("p", 10 * SECOND, Value::is_null).await;
    assert!((2.9..6.0).contains(&took.as_secs_f64()), "{took:?}");
    let calls = harness.runtime.calls();
    assert!(calls.contains(&Call::Stop("c".into(), 7)), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_lives_too_long_fails() {
    let (harness, _folder) = harness().await;
    harness.create("p", json!({"activeDeadlineSeconds": 5, "containers": [{"name": "c", "image": "a"}]}));
    harness.until("p", SECOND, is_ready).await;
    let took = harness.until("p", 20 * SECOND, |pod| pod["status"]["phase"] == "Failed").await;
    assert!((4.0..7.0).contains(&took.as_secs_f64()), "{took:?}");
    let pod = harness.pod("p").expect("the pod");
    assert_eq!(pod["status"]["reason"], "DeadlineExceeded");
    assert_eq!(pod["status"]["message"], "Pod was active on the node longer than the specified deadline");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_does_not_fit_is_rejected() {
    let (harness, _folder) = harness().await;
    let resources = json!({"requests": {"cpu": "10000"}});
    harness.create("p", json!({"containers": [{"name": "c", "image": "a", "resources": resources}]}));
    harness.until("p", SECOND, |pod| pod["status"]["phase"] == "Failed").await;
    let pod = harness.pod("p").expect("the pod");
    assert_eq!(pod["status"]["reason"], "OutOfcpu");
    let message = pod["status"]["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("Pod was rejected: Node didn't have enough resource: cpu, requested: 10000000, used: 0, capacity: "), "{message}");
    harness.delete("p", 0);
    harness.until("p", SECOND, Value::is_null).await;
    assert!(harness.runtime.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn configuration_errors_show_and_heal() {
    let (harness, _folder) = harness().await;
    let env = json!([{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]);
    harness.create("p", json!({"containers": [{"name": "c", "image": "a", "env": env}]}));
    let waiting = |pod: &Value| container(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError";
    harness.until("p", SECOND, waiting).await;
    let pod = harness.pod("p").expect("the pod");
    assert_eq!(container(&pod)["state"]["waiting"]["message"], "configmap \"m\" not found");
    harness.api.put(
        "/api/v1/namespaces/default/configmaps/m",
        json!({"metadata": {"name": "m", "namespace": "default"}, "data": {"k": "v"}}),
    );
    harness.until("p", 15 * SECOND, is_ready).await;
    let config = harness.runtime.config("c").expect("the configuration");
    assert!(config.envs.contains(&("A".into(), "v".into())));
}

#[tokio::test(start_paused = true)]
async fn a_start_error_backs_off() {
    let (harness, _folder) = harness().await;
    let text = "failed to create containerd task: exec: \"x\": executable file not found in $PATH";
    harness.runtime.script("c", [Fate::StartFails(text.into()), Fate::StartFails(text.into())]);
    harness.create("p", json!({"containers": [{"name": "c", "image": "a"}]}));
    harness
        .until("p", SECOND, |pod| container(pod)["state"]["waiting"]["reason"] == "RunContainerError")
        .await;
    let pod = harness.pod("p").expect("the pod");
    assert_eq!(container(&pod)["state"]["waiting"]["message"], text);
    harness.until("p", 60 * SECOND, is_ready).await;
}

#[tokio::test(start_paused = true)]
async fn root_is_refused_where_it_must_not_be() {
    let (harness, _folder) = harness().await;
    harness.images.add("a");
    harness.images.change("a", |image| image.uid = Some(0));
    harness.create(
        "p",
        json!({"securityContext": {"runAsNonRoot": true},
            "containers": [{"name": "c", "image": "a", "imagePullPolicy": "IfNotPresent"}]}),
    );
    harness.until("p", SECOND, |pod| container(pod)["state"]["waiting"]["message"].is_string()).await;
    let pod = harness.pod("p").expect("the pod");
    assert_eq!(
        container(&pod)["state"]["waiting"]["message"],
        "container has runAsNonRoot and image will run as root (pod: \"p_default(uid-p)\", container: c)"
    );
}

#[tokio::test(start_paused = true)]
async fn no_container_starts_beside_one_that_could_not_be_stopped() {
    let (harness, _folder) = harness().await;
    harness.create("p", json!({"containers": [{"name": "c", "image": "a"}]}));
    harness.until("p", SECOND, is_ready).await;
    harness.runtime.fail_stops(2);
    harness.api.change(&Harness::path("p"), &json!({"spec": {"containers": [{"name": "c", "image": "b"}]}}));
    let running = || {
        let all = harness.runtime.containers();
        all.iter().filter(|own| own.state == cri::runtime::ContainerState::Running).count()
    };
    for _ in 0..400 {
        harness.pass(Duration::from_millis(50)).await;
        assert!(running() <= 1, "{:?}", harness.runtime.containers());
    }
    assert_eq!(container(&harness.pod("p").expect("the pod"))["restartCount"], 1);
}
