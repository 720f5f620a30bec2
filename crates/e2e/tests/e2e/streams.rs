//! Streams between client and container: logs, exec, attach, port-forward, cp; by WebSocket and by SPDY.

use std::io::{Read, Write};
use std::net::TcpStream;

use e2e::{create, once, script, sleeper, with_container};
use serde_json::json;
use testkit::clients::Kind;
use testkit::{Carob, wait};

const CLIENTS: [Kind; 3] = [Kind::Stock, Kind::Old, Kind::Own];

#[tokio::test]
async fn logs_are_whole_and_followed() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &once("three", "for i in 1 2 3; do echo line $i; echo err $i >&2; done; printf end"))
        .await;
    create(&client, &script("slow", "for i in 1 2 3; do echo line $i; sleep 1; done; sleep 1000")).await;
    wait::phase(&client, "three", "Succeeded").await;
    wait::ready(&client, "slow").await;
    for kind in CLIENTS {
        let kubectl = carob.kubectl_of(kind);
        let text = kubectl.ok("logs three");
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("line")).collect();
        assert_eq!(lines, ["line 1", "line 2", "line 3"], "{kind:?}");
        assert!(text.ends_with("end\n"), "{kind:?}: a last line without its end gets one: {text:?}");
        assert_eq!(kubectl.ok("logs three --tail=1"), "end\n", "{kind:?}");
        assert_eq!(kubectl.ok("logs three --limit-bytes=4").len(), 4, "{kind:?}");
        let stamped = kubectl.ok("logs three --timestamps --tail=2");
        let is_time =
            |line: &str| line.split(' ').next().is_some_and(|word| word.ends_with('Z') && word.contains('T'));
        assert!(stamped.lines().all(is_time), "{kind:?}: {stamped}");
        let mut follow = kubectl.start("logs -f slow");
        follow.line_with("line 3");
        let answer = kubectl.run(&["logs", "three", "--previous"]);
        assert_eq!(answer.code, 1, "{kind:?}");
        assert!(
            answer.stderr.contains("previous terminated container \"main\" in pod \"three\" not found"),
            "{}",
            answer.stderr
        );
    }
    let mut follow = carob.kubectl().start("logs -f slow --tail=1");
    follow.line_with("line 3");
    carob.kubectl().ok("delete pod slow --wait=false");
    assert_eq!(follow.end(), 0, "following ends with the container: {}", follow.said());
}

#[tokio::test]
async fn exec_carries_streams_and_exit_codes() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &sleeper("box")).await;
    wait::ready(&client, "box").await;
    for kind in CLIENTS {
        let kubectl = carob.kubectl_of(kind);
        for code in [0, 1, 7, 137] {
            let answer = kubectl.run(&[
                "exec",
                "box",
                "--",
                "sh",
                "-c",
                &format!("echo out; echo err >&2; exit {code}"),
            ]);
            assert_eq!((answer.code, answer.stdout.as_str()), (code, "out\n"), "{kind:?}: {}", answer.stderr);
            let expected = if code == 0 {
                "err\n".into()
            } else {
                format!("err\ncommand terminated with exit code {code}\n")
            };
            assert_eq!(answer.stderr, expected, "{kind:?}");
        }
        let input = "0123456789abcdef".repeat(20_000);
        let answer = kubectl.run_with_input(&["exec", "-i", "box", "--", "sh", "-c", "cat; echo"], &input);
        assert_eq!(answer.stdout.len(), input.len() + 1, "{kind:?}: {}", answer.stderr);
        let answer = kubectl.run(&["exec", "box", "--", "nosuchcmd"]);
        assert_ne!(answer.code, 0, "{kind:?}");
        assert!(
            answer.stderr.contains("\"nosuchcmd\": executable file not found in $PATH"),
            "{kind:?}: {}",
            answer.stderr
        );
    }
}

#[tokio::test]
async fn port_forward_reaches_the_container_on_both_families() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(
        &client,
        &with_container(
            sleeper("web"),
            json!({ "image": "nginx:1.14", "command": null, "ports": [{ "containerPort": 80 }] }),
        ),
    )
    .await;
    wait::ready(&client, "web").await;
    for kind in CLIENTS {
        let mut forward = carob.kubectl_of(kind).start("port-forward pods/web :80");
        let line = forward.line_with("Forwarding from 127.0.0.1:");
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
        let port: u16 =
            port.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("a port in {line:?}"));
        let line = forward.line_with("Forwarding from [::1]:");
        assert_eq!(line, format!("Forwarding from [::1]:{port} -> 80"), "{kind:?}");
        for host in ["127.0.0.1", "::1", "127.0.0.1"] {
            let mut stream = TcpStream::connect((host, port)).expect("it listens");
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("it reads");
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("it answers");
            assert!(text.contains("Welcome to nginx!"), "{kind:?} {host}: {text}");
        }
    }
}

#[tokio::test]
async fn attach_and_run_reach_the_first_process() {
    let carob = Carob::with_images();
    let kubectl = carob.kubectl();
    let answer = kubectl.run_with_input(
        &["run", "echo", "--image=busybox:1.28", "--restart=Never", "--rm", "-i", "--quiet", "--", "cat"],
        "hello\n",
    );
    assert_eq!((answer.code, answer.stdout.as_str()), (0, "hello\n"), "{}", answer.stderr);
    wait::gone::<k8s_openapi::api::core::v1::Pod>(&carob.client(), Some("default"), "echo").await;
}

#[tokio::test]
async fn a_terminal_is_a_terminal() {
    let carob = Carob::with_images();
    let client = carob.client();
    create(&client, &sleeper("box")).await;
    wait::ready(&client, "box").await;
    for kind in [Kind::Stock, Kind::Own] {
        // `script` gives kubectl a terminal of its own. Its size is told by a message of its own, after the start; busybox's
        // `stty` complains of a terminal without one, and says that all went well.
        let asks = "tty; until stty size 2>&1 | grep 77; do :; done";
        let command = carob.kubectl_of(kind).command(&["exec", "-it", "box", "--", "sh", "-c", asks]);
        let line: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let mut terminal = std::process::Command::new("script");
        terminal.args(["-qec", &format!("stty rows 33 cols 77; {}", line.join(" ")), "/dev/null"]);
        terminal.env("KUBECONFIG", carob.kubeconfig()).env("TERM", "xterm");
        let mut running = testkit::Running::start(&mut terminal).expect("script starts");
        running.line_with("/dev/pts/");
        running.line_with("33 77");
    }
}
