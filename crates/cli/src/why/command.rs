//! The command: fetches what the deciders look at, and prints what they say.

use std::collections::BTreeMap;

use client::options::query;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::containers::Container;
use super::{Facts, LOG_LINES, decide};
use crate::api::{Api, JSON};
use crate::builder::{self, Choice, Target, with_query};
use crate::command::{Command, Invocation};
use crate::commands::boxed;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};

/// The command.
pub const COMMAND: Command = Command {
    name: "why",
    usage: "why (TYPE/NAME | TYPE [NAME] | NAME)",
    short: "Say why a pod, a node or another object is as it is, and what helps",
    long: "Say why an object is as it is, and what helps: for Pods and nodes the cause, what shows it (states, events, the end of the log), and the remedy; for other kinds what their conditions and events say.\n\nA single name is a Pod's. With a type alone, all its objects are looked at. -o json prints the same for programs.",
    flags: &[
        shared::SELECTOR,
        shared::ALL_NAMESPACES,
        &[Flag::new("output", Kind::Text, "", "Format: json").short('o')],
    ],
    run: boxed!(run),
    own: true,
    ..Command::EMPTY
};

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let as_json = match invocation.values.text("output") {
        "" => false,
        "json" => true,
        other => return Err(message(format!("no output format {other:?}: leave -o out, or use -o json"))),
    };
    if invocation.arguments().is_empty() {
        return Err(invocation.usage("why what? Name an object: pod/web, node/NAME"));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let mut choice = Choice::of(invocation)?;
    choice.all = true;
    let mut arguments = invocation.arguments().to_vec();
    if let [word] = arguments.as_slice()
        && !word.contains('/')
        && mapper.find(word).is_err()
    {
        arguments = vec![format!("pod/{word}")];
    }
    let mut told = Vec::new();
    let mut failures = Vec::new();
    for target in builder::from_arguments(&mapper, &choice, &arguments)? {
        match builder::fetch(&api, &choice, &target, JSON, false).await {
            Ok(answer) => {
                for object in builder::items(&answer) {
                    if !told.is_empty() && !as_json {
                        invocation.context.out("\n");
                    }
                    told.push(tell(invocation, &api, &target, &object, as_json).await);
                }
            }
            Err(failure) => failures.push(failure),
        }
    }
    if as_json {
        let whole = if told.len() == 1 { told.remove(0) } else { json!(told) };
        let text = serde_json::to_string_pretty(&whole).unwrap_or_default();
        invocation.context.out(&format!("{text}\n"));
    } else if told.is_empty() && failures.is_empty() {
        invocation.context.err("No resources found\n");
    }
    builder::gather(failures)
}

/// Looks at one object and prints, or gives what is to be printed.
async fn tell(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    object: &Value,
    as_json: bool,
) -> Value {
    let events = events(api, object).await;
    let node = match object.text(&["spec", "nodeName"]) {
        name if object.kind() == "Pod" && !name.is_empty() => {
            let path = client::Path::collection("", "v1", "nodes", None).join(name);
            api.get(path.as_str()).await.ok()
        }
        _ => None,
    };
    let logs = logs(api, object).await;
    let now = invocation.context.now();
    let facts = Facts { object, events: &events, node: node.as_ref(), logs: &logs, now };
    let found = decide(&facts);
    let name = format!("{}/{}", target.mapping.kind_name(), object.name());
    if !as_json {
        let text: String = found.iter().map(super::Diagnosis::text).collect();
        invocation.context.out(&format!("{name}\n{text}"));
    }
    let namespace = Some(object.namespace()).filter(|own| !own.is_empty());
    json!({ "object": name, "namespace": namespace, "diagnoses": found })
}

/// The object's events, the latest last. Who may not read them sees none.
async fn events(api: &Api<'_>, object: &Value) -> Vec<Value> {
    // Events of nodes name the node for its uid, too.
    let selector = format!("involvedObject.kind={},involvedObject.name={}", object.kind(), object.name());
    let namespace = Some(object.namespace()).filter(|own| !own.is_empty());
    let path = client::Path::collection("", "v1", "events", namespace);
    let path = with_query(path.as_str(), &query(&[("fieldSelector", Some(selector))]));
    let list = api.get(&path).await.unwrap_or_default();
    let uid = object.uid();
    let mut events = builder::items(&list);
    events.retain(|event| {
        let own = event.text(&["involvedObject", "uid"]);
        own.is_empty() || own == uid || own == object.name()
    });
    events.sort_by_key(|event| {
        let times = [
            event.text(&["series", "lastObservedTime"]),
            event.text(&["lastTimestamp"]),
            event.text(&["eventTime"]),
            event.text(&["metadata", "creationTimestamp"]),
        ];
        times.into_iter().find_map(model::time::parse)
    });
    events
}

/// The ends of the logs of containers that do not simply run.
async fn logs(api: &Api<'_>, pod: &Value) -> BTreeMap<String, Vec<String>> {
    let mut logs = BTreeMap::new();
    if pod.kind() != "Pod" {
        return logs;
    }
    for container in Container::all(pod) {
        let troubled = container.restarts() > 0
            || container.ended().is_some()
            || container.init && container.state("running").is_some();
        if !troubled {
            continue;
        }
        let previous = container.state("waiting").is_some() && container.ended().is_some();
        let path = client::Path::collection("", "v1", "pods", Some(pod.namespace())).join(pod.name());
        let parameters = query(&[
            ("container", Some(container.name().to_owned())),
            ("tailLines", Some(LOG_LINES.to_string())),
            ("previous", previous.then(|| "true".to_owned())),
        ]);
        let path = with_query(&format!("{}/log", path.as_str()), &parameters);
        if let Ok(bytes) = api.raw(&path).await {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<String> =
                text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
            logs.insert(container.name().to_owned(), lines);
        }
    }
    logs
}
