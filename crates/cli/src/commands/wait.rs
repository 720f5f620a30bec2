//! `wait`: until conditions hold, by watching.

use std::time::Duration;

use client::WatchEvent;
use client::options::query;
use futures::{Stream, StreamExt};
use model::Status;
use model::tree::TreeExt;
use serde_json::Value;
use tokio::time::Instant;

use super::boxed;
use crate::api::{Api, JSON};
use crate::builder::{self, Choice, Target};
use crate::command::{Command, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::jsonpath::{self, Template};
use crate::printers::{self, Format};
use crate::progress::Progress;

/// The command.
pub const COMMAND: Command = Command {
    name: "wait",
    usage: "wait ([-f FILENAME] | resource.group/resource.name | resource.group [(-l label | --all)]) [--for=create|--for=delete|--for condition=available|--for=jsonpath='{}'[=value]]",
    short: "Wait for a specific condition on one or many resources",
    long: "Wait for a specific condition on one or many resources.\n\nThe condition is create, delete, condition=NAME[=STATUS], or jsonpath={...}[=VALUE]; with several, all must hold.",
    flags: &[
        shared::FILE_NAMES,
        shared::RECURSIVE_AT_ONCE,
        shared::OUTPUT,
        shared::SELECTOR,
        shared::FIELD_SELECTOR,
        shared::ALL_NAMESPACES,
        &[
            Flag::switch("all", "Wait for all objects of the types in the namespace"),
            Flag::new(
                "for",
                Kind::Many,
                "",
                "What to wait for: create, delete, condition=NAME[=STATUS], jsonpath={...}[=VALUE]",
            ),
            Flag::switch("local", "Accepted for compatibility"),
            Flag::new("timeout", Kind::Duration, "30s", "How long to wait; 0 looks once, negative is a week"),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

/// What is waited for.
enum Condition {
    Create,
    Delete,
    /// Condition's type and status.
    Status(String, String),
    /// A path and the value that it must find; without one, any.
    Path(Template, Option<String>),
}

impl Condition {
    fn parse(text: &str) -> Result<Self, Failure> {
        let lower = text.to_lowercase();
        if lower == "delete" {
            return Ok(Self::Delete);
        }
        if lower == "create" {
            return Ok(Self::Create);
        }
        if let Some(rest) = text.strip_prefix("condition=") {
            let (name, status) = rest.split_once('=').unwrap_or((rest, "true"));
            return Ok(Self::Status(name.to_owned(), status.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("jsonpath=") {
            let rest = rest.trim_matches(['\'', '"']);
            let end = rest.rfind('}').map_or(rest.find('=').unwrap_or(rest.len()), |at| at + 1);
            let (path, value) = rest.split_at(end);
            if path.is_empty() {
                return Err(message(
                    "jsonpath wait has to have a path: --for=jsonpath='{.status.phase}'=Running",
                ));
            }
            let value = match value.strip_prefix('=') {
                Some("") => return Err(message("jsonpath wait has to have a value after equal sign")),
                Some(value) => Some(value.trim_matches(['\'', '"']).to_owned()),
                None => None,
            };
            let path = path.trim_matches(['\'', '"']);
            return Ok(Self::Path(Template::relaxed(path).map_err(message)?, value));
        }
        Err(message(format!("unrecognized condition: {text:?}")))
    }

    fn holds(&self, object: &Value) -> Result<bool, Failure> {
        match self {
            Self::Create => Ok(true),
            Self::Delete => Ok(false),
            Self::Status(name, wanted) => {
                let found = object
                    .items(&["status", "conditions"])
                    .iter()
                    .find(|condition| condition.text(&["type"]).eq_ignore_ascii_case(name));
                let Some(found) = found else { return Ok(false) };
                // A condition about an older spec says nothing about this one.
                let generation = object.integer(&["metadata", "generation"]);
                let observed = found
                    .integer(&["observedGeneration"])
                    .or(object.integer(&["status", "observedGeneration"]));
                if let (Some(generation), Some(observed)) = (generation, observed)
                    && observed < generation
                {
                    return Ok(false);
                }
                Ok(found.text(&["status"]).eq_ignore_ascii_case(wanted))
            }
            Self::Path(path, wanted) => {
                let values = path.values(object).map_err(message)?;
                let [value] = values.as_slice() else {
                    if values.is_empty() {
                        return Ok(false);
                    }
                    return Err(message("given jsonpath expression matches more than one value"));
                };
                let Some(wanted) = wanted else { return Ok(true) };
                if value.is_object() || value.is_array() {
                    return Err(message("jsonpath leads to a nested object or list which is not supported"));
                }
                Ok(jsonpath::text(value).trim() == wanted.trim())
            }
        }
    }
}

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let conditions = values.texts("for");
    if conditions.is_empty() {
        return Err(message("unrecognized condition: \"\""));
    }
    let conditions: Vec<Condition> =
        conditions.iter().map(|text| Condition::parse(text)).collect::<Result<_, _>>()?;
    let format = printers::outcome_format(values)?;
    let timeout = match values.text("timeout") {
        text if text.starts_with('-') => Duration::from_secs(168 * 3600),
        _ => values.duration("timeout"),
    };
    let end = Instant::now() + timeout;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let files = crate::manifest::Files::of(values)?;
    let targets: Vec<Result<Target, Failure>> = if files.is_empty() {
        builder::from_arguments(&mapper, &choice, invocation.arguments())?.into_iter().map(Ok).collect()
    } else {
        builder::from_files(invocation, &mapper, &choice, &files)?
    };
    for (at, condition) in conditions.iter().enumerate() {
        for target in &targets {
            let target = target.as_ref().map_err(Clone::clone)?;
            // With several conditions only the last one is told.
            let tell = at + 1 == conditions.len();
            wait_for(invocation, &api, &choice, target, condition, end, &format, tell).await?;
        }
    }
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "each is one thing the user said")]
async fn wait_for(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    choice: &Choice,
    target: &Target,
    condition: &Condition,
    end: Instant,
    format: &Format,
    tell: bool,
) -> Result<(), Failure> {
    let mut single = Vec::new();
    if target.name.is_some() {
        single.push(target.clone());
    } else {
        let list = builder::fetch(api, choice, target, JSON, false).await?;
        let items = builder::items(&list);
        if items.is_empty() && !matches!(condition, Condition::Delete) {
            return Err(message("no matching resources found"));
        }
        single.extend(items.into_iter().map(|object| Target {
            namespace: object.namespace().to_owned(),
            name: Some(object.name().to_owned()),
            object: Some(object),
            ..target.clone()
        }));
    }
    for target in single {
        let progress = Progress::show(invocation.context, format!("waiting for {}", target.display()));
        let object = match condition {
            Condition::Delete => {
                let uid = target.object.as_ref().map(|object| object.uid().to_owned()).unwrap_or_default();
                let Some(object) = present(api, &target).await? else { continue };
                until_deleted(api, &target, &uid, end).await?;
                object
            }
            condition => until(api, &target, condition, end).await?,
        };
        drop(progress);
        if tell {
            let text = match format {
                Format::Human { .. } => format!("{} condition met\n", target.display()),
                Format::Printer(printer) => printer.print(&printers::shown(&invocation.values, &object))?,
            };
            invocation.context.out(&text);
        }
    }
    Ok(())
}

async fn present(api: &Api<'_>, target: &Target) -> Result<Option<Value>, Failure> {
    match api.get(&target.path()).await {
        Ok(object) => Ok(Some(object)),
        Err(failure) if failure.is_not_found() => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn timed_out(target: &Target) -> Failure {
    let name = target.name.as_deref().unwrap_or_default();
    message(format!("timed out waiting for the condition on {}/{name}", target.mapping.resource()))
}

/// Waits until the object is gone, or is another one than `uid`.
pub async fn until_deleted(api: &Api<'_>, target: &Target, uid: &str, end: Instant) -> Result<(), Failure> {
    loop {
        let Some(object) = present(api, target).await? else { return Ok(()) };
        if !uid.is_empty() && object.uid() != uid {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(timed_out(target));
        }
        let mut events = events(api, target, object.resource_version()).await?;
        loop {
            match next(&mut events, target, end).await? {
                Some(WatchEvent::Deleted(_)) => return Ok(()),
                Some(_) => {}
                // The watch ended: look again.
                None => break,
            }
        }
    }
}

/// Waits until the condition holds; gives the object.
async fn until(
    api: &Api<'_>,
    target: &Target,
    condition: &Condition,
    end: Instant,
) -> Result<Value, Failure> {
    loop {
        let object = match present(api, target).await? {
            Some(object) => Some(object),
            None if matches!(condition, Condition::Create) => None,
            None => return Err(api.get(&target.path()).await.err().unwrap_or_else(|| timed_out(target))),
        };
        if let Some(object) = &object
            && condition.holds(object)?
        {
            return Ok(object.clone());
        }
        if Instant::now() >= end {
            return Err(timed_out(target));
        }
        let version = object.as_ref().map_or("", |object| object.resource_version()).to_owned();
        let mut events = events(api, target, &version).await?;
        loop {
            match next(&mut events, target, end).await? {
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    if condition.holds(&object)? {
                        return Ok(object);
                    }
                }
                Some(WatchEvent::Deleted(_)) => {
                    return Err(timed_out(target));
                }
                Some(WatchEvent::Bookmark { .. }) => {}
                None => break,
            }
        }
    }
}

type Event = Result<WatchEvent<Value>, Status>;

async fn next(
    events: &mut (impl Stream<Item = Event> + Unpin),
    target: &Target,
    end: Instant,
) -> Result<Option<WatchEvent<Value>>, Failure> {
    match tokio::time::timeout_at(end, events.next()).await {
        Err(_) => Err(timed_out(target)),
        Ok(None) | Ok(Some(Err(_))) => Ok(None),
        Ok(Some(Ok(event))) => Ok(Some(event)),
    }
}

async fn events(
    api: &Api<'_>,
    target: &Target,
    version: &str,
) -> Result<impl Stream<Item = Event> + Unpin + use<>, Failure> {
    let name = target.name.as_deref().unwrap_or_default();
    let parameters = query(&[
        ("watch", Some("true".into())),
        ("fieldSelector", Some(format!("metadata.name={name}"))),
        ("resourceVersion", Some(version.to_owned()).filter(|version| !version.is_empty())),
    ]);
    let namespace = Some(target.namespace.as_str()).filter(|own| !own.is_empty());
    api.watch(&builder::with_query(&target.mapping.collection(namespace), &parameters), JSON).await
}
