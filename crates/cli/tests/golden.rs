//! The recorded command lines of upstream's kubectl, as far as they need no running node: errors, dry runs, changes of
//! objects; and what upstream wrote as YAML and JSON, written again.

mod support;

use serde_json::Value;
use support::Cluster;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/data/kubectl.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn what_upstream_wrote_is_written_the_same() {
    let mut seen = 0;
    for line in golden()["lines"].as_array().unwrap() {
        let (command, out) = (line["line"].as_str().unwrap(), line["stdout"].as_str().unwrap());
        if command.ends_with("-o yaml") || command == "config view" || command.contains("-o yaml --command") {
            let tree = cli::manifest::parse(out).unwrap();
            assert_eq!(cli::yaml::to_string(&tree), out, "{command}");
            seen += 1;
        }
        if command.starts_with("get ") && command.ends_with("-o json") {
            let tree: Value = serde_json::from_str(out).unwrap();
            assert_eq!(cli::printers::json::pretty(&tree), out, "{command}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen}");
}

/// Lines whose answers need nodes, or that come from upstream's own prose, versions or certificates.
const ELSEWHERE: &[&str] = &[
    "describe ",
    "logs ",
    "exec ",
    "explain ",
    "version",
    "config ",
    "auth whoami",
    "attach ",
    "cp nosuch",
    "get node",
    "get events",
    "get all",
    "get pod/multipod",
    "get pods --field-selector",
    "get pods -o jsonpath",
    "get ns",
    "wait ",
    "port-forward ",
    "get pod multipod",
];

/// Lines of those that need nobody else after all.
const HERE: &[&str] = &[
    "logs nosuch",
    "logs myweb -c nosuch",
    "exec nosuch -- true",
    "exec multipod sh",
    "exec multipod",
    "exec multipod -c nosuch -- true",
    "describe pod nosuch",
    "cp nosuch:/x /tmp/x",
    "port-forward pods/nosuch 8080:80",
    "port-forward nginx-pod",
    "wait --for=delete pod/nosuch --timeout=1s",
    "wait --for=condition=Ready pod/big --timeout=1s",
    "explain pods.spec.nosuch",
];

fn is_here(line: &str) -> bool {
    HERE.contains(&line) || !ELSEWHERE.iter().any(|prefix| line.starts_with(prefix))
}

/// States, ages and ids vary: words of columns are compared, and of YAML nothing but the beginning.
fn masked(line: &str, text: &str) -> String {
    if line.starts_with("get ") && text.contains("READY") {
        return text.lines().next().unwrap_or_default().split("STATUS").next().unwrap_or_default().to_owned();
    }
    if line.starts_with("get pods --no-headers") || line.starts_with("get pods -l") {
        return String::new();
    }
    if line.contains("--dry-run=server -o yaml") {
        return text.lines().take(3).collect();
    }
    if let Some(at) = text.find("\n@@ ") {
        return text[..at].to_owned();
    }
    match text.find(" helpers.go:") {
        Some(at) => text[at..].to_owned(),
        None => text.to_owned(),
    }
}

#[tokio::test]
async fn recorded_lines_are_answered_the_same() {
    let golden = golden();
    let cluster = Cluster::new().await;
    for (name, text) in golden["files"].as_object().unwrap() {
        cluster.file(name, text.as_str().unwrap());
    }
    // The recorded lines name their files without a directory. This is the only test here that looks at it.
    std::env::set_current_dir(cluster.folder.path()).unwrap();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for recorded in golden["lines"].as_array().unwrap() {
        let line = recorded["line"].as_str().unwrap();
        if !is_here(line) {
            continue;
        }
        let ran = cluster.run_as("kubectl", line, "").await;
        let text = |field: &str| masked(line, recorded[field].as_str().unwrap());
        let want = (recorded["code"].as_u64().unwrap(), text("stdout"), text("stderr"));
        let got = (u64::from(ran.code), masked(line, &ran.out), masked(line, &ran.err));
        if got != want {
            wrong.push(format!("{line}\n  got  {got:?}\n  want {want:?}"));
        }
        seen += 1;
    }
    assert!(seen > 80, "{seen}");
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
}
