//! `attach`, and `run` with a terminal.

use client::WatchEvent;
use client::options::query;
use futures::StreamExt;
use http::Method;
use http_body_util::BodyExt;
use model::tree::TreeExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{boxed, exec, pods};
use crate::api::{Api, JSON};
use crate::builder::{Choice, with_query};
use crate::command::{Command, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind};
use crate::remote;

/// The command.
pub const COMMAND: Command = Command {
    name: "attach",
    usage: "attach (POD | TYPE/NAME) -c CONTAINER",
    short: "Attach to a running container",
    long: "Attach to a process that is already running inside an existing container.",
    flags: &[&[
        Flag::new("container", Kind::Text, "", "The container; otherwise the annotated one, or the first")
            .short('c'),
        Flag::new("detach-keys", Kind::Text, "ctrl-p,ctrl-q", "Accepted for compatibility"),
        Flag::new("pod-running-timeout", Kind::Duration, "1m0s", "How long to wait for a Pod to run"),
        Flag::switch("quiet", "Print only the container's output").short('q'),
        Flag::switch("stdin", "Pass standard input to the container").short('i'),
        Flag::switch("tty", "Standard input is a terminal").short('t'),
    ]],
    run: boxed!(run),
    ..Command::EMPTY
};

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let argument = match invocation.arguments() {
        [] => return Err(message("at least 1 argument is required for attach")),
        [one] => one.clone(),
        [kind, name] => format!("{kind}/{name}"),
        list => {
            return Err(message(format!(
                "expected POD, TYPE/NAME, or TYPE NAME, (at most 2 arguments) saw {}: [{}]",
                list.len(),
                list.join(" ")
            )));
        }
    };
    let api = invocation.api()?;
    let choice = Choice::of(invocation)?;
    let pod = if argument.contains('/') {
        let mapper = invocation.mapper(&api).await?;
        pods::resolve(&api, &mapper, &choice, &argument).await?.remove(0)
    } else {
        let path = client::Path::collection("", "v1", "pods", Some(&choice.namespace)).join(&argument);
        api.get(path.as_str()).await?
    };
    let phase = pod.text(&["status", "phase"]);
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(message(format!(
            "cannot attach a container in a completed pod; current phase is {phase}"
        )));
    }
    let container = pods::choose(
        invocation.context,
        &pod,
        invocation.values.text("container"),
        invocation.values.on("quiet"),
    )?;
    attach(invocation, &api, &pod, &container).await
}

async fn attach(invocation: &Invocation<'_>, api: &Api<'_>, pod: &Value, name: &str) -> Result<(), Failure> {
    let values = &invocation.values;
    let context = invocation.context;
    let quiet = values.on("quiet");
    let has_tty = pods::container(pod, name).is_some_and(|(_, container)| container["tty"] == true);
    let mut tty = values.on("tty");
    if tty && !has_tty && !quiet {
        context.err(&format!("error: Unable to use a TTY - container {name} did not allocate one\n"));
    }
    tty = has_tty;
    let wires = remote::wires(context, values.on("stdin"), tty, quiet);
    if !quiet {
        context.err("All commands and output from this session will be recorded in container logs, including credentials and sensitive information passed through the command prompt.\nIf you don't see a command prompt, try pressing enter.\n");
    }
    remote::run(context, api, &exec::path(pod, "attach", name, wires), wires).await
}

/// `run -it`: creates the Pod, attaches when it runs, gives its exit code, and takes it away with `--rm`.
pub async fn run_attached(invocation: &Invocation<'_>, pod: Value) -> Result<(), Failure> {
    let api = invocation.api()?;
    let (namespace, _) = invocation.namespace()?;
    let collection = client::Path::collection("", "v1", "pods", Some(&namespace));
    let created =
        api.write(Method::POST, &with_query(collection.as_str(), "fieldManager=kubectl-run"), &pod).await?;
    let path = collection.join(created.name());
    let outcome = attached(invocation, &api, &collection, &created).await;
    if invocation.values.on("rm") {
        let mut options =
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
        let grace_s = invocation.values.integer("grace-period");
        if grace_s >= 0 {
            options["gracePeriodSeconds"] = grace_s.into();
        }
        match api.write(Method::DELETE, path.as_str(), &options).await {
            Ok(_) => invocation
                .context
                .out(&format!("pod {:?} deleted from {namespace} namespace\n", created.name())),
            Err(failure) => outcome.clone().and(Err(failure))?,
        }
    }
    outcome
}

async fn attached(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    collection: &client::Path,
    created: &Value,
) -> Result<(), Failure> {
    let values = &invocation.values;
    let end = Instant::now() + values.duration("pod-running-timeout");
    let running = |pod: &Value| !matches!(pod.text(&["status", "phase"]), "" | "Pending");
    let pod = until(api, collection, created, end, running).await?;
    let name = pod
        .items(&["spec", "containers"])
        .first()
        .map(|one| one.text(&["name"]).to_owned())
        .unwrap_or_default();
    // What is over before anybody can attach has said what it said in its log.
    let over = matches!(pod.text(&["status", "phase"]), "Succeeded" | "Failed");
    let told = if over { Ok(()) } else { attach(invocation, api, &pod, &name).await };
    if let Err(failure) = &told {
        let words = failure.words();
        invocation.context.err(&format!(
            "warning: couldn't attach to pod/{}, falling back to streaming logs: {words}\n",
            pod.name()
        ));
    }
    if over || told.is_err() {
        let log = collection.join(pod.name()).join("log");
        let follow = Some("true".to_owned());
        let path = with_query(log.as_str(), &query(&[("container", Some(name)), ("follow", follow)]));
        let mut body = api.send(Method::GET, &path, "*/*", None).await?.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                invocation.context.out_bytes(&data);
            }
        }
    }
    let restart = values.text("restart");
    if values.on("leave-stdin-open") || restart == "Always" {
        return Ok(());
    }
    let end = Instant::now() + values.duration("pod-running-timeout");
    let over = |pod: &Value| {
        let phase = pod.text(&["status", "phase"]);
        phase == "Succeeded" || (phase == "Failed" && restart == "Never")
    };
    let pod = until(api, collection, &pod, end, over).await?;
    if pod.text(&["status", "phase"]) == "Succeeded" {
        return Ok(());
    }
    let place = format!("pod {}/{}", pod.namespace(), pod.name());
    let ended = pod
        .items(&["status", "containerStatuses"])
        .first()
        .and_then(|status| status.at(&["state", "terminated"]));
    let code = ended.and_then(|ended| ended.integer(&["exitCode"])).and_then(|code| u8::try_from(code).ok());
    match (ended, code) {
        (Some(ended), Some(code)) if code != 0 => Err(Failure::Command {
            code,
            message: format!(
                "{place} terminated ({})\n{}",
                ended.text(&["reason"]),
                ended.text(&["message"])
            ),
        }),
        _ => Err(message(format!("{place} failed with unknown exit code"))),
    }
}

/// Waits until a Pod is as wanted.
async fn until(
    api: &Api<'_>,
    collection: &client::Path,
    pod: &Value,
    end: Instant,
    wanted: impl Fn(&Value) -> bool,
) -> Result<Value, Failure> {
    let name = pod.name().to_owned();
    while Instant::now() < end {
        let now = api.get(collection.join(&name).as_str()).await?;
        if wanted(&now) {
            return Ok(now);
        }
        let parameters = query(&[
            ("watch", Some("true".into())),
            ("fieldSelector", Some(format!("metadata.name={name}"))),
            ("resourceVersion", Some(now.resource_version().to_owned())),
        ]);
        let mut events = api.watch(&with_query(collection.as_str(), &parameters), JSON).await?;
        while let Ok(Some(Ok(event))) = tokio::time::timeout_at(end, events.next()).await {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) if wanted(&pod) => return Ok(pod),
                WatchEvent::Deleted(_) => return Err(message(format!("pod {name} was deleted"))),
                _ => {}
            }
        }
    }
    Err(message("timed out waiting for the condition"))
}
