//! Real containers: what runs in them, what they may not do, how they end.

mod support;

use std::time::Duration;

use cri::ErrorKind;
use cri::runtime::{ContainerState, ExecRequest, Mount, RuntimeService, SeccompProfile};
use cri::sandbox::{NamespaceMode, PodSandboxState};
use support::Bench;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn runs_logs_and_exits() {
    let bench = Bench::new().await;
    let running = bench.run("echo out; echo err >&2; printf rest; exit 3", |_| {}).await;
    let status = bench.ended(&running.id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.started_at_ns > 0 && status.finished_at_ns >= status.started_at_ns);
    assert_eq!(status.user, Some((0, 0, vec![0, 10])));
    let log = std::fs::read_to_string(&running.log).unwrap();
    for line in [" stdout F out\n", " stderr F err\n", " stdout F rest\n"] {
        assert!(log.contains(line), "{line:?} is in {log:?}");
    }
    assert_eq!(bench.outcome("exit 0", |_| {}).await.0, 0);
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn the_inside_is_as_configured() {
    let bench = Bench::new().await;
    let host = bench.path().join("volume");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "content\n").unwrap();
    let script = "hostname; cat /etc/resolv.conf /etc/hostname /data/file; touch /data/x && echo wrote; \
                  touch /ro/x || echo refused; echo $HOME $HOSTNAME $WORD; pwd; ls /dev | sort | tr '\\n' ' '; \
                  ps -o pid,comm | tail -n +2 | head -1 | tr -s ' '; ls /proc/1/root >/dev/null && echo self; \
                  echo x > /proc/sys/kernel/domainname || echo ro-path; cat /proc/keys | wc -c; ls /sys/firmware | wc -l; \
                  df /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2; cat /escape/marker";
    let mount = |to: &str, readonly: bool| Mount {
        container_path: to.to_owned(),
        host_path: host.display().to_string(),
        readonly,
        ..Mount::default()
    };
    std::fs::write(host.join("marker"), "inside\n").unwrap();
    let (code, output) = bench
        .outcome(script, |config| {
            config.mounts = vec![mount("/data", false), mount("/ro", true), mount("/escape", false)];
            config.envs = vec![("WORD".to_owned(), "hello".to_owned())];
            config.working_dir = "/made/for/it".to_owned();
        })
        .await;
    let expected = "pod-name\nsearch default.svc.cluster.local svc.cluster.local\nnameserver 10.43.0.10\n\
                    options ndots:5\npod-name\ncontent\nwrote\n";
    assert!(output.starts_with(expected), "{output}");
    for line in [
        "refused",
        "/root pod-name hello",
        "/made/for/it",
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
        "self",
        "ro-path",
        "65536",
        "inside",
    ] {
        assert!(output.contains(line), "{line:?} is in {output}");
    }
    assert_eq!(code, 0, "{output}");
    assert!(!std::path::Path::new("/tmp/marker").exists());
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn users_capabilities_and_filters_hold() {
    let bench = Bench::new().await;
    let check = async |script: &str, expected: &str, change: &dyn Fn(&mut cri::runtime::ContainerConfig)| {
        let (_, output) = bench.outcome(script, |config| change(config)).await;
        assert!(output.contains(expected), "{script}: {expected:?} is in {output:?}");
    };
    let status = "grep -E '^(Cap(Inh|Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t' | tr '\\n' ' '";
    check(status, "CapEff:00000000a80425fb CapBnd:00000000a80425fb CapAmb:0000000000000000", &|_| {}).await;
    check(status, "NoNewPrivs:0 Seccomp:2", &|_| {}).await;
    check(status, "NoNewPrivs:1 Seccomp:2", &|config| config.security_context.no_new_privs = true).await;
    check(status, "Seccomp:0", &|config| config.security_context.seccomp = SeccompProfile::Unconfined).await;
    check(status, "CapPrm:0000000000000000 CapEff:0000000000000000 CapBnd:00000000a80425fb", &|config| {
        config.security_context.run_as_user = Some(1000);
    })
    .await;
    check(status, "CapEff:0000000000000400", &|config| {
        config.security_context.drop_capabilities = vec!["ALL".to_owned()];
        config.security_context.add_capabilities = vec!["NET_BIND_SERVICE".to_owned()];
    })
    .await;
    check(
        "id; echo $HOME",
        "uid=1000(app) gid=1001(staff) groups=44(video),1001(staff)\n/home/app",
        &|config| {
            config.security_context.run_as_username = "app".to_owned();
        },
    )
    .await;
    check("id", "uid=1000(app) gid=1001(staff) groups=7,1001(staff)", &|config| {
        config.security_context.run_as_user = Some(1000);
        config.security_context.supplemental_groups = vec![7];
        config.security_context.strict_supplemental_groups = true;
    })
    .await;
    check("unshare -m true || echo denied", "denied", &|_| {}).await;
    check("unshare -U true || echo denied", "denied", &|_| {}).await;
    check("mount -t tmpfs x /tmp || echo denied", "denied", &|_| {}).await;
    check("mount -t tmpfs x /tmp && echo mounted", "mounted", &|config| {
        config.security_context.privileged = true
    })
    .await;
    check("touch /file || echo denied; touch /dev/shm/file && echo shm", "denied\nshm", &|config| {
        config.security_context.readonly_rootfs = true;
    })
    .await;
    check("mknod /tmp/b b 8 0; cat /tmp/b || echo denied", "denied", &|_| {}).await;
    let profile = bench.path().join("profile.json");
    std::fs::write(
        &profile,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#,
    )
    .unwrap();
    check("mkdir /tmp/x || echo denied", "denied", &|config| {
        config.security_context.seccomp = SeccompProfile::Localhost(profile.display().to_string());
    })
    .await;
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn failed_starts_say_why() {
    let bench = Bench::new().await;
    let prefix = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create \
                  failed: unable to start container process: error during container init: ";
    let sandbox_config = bench.sandbox_config();
    let sandbox = bench.runtime.run_pod_sandbox(&sandbox_config, "").await.unwrap();
    for (command, expected) in [
        ("nosuch", "exec: \"nosuch\": executable file not found in $PATH"),
        ("/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory"),
        ("/etc/passwd", "exec: \"/etc/passwd\": permission denied"),
    ] {
        let mut config = support::container_config("");
        config.command = vec![command.to_owned()];
        let id = bench.runtime.create_container(&sandbox, &config, &sandbox_config).await.unwrap();
        let error = bench.runtime.start_container(&id).await.unwrap_err();
        assert_eq!(error.message, format!("{prefix}{expected}"));
        let status = bench.runtime.container_status(&id).await.unwrap();
        assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 128));
        assert_eq!((status.reason.as_str(), status.started_at_ns), ("StartError", 0));
        assert_eq!(status.message, error.message);
    }
    bench.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    let running = bench.run("", |config| config.command = vec!["/bin/garbage".to_owned()]).await;
    assert_eq!(bench.ended(&running.id).await.exit_code, 255);
    assert_eq!(running.output(), "exec /bin/garbage: exec format error\n");
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn commands_run_in_containers() {
    let bench = Bench::new().await;
    let running = bench.run("cd /tmp; echo $$; exec sleep 1000", |_| {}).await;
    let command = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let run = async |words: &[&str], timeout_ms| {
        bench.runtime.exec_sync(&running.id, &command(words), timeout_ms).await
    };
    let output =
        run(&["sh", "-c", "cat; hostname; cat /proc/1/cmdline | tr '\\0' ' '; echo bad >&2; exit 7"], 0)
            .await
            .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "pod-name\nsleep 1000 ");
    assert_eq!((output.stderr.as_slice(), output.exit_code), (&b"bad\n"[..], 7));
    let output = run(&["sh", "-c", "kill -9 $$"], 0).await.unwrap();
    assert_eq!(output.exit_code, 137);
    let output = run(&["sh", "-c", "sleep 100 & echo started"], 0).await.unwrap();
    assert_eq!(output.stdout, b"started\n");
    let error = run(&["nosuchcmd"], 0).await.unwrap_err().message;
    let words = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nosuchcmd\": \
                 executable file not found in $PATH";
    assert!(error.starts_with("failed to exec in container: failed to start exec \""), "{error}");
    assert!(error.ends_with(words), "{error}");
    let error = run(&["sleep", "10"], 300).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::DeadlineExceeded);
    assert_eq!(error.message, "command timed out: \"sleep 10\" timed out after 0.3s");
    let status = run(&["grep", "-E", "^(CapEff|Seccomp):", "/proc/self/status"], 0).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout), "CapEff:\t00000000a80425fb\nSeccomp:\t2\n");

    let request = ExecRequest {
        container_id: running.id.clone(),
        command: command(&["cat"]),
        stdin: true,
        stdout: true,
        ..ExecRequest::default()
    };
    let mut session = bench.runtime.exec(&request).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"through").await.unwrap();
    drop(stdin);
    let mut text = String::new();
    session.stdout.unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!((text.as_str(), session.exit.await.unwrap().unwrap()), ("through", 0));

    let request =
        ExecRequest { tty: true, command: command(&["sh", "-c", "read x; stty size; tty"]), ..request };
    let mut session = bench.runtime.exec(&request).await.unwrap();
    let size = cri::runtime::TerminalSize { width: 91, height: 17 };
    session.resize.as_ref().unwrap().send(size).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    session.stdin.as_mut().unwrap().write_all(b"go\n").await.unwrap();
    let mut text = String::new();
    session.stdout.unwrap().read_to_string(&mut text).await.unwrap();
    assert!(text.contains("17 91\r\n") && text.contains("/dev/pts/0"), "{text:?}");
    assert_eq!(session.exit.await.unwrap().unwrap(), 0);
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn clients_attach() {
    let bench = Bench::new().await;
    let running = bench
        .run("while read line; do echo got $line; done; echo end", |config| {
            config.stdin = true;
            config.stdin_once = true;
        })
        .await;
    let request = ExecRequest {
        container_id: running.id.clone(),
        stdin: true,
        stdout: true,
        stderr: true,
        ..ExecRequest::default()
    };
    let mut session = bench.runtime.attach(&request).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"one\n").await.unwrap();
    drop(stdin);
    let mut text = String::new();
    session.stdout.unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "got one\nend\n");
    assert_eq!(session.exit.await.unwrap().unwrap(), 0);
    assert_eq!(running.output(), "got one\nend\n");

    let terminal = bench
        .run("tty; read line; echo got $line; stty size", |config| {
            config.stdin = true;
            config.tty = true;
        })
        .await;
    let request = ExecRequest { container_id: terminal.id.clone(), tty: true, ..request };
    let mut session = bench.runtime.attach(&request).await.unwrap();
    let size = cri::runtime::TerminalSize { width: 60, height: 20 };
    session.resize.as_ref().unwrap().send(size).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    session.stdin.as_mut().unwrap().write_all(b"two\n").await.unwrap();
    let mut text = String::new();
    session.stdout.unwrap().read_to_string(&mut text).await.unwrap();
    assert!(text.contains("got two\r\n20 60\r\n"), "{text:?}");
    assert!(terminal.output().contains("/dev/pts/0"));
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn stopping_is_graceful_first() {
    let bench = Bench::new().await;
    let polite =
        bench.run("trap 'echo bye; exit 5' TERM; echo up; while true; do sleep 0.05; done", |_| {}).await;
    wait_for_output(&polite, "up").await;
    bench.runtime.stop_container(&polite.id, 10).await.unwrap();
    assert_eq!(bench.ended(&polite.id).await.exit_code, 5);
    assert!(polite.output().contains("bye"));
    let deaf = bench.run("trap '' TERM; echo up; while true; do sleep 0.05; done", |_| {}).await;
    wait_for_output(&deaf, "up").await;
    let before = tokio::time::Instant::now();
    bench.runtime.stop_container(&deaf.id, 1).await.unwrap();
    assert!(before.elapsed() >= Duration::from_secs(1));
    let status = bench.ended(&deaf.id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    bench.runtime.stop_container(&deaf.id, 1).await.unwrap();
    bench.finish().await;
}

async fn wait_for_output(running: &support::Running, text: &str) {
    for _ in 0..500 {
        if running.output().contains(text) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{text:?} never appeared");
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn memory_limits_are_told() {
    let bench = Bench::new().await;
    let running = bench
        .run("x=a; while true; do x=$x$x; done", |config| config.resources.memory_limit_bytes = 16 << 20)
        .await;
    let status = bench.ended(&running.id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "OOMKilled"));
    let stats = bench.run("sleep 100", |config| config.resources.memory_limit_bytes = 16 << 20).await;
    let measured = bench.runtime.list_container_stats(Some(&stats.sandbox)).await.unwrap();
    assert_eq!(measured.len(), 1);
    assert!(measured[0].memory_usage_bytes > 0);
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn pods_share_a_pid_namespace_when_told() {
    let bench = Bench::new().await;
    let mut config = bench.sandbox_config();
    config.linux.security_context.namespace_options.pid = NamespaceMode::Pod;
    let sandbox = bench.runtime.run_pod_sandbox(&config, "").await.unwrap();
    let first = bench.run_in(sandbox.clone(), config.clone(), "exec sleep 1234", |_| {}).await;
    let second = bench
        .run_in(
            sandbox.clone(),
            config.clone(),
            "ps -o pid,args; (sleep 77 &); ls /proc/1/root; exit 0",
            |config| {
                config.metadata.name = "second".to_owned();
                config.log_path = "second/0.log".to_owned();
            },
        )
        .await;
    assert_eq!(bench.ended(&second.id).await.exit_code, 0);
    let output = second.output();
    assert!(output.contains("sleep 1234") && output.contains("1 "), "{output}");
    assert!(!output.contains("busybox\n"), "the first process shows nothing of the node: {output}");
    assert_eq!(bench.runtime.container_status(&first.id).await.unwrap().state, ContainerState::Running);
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn ports_are_reached() {
    let bench = Bench::new().await;
    let running = bench.run("echo hello > /tmp/index.html; httpd -f -p 8080 -h /tmp", |_| {}).await;
    let mut tries = 0;
    let (mut reader, mut writer) = loop {
        match bench.runtime.port_forward(&running.sandbox, 8080).await {
            Ok(streams) => break streams,
            Err(error) if tries == 200 => panic!("{error}"),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    writer.write_all(b"GET /index.html HTTP/1.0\r\n\r\n").await.unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("hello\n"), "{text}");
    let Err(error) = bench.runtime.port_forward(&running.sandbox, 8081).await else {
        panic!("nobody listens there")
    };
    assert!(error.message.contains("IPv4: dial tcp4 127.0.0.1:8081: connect: connection refused"), "{error}");
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn containers_outlive_the_daemon() {
    let bench = Bench::new().await;
    let stays = bench.run("echo one; sleep 0.5; echo two; exec sleep 1000", |_| {}).await;
    let ends = bench.run("sleep 0.3; exit 9", |_| {}).await;
    let pid = bench.runtime.container_status(&stays.id).await.unwrap().pid;
    let stopped = bench.stop_daemon().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bench = stopped.start_daemon().await;
    let status = bench.runtime.container_status(&stays.id).await.unwrap();
    assert_eq!((status.state, status.pid), (ContainerState::Running, pid));
    let status = bench.runtime.container_status(&ends.id).await.unwrap();
    assert_eq!((status.state, status.exit_code), (ContainerState::Exited, 9));
    let mut events = bench.runtime.events();
    let event = events.recv().await.unwrap();
    assert!(
        matches!(event, cri::runtime::Event::ContainerStopped { container_id, .. } if container_id == ends.id)
    );
    let output = bench.runtime.exec_sync(&stays.id, &["echo".to_owned(), "hi".to_owned()], 0).await.unwrap();
    assert_eq!(output.stdout, b"hi\n");
    assert_eq!(stays.output(), "one\ntwo\n");
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn a_killed_pod_process_takes_its_containers_along() {
    let bench = Bench::new().await;
    let running = bench.run("trap '' TERM; while true; do sleep 1; done", |_| {}).await;
    bench.kill("carob-pod");
    let status = bench.ended(&running.id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    let status = bench.runtime.pod_sandbox_status(&running.sandbox).await.unwrap();
    assert_eq!(status.state, PodSandboxState::NotReady);
    bench.finish().await;
}

/// Nothing can be started in a PID namespace whose first process is gone.
#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn a_killed_first_process_of_a_shared_namespace_ends_the_sandbox() {
    let bench = Bench::new().await;
    let mut config = bench.sandbox_config();
    config.linux.security_context.namespace_options.pid = NamespaceMode::Pod;
    let sandbox = bench.runtime.run_pod_sandbox(&config, "").await.unwrap();
    let running = bench.run_in(sandbox.clone(), config.clone(), "exec sleep 1234", |_| {}).await;
    let mut events = bench.runtime.events();
    bench.kill("pause");
    let status = bench.ended(&running.id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    let stopped =
        async { while !matches!(events.recv().await, Some(cri::runtime::Event::SandboxStopped { .. })) {} };
    tokio::time::timeout(Duration::from_secs(20), stopped)
        .await
        .expect("the sandbox is told to have stopped");
    let status = bench.runtime.pod_sandbox_status(&sandbox).await.unwrap();
    assert_eq!(status.state, PodSandboxState::NotReady);
    // What the agent does next.
    bench.runtime.stop_pod_sandbox(&sandbox).await.unwrap();
    config.metadata.attempt = 1;
    let sandbox = bench.runtime.run_pod_sandbox(&config, "").await.unwrap();
    let again = bench.run_in(sandbox, config, "echo again", |_| {}).await;
    assert_eq!(bench.ended(&again.id).await.exit_code, 0);
    assert_eq!(again.output(), "again\n");
    bench.finish().await;
}

#[tokio::test]
#[ignore = "needs root: run by make test"]
async fn prepared_sandboxes_are_claimed() {
    let bench = Bench::with_prepared(2).await;
    let (code, output) = bench.outcome("hostname", |_| {}).await;
    assert_eq!((code, output.as_str()), (0, "pod-name\n"));
    let bench = bench.reopen().await;
    assert_eq!(bench.outcome("hostname", |_| {}).await.1, "pod-name\n");
    bench.finish().await;
}
