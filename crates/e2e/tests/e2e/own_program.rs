//! CVE-2019-5736: a container makes the runtime run its own program inside, by `/proc/self/exe`, and a process there tries
//! to overwrite that.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use e2e::{create, texts};
use probe::overwrite::WAYS;
use serde_json::{Value, json};
use testkit::{Carob, Options, wait};

use crate::isolation;

/// How often the runtime enters the container while the intruder looks out for it.
const ENTRIES: usize = 5;

/// What must stay as it is of a file.
fn state(file: &Path) -> (u32, u64, u64, i64, i64) {
    let about = fs::metadata(file).expect("the program");
    (about.mode(), about.ino(), about.size(), about.mtime(), about.mtime_nsec())
}

/// The intruder beside two containers whose programs are that of the runtime: all see each other's processes.
fn pod(name: &str, context: &Value) -> Value {
    let container = |name: &str, command: &[&str], context: &Value| {
        json!({
            "name": name, "image": isolation::IMAGE, "imagePullPolicy": "Never", "command": command,
            "securityContext": context, "volumeMounts": [{ "name": "scripts", "mountPath": "/scripts" }],
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": {
            "shareProcessNamespace": true, "terminationGracePeriodSeconds": 0,
            "volumes": [{ "name": "scripts", "configMap": { "name": "scripts", "defaultMode": 0o755 } }],
            "containers": [
                container("intruder", &["/probe", "overwrite"], context),
                container("entry", &["/proc/self/exe", "demo", "serve", "--port", "9001"], &json!({})),
                container("script", &["/scripts/program", "--port", "9002"], &json!({})),
            ],
        },
    })
}

#[tokio::test]
async fn the_runtimes_program_cannot_be_written_from_containers() {
    testkit::require_root();
    let folder = tempfile::tempdir().expect("a directory");
    // Of its own: should it be written, the other tests go on.
    let program = folder.path().join("carob");
    let original = testkit::carob::binary().expect("the binary");
    fs::copy(&original, &program).expect("a copy");
    let archive = isolation::archive(folder.path());
    let before = state(&program);
    let carob = Carob::start(Options { program: Some(program.clone()), ..Options::default() });
    let import = carob.verb("image", &["import", &archive.display().to_string()]);
    assert_eq!(import.code, 0, "{}", import.stderr);
    let client = carob.client();
    create(&client, &texts("ConfigMap", "scripts", &[("program", "#!/proc/self/exe demo\n")])).await;
    let all_rights = json!({
        "capabilities": { "add": ["SYS_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH"] },
        "seccompProfile": { "type": "Unconfined" },
    });
    let kinds = [("plain", json!({})), ("powerful", all_rights)];
    for (name, context) in &kinds {
        create(&client, &pod(name, context)).await;
    }
    let kubectl = carob.kubectl();
    let mut found = Vec::new();
    for (name, _) in &kinds {
        wait::pod(&client, name, "running", |pod| {
            e2e::container(pod, "intruder").is_some_and(|own| own.started == Some(true))
        })
        .await;
        let mut logs = kubectl.start(&format!("logs -f {name} -c intruder"));
        logs.line_with("overwrite found:");
        for way in WAYS {
            logs.line_with(&format!("overwrite {way}:"));
        }
        for _ in 0..ENTRIES {
            let said = kubectl.ok(&format!("exec {name} -c intruder -- /proc/self/exe demo --help"));
            assert!(said.contains("demonstration"), "that was not the runtime's program: {said}");
        }
        let said = kubectl.ok(&format!("logs {name} -c intruder"));
        eprintln!("{name}:\n{said}");
        found.extend(
            said.lines().filter(|line| line.ends_with(": allowed")).map(|line| format!("{name}: {line}")),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    drop(carob);
    assert_eq!(state(&program), before, "the runtime's program has changed");
    let same = fs::read(&program).expect("the program") == fs::read(&original).expect("the original");
    assert!(same, "the runtime's program has changed");
}
