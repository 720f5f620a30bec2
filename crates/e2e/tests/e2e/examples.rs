//! Manifests: every right one of `examples/` runs, wrong ones are refused with words that help.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use testkit::clients::Kind;
use testkit::{Carob, wait};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let is_manifest = |path: &PathBuf| path.extension().is_some_and(|own| own == "yaml" || own == "yml");
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_manifest).collect();
    files.sort();
    files
}

/// What becomes of an example's Pods: a line `# expect: <phase>` in it says so; otherwise they become ready.
fn expectation(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("# expect: ")).map(str::trim)
}

#[tokio::test]
async fn every_example_runs() {
    let carob = Carob::with_images();
    let client = carob.client();
    let kubectl = carob.kubectl();
    let files = examples();
    assert!(!files.is_empty(), "examples/ holds manifests");
    let mut deleted = std::collections::HashSet::new();
    for file in files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file).expect("a manifest");
        for pod in deleted.iter().filter(|pod: &&String| text.contains(&format!("  name: {pod}\n"))) {
            wait::gone::<Pod>(&client, Some("default"), pod).await;
        }
        let answer = kubectl.run(&["apply", "-f", &name]);
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""), "{name}");
        let objects = kubectl.succeed(&["get", "-f", &name, "-o", "name"]);
        for pod in objects.lines().filter_map(|line| line.strip_prefix("pod/")) {
            match expectation(&text) {
                Some("Pending") => {
                    drop(wait::one::<Pod>(&client, Some("default"), pod, "there", |_| true).await)
                }
                Some(phase) => drop(wait::phase(&client, pod, phase).await),
                None => drop(wait::ready(&client, pod).await),
            }
            deleted.insert(pod.to_owned());
        }
        kubectl.succeed(&["delete", "-f", &name, "--grace-period=1", "--wait=false"]);
    }
    for pod in deleted {
        wait::gone::<Pod>(&client, Some("default"), &pod).await;
    }
}

#[tokio::test]
async fn wrong_manifests_are_refused_and_nothing_is_made() {
    let carob = Carob::with_images();
    let kubectl = carob.kubectl_of(Kind::Own);
    let head = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: wrong\nspec:\n  containers:\n";
    let rows = [
        (
            "no blank after the dash",
            format!("{head}  -name: c\n    image: busybox\n"),
            "error converting YAML to JSON",
        ),
        ("a tab", head.replace("\n  name", "\n\tname"), "found character that cannot start any token"),
        (
            "no colon",
            format!("{head}  - name: c\n    image: nginx\n    ports\n    - containerPort: 80\n"),
            "could not find expected ':'",
        ),
        (
            "a slip",
            format!(
                "{head}  - name: c\n    image: nginx\n    livenessProbe: {{tcpSocket: {{port: 80}}, initalDelaySeconds: 5}}\n"
            ),
            "strict decoding error: unknown field \"spec.containers[0].livenessProbe.initalDelaySeconds\"",
        ),
        (
            "another kind",
            head.replace("kind: Pod", "kind: Pood"),
            "no matches for kind \"Pood\" in version \"v1\"",
        ),
        ("no image", format!("{head}  - name: c\n"), "spec.containers[0].image: Required value"),
        ("no name", format!("{head}  - image: nginx\n"), "spec.containers[0].name: Required value"),
        (
            "a bad name",
            format!("{head}  - name: C_1\n    image: nginx\n"),
            "spec.containers[0].name: Invalid value: \"C_1\": a lowercase RFC 1123 label must consist of",
        ),
        (
            "twice",
            format!("{head}  - name: c\n    image: a\n  - name: c\n    image: b\n"),
            "spec.containers[1].name: Duplicate value: \"c\"",
        ),
        (
            "a bad amount",
            format!("{head}  - name: c\n    image: a\n    resources: {{limits: {{memory: 1MM}}}}\n"),
            "unable to parse quantity's suffix",
        ),
        (
            "no volume",
            format!("{head}  - name: c\n    image: a\n    volumeMounts: [{{name: v, mountPath: /v}}]\n"),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            "a bad policy",
            format!("{head}  - name: c\n    image: a\n  restartPolicy: Sometimes\n"),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
    ];
    for (what, manifest, text) in rows {
        let answer = kubectl.run_with_input(&["apply", "-f", "-"], &manifest);
        assert_eq!(answer.code, 1, "{what}: {}", answer.stdout);
        assert!(answer.stderr.contains(text), "{what}: {}", answer.stderr);
    }
    assert_eq!(kubectl.ok("get pods -o name"), "");
}
