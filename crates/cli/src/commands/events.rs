//! `events`, and `top`.

use client::WatchEvent;
use client::options::query;
use futures::StreamExt;
use model::tree::TreeExt;
use serde_json::Value;

use super::boxed;
use crate::api::JSON;
use crate::builder::{Choice, items, with_query};
use crate::command::{Command, Invocation};
use crate::describe::events::interval;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::printers::{self, Format};
use crate::text::tabs::Remembered;

/// `events`.
pub const COMMAND: Command = Command {
    name: "events",
    usage: "events [(-o|--output=)json|yaml|kyaml|name|go-template|go-template-file|template|templatefile|jsonpath|jsonpath-as-json|jsonpath-file] [--for TYPE/NAME] [--watch] [--types=Normal,Warning]",
    short: "List events",
    long: "Display events, the latest last: all of a namespace, or those of one object.",
    flags: &[
        shared::OUTPUT,
        shared::ALL_NAMESPACES,
        shared::CHUNK,
        &[
            Flag::new("for", Kind::Text, "", "Only events of this object (TYPE/NAME)"),
            Flag::switch("no-headers", "Print no header line"),
            Flag::new("types", Kind::Texts, "", "Only events of these types: Normal, Warning"),
            Flag::switch("watch", "After the list, show events as they come").short('w'),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

/// `top`.
pub const TOP: Command = Command {
    name: "top",
    usage: "top [flags]",
    short: "Display resource (CPU/memory) usage",
    subcommands: &[
        Command {
            name: "node",
            aliases: &["nodes", "no"],
            usage: "node [NAME | -l label]",
            short: "Display resource (CPU/memory) usage of nodes",
            flags: &[
                shared::SELECTOR,
                TOP_FLAGS,
                &[Flag::switch("show-capacity", "Count in the share of what the nodes have")],
            ],
            run: boxed!(top),
            ..Command::EMPTY
        },
        Command {
            name: "pod",
            aliases: &["pods", "po"],
            usage: "pod [NAME | -l label]",
            short: "Display resource (CPU/memory) usage of pods",
            flags: &[
                shared::SELECTOR,
                shared::FIELD_SELECTOR,
                shared::ALL_NAMESPACES,
                TOP_FLAGS,
                &[
                    Flag::switch("containers", "Usage of every container of a Pod"),
                    Flag::switch("sum", "Also the sum of all Pods"),
                ],
            ],
            run: boxed!(top),
            ..Command::EMPTY
        },
    ],
    ..Command::EMPTY
};

/// Flags of both commands of `top`.
const TOP_FLAGS: &[Flag] = &[
    Flag::switch("no-headers", "Print no header line"),
    Flag::switch("show-swap", "Also the use of swap"),
    Flag::new("sort-by", Kind::Text, "", "cpu or memory"),
    Flag::new("use-protocol-buffers", Kind::Bool, "true", "Accepted for compatibility"),
];

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let types = values.texts("types");
    if types.iter().any(|one| !one.eq_ignore_ascii_case("Normal") && !one.eq_ignore_ascii_case("Warning")) {
        return Err(message("valid --types are Normal or Warning"));
    }
    let format = printers::outcome_format(values)?;
    let api = invocation.api()?;
    let choice = Choice::of(invocation)?;
    let mut selector = None;
    if let Some((kind, name)) = values.text("for").split_once('/') {
        let mapping = invocation.mapper(&api).await?.find(kind)?;
        selector = Some(format!(
            "involvedObject.kind={},involvedObject.apiVersion={},involvedObject.name={name}",
            mapping.kind,
            mapping.api_version()
        ));
    } else if !values.text("for").is_empty() {
        return Err(message("--for must be in resource/name form"));
    }
    let namespace = (!choice.all_namespaces).then_some(choice.namespace.as_str());
    let path = client::Path::collection("", "v1", "events", namespace);
    let wanted = |event: &Value| {
        types.is_empty() || types.iter().any(|one| one.eq_ignore_ascii_case(event.text(&["type"])))
    };
    let list = api.get(&with_query(path.as_str(), &query(&[("fieldSelector", selector.clone())]))).await?;
    let mut events: Vec<Value> = items(&list).into_iter().filter(wanted).collect();
    let watch = values.on("watch");
    if events.is_empty() && !watch {
        let text = if choice.all_namespaces {
            "No events found.\n".to_owned()
        } else {
            format!("No events found in {} namespace.\n", choice.namespace)
        };
        invocation.context.err(&text);
        return Ok(());
    }
    events.sort_by_key(time);
    if let Format::Printer(printer) = &format {
        invocation.context.out(&printer.print(&printers::shown(values, &printers::list(events)))?);
        return Ok(());
    }
    let mut table = Remembered::default();
    invocation.context.out(&table.align(&rows(invocation, &events, choice.all_namespaces)));
    if !watch {
        return Ok(());
    }
    let parameters = query(&[
        ("watch", Some("true".into())),
        ("fieldSelector", selector),
        ("resourceVersion", Some(list.text(&["metadata", "resourceVersion"]).to_owned())),
    ]);
    let mut stream = api.watch(&with_query(path.as_str(), &parameters), JSON).await?;
    while let Some(event) = stream.next().await {
        if let WatchEvent::Added(event) | WatchEvent::Modified(event) = event?
            && wanted(&event)
        {
            invocation.context.out(&table.align(&[row(invocation, &event, choice.all_namespaces)]));
        }
    }
    Ok(())
}

fn rows(invocation: &Invocation<'_>, events: &[Value], with_namespace: bool) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    if !invocation.values.on("no-headers") {
        let mut names = vec!["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"];
        if with_namespace {
            names.insert(0, "NAMESPACE");
        }
        rows.push(names.into_iter().map(str::to_owned).collect());
    }
    rows.extend(events.iter().map(|event| row(invocation, event, with_namespace)));
    rows
}

fn time(event: &Value) -> Option<jiff::Timestamp> {
    let times = [
        event.text(&["series", "lastObservedTime"]),
        event.text(&["lastTimestamp"]),
        event.text(&["eventTime"]),
    ];
    times.into_iter().find_map(model::time::parse)
}

fn row(invocation: &Invocation<'_>, event: &Value, with_namespace: bool) -> Vec<String> {
    let object = &event["involvedObject"];
    let mut cells = vec![
        interval(event, invocation.context.now()),
        event.text(&["type"]).to_owned(),
        event.text(&["reason"]).to_owned(),
        format!("{}/{}", object.text(&["kind"]), object.text(&["name"])),
        event.text(&["message"]).trim().to_owned(),
    ];
    if with_namespace {
        cells.insert(0, event.namespace().to_owned());
    }
    cells
}

/// Usage comes from a metrics server, which a cluster may not have.
async fn top(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    if !mapper.all.iter().any(|mapping| mapping.group == "metrics.k8s.io") {
        return Err(message("Metrics API not available"));
    }
    let kind = if invocation.command.name == "node" { "nodes" } else { "pods" };
    Err(message(format!(
        "this client does not print metrics; see them with: get --raw /apis/metrics.k8s.io/v1beta1/{kind}"
    )))
}
