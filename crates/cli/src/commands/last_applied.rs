//! `apply view-last-applied` and `apply set-last-applied`: the annotation that `apply` compares with.

use model::tree::TreeExt;
use serde_json::{Value, json};

use super::boxed;
use super::create::LAST_APPLIED;
use crate::builder::{self, Choice, Target, with_query};
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::manifest::Files;
use crate::printers;

/// `view-last-applied`.
pub const VIEW: Command = Command {
    name: "view-last-applied",
    usage: "view-last-applied (TYPE [NAME | -l label] | TYPE/NAME | -f FILENAME)",
    short: "View the latest last-applied-configuration annotations of a resource/object",
    flags: &[
        shared::FILES,
        shared::SELECTOR,
        &[
            Flag::switch("all", "All objects of the types in the namespace"),
            Flag::new("output", Kind::Text, "yaml", "yaml or json").short('o'),
        ],
    ],
    run: boxed!(view),
    ..Command::EMPTY
};

/// `set-last-applied`.
pub const SET: Command = Command {
    name: "set-last-applied",
    usage: "set-last-applied -f FILENAME",
    short: "Set the last-applied-configuration annotation on a live object to match the contents of a file",
    flags: &[
        shared::FILE_NAMES,
        shared::OUTPUT,
        shared::DRY_RUN,
        &[Flag::switch("create-annotation", "Make the annotation where there is none")],
    ],
    run: boxed!(set),
    ..Command::EMPTY
};

async fn view(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let files = Files::of(values)?;
    if invocation.arguments().is_empty() && files.is_empty() {
        return Err(message(builder::NOTHING_NAMED));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let mut found = Vec::new();
    for target in builder::objects(invocation, &api, &mapper, &choice).await? {
        let target = target?;
        let object = target.object.unwrap_or_default();
        match object.text(&["metadata", "annotations", LAST_APPLIED]) {
            // kubectl tells of an object without it only if it was named by a file.
            "" if target.source.is_empty() => return Ok(()),
            "" => {
                return Err(message(format!(
                    "error when no last-applied-configuration annotation found on resource: {}\n {:?}: <nil>",
                    object.name(),
                    target.source
                )));
            }
            text => found.push(text.to_owned()),
        }
    }
    for text in found {
        let tree: Value = serde_json::from_str(&text)
            .map_err(|error| message(format!("the annotation {LAST_APPLIED} cannot be read: {error}")))?;
        let shown = match values.text("output") {
            "yaml" => crate::yaml::to_string(&tree),
            "json" => {
                let end = if text.ends_with('\n') { "\n" } else { "" };
                serde_json::to_string_pretty(&tree).map_err(|error| message(error.to_string()))? + end
            }
            other => {
                return Err(invocation.usage(&format!(
                    "Unexpected -o output mode: {other}, the flag 'output' must be one of yaml|json"
                )));
            }
        };
        invocation.context.out(&shown);
    }
    Ok(())
}

async fn set(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let (dry_run, format) = (invocation.dry_run()?, printers::outcome_format(values)?);
    let files = Files::of(values)?;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let mut changes: Vec<(Target, Value, String)> = Vec::new();
    let mut failures = Vec::new();
    for target in builder::from_files(invocation, &mapper, &choice, &files)? {
        let target = target?;
        let name = target.name.clone().unwrap_or_default();
        // As the file has it, which `apply` writes with empty annotations.
        let wanted = printers::json::compact(&target.object.clone().unwrap_or_default()) + "\n";
        let live = api.get(&target.path()).await?;
        let known = live.text(&["metadata", "annotations", LAST_APPLIED]);
        if known.is_empty() && !values.on("create-annotation") {
            failures.push(message(format!(
                "no last-applied-configuration annotation found on resource: {name}, to create the annotation, run the command with --create-annotation"
            )));
            continue;
        }
        if known == wanted {
            invocation.context.out(&format!("set-last-applied {name}: no changes required.\n"));
        } else {
            changes.push((target, live, wanted));
        }
    }
    builder::gather(failures)?;
    for (target, live, text) in changes {
        let object = if dry_run == DryRun::Client {
            live
        } else {
            let dry = if dry_run == DryRun::Server { "dryRun=All" } else { "" };
            let patch = json!({"metadata": {"annotations": {LAST_APPLIED: text}}});
            let path = with_query(&target.path(), dry);
            api.patch(&path, "application/merge-patch+json", patch.to_string().into_bytes()).await?
        };
        printers::outcome(invocation, &format, &object, &format!("configured{}", dry_run.suffix()))?;
    }
    Ok(())
}
