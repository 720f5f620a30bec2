//! Lives of Pods: restarts, probes, limits, ends.

use e2e::{container, create, ended, once, restarts, script, sleeper, texts, waiting, with, with_container};
use serde_json::json;
use testkit::{Carob, wait};

#[tokio::test]
async fn restart_policies_decide_what_follows_an_exit() {
    let carob = Carob::with_images();
    let client = carob.client();
    // Policy, script, phase at the end, exit code, restarts.
    let rows = [
        ("Never", "exit 0", "Succeeded", 0, 0),
        ("Never", "exit 3", "Failed", 3, 0),
        ("Never", "sh -c 'kill -9 $$$$'; exit $?", "Failed", 137, 0),
        ("OnFailure", "exit 0", "Succeeded", 0, 0),
        ("OnFailure", "test -e /v/x && exit 0; touch /v/x; exit 5", "Succeeded", 0, 1),
    ];
    let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    for (number, (policy, text, ..)) in rows.iter().enumerate() {
        let spec =
            json!({ "spec": { "restartPolicy": policy, "volumes": [{ "name": "v", "emptyDir": {} }] } });
        let pod = with_container(with(script(&format!("row{number}"), text), spec), mount.clone());
        create(&client, &pod).await;
    }
    for (number, (policy, text, phase, code, count)) in rows.iter().enumerate() {
        let pod = wait::phase(&client, &format!("row{number}"), phase).await;
        let reason = if *code == 0 { "Completed" } else { "Error" };
        assert_eq!(ended(&pod, "main"), Some((*code, reason.into())), "{policy} {text}");
        assert_eq!(restarts(&pod), *count, "{policy} {text}");
    }
}

#[tokio::test]
async fn a_crashing_container_backs_off() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &script("crash", "echo once more; exit 3")).await;
    let backing_off = |pod: &_| waiting(pod, "main").is_some_and(|(reason, _)| reason == "CrashLoopBackOff");
    let pod = wait::pod(&client, "crash", "backing off", backing_off).await;
    let (_, message) = waiting(&pod, "main").expect("it waits");
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let expected = format!("restarting failed container=main pod=crash_default({uid})");
    assert!(message.starts_with("back-off 10s ") && message.ends_with(&expected), "{message}");
    assert_eq!(ended(&pod, "main"), Some((3, "Error".into())));
    let text = wait::event(&client, "crash", "BackOff").await;
    assert!(text.starts_with("Back-off restarting failed container main in pod crash_default("), "{text}");
    let address = e2e::address(&pod);
    let pod = wait::pod(&client, "crash", "restarted twice", |pod| restarts(pod) >= 2).await;
    assert_eq!(e2e::address(&pod), address, "the address is the Pod's, not the container's");
    assert_eq!(carob.kubectl().ok("logs crash --previous"), "once more\n");
}

#[tokio::test]
async fn a_failing_init_container_stops_the_others() {
    let carob = Carob::with_images();
    let client = carob.client();
    let init = |name: &str, text: &str| json!({ "name": name, "image": "busybox:1.28", "command": ["sh", "-c", text] });
    let spec = json!({ "spec": { "initContainers": [init("good", "exit 0"), init("bad", "exit 7"), init("after", "exit 0")] } });
    create(&client, &with(once("once", "exit 0"), spec.clone())).await;
    create(&client, &with(sleeper("again"), spec)).await;
    let pod = wait::phase(&client, "once", "Failed").await;
    assert_eq!(ended(&pod, "good"), Some((0, "Completed".into())));
    assert_eq!(ended(&pod, "bad"), Some((7, "Error".into())));
    for name in ["after", "main"] {
        assert_eq!(
            waiting(&pod, name).map(|(reason, _)| reason).as_deref(),
            Some("PodInitializing"),
            "{name}"
        );
    }
    assert_eq!(carob.kubectl().ok("get pod once --no-headers").split_whitespace().nth(2), Some("Init:Error"));
    let crashing = |pod: &_| waiting(pod, "bad").is_some_and(|(reason, _)| reason == "CrashLoopBackOff");
    wait::pod(&client, "again", "crashing", crashing).await;
    assert_eq!(
        carob.kubectl().ok("get pod again --no-headers").split_whitespace().nth(2),
        Some("Init:CrashLoopBackOff")
    );
}

#[tokio::test]
async fn a_failing_liveness_probe_restarts_and_says_so() {
    let carob = Carob::with_images();
    let client = carob.client();
    let soon = json!({ "periodSeconds": 1, "failureThreshold": 2 });
    let rows = [
        (
            "exec",
            json!({ "exec": { "command": ["ls", "/nosuch"] } }),
            "Liveness probe failed: ls: /nosuch: No such file or directory\n",
        ),
        (
            "http",
            json!({ "httpGet": { "path": "/nosuch", "port": 80 } }),
            "Liveness probe failed: HTTP probe failed with statuscode: 404",
        ),
        ("tcp", json!({ "tcpSocket": { "port": 81 } }), "Liveness probe failed: dial tcp "),
    ];
    for (name, probe, _) in &rows {
        let probe = json!({ "livenessProbe": with(soon.clone(), probe.clone()) });
        create(&client, &with_container(script(name, "httpd -f -p 80"), probe)).await;
    }
    for (name, _, text) in &rows {
        let pod = wait::pod(&client, name, "restarted", |pod| restarts(pod) >= 1).await;
        assert_eq!(
            ended(&pod, "main").map(|(code, _)| code),
            Some(137),
            "{name}: killed after its grace period"
        );
        let message = wait::event(&client, name, "Unhealthy").await;
        assert!(message.starts_with(text), "{name}: {message:?}");
        let message = wait::event(&client, name, "Killing").await;
        assert_eq!(message, "Container main failed liveness probe, will be restarted", "{name}");
    }
}

#[tokio::test]
async fn readiness_and_startup_probes_gate() {
    let carob = Carob::with_images();
    let client = carob.client();
    let file = |name: &str, failures: u32| json!({ "exec": { "command": ["cat", name] }, "periodSeconds": 1, "failureThreshold": failures });
    create(&client, &with_container(sleeper("ready"), json!({ "readinessProbe": file("/tmp/ready", 2) })))
        .await;
    let gated = json!({
        "startupProbe": file("/tmp/started", 100),
        "livenessProbe": { "exec": { "command": ["cat", "/tmp/started"] }, "periodSeconds": 1, "failureThreshold": 1 },
    });
    create(&client, &with_container(sleeper("started"), gated)).await;
    for name in ["ready", "started"] {
        wait::event(&client, name, "Unhealthy").await;
        let pod = wait::phase(&client, name, "Running").await;
        assert_eq!(wait::condition(&pod, "Ready"), "False", "{name}");
        assert_eq!(restarts(&pod), 0, "{name}");
        carob.kubectl().succeed(&["exec", name, "--", "touch", &format!("/tmp/{name}")]);
        let pod = wait::ready(&client, name).await;
        assert_eq!(container(&pod, "main").and_then(|own| own.started), Some(true), "{name}");
    }
    carob.kubectl().ok("exec ready -- rm /tmp/ready");
    let unready =
        wait::pod(&client, "ready", "unready again", |pod| wait::condition(pod, "Ready") == "False").await;
    assert_eq!(restarts(&unready), 0, "readiness restarts nothing");
}

#[tokio::test]
async fn too_much_memory_is_an_oom_kill() {
    let carob = Carob::with_images();
    let client = carob.client();
    let limits = json!({ "resources": { "limits": { "memory": "20Mi" } } });
    create(&client, &with_container(once("oom", "x=a; while true; do x=$x$x; done"), limits)).await;
    let pod = wait::phase(&client, "oom", "Failed").await;
    assert_eq!(ended(&pod, "main"), Some((137, "OOMKilled".into())));
    assert_eq!(pod.status.and_then(|own| own.qos_class).as_deref(), Some("Burstable"));
}

#[tokio::test]
async fn deletion_is_graceful_and_bounded() {
    let carob = Carob::with_images();
    let client = carob.client();
    let host = carob.path("notes");
    std::fs::create_dir(&host).expect("a directory");
    let mount = json!({ "volumeMounts": [{ "name": "v", "mountPath": "/v" }] });
    let spec = json!({ "spec": { "terminationGracePeriodSeconds": 2, "volumes": [{ "name": "v", "hostPath": { "path": host } }] } });
    let hook = json!({ "lifecycle": { "preStop": { "exec": { "command": ["sh", "-c", "echo stop >> /v/polite"] } },
        "postStart": { "exec": { "command": ["sh", "-c", "echo start >> /v/polite"] } } } });
    let polite =
        with(script("polite", "trap 'echo term >> /v/polite; exit 0' TERM; sleep 1000 & wait"), spec.clone());
    create(&client, &with_container(with_container(polite, mount.clone()), hook)).await;
    create(&client, &with(script("deaf", "trap '' TERM; while true; do sleep 1; done"), spec)).await;
    for name in ["polite", "deaf"] {
        wait::ready(&client, name).await;
        let begin = tokio::time::Instant::now();
        carob.kubectl().succeed(&["delete", "pod", name]);
        let took = begin.elapsed();
        wait::gone::<k8s_openapi::api::core::v1::Pod>(&client, Some("default"), name).await;
        assert!(took.as_secs() < 20, "{name} took {took:?}");
        assert!(
            name == "polite" || took.as_secs_f64() > 1.9,
            "{name} was not given its grace period: {took:?}"
        );
        assert_eq!(wait::event(&client, name, "Killing").await, "Stopping container main");
    }
    assert_eq!(std::fs::read_to_string(host.join("polite")).expect("notes"), "start\nstop\nterm\n");
}

#[tokio::test]
async fn a_missing_configmap_holds_the_container_until_it_is_there() {
    let carob = Carob::with_images();
    let client = carob.client();
    let env = json!({ "env": [{ "name": "A", "valueFrom": { "configMapKeyRef": { "name": "conf", "key": "a" } } }] });
    create(&client, &with_container(once("held", "test $A = one"), env)).await;
    let erring =
        |pod: &_| waiting(pod, "main").is_some_and(|(reason, _)| reason == "CreateContainerConfigError");
    let pod = wait::pod(&client, "held", "waiting for its configuration", erring).await;
    assert_eq!(
        waiting(&pod, "main").map(|(_, message)| message).as_deref(),
        Some("configmap \"conf\" not found")
    );
    create(&client, &texts("ConfigMap", "conf", &[("a", "one")])).await;
    wait::phase(&client, "held", "Succeeded").await;
}
