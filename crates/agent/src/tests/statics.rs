//! Static Pods, their mirrors, the node and its lease.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::source::files;
use crate::testing::Harness;

const SECOND: Duration = Duration::from_secs(1);

fn write(folder: &Path, name: &str, image: &str) {
    let text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\nspec:\n  containers:\n  - name: c\n    image: {image}\n"
    );
    std::fs::write(folder.join(format!("{name}.yaml")), text).expect("a static pod's file");
}

#[test]
fn files_become_pods_of_the_node() {
    let text = "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"web\"}, \"spec\": {\"containers\": \
                [{\"name\": \"c\", \"image\": \"nginx\"}]}}";
    let pod = files::parse(Path::new("/m/web.yaml"), text, "N1", jiff::Timestamp::UNIX_EPOCH).expect("a pod");
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    assert_eq!(pod.metadata.name.as_deref(), Some("web-n1"));
    assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(annotations["kubernetes.io/config.source"], "file");
    assert_eq!(Some(&annotations["kubernetes.io/config.hash"]), pod.metadata.uid.as_ref());
    let spec = pod.spec.expect("a spec");
    assert_eq!(spec.node_name.as_deref(), Some("N1"));
    assert_eq!(spec.restart_policy.as_deref(), Some("Always"));
    assert_eq!(spec.containers[0].image_pull_policy.as_deref(), Some("Always"));
    for (text, problem) in [
        ("kind: Service\napiVersion: v1\n", "expected a v1 Pod"),
        ("kind: Pod\napiVersion: v1\nspec: {containers: []}\n", "name is needed for the pod"),
        ("{", "invalid pod in /m/x"),
    ] {
        let error =
            files::parse(Path::new("/m/x"), text, "n", jiff::Timestamp::UNIX_EPOCH).expect_err("no pod");
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_static_pod_runs_and_has_a_mirror() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let manifests = folder.path().join("manifests");
    std::fs::create_dir(&manifests).expect("the manifests' folder");
    write(&manifests, "web", "nginx");
    let mut harness = Harness::new(folder.path());
    let path = manifests.clone();
    harness.configure(|config| config.static_pod_path = Some(path));
    harness.start().await;
    let is_running = |pod: &Value| pod["status"]["phase"] == "Running";
    harness.until("web-n1", 100 * SECOND, is_running).await;
    let mirror = harness.pod("web-n1").expect("the mirror");
    assert_eq!(mirror["metadata"]["ownerReferences"][0]["kind"], "Node");
    let annotations = &mirror["metadata"]["annotations"];
    assert_eq!(annotations["kubernetes.io/config.mirror"], annotations["kubernetes.io/config.hash"]);

    harness.api.remove(&Harness::path("web-n1"));
    harness.until("web-n1", 5 * SECOND, is_running).await;

    write(&manifests, "web", "httpd");
    let folder_changed = |pod: &Value| pod["spec"]["containers"][0]["image"] == "httpd" && is_running(pod);
    let agent = harness.agent.as_ref().expect("the agent");
    files::synchronise(agent.shared(), &manifests, &Default::default()).await;
    harness.until("web-n1", 60 * SECOND, folder_changed).await;

    std::fs::remove_file(manifests.join("web.yaml")).expect("removed");
    let agent = harness.agent.as_ref().expect("the agent");
    files::synchronise(agent.shared(), &manifests, &Default::default()).await;
    harness.until("web-n1", 60 * SECOND, Value::is_null).await;
}

#[tokio::test(start_paused = true)]
async fn the_node_is_registered_and_its_lease_renewed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut harness = Harness::new(folder.path());
    harness.start().await;
    harness.pass(SECOND).await;
    let node = harness.api.get("/api/v1/nodes/n1").expect("the node");
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "n1");
    assert_eq!(
        node["status"]["addresses"],
        json!([{"type": "InternalIP", "address": "192.0.2.1"},
        {"type": "Hostname", "address": "n1"}])
    );
    assert_eq!(node["status"]["nodeInfo"]["containerRuntimeVersion"], "carob://0.1.0");
    assert_eq!(node["status"]["allocatable"]["pods"], "110");
    let conditions = node["status"]["conditions"].as_array().expect("conditions");
    let ready = conditions.iter().find(|own| own["type"] == "Ready").expect("Ready");
    assert_eq!(
        (&ready["status"], &ready["message"]),
        (&json!("True"), &json!("kubelet is posting ready status"))
    );

    let path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1";
    let first = harness.api.get(path).expect("the lease");
    assert_eq!(first["spec"]["leaseDurationSeconds"], 40);
    assert_eq!(first["metadata"]["ownerReferences"][0]["kind"], "Node");
    harness.pass(11 * SECOND).await;
    let second = harness.api.get(path).expect("the lease");
    assert_ne!(first["spec"]["renewTime"], second["spec"]["renewTime"]);
}
