//! Terminals: `run -it`, `exec -it`, `attach -it` and `edit` as a person at a keyboard has them, with upstream's kubectl
//! and carob's.

use e2e::{create, sleeper, with, with_container};
use serde_json::json;
use testkit::clients::Kind;
use testkit::{Carob, Terminal, wait};

const CLIENTS: [Kind; 2] = [Kind::Stock, Kind::Own];

/// Ctrl-C.
const INTERRUPT: &str = "\u{3}";
/// Ctrl-D.
const END: &str = "\u{4}";

fn start(carob: &Carob, kind: Kind, line: &str) -> Terminal {
    let words: Vec<&str> = line.split(' ').collect();
    Terminal::start(&carob.kubectl_of(kind).command(&words), 33, 77).expect("kubectl starts")
}

#[tokio::test]
async fn a_shell_by_exec_has_keys_and_a_size() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &sleeper("box")).await;
    wait::ready(&client, "box").await;
    for kind in CLIENTS {
        let mut shell = start(&carob, kind, "exec -it box -- sh");
        shell.shows("# ");
        shell.types("stty size\n");
        shell.shows("33 77");
        shell.resize(41, 101);
        // The size arrives a moment later than the change: the shell asks until it is there.
        shell.types("until stty size | grep -q '41 101'; do :; done; echo resized-$((20+1))\n");
        shell.shows("resized-21");
        // Ctrl-C goes to the command in the container, not to kubectl.
        shell.types("sh -c 'trap \"exit 3\" INT; echo began-$((1+1)); read line'\n");
        shell.shows("began-2");
        shell.types(INTERRUPT);
        shell.shows("# ");
        shell.types("echo ended-$?-$((40+2))\n");
        shell.shows("ended-3-42");
        shell.types("exit 7\n");
        assert_eq!(shell.end(), 7, "{kind:?}: {}", shell.seen());
        assert!(shell.seen().contains("command terminated with exit code 7"), "{kind:?}: {}", shell.seen());
    }
}

#[tokio::test]
async fn a_shell_by_run_ends_and_is_taken_away() {
    let carob = Carob::with_images();
    let client = carob.client();
    for (kind, name) in CLIENTS.into_iter().zip(["one", "two"]) {
        let line = format!("run {name} -it --rm --restart=Never --image=busybox:1.28 -- sh");
        let mut shell = start(&carob, kind, &line);
        shell.shows("If you don't see a command prompt, try pressing enter.");
        shell.types("\necho said-$((20+2))\n");
        shell.shows("said-22");
        shell.types("stty size\n");
        shell.shows("33 77");
        shell.types(END);
        shell.shows(&format!("pod \"{name}\" deleted"));
        assert_eq!(shell.end(), 0, "{kind:?}: {}", shell.seen());
        wait::gone::<k8s_openapi::api::core::v1::Pod>(&client, Some("default"), name).await;
        let line = format!("run {name} -it --restart=Never --image=busybox:1.28 -- sh -c");
        let words: Vec<&str> = line.split(' ').chain(["read x; exit 9"]).collect();
        let mut shell =
            Terminal::start(&carob.kubectl_of(kind).command(&words), 33, 77).expect("kubectl starts");
        shell.shows("try pressing enter.");
        shell.types("\n");
        assert_eq!(shell.end(), 9, "{kind:?}: {}", shell.seen());
        assert!(shell.seen().contains(&format!("pod default/{name} terminated (Error)")), "{}", shell.seen());
    }
}

#[tokio::test]
async fn attaching_reaches_the_process_and_leaves_it_alive() {
    let carob = Carob::with_images();
    let client = carob.client();
    let shell = json!({ "command": ["sh"], "stdin": true, "tty": true });
    create(&client, &with_container(sleeper("shell"), shell)).await;
    wait::ready(&client, "shell").await;
    for kind in CLIENTS {
        let mut attached = start(&carob, kind, "attach -it shell");
        attached.shows("try pressing enter.");
        attached.types("\necho here-$((50+5))\n");
        attached.shows("here-55");
        // Whoever goes away leaves the process running.
        drop(attached);
    }
    let pod = carob.kubectl().ok("get pod shell -o jsonpath={.status.containerStatuses[0].restartCount}");
    assert_eq!(pod, "0");
}

#[tokio::test]
async fn objects_are_edited_until_they_are_valid() {
    let carob = Carob::with_images();
    let client = carob.client();
    let pending = json!({ "spec": { "nodeSelector": { "nowhere": "true" } } });
    for (kind, name) in CLIENTS.into_iter().zip(["one", "two"]) {
        create(&client, &with(sleeper(name), pending.clone())).await;
        // An editor that makes a mistake, is shown it, and mends it.
        let editor = carob.path(&format!("editor-{name}"));
        let script = "#!/bin/sh\nif grep -q 'was not valid' \"$1\"; then\n  grep '^# ' \"$1\" > \"$0.comments\"\n  sed -i 's/image: .*/image: nginx:1.14/; s/hostname: .*//' \"$1\"\nelse\n  sed -i 's/^spec:/spec:\\n  hostname: not_a_name/' \"$1\"\nfi\n";
        std::fs::write(&editor, script).expect("written");
        std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("executable");
        let mut command = carob.kubectl_of(kind).command(&["edit", "pod", name]);
        command.env("KUBE_EDITOR", &editor);
        let mut edit = Terminal::start(&command, 33, 77).expect("kubectl starts");
        edit.shows(&format!("error: pods \"{name}\" is invalid"));
        edit.shows(&format!("pod/{name} edited"));
        assert_eq!(edit.end(), 0, "{kind:?}: {}", edit.seen());
        let comments = std::fs::read_to_string(format!("{}.comments", editor.display())).expect("comments");
        for line in [
            "# Please edit the object below. Lines beginning with a '#' will be ignored,",
            "# reopened with the relevant failures.",
            &format!("# pods \"{name}\" was not valid:"),
        ] {
            assert!(comments.lines().any(|own| own == line), "{kind:?}: {line:?} in {comments}");
        }
        let image = carob.kubectl().ok(&format!("get pod {name} -o jsonpath={{.spec.containers[0].image}}"));
        assert_eq!(image, "nginx:1.14", "{kind:?}");
        let mut command = carob.kubectl_of(kind).command(&["edit", "pod", name]);
        command.env("KUBE_EDITOR", "true");
        let mut edit = Terminal::start(&command, 33, 77).expect("kubectl starts");
        edit.shows("Edit cancelled, no changes made.");
        assert_eq!(edit.end(), 0, "{kind:?}");
    }
}
