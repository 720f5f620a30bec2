//! What registries answer and what configuration says: no panic, no endless work, whatever is in it.

use images::manifest::{Document, parse_config, parse_document};
use images::registries::Registries;
use proptest::prelude::*;
use stdx::mutate::{mutated, mutated_text};

const DOCUMENTS: &[&str] = &[
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json",
    "digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa","size":100},"layers":[{"mediaType":
    "application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb","size":2000}]}"#,
    r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":
    "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc","size":5,"platform":{"os":"linux","architecture":"amd64","variant":"v8"}}]}"#,
];

const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","config":{"User":"1000:1000","Env":["PATH=/bin","A="],"Entrypoint":["/x"],
    "Cmd":["a","b"],"WorkingDir":"/w","ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}},"StopSignal":"SIGTERM","Labels":{"a":"b"}},
    "rootfs":{"type":"layers","diff_ids":["sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"]},"history":[{"created":"2026-01-01T00:00:00Z","empty_layer":true}]}"#;

const REGISTRIES: &str = "mirrors:
  docker.io:
    endpoint: ['https://mirror.example:5000/v2', http://127.0.0.1:5000]
    rewrite: {'^library/(.*)': 'mirrored/$1'}
  '*': {endpoint: [https://all.example]}
configs:
  mirror.example:5000:
    auth: {username: a, password: b}
    tls: {ca_file: /ca.crt, insecure_skip_verify: true}
auths:
  https://index.docker.io/v1/: {auth: YTpi}
";

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn the_examples_are_read() {
    assert!(matches!(parse_document(DOCUMENTS[0].as_bytes()), Ok(Document::Manifest(_))));
    assert!(matches!(parse_document(DOCUMENTS[1].as_bytes()), Ok(Document::Index(_))));
    assert!(parse_config(CONFIG.as_bytes()).is_ok());
    Registries::parse(REGISTRIES).unwrap();
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn documents(seed: u64) {
        let _ = parse_document(&mutated(DOCUMENTS, seed));
        let _ = parse_config(&mutated(&[CONFIG], seed));
    }

    #[test]
    fn registries(seed: u64) {
        let _ = Registries::parse(&mutated_text(&[REGISTRIES], seed));
    }

    #[test]
    fn references(seed: u64) {
        let names = ["docker.io/library/a:1", "localhost:5000/a/b@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "a"];
        let text = mutated_text(&names, seed);
        if let Ok(reference) = images::reference::Reference::parse_for_pull(&text) {
            let written = reference.to_string();
            let again = images::reference::Reference::parse_for_pull(&written).map(|own| own.to_string());
            prop_assert_eq!(again.ok(), Some(written));
        }
    }
}
