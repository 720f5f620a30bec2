//! Manifests that are wrong by slip, one per file of `crates/e2e/data/wrong`: what kubectl says about each, what `carob`
//! adds, and that nothing is created. The snapshots lie beside the manifests. That upstream's kubectl says the same as
//! ours is tested in crate `e2e`.

mod support;

use std::path::Path;

use support::Cluster;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/data/wrong");

/// Slips that kubectl takes without a word.
const TAKEN: [&str; 2] = ["duplicate-key", "separator-missing"];

fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn each_slip_is_told_with_its_mend_and_nothing_is_created() {
    let cluster = Cluster::new().await;
    let names = names();
    assert!(names.len() > 60, "{}", names.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(FOLDER);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut failed = Vec::new();
    for name in names {
        let text = std::fs::read_to_string(Path::new(FOLDER).join(format!("{name}.yaml"))).unwrap();
        cluster.file(&format!("{name}.yaml"), &text);
        for verb in ["create", "apply"] {
            let line = format!("{verb} -f FOLDER/{name}.yaml");
            let own = cluster.run_as("carob", &line, "").await;
            let listed = cluster.run_as("carob", "get pods -o name", "").await;
            assert_eq!((own.code, listed.out.as_str()), (1, ""), "{line}: {}", own.err);
            let kubectl = cluster.run_as("kubectl", &line, "").await;
            cluster.run_as("kubectl", "delete pods --all --now", "").await;
            if TAKEN.contains(&name.as_str()) {
                assert_eq!(kubectl.code, 0, "{line}");
            } else {
                assert_eq!(kubectl.code, 1, "{line}");
                assert!(own.err.starts_with(&kubectl.err), "{line}:\n{}\n{}", own.err, kubectl.err);
                assert_ne!(own.err, kubectl.err, "{line}: no hint");
            }
            if verb == "create" {
                let shown = own.err.replace("FOLDER/", "");
                let check = || settings.bind(|| insta::assert_snapshot!(name.clone(), shown));
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err() {
                    failed.push(name.clone());
                }
            }
        }
    }
    assert!(failed.is_empty(), "differ from their snapshots: {failed:?}");
}

#[tokio::test]
async fn marks_and_line_ends_of_windows_are_fine() {
    let cluster = Cluster::new().await;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web\nspec:\n  containers:\n  - name: web\n    image: nginx\n";
    for text in [
        pod.replace('\n', "\r\n"),
        format!("\u{feff}{pod}"),
        format!("\u{feff}{}", pod.replace('\n', "\r\n")),
    ] {
        cluster.file("pod.yaml", &text);
        for program in ["kubectl", "carob"] {
            let ran = cluster.run_as(program, "create -f FOLDER/pod.yaml", "").await;
            assert_eq!(
                (ran.code, ran.out.as_str(), ran.err.as_str()),
                (0, "pod/web created\n", ""),
                "{text:?}"
            );
            cluster.run_as("kubectl", "delete pods --all --now", "").await;
        }
    }
}

#[tokio::test]
async fn of_several_documents_kubectl_creates_the_good_ones_and_carob_none() {
    let cluster = Cluster::new().await;
    let text = std::fs::read_to_string(Path::new(FOLDER).join("second-of-two.yaml")).unwrap();
    cluster.file("two.yaml", &text);
    let carob = cluster.run_as("carob", "apply -f FOLDER/two.yaml", "").await;
    assert_eq!((carob.code, carob.out.as_str()), (1, ""));
    assert!(carob.err.ends_with("nothing was created: of 2 documents one is wrong\n"), "{}", carob.err);
    let kubectl = cluster.run_as("kubectl", "apply -f FOLDER/two.yaml", "").await;
    assert_eq!((kubectl.code, kubectl.out.as_str()), (1, "pod/web created\n"));
    // What only fits together is not wrong: the second document's namespace is made by the first.
    let both = "apiVersion: v1\nkind: Namespace\nmetadata: {name: fresh}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: fresh}\n";
    let ran = cluster.run_as("carob", "apply -f -", both).await;
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "namespace/fresh created\nconfigmap/c created\n"),
        "{}",
        ran.err
    );
}
