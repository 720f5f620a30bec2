//! Debian's `docker-registry`, filled by `skopeo`: a real registry, plain and with a password, through mirrors. Run
//! with the root tests, because it needs those programs.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Fixture, store};
use cri::image::{AuthConfig, ImageService};
use images::SourceFile;
use images::archive::write::write_files;
use images::digest::Digest;
use serde_json::json;

/// bcrypt of `secret`.
const PASSWORD_LINE: &str = "reader:$2y$05$bnRD6koxi2sxZtdGqVBumOCJiX8qZvUlqxAYbTLfGIL.o1n07cmUS\n";

struct Registry {
    child: Child,
    address: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    fn start(folder: &Path, password: bool) -> Self {
        fs::create_dir_all(folder.join("data")).unwrap();
        let auth = if password {
            let file = folder.join("htpasswd");
            fs::write(&file, PASSWORD_LINE).unwrap();
            format!("auth:\n  htpasswd:\n    realm: test\n    path: {}\n", file.display())
        } else {
            String::new()
        };
        let config = folder.join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:0\n{auth}",
            folder.join("data").display()
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is installed");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the registry says where it listens").unwrap();
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split(['"', ' ', ',']).next().unwrap().to_owned();
            }
        };
        // Its log is read on, so that it never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    fn push(&self, folder: &Path, image: &Fixture, name: &str, password: bool) {
        let archive = folder.join("image.tar");
        let mut members: Vec<(String, SourceFile, u32)> = Vec::new();
        let mut layers = Vec::new();
        for (number, (plain, _)) in image.layers.iter().enumerate() {
            layers.push(format!("{number}.tar"));
            members.push((format!("{number}.tar"), SourceFile::Bytes(plain.clone()), 0o644));
        }
        let config = format!("{}.json", Digest::of(&image.config).hex());
        let list = json!([{ "Config": config, "RepoTags": ["x:y"], "Layers": layers }]).to_string();
        members.push((config, SourceFile::Bytes(image.config.clone()), 0o644));
        members.push(("manifest.json".to_owned(), SourceFile::Bytes(list.into_bytes()), 0o644));
        write_files(&mut fs::File::create(&archive).unwrap(), &members).unwrap();
        let mut command = Command::new("skopeo");
        command.args(["copy", "--insecure-policy", "--dest-tls-verify=false"]);
        if password {
            command.args(["--dest-creds", "reader:secret"]);
        }
        let output = command
            .arg(format!("docker-archive:{}", archive.display()))
            .arg(format!("docker://{}/{name}", self.address))
            .output()
            .expect("skopeo is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
#[ignore = "needs docker-registry and skopeo: run by make test"]
async fn a_real_registry_is_a_mirror() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = Registry::start(scratch.path(), false);
    let image = Fixture::simple();
    registry.push(scratch.path(), &image, "library/nginx:1.14", false);
    let file = format!("mirrors:\n  docker.io:\n    endpoint: [\"http://{}\"]\n", registry.address);
    let store = store(scratch.path(), Some(&file));
    let pulled = store.pull_image("nginx:1.14", None, None).await.unwrap();
    assert_eq!(pulled.image_id, Digest::of(&image.config).to_string());
    let found = store.image_status("nginx:1.14").await.unwrap().unwrap();
    assert_eq!(found.repo_tags, ["docker.io/library/nginx:1.14"]);
    store.remove_image(&pulled.image_id).await.unwrap();
    assert_eq!(common::left(scratch.path(), "layers"), 0);
    // By digest, as a Pod may name it.
    store.pull_image(&found.repo_digests[0], None, None).await.unwrap();
    let error = store.pull_image(&format!("{}/redis123", registry.address), None, None).await.unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "failed to pull and unpack image \"{0}/redis123:latest\": failed to resolve image: \
             {0}/redis123:latest: not found",
            registry.address
        )
    );
}

#[tokio::test]
#[ignore = "needs docker-registry and skopeo: run by make test"]
async fn a_real_registry_asks_for_a_password() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = Registry::start(scratch.path(), true);
    registry.push(scratch.path(), &Fixture::simple(), "private/app:v1", true);
    let name = format!("{}/private/app:v1", registry.address);
    let without = store(scratch.path(), None);
    let error = without.pull_image(&name, None, None).await.unwrap_err();
    assert!(error.message.ends_with("authorization failed: no basic auth credentials"), "{error}");
    let auth = |password: &str| AuthConfig {
        username: "reader".to_owned(),
        password: password.to_owned(),
        ..AuthConfig::default()
    };
    let error = without.pull_image(&name, Some(&auth("wrong")), None).await.unwrap_err();
    assert!(error.message.ends_with("401 Unauthorized"), "{error}");
    without.pull_image(&name, Some(&auth("secret")), None).await.unwrap();

    let other = tempfile::tempdir().unwrap();
    let file =
        format!("configs:\n  {}:\n    auth: {{username: reader, password: secret}}\n", registry.address);
    let with = store(other.path(), Some(&file));
    with.pull_image(&name, None, None).await.unwrap();
}
