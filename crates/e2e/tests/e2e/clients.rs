//! Client libraries that know nothing of carob: Python's, and the crate `kube`.

use std::process::Command;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{
    Api, AttachParams, DeleteParams, LogParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;
use testkit::Carob;
use testkit::clients::python;
use testkit::command::run;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn pythons_library_works() {
    let carob = Carob::with_images();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/data/client.py");
    let mut command = Command::new(python());
    let answer = run(command.arg(script).env("KUBECONFIG", carob.kubeconfig())).expect("python starts");
    let expected = "version 36\ncreated snake Pending\nready\nexec ['err', 'out']\nlogs hello\nlisted ['snake']\npatched b\n\
                    twice 409 Conflict\ndeleted\n";
    assert_eq!((answer.stdout.as_str(), answer.code), (expected, 0), "{}", answer.stderr);
}

async fn pods(carob: &Carob) -> Api<Pod> {
    let config = Kubeconfig::read_from(carob.kubeconfig()).expect("a kubeconfig");
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(config, &options).await.expect("a config");
    let client = kube::Client::try_from(config).expect("a client");
    Api::namespaced(client, "default")
}

/// The outcome of a step, which must not take for ever.
async fn within<T>(what: &str, step: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(testkit::wait::PATIENCE, step).await;
    done.unwrap_or_else(|_| panic!("{what} takes more than {:?}", testkit::wait::PATIENCE))
}

/// Watches until an event of the Pod is as wanted.
async fn until(pods: &Api<Pod>, name: &str, wanted: impl Fn(&WatchEvent<Pod>) -> bool) {
    let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(60);
    let mut events = pods.watch(&params, "0").await.expect("a watch").boxed();
    while let Some(event) = events.next().await {
        if wanted(&event.expect("an event")) {
            return;
        }
    }
    panic!("the watch ended without what was wanted of {name}");
}

fn ready(event: &WatchEvent<Pod>) -> bool {
    let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { return false };
    testkit::wait::condition(pod, "Ready") == "True"
}

#[tokio::test]
async fn kubes_library_works() {
    let carob = Carob::with_images();
    let pods = pods(&carob).await;
    let web = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "crab" }, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{ "name": "main", "image": "nginx:1.14" }] } });
    let web: Pod = serde_json::from_value(web).expect("a Pod");
    pods.create(&PostParams::default(), &web).await.expect("created");
    within("ready", until(&pods, "crab", ready)).await;
    let params = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let mut process =
        within("exec", pods.exec("crab", ["sh", "-c", "read word; printf $word; exit 3"], &params))
            .await
            .expect("exec");
    let mut stdin = process.stdin().expect("its input");
    stdin.write_all(b"hello\n").await.expect("it reads");
    drop(stdin);
    let mut text = String::new();
    within("its output", process.stdout().expect("its output").read_to_string(&mut text))
        .await
        .expect("text");
    assert_eq!(text, "hello");
    let status = within("its status", process.take_status().expect("a status")).await.expect("an end");
    assert_eq!(
        status.message.as_deref(),
        Some("command terminated with non-zero exit code: command terminated with exit code 3")
    );
    let mut forward = within("port-forward", pods.portforward("crab", &[80])).await.expect("a forward");
    let mut stream = forward.take_stream(80).expect("a stream");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.expect("it reads");
    let mut page = String::new();
    within("the page", stream.read_to_string(&mut page)).await.expect("a page");
    assert!(page.contains("Welcome to nginx!"), "{page}");
    let patch = Patch::Merge(json!({ "metadata": { "labels": { "a": "b" } } }));
    pods.patch("crab", &PatchParams::default(), &patch).await.expect("patched");
    pods.logs("crab", &LogParams::default()).await.expect("logs");
    pods.delete("crab", &DeleteParams::default()).await.expect("deleted");
    within("deleted", until(&pods, "crab", |event| matches!(event, WatchEvent::Deleted(_)))).await;
}
