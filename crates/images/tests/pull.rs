//! Pulls from a registry within the test, well-behaved and not.

mod common;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{FakeRegistry, Fixture, gzip, layer, left, status, store};
use cri::ErrorKind;
use cri::image::{AuthConfig, ImageService, RootMount, RootProvider};
use http::StatusCode;
use images::digest::Digest;

async fn root_of(store: &images::ImageStore, image: &str, container: &str) -> PathBuf {
    match store.prepare_root(image, container).await.unwrap().mount {
        RootMount::Directory { path } => path,
        RootMount::Overlay { .. } => panic!("the store was opened for copies"),
    }
}

#[tokio::test]
async fn an_image_is_pulled_once_and_served_from_disk() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::plain().await;
    let image = Fixture::simple();
    registry.put("team/app", "v1", &image);
    let store = store(scratch.path(), None);
    let name = format!("{}/team/app:v1", registry.address);

    let (progress, watched) = tokio::sync::watch::channel(Default::default());
    let pulled = store.pull_image(&name, None, Some(progress)).await.unwrap();
    assert_eq!(pulled.image_id, Digest::of(&image.config).to_string());
    let sent: usize = image.layers.iter().map(|(_, sent)| sent.len()).sum();
    assert_eq!(pulled.size_bytes as usize, sent + image.manifest.len() + image.config.len());
    let last = *watched.borrow();
    assert_eq!((last.fetched_bytes as usize, last.total_bytes as usize), (sent, sent));

    let found = store.image_status(&name).await.unwrap().unwrap();
    assert_eq!(found.repo_tags, std::slice::from_ref(&name));
    assert_eq!(found.repo_digests, [format!("{}/team/app@{}", registry.address, image.target())]);
    assert_eq!(found.username, "web");

    let root = root_of(&store, &name, "c").await;
    assert_eq!(fs::read_to_string(root.join("etc/os")).unwrap(), "bottom");
    assert_eq!(fs::read_to_string(root.join("etc/name")).unwrap(), "top");

    // Again, and by digest: only the name is asked for.
    let requests = registry.seen.lock().len();
    store.pull_image(&name, None, None).await.unwrap();
    store.pull_image(&found.repo_digests[0], None, None).await.unwrap();
    assert_eq!(registry.seen.lock().len(), requests + 2);
    assert_eq!(left(scratch.path(), "ingest"), 0);
    assert_eq!(left(scratch.path(), "blobs/sha256"), 2);

    store.remove_root("c").await.unwrap();
    store.remove_image(&name).await.unwrap();
    for folder in ["layers", "blobs/sha256", "containers"] {
        assert_eq!(left(scratch.path(), folder), 0, "{folder}");
    }
}

#[tokio::test]
async fn indexes_lead_to_this_platform() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::plain().await;
    let image = Fixture::simple();
    registry.put("app", "unused", &image);
    let platform = images::manifest::host_platform();
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [
            { "digest": Digest::of(b"other"), "size": 1, "platform": { "os": "windows", "architecture": "amd64" } },
            { "digest": image.target(), "size": image.manifest.len(), "platform": platform },
        ],
    })
    .to_string()
    .into_bytes();
    registry.put_manifest("app", "many", &index);
    let only_other = br#"{"schemaVersion":2,"manifests":[]}"#;
    registry.put_manifest("app", "none", only_other);
    let store = store(scratch.path(), None);
    store.pull_image(&format!("{}/app:many", registry.address), None, None).await.unwrap();
    let images = store.list_images().await.unwrap();
    assert_eq!(images[0].repo_digests, [format!("{}/app@{}", registry.address, Digest::of(&index))]);
    let error = store.pull_image(&format!("{}/app:none", registry.address), None, None).await.unwrap_err();
    assert!(error.message.contains("no match for platform in manifest"), "{error}");
}

#[tokio::test]
async fn mirrors_are_asked_before_the_registry() {
    let scratch = tempfile::tempdir().unwrap();
    let (empty, full) = (FakeRegistry::plain().await, FakeRegistry::plain().await);
    full.put("hub/nginx", "latest", &Fixture::simple());
    let file = format!(
        "mirrors:\n  docker.io:\n    endpoint: [\"http://{}\", \"http://{}\"]\n    rewrite: {{\"^library/(.*)\": \"hub/$1\"}}\n",
        empty.address, full.address
    );
    let store = store(scratch.path(), Some(&file));
    store.pull_image("nginx", None, None).await.unwrap();
    assert!(store.image_status("docker.io/library/nginx:latest").await.unwrap().is_some());
    assert_eq!(empty.seen.lock()[0], "HEAD /v2/hub/nginx/manifests/latest?ns=docker.io");
    assert_eq!(full.count("/blobs/"), 3);
}

#[tokio::test]
async fn what_does_not_exist_is_told_in_upstreams_words() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::plain().await;
    let store = store(scratch.path(), None);
    let name = format!("{}/redis123:latest", registry.address);
    let error = store.pull_image(&name, None, None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(
        error.message,
        format!("failed to pull and unpack image \"{name}\": failed to resolve image: {name}: not found")
    );
    let error = store.pull_image("Bad Name", None, None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    assert_eq!(
        error.message,
        "failed to parse image reference \"Bad Name\": invalid reference format: repository name (library/Bad Name) \
         must be lowercase"
    );
    let address = registry.address;
    drop(registry);
    tokio::task::yield_now().await;
    let error = store.pull_image(&name, None, None).await.unwrap_err();
    assert!(
        error.message.contains("failed to resolve image: failed to do request: Head \"http://")
            && error.message.ends_with(&format!("dial tcp {address}: connect: connection refused")),
        "{error}"
    );
}

fn needs(header: &'static str, challenge: String) -> Box<common::Hook> {
    Box::new(move |request| {
        let path = request.uri().path();
        if path == "/token" {
            let known = request.headers().get("authorization").is_some_and(|value| value == "Basic dTpw");
            if !known {
                return Some(status(StatusCode::FORBIDDEN));
            }
            return Some(http::Response::new(http_body_util::Full::new("{\"token\":\"t0ken\"}".into())));
        }
        if request.headers().get("authorization").is_some_and(|value| value == header) {
            return None;
        }
        let mut response = status(StatusCode::UNAUTHORIZED);
        let host = request.headers()["host"].to_str().unwrap();
        let challenge = challenge.replace("HOST", host);
        response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
        Some(response)
    })
}

#[tokio::test]
async fn basic_and_bearer_challenges_are_answered() {
    let bearer = "Bearer realm=\"http://HOST/token\",service=\"r\",scope=\"repository:app:pull\"";
    let denied = "pull access denied, repository does not exist or may require authorization: authorization failed: \
                  no basic auth credentials";
    // Header, challenge, texts without credentials and with wrong ones, and how the latter ends.
    let rows = [
        (
            "Basic dTpw",
            "Basic realm=x",
            denied,
            "unexpected status from HEAD request to ",
            ": 401 Unauthorized",
        ),
        (
            "Bearer t0ken",
            bearer,
            "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to ",
            "failed to authorize: failed to fetch oauth token: unexpected status from GET request to ",
            ": 403 Forbidden",
        ),
    ];
    for (header, challenge, without, wrong, end) in rows {
        let scratch = tempfile::tempdir().unwrap();
        let registry = FakeRegistry::start(needs(header, challenge.to_owned())).await;
        registry.put("app", "latest", &Fixture::simple());
        let store = store(scratch.path(), None);
        let name = format!("{}/app", registry.address);
        let error = store.pull_image(&name, None, None).await.unwrap_err();
        assert!(error.message.contains(&format!("failed to resolve image: {without}")), "{error}");
        let auth = |password: &str| AuthConfig {
            username: "u".into(),
            password: password.into(),
            ..Default::default()
        };
        let error = store.pull_image(&name, Some(&auth("wrong")), None).await.unwrap_err();
        assert!(error.message.contains(&format!("failed to resolve image: {wrong}")), "{error}");
        assert!(error.message.ends_with(end), "{error}");
        store.pull_image(&name, Some(&auth("p")), None).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_token_is_access_denied() {
    let challenge = "Bearer realm=\"http://HOST/token\",service=\"r\",error=\"insufficient_scope\"";
    let scratch = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::start(needs("never", challenge.to_owned())).await;
    let store = store(scratch.path(), None);
    let auth = AuthConfig { auth: "dTpw".into(), ..Default::default() };
    let error = store.pull_image(&format!("{}/app", registry.address), Some(&auth), None).await.unwrap_err();
    assert!(
        error.message.ends_with(
            "failed to resolve image: pull access denied, repository does not exist or may require authorization: \
             server message: insufficient_scope: authorization failed"
        ),
        "{error}"
    );
}

#[tokio::test]
async fn corrupt_content_is_refused_and_leaves_nothing() {
    let image = Fixture::simple();
    let sent = &image.layers[0].1;
    let path = format!("/v2/app/blobs/{}", Digest::of(sent));
    let mut flipped = sent.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut longer = sent.clone();
    longer.push(0);
    let config_path = format!("/v2/app/blobs/{}", Digest::of(&image.config));
    let manifest_path = format!("/v2/app/manifests/{}", image.target());
    let cases: [(&str, &[u8], &str); 5] = [
        (&path, &flipped, "unexpected commit digest"),
        (&path, &longer, "unexpected commit size"),
        (&path, &sent[..10], "unexpected commit size 10"),
        (&config_path, b"{}", "unexpected commit digest"),
        (&manifest_path, b"{}", "unexpected commit digest"),
    ];
    for (path, bytes, expected) in cases {
        let scratch = tempfile::tempdir().unwrap();
        let registry = FakeRegistry::plain().await;
        registry.put("app", "latest", &image);
        let store = store(scratch.path(), None);
        let name = format!("{}/app", registry.address);
        registry.put_at(path.to_owned(), bytes);
        let error = store.pull_image(&name, None, None).await.unwrap_err();
        assert!(error.message.contains(expected), "{path}: {error}");
        assert_eq!(error.kind, ErrorKind::FailedPrecondition);
        assert!(store.list_images().await.unwrap().is_empty());
        // The next pull, of the right content, is not spoiled by what came before.
        registry.put("app", "latest", &image);
        store.pull_image(&name, None, None).await.unwrap();
        assert_eq!(left(scratch.path(), "ingest"), 0);
    }
}

#[tokio::test]
async fn a_layer_that_is_not_its_diff_id_is_refused() {
    let honest = layer(&[("a", "1")]);
    let other = layer(&[("a", "2")]);
    let scratch = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::plain().await;
    registry.put("app", "latest", &Fixture::new(vec![(honest, gzip(&other))]));
    let store = store(scratch.path(), None);
    let error = store.pull_image(&format!("{}/app", registry.address), None, None).await.unwrap_err();
    assert!(error.message.contains("wrong diff id calculated on extraction"), "{error}");
    assert_eq!(left(scratch.path(), "layers"), 0);
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let text: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    let big = layer(&[("big", &text)]);
    let image = Fixture::new(vec![(big.clone(), big.clone())]);
    let digest = Digest::of(&big);
    let turns = Arc::new(AtomicUsize::new(0));
    let hook = {
        let (turns, big, digest) = (turns.clone(), big.clone(), digest.to_string());
        move |request: &http::Request<hyper::body::Incoming>| {
            let first = request.uri().path().ends_with(&digest) && turns.fetch_add(1, Ordering::SeqCst) == 0;
            // Half of it, told as all of it: as a server that was stopped.
            first
                .then(|| http::Response::new(http_body_util::Full::new(big[..big.len() / 2].to_vec().into())))
        }
    };
    let scratch = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::start(Box::new(hook)).await;
    registry.put("app", "latest", &image);
    let store = store(scratch.path(), None);
    store.pull_image(&format!("{}/app", registry.address), None, None).await.unwrap();
    assert_eq!(turns.load(Ordering::SeqCst), 2);
    let root = root_of(&store, &format!("{}/app", registry.address), "c").await;
    assert_eq!(fs::read_to_string(root.join("big")).unwrap(), text);
}

#[tokio::test]
async fn pulls_of_one_image_share_its_layers() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::plain().await;
    let base = layer(&[("base", "x")]);
    let pair = |text: &str| {
        let top = layer(&[("top", text)]);
        Fixture::new(vec![(base.clone(), gzip(&base)), (top.clone(), gzip(&top))])
    };
    registry.put("one", "latest", &pair("1"));
    registry.put("two", "latest", &pair("2"));
    let store = store(scratch.path(), None);
    let pulls = ["one", "two", "one", "two", "one"].map(|name| {
        let store = store.clone();
        let name = format!("{}/{name}", registry.address);
        tokio::spawn(async move { store.pull_image(&name, None, None).await.map(|_| ()) })
    });
    for pull in pulls {
        pull.await.unwrap().unwrap();
    }
    assert_eq!(registry.count(Digest::of(&gzip(&base)).as_str()), 1);
    assert_eq!(left(scratch.path(), "layers"), 6);
    store.remove_image(&format!("{}/one", registry.address)).await.unwrap();
    assert_eq!(left(scratch.path(), "layers"), 4);
    store.remove_image(&format!("{}/two", registry.address)).await.unwrap();
    assert_eq!(left(scratch.path(), "layers"), 0);
}

#[tokio::test]
async fn hostile_layers_leave_nothing_behind() {
    let mut escape = tar_with_path(b"../escaped");
    escape.extend_from_slice(&[0; 1024]);
    let scratch = tempfile::tempdir().unwrap();
    let registry = FakeRegistry::plain().await;
    registry.put("app", "latest", &Fixture::new(vec![(escape.clone(), gzip(&escape))]));
    let store = store(scratch.path(), None);
    let error = store.pull_image(&format!("{}/app", registry.address), None, None).await.unwrap_err();
    assert!(error.message.contains("path leaves the layer"), "{error}");
    assert_eq!(left(scratch.path(), "layers"), 0);
    assert_eq!(left(scratch.path(), "ingest"), 0);
}

fn tar_with_path(path: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.as_ustar_mut().unwrap().name[..path.len()].copy_from_slice(path);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[tokio::test]
async fn stores_in_use_or_newer_are_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let open = store(scratch.path(), None);
    let error = images::ImageStore::open(images::Options::new(scratch.path().join("store"))).unwrap_err();
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(open);
    fs::write(scratch.path().join("store/store.json"), r#"{"version":99,"whiteouts":"plain"}"#).unwrap();
    let error = images::ImageStore::open(images::Options::new(scratch.path().join("store"))).unwrap_err();
    assert!(error.to_string().contains("version 99"), "{error}");
}

#[tokio::test]
async fn certificates_are_checked_as_the_file_says() {
    let scratch = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let ca_file = scratch.path().join("ca.pem");
    fs::write(&ca_file, made.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let registry = FakeRegistry::start_with(Box::new(|_| None), Some(Arc::new(server))).await;
    registry.put("library/app", "latest", &Fixture::simple());
    let mirror = format!("mirrors:\n  docker.io:\n    endpoint: [\"https://{}\"]\n", registry.address);
    let tls = |text: &str| format!("{mirror}configs:\n  {}:\n    tls: {{{text}}}\n", registry.address);
    let cases = [
        (tls(&format!("ca_file: {}", ca_file.display())), None),
        (tls("insecure_skip_verify: true"), None),
        (tls("ca_file: /nonexistent"), Some("/nonexistent")),
        (mirror.clone(), Some("x509: certificate signed by unknown authority")),
    ];
    for (file, expected) in cases {
        let scratch = tempfile::tempdir().unwrap();
        let file = file.replace("docker.io:", "registry.invalid:");
        let store = store(scratch.path(), Some(&file));
        let result = store.pull_image("registry.invalid/library/app", None, None).await;
        match expected {
            None => assert!(result.is_ok(), "{result:?}"),
            Some(expected) => {
                let error = result.unwrap_err();
                assert!(error.message.contains(expected), "{expected}: {error}");
            }
        }
    }
}
