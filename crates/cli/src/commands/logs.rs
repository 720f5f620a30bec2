//! `logs`.

use client::options::query;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::Method;
use http_body_util::BodyExt;
use model::tree::TreeExt;
use serde_json::Value;

use super::{boxed, pods};
use crate::api::Api;
use crate::builder::{self, Choice, with_query};
use crate::command::{Command, Invocation};
use crate::context::Context;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};

const EXPECTED: &str = "expected 'logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]'.\nPOD or TYPE/NAME is a required argument for the logs command";

/// The command.
pub const COMMAND: Command = Command {
    name: "logs",
    usage: "logs [-f] [-p] (POD | TYPE/NAME) [-c CONTAINER]",
    short: "Print the logs for a container in a pod",
    long: "Print the logs for a container in a pod or specified resource. If the pod has only one container, its name may be left out.",
    flags: &[
        shared::SELECTOR,
        &[
            Flag::switch("all-containers", "Logs of all containers of the Pods"),
            Flag::switch("all-pods", "Logs of all Pods of a workload, each line with its origin"),
            Flag::new("container", Kind::Text, "", "The container").short('c'),
            Flag::switch("follow", "Go on as lines come").short('f'),
            Flag::switch("ignore-errors", "Go on with the others if one log fails"),
            Flag::switch(
                "insecure-skip-tls-verify-backend",
                "Let the server not check the node's certificate",
            ),
            Flag::new("limit-bytes", Kind::Integer, "0", "At most so many bytes"),
            Flag::new("max-log-requests", Kind::Integer, "5", "At most so many logs followed at once"),
            Flag::new("pod-running-timeout", Kind::Duration, "20s", "How long to wait for a Pod to run"),
            Flag::switch("prefix", "Put the Pod's and container's names in front of lines"),
            Flag::switch("previous", "The log of the container before its last restart").short('p'),
            Flag::new("since", Kind::Duration, "0s", "Only lines younger than this (5s, 2m, 3h)"),
            Flag::new("since-time", Kind::Text, "", "Only lines after this time (RFC 3339)"),
            Flag::new(
                "tail",
                Kind::Integer,
                "-1",
                "The last so many lines; -1 is all, or 10 with a selector",
            ),
            Flag::switch("timestamps", "Put the time in front of lines"),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

/// A log to fetch.
struct Log {
    path: String,
    prefix: String,
}

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let arguments = invocation.arguments();
    let selector = values.text("selector");
    match arguments.len() {
        0 if selector.is_empty() => return Err(invocation.usage(EXPECTED)),
        0 => {}
        1 if !selector.is_empty() => {
            return Err(invocation.usage("only a selector (-l) or a POD name is allowed"));
        }
        1 | 2 => {}
        _ => return Err(invocation.usage(EXPECTED)),
    }
    check(invocation)?;
    let api = invocation.api()?;
    let choice = Choice { selector: String::new(), ..Choice::of(invocation)? };
    let pods = pods_of(invocation, &api, &choice).await?;
    let mut logs = Vec::new();
    for pod in &pods {
        logs.extend(logs_of(invocation, pod)?);
    }
    let follow = values.on("follow");
    let most = values.integer("max-log-requests");
    if follow && logs.len() > 1 {
        if i64::try_from(logs.len()).unwrap_or(i64::MAX) > most {
            return Err(message(format!(
                "you are attempting to follow {} log streams, but maximum allowed concurrency is {most}, use --max-log-requests to increase the limit",
                logs.len()
            )));
        }
        let mut running: FuturesUnordered<_> = logs.iter().map(|log| print(invocation, &api, log)).collect();
        while let Some(done) = running.next().await {
            done?;
        }
        return Ok(());
    }
    for log in &logs {
        print(invocation, &api, log).await?;
    }
    Ok(())
}

fn check(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    if !values.text("since-time").is_empty() && values.given("since") && values.text("since") != "0s" {
        return Err(message("at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    if values.given("container") && values.on("all-containers") {
        return Err(message("--all-containers=true should not be specified with container name "));
    }
    if values.given("container") && invocation.arguments().len() == 2 {
        return Err(message("only one of -c or an inline [CONTAINER] arg is allowed"));
    }
    if values.text("since").starts_with('-') {
        return Err(message("--since must be greater than 0"));
    }
    if values.integer("limit-bytes") < 0 {
        return Err(message("--limit-bytes must be greater than 0"));
    }
    if values.integer("tail") < -1 {
        return Err(message("--tail must be greater than or equal to -1"));
    }
    let time = values.text("since-time");
    if !time.is_empty() && model::time::parse(time).is_none() {
        return Err(message(format!(
            "parsing time {time:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {time:?} as \"2006\""
        )));
    }
    Ok(())
}

async fn pods_of(invocation: &Invocation<'_>, api: &Api<'_>, choice: &Choice) -> Result<Vec<Value>, Failure> {
    let values = &invocation.values;
    let selector = values.text("selector");
    let collection = client::Path::collection("", "v1", "pods", Some(&choice.namespace));
    if !selector.is_empty() {
        let list = api.get(&with_query(collection.as_str(), &builder::selector_query(selector))).await?;
        let pods = builder::items(&list);
        if pods.is_empty() {
            invocation.context.err(&format!("No resources found in {} namespace.\n", choice.namespace));
        }
        return Ok(pods);
    }
    let argument = &invocation.arguments()[0];
    let not_found = |failure: Failure| match failure {
        Failure::Server(status) if status.is(model::Reason::NotFound) => message(format!(
            "error from server (NotFound): {} in namespace {:?}",
            status.message, choice.namespace
        )),
        other => other,
    };
    if !argument.contains('/') {
        // The usual case needs no discovery.
        return Ok(vec![api.get(collection.join(argument).as_str()).await.map_err(not_found)?]);
    }
    let mapper = invocation.mapper(api).await?;
    let mut pods = pods::resolve(api, &mapper, choice, argument).await.map_err(not_found)?;
    if pods.len() > 1 && !values.on("all-pods") {
        invocation.context.err(&format!("Found {} pods, using pod/{}\n", pods.len(), pods[0].name()));
        pods.truncate(1);
    }
    Ok(pods)
}

fn logs_of(invocation: &Invocation<'_>, pod: &Value) -> Result<Vec<Log>, Failure> {
    let values = &invocation.values;
    let names: Vec<String> = if values.on("all-containers") {
        ["initContainers", "containers", "ephemeralContainers"]
            .iter()
            .flat_map(|list| pod.items(&["spec", list]))
            .map(|container| container.text(&["name"]).to_owned())
            .collect()
    } else {
        let named = match invocation.arguments() {
            [_, container] => container.as_str(),
            _ => values.text("container"),
        };
        vec![pods::choose(invocation.context, pod, named, values.on("all-pods"))?]
    };
    let path = client::Path::collection("", "v1", "pods", Some(pod.namespace())).join(pod.name()).join("log");
    let on = |name: &str| values.on(name).then(|| "true".to_owned());
    let tail = match values.integer("tail") {
        -1 if !values.text("selector").is_empty() && !values.given("tail") => Some("10".to_owned()),
        -1 => None,
        lines => Some(lines.to_string()),
    };
    let since_s = values.duration("since").as_secs_f64().round();
    let limit = values.integer("limit-bytes");
    let logs = names.into_iter().map(|name| {
        let parameters = query(&[
            ("container", Some(name.clone())),
            ("follow", on("follow")),
            ("insecureSkipTLSVerifyBackend", on("insecure-skip-tls-verify-backend")),
            ("limitBytes", (limit > 0).then(|| limit.to_string())),
            ("previous", on("previous")),
            ("sinceSeconds", (since_s > 0.0).then(|| since_s.to_string())),
            ("sinceTime", Some(values.text("since-time").to_owned()).filter(|time| !time.is_empty())),
            ("tailLines", tail.clone()),
            ("timestamps", on("timestamps")),
        ]);
        let prefix = if values.on("prefix") || values.on("all-pods") {
            format!("[pod/{}/{name}] ", pod.name())
        } else {
            String::new()
        };
        Log { path: with_query(path.as_str(), &parameters), prefix }
    });
    Ok(logs.collect())
}

async fn print(invocation: &Invocation<'_>, api: &Api<'_>, log: &Log) -> Result<(), Failure> {
    let ignore = invocation.values.on("ignore-errors");
    let response = match api.send(Method::GET, &log.path, "*/*", None).await {
        Ok(response) => response,
        Err(failure) if ignore => {
            invocation.context.err(&format!("error: {}\n", failure.words()));
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    let mut body = response.into_body();
    let mut lines = Lines { prefix: &log.prefix, start: true, held: Vec::new() };
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) if ignore => {
                invocation.context.err(&format!("error: {error}\n"));
                return Ok(());
            }
            Err(error) => return Err(message(error.to_string())),
        };
        if let Ok(data) = frame.into_data() {
            lines.write(invocation.context, &data);
        }
    }
    lines.finish(invocation.context);
    Ok(())
}

/// Writes bytes as they come; with a prefix, whole lines, so that several logs do not mix.
struct Lines<'a> {
    prefix: &'a str,
    start: bool,
    held: Vec<u8>,
}

impl Lines<'_> {
    fn write(&mut self, context: &Context, data: &[u8]) {
        if self.prefix.is_empty() {
            context.out_bytes(data);
            return;
        }
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            if self.start {
                self.held.extend_from_slice(self.prefix.as_bytes());
            }
            self.held.extend_from_slice(piece);
            self.start = piece.ends_with(b"\n");
            if self.start {
                context.out_bytes(&self.held);
                self.held.clear();
            }
        }
    }

    fn finish(&mut self, context: &Context) {
        if !self.held.is_empty() {
            context.out_bytes(&std::mem::take(&mut self.held));
        }
    }
}
