//! Static Pods: from files, with and without an API server.

use std::path::Path;

use e2e::{create, sleeper};
use k8s_openapi::api::core::v1::Pod;
use testkit::clients::Kind;
use testkit::{Carob, Options, wait};

const WEB: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:1.28
    command: [sh, -c, "echo WORD; httpd -f -p 8080 -h /etc"]
"#;

#[tokio::test]
async fn a_file_is_a_pod_with_a_mirror() {
    let carob = Carob::start_with_images(Options { static_pods: &[("web.yaml", WEB)], ..Options::default() });
    let client = carob.client();
    let pod = wait::ready(&client, "web-node1").await;
    let notes = pod.metadata.annotations.unwrap_or_default();
    assert_eq!(notes["kubernetes.io/config.source"], "file");
    assert!(notes.contains_key("kubernetes.io/config.mirror"), "{notes:?}");
    let owner = pod.metadata.owner_references.unwrap_or_default();
    assert_eq!(owner.first().map(|own| own.kind.as_str()), Some("Node"));
    assert_eq!(carob.kubectl().ok("logs web-node1"), "WORD\n");
    // The mirror deleted: made again, the container untouched.
    let before = e2e::container(&wait::ready(&client, "web-node1").await, "main")
        .and_then(|own| own.container_id.clone());
    carob.kubectl().ok("delete pod web-node1 --wait=false");
    let uid = pod.metadata.uid.clone();
    let again = |pod: &Pod| pod.metadata.uid != uid && wait::condition(pod, "Ready") == "True";
    let pod = wait::pod(&client, "web-node1", "made again", again).await;
    assert_eq!(e2e::container(&pod, "main").and_then(|own| own.container_id.clone()), before);
    // The file changed: another container. The file gone: no Pod.
    let file = carob.path("etc/kubernetes/manifests/web.yaml");
    std::fs::write(&file, WEB.replace("WORD", "OTHER")).expect("written");
    let changed = |pod: &Pod| {
        let id = e2e::container(pod, "main").and_then(|own| own.container_id.clone());
        id.is_some() && id != before && wait::condition(pod, "Ready") == "True"
    };
    wait::pod(&client, "web-node1", "changed", changed).await;
    assert_eq!(carob.kubectl().ok("logs web-node1"), "OTHER\n");
    std::fs::remove_file(&file).expect("removed");
    wait::gone::<Pod>(&client, Some("default"), "web-node1").await;
}

#[tokio::test]
async fn a_changed_path_takes_effect_after_a_restart() {
    let carob = Carob::start_with_images(Options { static_pods: &[("web.yaml", WEB)], ..Options::default() });
    let client = carob.client();
    wait::ready(&client, "web-node1").await;
    let config = carob.path("var/lib/kubelet/config.yaml");
    let text = std::fs::read_to_string(&config).expect("the config is written at the first start");
    let manifests = carob.path("etc/kubernetes/manifests").display().to_string();
    assert!(text.contains(&format!("staticPodPath: {manifests}\n")), "{text}");
    let other = carob.path("other");
    std::fs::create_dir(&other).expect("a directory");
    std::fs::write(
        other.join("second.yaml"),
        WEB.replace("name: web", "name: second").replace("8080", "8081"),
    )
    .expect("written");
    std::fs::write(&config, text.replace(&manifests, &other.display().to_string())).expect("written");
    carob.end_daemon(rustix::process::Signal::TERM);
    assert_eq!(carob.up(&[]).code, 0, "{}", carob.log_tail());
    wait::ready(&client_again(&carob), "second-node1").await;
    wait::gone::<Pod>(&client_again(&carob), Some("default"), "web-node1").await;
}

/// The daemon may listen on another port after a restart.
fn client_again(carob: &Carob) -> client::Client {
    carob.client()
}

#[tokio::test]
async fn a_node_alone_runs_static_pods() {
    let carob = Carob::start_with_images(Options {
        static_pods: &[("web.yaml", WEB)],
        alone: true,
        ..Options::default()
    });
    let logs = carob.path("var/log/containers");
    let found = tokio::time::timeout(wait::PATIENCE, log_with(&logs, "WORD")).await;
    assert!(found.is_ok(), "no log says WORD in {}:\n{}", logs.display(), carob.log_tail());
    std::fs::remove_file(carob.path("etc/kubernetes/manifests/web.yaml")).expect("removed");
    let gone = async {
        while std::fs::read_dir(carob.path("var/lib/kubelet/pods")).is_ok_and(|pods| pods.count() > 0) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let gone = tokio::time::timeout(wait::PATIENCE, gone).await;
    assert!(gone.is_ok(), "the Pod outlives its file:\n{}", carob.log_tail());
    let left = testkit::leftovers::processes_in(&format!("/carob-{}/kubepods", carob.id()));
    assert_eq!(left, [0i32; 0], "its containers ended with it");
    std::fs::write(carob.path("etc/kubernetes/manifests/web.yaml"), WEB.replace("WORD", "AGAIN"))
        .expect("written");
    let again = tokio::time::timeout(wait::PATIENCE, log_with(&logs, "AGAIN")).await;
    assert!(again.is_ok(), "no log says AGAIN in {}:\n{}", logs.display(), carob.log_tail());
}

/// A file system of a few megabytes in the place of the store's directory, so that it can be filled.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// Moves the files of a stopped daemon's store there.
    fn instead_of(folder: std::path::PathBuf) -> Self {
        let aside = folder.with_extension("aside");
        std::fs::rename(&folder, &aside).expect("the store is set aside");
        std::fs::create_dir(&folder).expect("a directory");
        let size = Some(c"size=24m,mode=0700");
        rustix::mount::mount("tmpfs", &folder, "tmpfs", rustix::mount::MountFlags::empty(), size)
            .expect("a tmpfs");
        for entry in std::fs::read_dir(&aside).expect("the store's files").flatten() {
            std::fs::copy(entry.path(), folder.join(entry.file_name())).expect("copied");
        }
        Self(folder)
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).expect("a file");
        for size in [1 << 20, 1 << 12, 1] {
            while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn static_pods_come_and_go_while_the_store_fails() {
    let carob = Carob::start_with_images(Options { static_pods: &[("web.yaml", WEB)], ..Options::default() });
    wait::ready(&carob.client(), "web-node1").await;
    carob.end_daemon(rustix::process::Signal::TERM);
    let disk = SmallDisk::instead_of(carob.path("var/lib/carob/store"));
    assert_eq!(carob.up(&[]).code, 0, "{}", carob.log_tail());
    wait::ready(&carob.client(), "web-node1").await;
    disk.fill();
    let client = carob.client();
    let refused = async {
        // What the store's file still has room for is written.
        for number in 0.. {
            let object = serde_json::json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("filler-{number}") },
                "data": { "text": "x".repeat(500_000) },
            });
            if let Err(status) = e2e::try_create(&client, &object).await {
                return status;
            }
        }
        unreachable!("the numbers do not end")
    };
    let refused =
        tokio::time::timeout(wait::PATIENCE, refused).await.expect("the store is full at some time");
    assert_eq!(refused.code, 507, "{}", refused.message);
    // One goes, another comes, and no API object can be written of either.
    let logs = carob.path("var/log/containers");
    let manifests = carob.path("etc/kubernetes/manifests");
    let other = WEB.replace("name: web", "name: second").replace("8080", "8081").replace("WORD", "SECOND");
    std::fs::write(manifests.join("second.yaml"), other).expect("written");
    let found = tokio::time::timeout(wait::PATIENCE, log_with(&logs, "SECOND")).await;
    assert!(found.is_ok(), "the Pod of the new file does not run:\n{}", carob.log_tail());
    std::fs::remove_file(manifests.join("web.yaml")).expect("removed");
    let gone = async {
        while std::fs::read_dir(carob.path("var/lib/kubelet/pods")).is_ok_and(|pods| pods.count() > 1) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let gone = tokio::time::timeout(wait::PATIENCE, gone).await;
    assert!(gone.is_ok(), "the Pod outlives its file:\n{}", carob.log_tail());
    // With room again, what the API shows follows.
    disk.empty();
    wait::ready(&carob.client(), "second-node1").await;
    wait::gone::<Pod>(&carob.client(), Some("default"), "web-node1").await;
    carob.end_daemon(rustix::process::Signal::TERM);
}

/// Returns when a file of the directory holds the text. There is no API server to watch, so the files are read.
async fn log_with(folder: &Path, text: &str) {
    loop {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if std::fs::read_to_string(entry.path()).is_ok_and(|log| log.contains(text)) {
                return;
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_bad_file_is_reported_and_the_others_run() {
    let bad = WEB.replace("containers:", "containers\n");
    let pods = [("a-bad.yaml", bad.as_str()), ("web.yaml", WEB)];
    let carob = Carob::start_with_images(Options { static_pods: &pods, ..Options::default() });
    let client = carob.client();
    wait::ready(&client, "web-node1").await;
    create(&client, &sleeper("plain")).await;
    wait::ready(&client, "plain").await;
    assert!(carob.log_tail().contains("a-bad.yaml"), "{}", carob.log_tail());
    let list = carob.kubectl_of(Kind::Own).ok("get pods -o name");
    assert_eq!(list, "pod/plain\npod/web-node1\n");
}
