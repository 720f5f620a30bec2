//! Manifests that are wrong by slip: upstream's kubectl and ours say the same about each, `carob` adds to it what the
//! snapshot beside the manifest shows, and nothing is created.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::clients::Kind;
use testkit::{Answer, Carob, Options};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/wrong");

/// What upstream's kubectl says otherwise, and why that is right.
const ELSEWISE: [(&str, &str); 4] = [
    (
        "kind-lower-case",
        "OpenAPI v2 is not served in protobuf, in which kubectl wants to look for unknown kinds",
    ),
    ("kind-misspelled", "as above"),
    ("kind-plural", "as above"),
    ("wrong-group", "as above"),
];

/// What is created by kubectl all the same: doubled keys it does not see, and documents before a wrong one.
const TAKEN: [&str; 4] = ["duplicate-key", "second-no-yaml", "second-of-two", "separator-missing"];

fn manifests() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(FOLDER).expect("the folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|own| own == "yaml")).collect();
    paths.sort();
    paths
}

fn own(carob: &Carob, arguments: &[&str]) -> Answer {
    let mut command = Command::new(testkit::carob::binary().expect("the binary"));
    command.args(arguments).current_dir(FOLDER).env("KUBECONFIG", carob.kubeconfig());
    testkit::command::run(&mut command).expect("carob starts")
}

/// The text of a snapshot, without its head.
fn snapshot(manifest: &Path) -> String {
    let path = manifest.with_extension("snap");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let body = text.splitn(3, "---\n").nth(2).expect("a head and a body");
    body.trim_end().to_owned()
}

#[test]
fn slips_are_told_as_upstream_does_and_mended() {
    let carob = Carob::start(Options::default());
    let folder = Path::new(FOLDER);
    let stock = carob.kubectl().inside(folder);
    let same = carob.kubectl_of(Kind::Own).inside(folder);
    let manifests = manifests();
    assert!(manifests.len() > 60);
    let mut wrong = Vec::new();
    for manifest in manifests {
        let name = manifest.file_stem().expect("a name").to_string_lossy().into_owned();
        let file = format!("{name}.yaml");
        let told = own(&carob, &["create", "-f", &file]);
        if told.code != 1 || told.stderr.trim_end() != snapshot(&manifest) {
            wrong.push(format!("carob create -f {file}: {}\n{}", told.code, told.stderr));
        }
        let left = same.run(&["get", "pods", "-o", "name"]).stdout;
        if !left.is_empty() {
            wrong.push(format!("carob create -f {file} created {left}"));
        }
        let clear = || {
            if TAKEN.contains(&name.as_str()) {
                same.run(&["delete", "pods", "--all", "--now"]);
            }
        };
        let upstream = stock.run(&["create", "-f", &file]);
        clear();
        let ours = same.run(&["create", "-f", &file]);
        clear();
        let elsewise = ELSEWISE.iter().any(|(own, _)| *own == name);
        if (upstream.code, &upstream.stderr) != (ours.code, &ours.stderr) && !elsewise {
            wrong.push(format!(
                "{file}:\nupstream {}: {}ours {}: {}",
                upstream.code, upstream.stderr, ours.code, ours.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
