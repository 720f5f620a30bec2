//! Containers of a Pod: why one waits, has ended, or ends again and again.

use model::tree::TreeExt;
use serde_json::Value;

use super::{Diagnosis, Facts, exits, images, pods};

/// A container: what it should be and what it is.
pub struct Container<'a> {
    /// Of the Pod's spec.
    pub spec: &'a Value,
    /// Of the Pod's status.
    pub status: Option<&'a Value>,
    /// Whether it runs before the others. A sidecar counts among the others.
    pub init: bool,
}

impl<'a> Container<'a> {
    /// All of a Pod in the order in which they start.
    pub fn all(pod: &'a Value) -> Vec<Self> {
        let mut all = Vec::new();
        for (field, statuses) in
            [("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")]
        {
            for spec in pod.items(&["spec", field]) {
                let own = |status: &&Value| status.text(&["name"]) == spec.text(&["name"]);
                let status = pod.items(&["status", statuses]).iter().find(own);
                let init = field == "initContainers" && spec.text(&["restartPolicy"]) != "Always";
                all.push(Self { spec, status, init });
            }
        }
        all
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        self.spec.text(&["name"])
    }

    /// `waiting`, `running` or `terminated`, if it is in that state.
    pub fn state(&self, name: &str) -> Option<&'a Value> {
        self.status?.at(&["state", name])
    }

    /// How it ended, now or the last time.
    pub fn ended(&self) -> Option<&'a Value> {
        self.state("terminated").or_else(|| self.status?.at(&["lastState", "terminated"]))
    }

    /// How often it was restarted.
    pub fn restarts(&self) -> i64 {
        self.status.and_then(|own| own.integer(&["restartCount"])).unwrap_or(0)
    }

    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        self.status.is_some_and(|own| own.at(&["ready"]) == Some(&Value::Bool(true)))
    }

    /// The meaning of its last end.
    pub fn last_end(&self) -> String {
        self.ended().map_or_else(
            || "it ended".to_owned(),
            |end| exits::meaning(end.integer(&["exitCode"]).unwrap_or(0), end.text(&["reason"])),
        )
    }

    fn kind(&self) -> &'static str {
        if self.init { "init container" } else { "container" }
    }
}

/// What is wrong with the Pod's containers; empty if they all run.
pub fn decide(facts: &Facts<'_>) -> Vec<Diagnosis> {
    let all = Container::all(facts.object);
    // The others wait for an init container: it is the one to look at.
    for container in all.iter().filter(|own| own.init) {
        let done = container.state("terminated").is_some_and(|end| end.integer(&["exitCode"]) == Some(0));
        if done {
            continue;
        }
        if container.state("running").is_some() {
            return vec![init_running(facts, container)];
        }
        if let Some(diagnosis) = one(facts, container) {
            return vec![diagnosis];
        }
    }
    let found: Vec<Diagnosis> =
        all.iter().filter(|own| !own.init).filter_map(|container| one(facts, container)).collect();
    if !found.is_empty() {
        return found;
    }
    match all.iter().all(|own| own.status.is_none()) {
        true => vec![starting(facts)],
        false => Vec::new(),
    }
}

fn init_running(facts: &Facts<'_>, container: &Container<'_>) -> Diagnosis {
    let name = container.name();
    let log = log(facts, name);
    let mut diagnosis = Diagnosis::wrong(format!(
        "the others wait for the init container {name:?}, which runs and has not ended"
    ))
    .seen(format!(
        "running since {}",
        container.state("running").map(|own| own.text(&["startedAt"])).unwrap_or_default()
    ))
    .seen_all(log.clone());
    if let Some(advice) = by_log(&log) {
        diagnosis = diagnosis.mend(advice);
    }
    diagnosis.mend(format!(
        "`carob logs {} -c {name} -f` shows what it waits for; it has to end with 0",
        facts.pod()
    ))
}

/// About one container that is not as it should be.
fn one(facts: &Facts<'_>, container: &Container<'_>) -> Option<Diagnosis> {
    if let Some(waiting) = container.state("waiting") {
        return waiting_for(facts, container, waiting);
    }
    if let Some(end) = container.state("terminated") {
        return ended(facts, container, end);
    }
    container.state("running").and_then(|_| restarted_by_probe(facts, container))
}

fn waiting_for(facts: &Facts<'_>, container: &Container<'_>, waiting: &Value) -> Option<Diagnosis> {
    let (reason, message) = (waiting.text(&["reason"]), waiting.text(&["message"]));
    let name = container.name();
    let image = container.spec.text(&["image"]);
    let shown = format!("{} {name:?} waits: {reason}: {message}", container.kind());
    let shown = shown.trim_end_matches([':', ' ']).to_owned();
    Some(match reason {
        "ImagePullBackOff" | "ErrImagePull" => {
            let event = facts.event_with("Failed", "Failed to pull image");
            let words = format!("{message} {}", event.map(|own| own.text(&["message"])).unwrap_or_default());
            let has_secrets = !facts.object.items(&["spec", "imagePullSecrets"]).is_empty();
            let shown = if event.is_some() {
                format!("{} {name:?} waits: {reason}", container.kind())
            } else {
                shown
            };
            let mut diagnosis = images::pull(name, image, &words, has_secrets).seen(shown);
            if let Some(event) = event {
                diagnosis = diagnosis.seen(facts.said(event));
            }
            if let Some(secret) = facts.event(&["FailedToRetrieveImagePullSecret"]) {
                diagnosis =
                    diagnosis.seen(facts.said(secret)).mend("make the Secret in the Pod's own namespace");
            }
            diagnosis
        }
        "ErrImageNeverPull" => images::never(name, image).seen(shown),
        "InvalidImageName" => images::invalid(name, image).seen(shown),
        "CreateContainerConfigError" => config(name, message).seen(shown),
        "CreateContainerError" | "RunContainerError" => not_started(container, message).seen(shown),
        "CrashLoopBackOff" => crash_loop(facts, container).seen(shown),
        "ContainerCreating" | "PodInitializing" | "" => starting(facts).seen(shown),
        other => Diagnosis::wrong(format!("{} {name:?} waits: {other}", container.kind())).seen(shown),
    })
}

/// What is missing of what a container is made of.
fn config(name: &str, message: &str) -> Diagnosis {
    let quoted = message.split('"').nth(1).unwrap_or_default();
    let of = |kind: &str| {
        Diagnosis::wrong(format!("container {name:?} cannot be made: the {kind} {quoted:?} is not there"))
    };
    if message.contains("couldn't find key") {
        let key = message
            .split("couldn't find key ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or_default();
        let kind = if message.contains("Secret") { "Secret" } else { "ConfigMap" };
        return Diagnosis::wrong(format!("container {name:?} cannot be made: its environment wants the key {key:?}, which the {kind} does not have"))
            .mend(format!("add the key to the {kind}, correct its name in the Pod, or say `optional: true`"));
    }
    if message.contains("configmap") {
        return of("ConfigMap")
            .mend(format!(
                "make it in the Pod's namespace: `carob create configmap {quoted} --from-literal=KEY=VALUE`"
            ))
            .mend("or correct its name in the Pod; the container starts by itself when it is there");
    }
    if message.contains("secret") {
        return of("Secret")
            .mend(format!("make it in the Pod's namespace: `carob create secret generic {quoted} --from-literal=KEY=VALUE`"))
            .mend("or correct its name in the Pod; the container starts by itself when it is there");
    }
    if message.contains("runAsNonRoot") {
        return Diagnosis::wrong(format!("container {name:?} may not run as root, and its image does")).mend(
            "set securityContext.runAsUser to a number other than 0, or use an image with a user of its own",
        );
    }
    Diagnosis::wrong(format!("container {name:?} cannot be made: {message}"))
        .mend("correct what the message names; the container starts by itself then")
}

/// About a container that the runtime refuses to start.
fn not_started(container: &Container<'_>, message: &str) -> Diagnosis {
    let name = container.name();
    if message.contains("not found in $PATH") || message.contains("no such file or directory") {
        let command: Vec<&str> =
            container.spec.items(&["command"]).iter().filter_map(Value::as_str).collect();
        return Diagnosis::wrong(format!(
            "container {name:?} cannot be started: its command is not in the image"
        ))
        .seen(if command.is_empty() { String::new() } else { format!("command: {}", command.join(" ")) })
        .mend("correct command and args; a command with arguments is a list: [\"sh\", \"-c\", \"…\"]");
    }
    if message.contains("permission denied") {
        return Diagnosis::wrong(format!(
            "container {name:?} cannot be started: its command may not be executed"
        ))
        .mend("the file needs the executable bit in the image: chmod +x");
    }
    Diagnosis::wrong(format!("container {name:?} cannot be started: {message}"))
        .mend("correct what the message names")
}

fn crash_loop(facts: &Facts<'_>, container: &Container<'_>) -> Diagnosis {
    let (name, times) = (container.name(), container.restarts());
    let Some(end) = container.ended() else {
        return Diagnosis::wrong(format!("{} {name:?} ends again and again", container.kind()));
    };
    if let Some(diagnosis) = killed_by_probe(facts, container) {
        return diagnosis;
    }
    let (code, reason) = (end.integer(&["exitCode"]).unwrap_or(0), end.text(&["reason"]));
    let message = end.text(&["message"]);
    if matches!(reason, "StartError" | "ContainerCannotRun") {
        return not_started(container, message).seen(format!("last state: {reason}: {message}"));
    }
    let again =
        format!("{} {name:?} ends again and again, and is started again later and later", container.kind());
    let diagnosis = match code {
        0 => Diagnosis::wrong(format!("{again}: its program ends at once with 0, as if its work were done")),
        _ => Diagnosis::wrong(format!("{again}: {}", exits::meaning(code, reason))),
    };
    finish(
        facts,
        container,
        diagnosis.seen(format!("restarted {times} times; last exit code {code} ({reason})")),
        code,
        reason,
    )
}

/// Log and advice about an end.
fn finish(
    facts: &Facts<'_>,
    container: &Container<'_>,
    diagnosis: Diagnosis,
    code: i64,
    reason: &str,
) -> Diagnosis {
    let name = container.name();
    let log = log(facts, name);
    let empty = log.is_empty();
    let advice = by_log(&log);
    let mut diagnosis = diagnosis.seen_all(log);
    if let Some(advice) = advice {
        diagnosis = diagnosis.mend(advice);
    }
    if reason == "OOMKilled" {
        let limit = container.spec.text(&["resources", "limits", "memory"]);
        let limit = if limit.is_empty() { String::new() } else { format!(" (it is {limit})") };
        return diagnosis.mend(format!(
            "raise resources.limits.memory of the container{limit}, or let the program use less"
        ));
    }
    match code {
        0 => {
            diagnosis = diagnosis
                .mend("a container lives as long as its program: give it one that stays, such as a server, or `command: [\"sleep\", \"infinity\"]`")
                .mend("if it is to run once: restartPolicy: Never or OnFailure under spec");
        }
        126 | 127 => {
            diagnosis =
                diagnosis.mend("correct command and args: the program has to be in the image and executable");
        }
        137 => {
            diagnosis = diagnosis.mend("let the program handle SIGTERM, give it more time (terminationGracePeriodSeconds), and look whether the node's memory ran out");
        }
        _ => {}
    }
    let previous = if container.restarts() > 0 { " --previous" } else { "" };
    let look = format!("`carob logs {} -c {name}{previous}`", facts.pod());
    if empty {
        diagnosis.mend(format!("it wrote no log; see {look}"))
    } else {
        diagnosis.mend(format!("the whole log: {look}"))
    }
}

/// A container that has ended and stays so, or is about to be started again.
fn ended(facts: &Facts<'_>, container: &Container<'_>, end: &Value) -> Option<Diagnosis> {
    let (code, reason) = (end.integer(&["exitCode"]).unwrap_or(0), end.text(&["reason"]));
    let policy = facts.object.text(&["spec", "restartPolicy"]);
    let name = container.name();
    if code == 0 {
        // With Always it starts again in a moment; else it is done.
        return (policy == "Always" && !container.init).then(|| {
            let cause = format!(
                "container {name:?} has ended with 0 and will be started again: restartPolicy is Always"
            );
            finish(facts, container, Diagnosis::wrong(cause), code, reason)
        });
    }
    if let Some(diagnosis) = killed_by_probe(facts, container) {
        return Some(diagnosis);
    }
    if matches!(reason, "StartError" | "ContainerCannotRun") {
        let message = end.text(&["message"]);
        return Some(not_started(container, message).seen(format!("state: {reason}: {message}")));
    }
    let stays = if policy == "Never" { "; it is not started again: restartPolicy is Never" } else { "" };
    let cause = format!("{} {name:?} has failed: {}{stays}", container.kind(), exits::meaning(code, reason));
    let diagnosis =
        Diagnosis::wrong(cause).seen(format!("exit code {code} ({reason}) at {}", end.text(&["finishedAt"])));
    Some(finish(facts, container, diagnosis, code, reason))
}

/// A container that a probe ends.
fn killed_by_probe(facts: &Facts<'_>, container: &Container<'_>) -> Option<Diagnosis> {
    let name = container.name();
    for (kind, field) in [("liveness", "livenessProbe"), ("startup", "startupProbe")] {
        let Some(probe_spec) = container.spec.at(&[field]) else { continue };
        let Some(killed) = facts.event_with("Killing", &format!("Container {name} failed {kind} probe"))
        else {
            continue;
        };
        let capital = if kind == "liveness" { "Liveness" } else { "Startup" };
        let failed = facts.event_with("Unhealthy", &format!("{capital} probe"));
        return Some(
            Diagnosis::wrong(format!(
                "container {name:?} is killed and restarted because its {kind} probe fails ({} restarts)",
                container.restarts()
            ))
            .seen(format!("{field}: {}", probe(probe_spec)))
            .seen(failed.map(|event| facts.said(event)).unwrap_or_default())
            .seen(facts.said(killed))
            .mend("correct the probe's path, port or command")
            .mend("or give the program more time: a startupProbe, initialDelaySeconds, timeoutSeconds, failureThreshold"),
        );
    }
    None
}

/// A container that runs now, and has been killed by its probe before.
fn restarted_by_probe(facts: &Facts<'_>, container: &Container<'_>) -> Option<Diagnosis> {
    if container.restarts() == 0 || container.is_ready() && facts.event(&["BackOff"]).is_none() {
        return None;
    }
    killed_by_probe(facts, container)
}

/// The containers are being made, or something is in their way.
fn starting(facts: &Facts<'_>) -> Diagnosis {
    if let Some(event) = facts.event(&["FailedMount", "FailedAttachVolume", "FailedMapVolume"]) {
        let words = event.text(&["message"]);
        let quoted = words.split('"').filter(|part| !part.is_empty()).nth(1).unwrap_or_default();
        let what = if words.contains("configmap") {
            "a ConfigMap that a volume shows is not there"
        } else if words.contains("secret") {
            "a Secret that a volume shows is not there"
        } else if words.contains("hostPath type check failed") {
            "a hostPath volume is not what its type says"
        } else if words.contains("references non-existent") {
            "a volume names a key that is not there"
        } else {
            "a volume cannot be mounted"
        };
        return Diagnosis::wrong(format!("its containers wait for their volumes: {what}"))
            .seen(facts.said(event))
            .seen(if quoted.is_empty() { String::new() } else { format!("volume {quoted:?}") })
            .mend("make what the volume shows in the Pod's namespace, correct its name, or say `optional: true`; the Pod starts by itself then");
    }
    if let Some(event) = facts.event(&["FailedCreatePodSandBox", "NetworkNotReady"]) {
        return Diagnosis::wrong("its network and surroundings cannot be made")
            .seen(facts.said(event))
            .mend("`carob status` shows how the node's parts are; a hostPort that another program holds is the usual cause");
    }
    if let Some(event) = facts.event(&["Pulling"])
        && facts.event(&["Pulled", "Failed"]).is_none()
    {
        return Diagnosis::wrong("it is starting: an image is being pulled")
            .seen(facts.said(event))
            .mend("wait: large images take their time");
    }
    let latest = facts.events.last().map(|event| facts.said(event)).unwrap_or_default();
    let waits = pods::condition(facts.object, "PodReadyToStartContainers").is_some();
    let cause = if waits {
        "it is starting: its containers are being made"
    } else {
        "it is starting: its node has taken it"
    };
    Diagnosis::wrong(cause)
        .seen(latest)
        .mend(format!("`carob get pod {} -w` shows how it goes on", facts.pod()))
}

/// The end of a container's log as evidence.
fn log(facts: &Facts<'_>, name: &str) -> Vec<String> {
    facts.logs.get(name).into_iter().flatten().map(|line| format!("log: {line}")).collect()
}

/// What words of a log stand for that learners meet often.
const LOG_SIGNS: [(&[&str], &str); 5] = [
    (
        &["address already in use", "could not bind"],
        "its port is taken: containers of one Pod share an address, so each needs a port of its own",
    ),
    (
        &[
            "no such host",
            "bad address",
            "temporary failure in name resolution",
            "can't resolve",
            "could not resolve",
            "nxdomain",
            "name or service not known",
        ],
        "a name cannot be resolved: look at dnsPolicy, at /etc/resolv.conf inside, and whether the Service is there",
    ),
    (
        &["connection refused", "network is unreachable", "no route to host"],
        "what it connects to does not answer: look at address and port, and whether the other side runs",
    ),
    (
        &["permission denied", "operation not permitted"],
        "it lacks a right: look at securityContext, at the volume's owner (fsGroup) and at readOnlyRootFilesystem",
    ),
    (
        &["read-only file system"],
        "it writes where nothing may be written: use a volume, or take readOnlyRootFilesystem or readOnly away",
    ),
];

fn by_log(lines: &[String]) -> Option<&'static str> {
    let text = lines.join("\n").to_lowercase();
    LOG_SIGNS
        .iter()
        .find(|(signs, _)| signs.iter().any(|sign| text.contains(sign)))
        .map(|(_, advice)| *advice)
}

/// A probe in a few words.
pub fn probe(probe: &Value) -> String {
    let number = |field: &str, default: i64| probe.integer(&[field]).unwrap_or(default);
    let port =
        |path: &[&str]| probe.at(path).map_or_else(String::new, |port| port.to_string().replace('"', ""));
    let what = if let Some(get) = probe.at(&["httpGet"]) {
        format!("GET {} on port {}", get.text(&["path"]), port(&["httpGet", "port"]))
    } else if probe.at(&["tcpSocket"]).is_some() {
        format!("a connection to port {}", port(&["tcpSocket", "port"]))
    } else if probe.at(&["grpc"]).is_some() {
        format!("gRPC health on port {}", port(&["grpc", "port"]))
    } else {
        let words: Vec<&str> = probe.items(&["exec", "command"]).iter().filter_map(Value::as_str).collect();
        format!("command {}", words.join(" "))
    };
    format!(
        "{what}, every {} s from {} s on, {} s for an answer, {} failures in a row count",
        number("periodSeconds", 10),
        number("initialDelaySeconds", 0),
        number("timeoutSeconds", 1),
        number("failureThreshold", 3)
    )
}
