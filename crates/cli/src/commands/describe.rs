//! `describe`.

use model::Reason;
use model::tree::TreeExt;

use super::boxed;
use crate::api::{Api, JSON};
use crate::builder::{self, Choice, Target};
use crate::command::{Command, Invocation};
use crate::describe;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::manifest::Files;

/// The command.
pub const COMMAND: Command = Command {
    name: "describe",
    usage: "describe (-f FILENAME | TYPE [NAME_PREFIX | -l label] | TYPE/NAME)",
    short: "Show details of a specific resource or group of resources",
    long: "Show details of a specific resource or group of resources, with what belongs to them, such as events.\n\nA name that no object has is taken as the beginning of names.",
    flags: &[
        shared::FILES,
        shared::SELECTOR,
        shared::ALL_NAMESPACES,
        shared::CHUNK,
        &[Flag::new("show-events", Kind::Bool, "true", "Also show the object's events")],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let files = Files::of(&invocation.values)?;
    let program = &invocation.context.program;
    if invocation.arguments().is_empty() && files.is_empty() {
        return Err(message(format!(
            "You must specify the type of resource to describe. Use \"{program} api-resources\" for a complete list of supported resources."
        )));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let mut choice = Choice::of(invocation)?;
    choice.all = true;
    let mut failures = Vec::new();
    let mut found = Vec::new();
    for object in builder::objects(invocation, &api, &mapper, &choice).await? {
        match object {
            Ok(target) => found.push(target),
            Err(failure) => failures.push(failure),
        }
    }
    if found.is_empty()
        && files.is_empty()
        && matches!(failures.as_slice(), [Failure::Server(status)] if status.is(Reason::NotFound))
    {
        let failure = failures.remove(0);
        found = by_prefix(invocation, &api, &mapper, &choice).await?;
        if found.is_empty() {
            return Err(failure);
        }
    }
    if found.is_empty() && failures.is_empty() {
        let text = if choice.all_namespaces {
            "No resources found\n".into()
        } else {
            format!("No resources found in {} namespace.\n", choice.namespace)
        };
        invocation.context.err(&text);
        return Ok(());
    }
    let mut first = true;
    for target in &found {
        let Some(object) = &target.object else { continue };
        let show = invocation.values.on("show-events");
        match describe::describe(&api, &target.mapping, object, show, invocation.context.now()).await {
            Ok(text) => {
                invocation.context.out(&if first { text } else { format!("\n\n{text}") });
                first = false;
            }
            Err(failure) => failures.push(failure),
        }
    }
    builder::gather(failures)
}

/// Objects whose names begin as the one argument says.
async fn by_prefix(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    mapper: &crate::mapping::Mapper,
    choice: &Choice,
) -> Result<Vec<Target>, Failure> {
    let arguments = invocation.arguments();
    let (kind, prefix) = match arguments {
        [kind, prefix] => (kind.as_str(), prefix.as_str()),
        _ => return Ok(Vec::new()),
    };
    let mut found = Vec::new();
    for target in builder::from_arguments(mapper, choice, &[kind.to_owned()])? {
        let list = builder::fetch(api, choice, &target, JSON, false).await?;
        for object in builder::items(&list) {
            if object.name().starts_with(prefix) {
                found.push(Target {
                    namespace: object.namespace().to_owned(),
                    name: Some(object.name().to_owned()),
                    object: Some(object),
                    ..target.clone()
                });
            }
        }
    }
    Ok(found)
}
