//! Images: mirrors, policies, errors and their mending, passwords.

use e2e::{create, once, restarts, sleeper, waiting, with, with_container};
use serde_json::json;
use testkit::registry::{PASSWORD, USER};
use testkit::{Carob, Options, Registry, wait};

#[tokio::test]
async fn an_image_comes_through_the_mirror_once() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &sleeper("first")).await;
    let pod = wait::ready(&client, "first").await;
    assert_eq!(wait::event(&client, "first", "Pulling").await, "Pulling image \"busybox:1.28\"");
    let text = wait::event(&client, "first", "Pulled").await;
    assert!(text.starts_with("Successfully pulled image \"busybox:1.28\" in "), "{text}");
    assert!(text.contains("including waiting). Image size: "), "{text}");
    let status = e2e::container(&pod, "main").expect("a container");
    assert!(status.image_id.starts_with("docker.io/library/busybox@sha256:"), "{}", status.image_id);
    assert_eq!(status.image, "docker.io/library/busybox:1.28");
    create(&client, &sleeper("second")).await;
    let text = wait::event(&client, "second", "Pulled").await;
    assert_eq!(
        text,
        "Container image \"busybox:1.28\" already present on machine and can be accessed by the pod"
    );
    create(&client, &with_container(sleeper("always"), json!({ "imagePullPolicy": "Always" }))).await;
    let text = wait::event(&client, "always", "Pulled").await;
    assert!(text.starts_with("Successfully pulled image"), "{text}");
    let list = carob.verb("image", &["ls"]).stdout;
    assert!(list.contains("busybox"), "{list}");
}

#[tokio::test]
async fn errors_of_images_name_the_cause() {
    let carob = Carob::with_images();
    let client = carob.client();
    // Image, policy, reason, part of the message.
    let rows = [
        (
            "redis123",
            "Always",
            "ErrImagePull",
            "failed to pull and unpack image \"docker.io/library/redis123:latest\"",
        ),
        ("redis123", "Always", "ImagePullBackOff", "Back-off pulling image \"redis123\""),
        (
            "nosuch:1",
            "Never",
            "ErrImageNeverPull",
            "Container image \"nosuch:1\" is not present with pull policy of Never",
        ),
        (
            "Bad Name",
            "Always",
            "InvalidImageName",
            "Failed to apply default image tag \"Bad Name\": couldn't parse image name \"Bad Name\": invalid reference format",
        ),
    ];
    for (number, (image, policy, ..)) in rows.iter().enumerate() {
        let pod = sleeper(&format!("row{number}"));
        create(&client, &with_container(pod, json!({ "image": image, "imagePullPolicy": policy }))).await;
    }
    for (number, (_, _, reason, text)) in rows.iter().enumerate() {
        let wanted = |pod: &_| waiting(pod, "main").is_some_and(|own| own.0 == *reason);
        let pod = wait::pod(&client, &format!("row{number}"), reason, wanted).await;
        let (_, message) = waiting(&pod, "main").expect("it waits");
        assert!(message.contains(text), "{reason}: {message}");
    }
}

#[tokio::test]
async fn a_mended_image_runs_in_the_same_pod() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &with_container(sleeper("mended"), json!({ "image": "redis123", "name": "main" }))).await;
    let stuck = |pod: &_| waiting(pod, "main").is_some_and(|(reason, _)| reason == "ImagePullBackOff");
    let before = wait::pod(&client, "mended", "stuck", stuck).await;
    let patch = r#"{"spec":{"containers":[{"name":"main","image":"busybox:1.28"}]}}"#;
    assert_eq!(carob.kubectl().succeed(&["patch", "pod", "mended", "-p", patch]), "pod/mended patched\n");
    let after = wait::ready(&client, "mended").await;
    assert_eq!(after.metadata.uid, before.metadata.uid);
    assert_eq!(restarts(&after), 0);
    assert_eq!(e2e::address(&after), e2e::address(&before));
}

#[tokio::test]
async fn a_registry_with_a_password_wants_it() {
    testkit::require_root();
    let registry = Registry::start_with_password();
    let carob = Carob::start(Options { registries: Some(registry.itself()), ..Options::default() });
    let client = carob.client();
    let image = format!("{}/private/echo:v1", registry.address);
    let pod = |name: &str| with_container(once(name, "exit 0"), json!({ "image": image }));
    create(&client, &pod("refused")).await;
    let refused = |pod: &_| waiting(pod, "main").is_some_and(|(reason, _)| reason == "ErrImagePull");
    let found = wait::pod(&client, "refused", "refused", refused).await;
    let (_, message) = waiting(&found, "main").expect("it waits");
    let denied = format!(
        "failed to pull and unpack image {image:?}: failed to resolve image: pull access denied, repository does not \
         exist or may require authorization: authorization failed: no basic auth credentials"
    );
    assert_eq!(message, format!("rpc error: code = Unknown desc = {denied}"));
    let account =
        json!({ "auths": { &registry.address: { "username": USER, "password": PASSWORD } } }).to_string();
    let secret = e2e::texts("Secret", "pass", &[(".dockerconfigjson", &account)]);
    create(&client, &with(secret, json!({ "type": "kubernetes.io/dockerconfigjson" }))).await;
    let secret = json!({ "spec": { "imagePullSecrets": [{ "name": "pass" }] } });
    create(&client, &with(pod("let-in"), secret)).await;
    wait::phase(&client, "let-in", "Succeeded").await;
    // A secret that is not there is told, and the pull tried all the same.
    let missing = json!({ "spec": { "imagePullSecrets": [{ "name": "nosuch" }, { "name": "pass" }] } });
    create(&client, &with(with_container(pod("warned"), json!({ "imagePullPolicy": "Always" })), missing))
        .await;
    wait::phase(&client, "warned", "Succeeded").await;
    assert_eq!(
        wait::event(&client, "warned", "FailedToRetrieveImagePullSecret").await,
        "Unable to retrieve some image pull secrets (nosuch); attempting to pull the image may not succeed."
    );
    // The secrets of the Pod's account are the Pod's.
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "puller" },
        "imagePullSecrets": [{ "name": "pass" }] });
    create(&client, &account).await;
    let as_puller = json!({ "spec": { "serviceAccountName": "puller" } });
    create(
        &client,
        &with(with_container(pod("by-account"), json!({ "imagePullPolicy": "Always" })), as_puller),
    )
    .await;
    wait::phase(&client, "by-account", "Succeeded").await;
    create(&client, &with_container(pod("still-refused"), json!({ "imagePullPolicy": "Always" }))).await;
    wait::pod(&client, "still-refused", "refused", refused).await;
}

#[tokio::test]
async fn a_password_in_the_nodes_configuration_is_used() {
    testkit::require_root();
    let registry = Registry::start_with_password();
    let configs = format!(
        "configs:\n  \"{}\":\n    auth:\n      username: {USER}\n      password: {PASSWORD}\n",
        registry.address
    );
    let carob =
        Carob::start(Options { registries: Some(registry.itself() + &configs), ..Options::default() });
    let image = format!("{}/private/echo:v1", registry.address);
    create(&carob.client(), &with_container(once("known", "exit 0"), json!({ "image": image }))).await;
    wait::phase(&carob.client(), "known", "Succeeded").await;
}
