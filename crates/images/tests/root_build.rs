//! Images built from folders and files, mounted for real: needs root, because overlayfs does.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use common::with_root;
use cri::image::{ImageService, RootProvider};
use images::{BuildConfig, BuildOptions, BuildSource, ImageStore, Options, Snapshotter};

fn folder_with_files(root: &Path) {
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/app"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("bin/app"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::create_dir(root.join("tmp")).unwrap();
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::hard_link(root.join("bin/app"), root.join("bin/same")).unwrap();
    std::os::unix::fs::symlink("app", root.join("bin/link")).unwrap();
    std::os::unix::fs::chown(root.join("tmp"), Some(7), Some(8)).unwrap();
}

fn options(source: &Path) -> BuildOptions {
    BuildOptions {
        source: BuildSource::Folder(source.to_owned()),
        name: "app".to_owned(),
        config: BuildConfig {
            cmd: vec!["/bin/app".to_owned()],
            user: "1000:7".to_owned(),
            ..BuildConfig::default()
        },
    }
}

async fn check_root(snapshotter: Snapshotter) {
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("source");
    folder_with_files(&source);
    let mut store_options = Options::new(scratch.path().join("store"));
    store_options.snapshotter = snapshotter;
    let store = ImageStore::open(store_options.clone()).unwrap();
    let made = store.build(options(&source)).await.unwrap();
    let again = store.build(options(&source)).await.unwrap();
    assert_eq!(made, again);

    let image = store.image_status("app").await.unwrap().unwrap();
    assert_eq!(image.id, made.id);
    assert_eq!(image.repo_tags, ["docker.io/library/app:latest"]);
    assert_eq!((image.uid, image.username.as_str()), (Some(1000), ""));

    let root = store.prepare_root("app", "container-1").await.unwrap();
    assert_eq!(root.image_id, made.id);
    assert_eq!(root.image_ref, image.repo_digests[0]);
    assert_eq!(root.config.cmd, ["/bin/app"]);
    with_root(&root.mount, scratch.path(), |merged| {
        let app = fs::metadata(merged.join("bin/app")).unwrap();
        assert_eq!((app.mode() & 0o7777, app.nlink()), (0o4755, 2));
        assert_eq!(app.ino(), fs::metadata(merged.join("bin/same")).unwrap().ino());
        assert_eq!(fs::read_link(merged.join("bin/link")).unwrap(), Path::new("app"));
        let tmp = fs::metadata(merged.join("tmp")).unwrap();
        assert_eq!((tmp.mode() & 0o7777, tmp.uid(), tmp.gid()), (0o1777, 7, 8));
        fs::write(merged.join("new"), "x").unwrap();
    });

    // A daemon that starts again knows the root and keeps its layers, also without the image.
    drop(store);
    let store = ImageStore::open(store_options).unwrap();
    assert!(store.container_ids().contains("container-1"));
    assert_eq!(store.prepare_root("app", "container-1").await.unwrap(), root);
    store.remove_image("app").await.unwrap();
    assert!(store.list_images().await.unwrap().is_empty());
    with_root(&root.mount, scratch.path(), |merged| assert!(merged.join("new").exists()));
    store.remove_root("container-1").await.unwrap();
    store.remove_root("container-1").await.unwrap();
    assert!(store.prepare_root("app", "container-2").await.is_err());
    for folder in ["layers", "blobs/sha256", "containers", "ingest"] {
        let left = fs::read_dir(scratch.path().join("store").join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn overlay_roots() {
    check_root(Snapshotter::Overlay).await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn copied_roots() {
    check_root(Snapshotter::Copy).await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn demo_image() {
    let scratch = tempfile::tempdir().unwrap();
    let store = ImageStore::open(Options::new(scratch.path().join("store"))).unwrap();
    let program = std::env::current_exe().unwrap();
    let made = images::demo::build(&store, &program).await.unwrap();
    let layers = common::left(scratch.path(), "layers");
    assert_eq!(images::demo::build(&store, &program).await.unwrap(), made);
    assert_eq!(common::left(scratch.path(), "layers"), layers);
    let root = store.prepare_root(images::demo::NAME, "demo").await.unwrap();
    assert_eq!(root.config.entrypoint, ["/carob", "demo"]);
    assert!(store.image_status(&made.id).await.unwrap().unwrap().pinned);
    with_root(&root.mount, scratch.path(), |merged| {
        assert_eq!(fs::read(merged.join("carob")).unwrap(), fs::read(&program).unwrap());
        assert_eq!(fs::metadata(merged.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
    });
}
