//! Objects that controllers, scheduler and node keep: seen through the API.

use client::{DeleteOptions, Path};
use e2e::{create, sleeper, texts, try_create, with, with_container};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount};
use serde_json::{Value, json};
use testkit::{Carob, wait};

#[tokio::test]
async fn a_finalizer_holds_a_pod_until_it_is_removed() {
    let carob = Carob::with_images();
    let client = carob.client();
    let held = json!({ "metadata": { "finalizers": ["example.com/hold"] } });
    create(&client, &with(sleeper("held"), held)).await;
    wait::ready(&client, "held").await;
    let kubectl = carob.kubectl();
    kubectl.ok("delete pod held --wait=false");
    let stopped = |pod: &Pod| e2e::ended(pod, "main").is_some();
    let pod = wait::pod(&client, "held", "stopped", stopped).await;
    assert!(pod.metadata.deletion_timestamp.is_some());
    assert_eq!(kubectl.ok("patch pod held -p {\"metadata\":{\"finalizers\":null}}"), "pod/held patched\n");
    wait::gone::<Pod>(&client, Some("default"), "held").await;
}

#[tokio::test]
async fn a_namespace_takes_its_objects_with_it() {
    let carob = Carob::with_images();
    let client = carob.client();
    let inside = json!({ "metadata": { "namespace": "room" } });
    create(&client, &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "room" } }))
        .await;
    wait::one::<ServiceAccount>(&client, Some("room"), "default", "made", |_| true).await;
    wait::one::<ConfigMap>(&client, Some("room"), "kube-root-ca.crt", "made", |_| true).await;
    create(&client, &with(sleeper("guest"), inside.clone())).await;
    create(&client, &with(texts("ConfigMap", "thing", &[]), inside.clone())).await;
    wait::one::<Pod>(&client, Some("room"), "guest", "ready", |pod| wait::condition(pod, "Ready") == "True")
        .await;
    client.delete::<Namespace>(None, "room", &DeleteOptions::default()).await.expect("deleted");
    let refused =
        try_create(&client, &with(texts("ConfigMap", "late", &[]), inside)).await.expect_err("refused");
    assert_eq!(
        refused.message,
        "configmaps \"late\" is forbidden: unable to create new content in namespace room because it is being terminated"
    );
    wait::gone::<Namespace>(&client, None, "room").await;
    wait::gone::<Pod>(&client, Some("room"), "guest").await;
}

#[tokio::test]
async fn what_is_owned_goes_with_its_owner() {
    let carob = Carob::start(testkit::Options::default());
    let client = carob.client();
    let owner = create(&client, &texts("ConfigMap", "owner", &[])).await;
    let reference = |controller: bool| {
        json!({ "metadata": { "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
            "uid": owner["metadata"]["uid"], "controller": controller, "blockOwnerDeletion": true }] } })
    };
    create(&client, &with(texts("ConfigMap", "owned", &[]), reference(true))).await;
    create(&client, &texts("ConfigMap", "free", &[])).await;
    let foreground =
        DeleteOptions { propagation_policy: Some("Foreground".into()), ..DeleteOptions::default() };
    client.delete::<ConfigMap>(Some("default"), "owner", &foreground).await.expect("deleted");
    wait::gone::<ConfigMap>(&client, Some("default"), "owner").await;
    wait::gone::<ConfigMap>(&client, Some("default"), "owned").await;
    client.get::<ConfigMap>(Some("default"), "free").await.expect("still there");
    let orphan = json!({ "metadata": { "ownerReferences": [{ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
        "uid": "11111111-2222-3333-4444-555555555555" }] } });
    create(&client, &with(texts("ConfigMap", "orphan", &[]), orphan)).await;
    wait::gone::<ConfigMap>(&client, Some("default"), "orphan").await;
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_says_why() {
    let carob = Carob::with_images();
    let client = carob.client();
    let none = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
    let resources = json!({ "resources": { "requests": { "memory": "900Gi", "cpu": "500" } } });
    let selected = json!({ "spec": { "nodeSelector": { "disk": "fast" } } });
    create(&client, &with_container(sleeper("big"), resources)).await;
    create(&client, &with(sleeper("picky"), selected)).await;
    let rows = [
        (
            "big",
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. no new claims to deallocate, ",
        ),
        (
            "picky",
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, ",
        ),
    ];
    for (name, text) in rows {
        let message = wait::event(&client, name, "FailedScheduling").await;
        assert_eq!(message, format!("{text}{none}"), "{name}");
        let refused = |pod: &Pod| wait::condition(pod, "PodScheduled") == "False";
        wait::pod(&client, name, "marked as unschedulable", refused).await;
    }
    carob.kubectl().ok("label node node1 disk=fast");
    wait::ready(&client, "picky").await;
}

#[tokio::test]
async fn the_node_is_ready_and_renews_its_lease() {
    let carob = Carob::start(testkit::Options::default());
    let client = carob.client();
    let node = client.get::<Node>(None, "node1").await.expect("the node");
    let status = node.status.expect("a status");
    let conditions: Vec<(String, String)> =
        status.conditions.unwrap_or_default().into_iter().map(|own| (own.type_, own.status)).collect();
    let expected =
        [("MemoryPressure", "False"), ("DiskPressure", "False"), ("PIDPressure", "False"), ("Ready", "True")];
    for (kind, value) in expected {
        assert!(conditions.contains(&(kind.into(), value.into())), "{kind}: {conditions:?}");
    }
    let info = status.node_info.expect("its facts");
    assert!(info.kubelet_version.starts_with("v1.36."), "{}", info.kubelet_version);
    assert_eq!(info.operating_system, "linux");
    assert!(status.capacity.is_some_and(|own| own["cpu"].0.parse::<u32>().is_ok_and(|count| count > 0)));
    let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|own| own.renew_time.clone());
    let space = Some("kube-node-lease");
    let first = wait::one::<Lease>(&client, space, "node1", "there", |lease| renewed(lease).is_some()).await;
    wait::one::<Lease>(&client, space, "node1", "renewed", |lease| renewed(lease) > renewed(&first)).await;
}

#[tokio::test]
async fn the_api_says_what_it_is() {
    let carob = Carob::start(testkit::Options::default());
    let client = carob.client();
    let version: Value = client.call(http::Method::GET, "/version", None).await.expect("a version");
    assert_eq!((version["major"].as_str(), version["minor"].as_str()), (Some("1"), Some("36")));
    for path in ["/readyz", "/livez", "/healthz"] {
        let answer = client.request(http::Method::GET, path, None, Default::default()).await;
        assert!(answer.is_ok(), "{path}: {answer:?}", answer = answer.err());
    }
    let path = Path::of::<Pod>(None);
    let list: Value = client.call(http::Method::GET, path.as_str(), None).await.expect("a list");
    assert_eq!(list["kind"], "PodList");
    let revision = list["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok());
    assert!(revision.is_some_and(|own| own > 0), "{list}");
}
