//! Archives imported: those of `docker save`, OCI layouts, and broken ones.

mod common;

use std::io::Cursor;

use common::{Fixture, gzip, layer, left, store};
use cri::image::ImageService;
use images::SourceFile;
use images::archive::write::write_files;
use images::digest::Digest;
use serde_json::json;

fn archive(members: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let files: Vec<_> =
        members.into_iter().map(|(path, bytes)| (path, SourceFile::Bytes(bytes), 0o644)).collect();
    let mut bytes = Vec::new();
    write_files(&mut bytes, &files).unwrap();
    bytes
}

fn docker_members(image: &Fixture, tags: &[&str]) -> Vec<(String, Vec<u8>)> {
    let mut members: Vec<(String, Vec<u8>)> = image
        .layers
        .iter()
        .enumerate()
        .map(|(number, (plain, _))| (format!("{number}/layer.tar"), plain.clone()))
        .collect();
    let layers: Vec<_> = members.iter().map(|(path, _)| path.clone()).collect();
    members.push(("config.json".to_owned(), image.config.clone()));
    let list = json!([{ "Config": "config.json", "RepoTags": tags, "Layers": layers }]);
    members.push(("manifest.json".to_owned(), list.to_string().into_bytes()));
    members
}

fn oci_members(image: &Fixture, name: &str) -> Vec<(String, Vec<u8>)> {
    let blob = |bytes: &[u8]| (format!("blobs/sha256/{}", Digest::of(bytes).hex()), bytes.to_vec());
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{ "digest": image.target(), "size": image.manifest.len(),
                        "annotations": { "org.opencontainers.image.ref.name": name } }],
    });
    let mut members = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index.to_string().into_bytes()),
        blob(&image.config),
        blob(&image.manifest),
    ];
    members.extend(image.layers.iter().map(|(_, sent)| blob(sent)));
    members
}

#[tokio::test]
async fn both_forms_are_imported() {
    let image = Fixture::simple();
    let id = Digest::of(&image.config).to_string();
    let cases = [
        archive(docker_members(&image, &["app:v1", "other/app:v2"])),
        gzip(&archive(docker_members(&image, &["app:v1"]))),
        archive(oci_members(&image, "docker.io/library/app:v1")),
    ];
    for bytes in cases {
        let scratch = tempfile::tempdir().unwrap();
        let store = store(scratch.path(), None);
        let file = scratch.path().join("archive");
        std::fs::write(&file, &bytes).unwrap();
        let made = store.import_file(&file).await.unwrap();
        assert_eq!(store.import(Cursor::new(bytes)).await.unwrap(), made);
        assert_eq!(made[0].id, id);
        assert_eq!(made[0].names[0], "docker.io/library/app:v1");
        let found = store.image_status("app:v1").await.unwrap().unwrap();
        assert_eq!(found.id, id);
        assert_eq!(left(scratch.path(), "layers"), 4);
        store.remove_image(&id).await.unwrap();
        assert_eq!(left(scratch.path(), "layers"), 0);
        assert_eq!(left(scratch.path(), "blobs/sha256"), 0);
    }
}

#[tokio::test]
async fn broken_archives_leave_nothing() {
    let image = Fixture::simple();
    let without = |name: &str| {
        let mut members = docker_members(&image, &["app"]);
        members.retain(|(path, _)| path != name);
        archive(members)
    };
    let other = Fixture::new(vec![(layer(&[("x", "y")]), Vec::new())]);
    let mut swapped = docker_members(&image, &["app"]);
    swapped[0].1 = other.layers[0].0.clone();
    let mut corrupt = oci_members(&image, "a:b");
    corrupt.last_mut().unwrap().1.push(0);
    let whole = archive(docker_members(&image, &["app"]));
    let cases = [
        (Vec::new(), "neither manifest.json"),
        (without("manifest.json"), "neither manifest.json"),
        (without("config.json"), "no member \"config.json\""),
        (without("1/layer.tar"), "no member \"1/layer.tar\""),
        (archive(docker_members(&image, &["Bad Name"])), "invalid reference format"),
        (archive(swapped), "wrong diff id"),
        (archive(corrupt), "content has digest"),
        (whole[..whole.len() / 2].to_vec(), "cut short"),
        (b"no archive at all".repeat(100), "wrong"),
    ];
    for (bytes, expected) in cases {
        let scratch = tempfile::tempdir().unwrap();
        let store = store(scratch.path(), None);
        let error = store.import(Cursor::new(bytes)).await.unwrap_err();
        assert!(error.message.contains(expected), "{expected}: {error}");
        assert!(store.list_images().await.unwrap().is_empty());
        for folder in ["layers", "blobs/sha256"] {
            assert_eq!(left(scratch.path(), folder), 0, "{expected}: {folder}");
        }
    }
}
