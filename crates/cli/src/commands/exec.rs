//! `exec`.

use client::options::encode_component;
use model::tree::TreeExt;
use serde_json::Value;

use super::{boxed, pods};
use crate::api::Api;
use crate::builder::{self, Choice};
use crate::command::{Command, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::manifest::Files;
use crate::remote::{self, Wires};

/// The command.
pub const COMMAND: Command = Command {
    name: "exec",
    usage: "exec (POD | TYPE/NAME) [-c CONTAINER] [flags] -- COMMAND [args...]",
    short: "Execute a command in a container",
    long: "Execute a command in a container. Its exit code becomes this program's.",
    flags: &[
        shared::FILE_NAMES,
        &[
            Flag::new(
                "container",
                Kind::Text,
                "",
                "The container; otherwise the annotated one, or the first",
            )
            .short('c'),
            Flag::new("pod-running-timeout", Kind::Duration, "1m0s", "How long to wait for a Pod to run"),
            Flag::switch("quiet", "Print only the command's output").short('q'),
            Flag::switch("stdin", "Pass standard input to the container").short('i'),
            Flag::switch("tty", "Standard input is a terminal").short('t'),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let arguments = invocation.arguments();
    let files = Files::of(values)?;
    let (resource, command) = words(invocation, arguments, &files)?;
    if resource.is_none() && files.is_empty() {
        return Err(message("pod, type/name or --filename must be specified"));
    }
    if command.is_empty() {
        return Err(message("you must specify at least one command for the container"));
    }
    let api = invocation.api()?;
    let pod = find(invocation, &api, resource.as_deref(), &files).await?;
    let phase = pod.text(&["status", "phase"]);
    if matches!(phase, "Succeeded" | "Failed") {
        return Err(message(format!(
            "cannot exec into a container in a completed pod; current phase is {phase}"
        )));
    }
    let quiet = values.on("quiet");
    let container = pods::choose(invocation.context, &pod, values.text("container"), quiet)?;
    let wires = remote::wires(invocation.context, values.on("stdin"), values.on("tty"), quiet);
    let mut path = path(&pod, "exec", &container, wires);
    command.iter().for_each(|word| path.push_str(&format!("&command={}", encode_component(word))));
    remote::run(invocation.context, &api, &path, wires).await
}

/// The Pod (or what leads to it) and the command. Without `--` kubectl gives up; carob does what was meant.
fn words(
    invocation: &Invocation<'_>,
    arguments: &[String],
    files: &Files,
) -> Result<(Option<String>, Vec<String>), Failure> {
    if let Some(before) = invocation.values.before_dash {
        return Ok((arguments[..before].first().cloned(), arguments[before..].to_vec()));
    }
    let first = usize::from(files.is_empty());
    if arguments.len() <= first {
        return Ok((arguments.first().cloned(), Vec::new()));
    }
    if invocation.context.is_kubectl() {
        return Err(invocation
            .usage("exec [POD] [COMMAND] is not supported anymore. Use exec [POD] -- [COMMAND] instead"));
    }
    let program = &invocation.context.program;
    let example = arguments[first..].join(" ");
    let pod = if first == 1 { format!("{} ", arguments[0]) } else { String::new() };
    invocation.context.err(&format!(
        "Warning: the command should stand after --; kubectl accepts only: {program} exec {pod}-- {example}\n"
    ));
    Ok((arguments[..first].first().cloned(), arguments[first..].to_vec()))
}

async fn find(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    resource: Option<&str>,
    files: &Files,
) -> Result<Value, Failure> {
    let choice = Choice::of(invocation)?;
    match resource {
        // The usual case needs no discovery.
        Some(name) if !name.contains('/') => {
            let path = client::Path::collection("", "v1", "pods", Some(&choice.namespace)).join(name);
            api.get(path.as_str()).await
        }
        Some(name) => {
            let mapper = invocation.mapper(api).await?;
            first(pods::resolve(api, &mapper, &choice, name).await?)
        }
        None => {
            let mapper = invocation.mapper(api).await?;
            let mut targets = builder::from_files(invocation, &mapper, &choice, files)?;
            if targets.len() != 1 {
                return Err(message("cannot exec into multiple objects at a time"));
            }
            let name = targets.remove(0)?.display();
            first(pods::resolve(api, &mapper, &choice, &name).await?)
        }
    }
}

fn first(mut pods: Vec<Value>) -> Result<Value, Failure> {
    if pods.is_empty() { Err(message("no pod was found")) } else { Ok(pods.remove(0)) }
}

/// The path of a session, its query begun.
pub fn path(pod: &Value, subresource: &str, container: &str, wires: Wires) -> String {
    let path =
        client::Path::collection("", "v1", "pods", Some(pod.namespace())).join(pod.name()).join(subresource);
    let on = |name: &str, on: bool| if on { format!("&{name}=true") } else { String::new() };
    format!(
        "{}?container={}{}&stdout=true{}{}",
        path.as_str(),
        encode_component(container),
        on("stdin", wires.stdin),
        // A terminal has one stream of output.
        on("stderr", !wires.tty),
        on("tty", wires.tty),
    )
}
