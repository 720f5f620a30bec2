//! `delete`: and waiting until finalizers let go.

use std::time::Duration;

use http::Method;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::{boxed, raw, wait};
use crate::api::{Api, JSON};
use crate::builder::{self, Choice, Target};
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::manifest::Files;

/// The command.
pub const COMMAND: Command = Command {
    name: "delete",
    usage: "delete ([-f FILENAME] | [-k DIRECTORY] | TYPE [(NAME | -l label | --all)])",
    short: "Delete resources by file names, stdin, resources and names, or by resources and label selector",
    long: "Delete resources by file names, stdin, resources and names, or by resources and label selector.\n\nPods end gracefully: within their own grace period, or --grace-period. --now gives them one second; --force with --grace-period=0 takes the object away without waiting for the node. Nothing else asks whether you are sure, but --interactive.",
    flags: &[
        shared::FILES,
        shared::DRY_RUN,
        shared::SELECTOR,
        shared::FIELD_SELECTOR,
        shared::ALL_NAMESPACES,
        &[
            Flag::switch("all", "Delete all objects of the types in the namespace"),
            Flag::new(
                "cascade",
                Kind::Text,
                "background",
                "background, orphan or foreground: what becomes of dependents",
            )
            .bare("background"),
            Flag::switch("force", "Take the object away at once, without grace: its processes may go on"),
            Flag::new(
                "grace-period",
                Kind::Integer,
                "-1",
                "Seconds given to end; negative leaves it to the object, 0 only with --force",
            ),
            Flag::switch("ignore-not-found", "Succeed if there is nothing to delete; so also with --all"),
            Flag::switch("interactive", "Ask before anything is deleted").short('i'),
            Flag::switch("now", "The same as --grace-period=1"),
            Flag::new("output", Kind::Text, "", "name: print only type and name").short('o'),
            Flag::new("raw", Kind::Text, "", "Path to delete as it is"),
            Flag::new("timeout", Kind::Duration, "0s", "How long to wait for the end; 0 is long enough"),
            Flag::new("wait", Kind::Bool, "true", "Wait until the objects are gone"),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

struct Wish {
    grace_s: i64,
    cascade: &'static str,
    dry_run: DryRun,
    wait: bool,
    only_names: bool,
}

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let wish = wish(invocation)?;
    let path = values.text("raw");
    if !path.is_empty() {
        raw::check(path)?;
        return raw::send(invocation, Method::DELETE, path).await;
    }
    let files = Files::of(values)?;
    if files.is_empty() && invocation.arguments().is_empty() {
        return Err(message(builder::NOTHING_NAMED));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice { everything: values.on("all"), ..Choice::of(invocation)? };
    let mut failures = Vec::new();
    let targets = if files.is_empty() {
        let targets = builder::from_arguments(&mapper, &choice, invocation.arguments())?;
        expand(&api, &choice, targets, &mut failures).await?
    } else {
        let mut targets = Vec::new();
        for target in builder::from_files(invocation, &mapper, &choice, &files)? {
            match target {
                Ok(target) => targets.push(target),
                Err(failure) => failures.push(failure),
            }
        }
        targets
    };
    if values.on("interactive") && !confirmed(invocation, &targets)? {
        return Ok(());
    }
    let selects = values.on("all") || !choice.selector.is_empty() || !choice.field_selector.is_empty();
    let ignore = values.on("ignore-not-found") || (selects && !values.given("ignore-not-found"));
    let mut deleted = Vec::new();
    let nothing = targets.is_empty();
    for target in targets {
        match delete(invocation, &api, &target, &wish).await {
            Ok(uid) => deleted.push((target, uid)),
            Err(failure) if failure.is_not_found() && ignore => {}
            Err(failure) => failures.push(failure),
        }
    }
    if nothing && failures.is_empty() {
        invocation.context.out("No resources found\n");
    }
    builder::gather(failures)?;
    if wish.wait {
        wait_for(invocation, &api, &deleted).await?;
    }
    Ok(())
}

fn wish(invocation: &Invocation<'_>) -> Result<Wish, Failure> {
    let values = &invocation.values;
    let dry_run = invocation.dry_run()?;
    let output = values.text("output");
    let mut grace_s = values.integer("grace-period");
    let force = values.on("force");
    if values.on("now") {
        if grace_s != -1 {
            return Err(message("--now and --grace-period cannot be specified together"));
        }
        grace_s = 1;
    }
    let wait = values.on("wait");
    if force && grace_s < 0 {
        grace_s = 0;
    }
    if grace_s == 0 && !force {
        // Without --force nobody may skip the grace: a second, and kubectl waits for the end.
        grace_s = 1;
    }
    if !matches!(output, "" | "name") {
        return Err(message(format!("unexpected -o output mode: {output}. We only support '-o name'")));
    }
    for selector in ["selector", "field-selector"] {
        if values.on("all") && !values.text(selector).is_empty() {
            let words = "setting 'all' parameter but found a non empty";
            let what = if selector == "selector" { "selector" } else { "field selector" };
            return Err(message(format!("{words} {what}. ")));
        }
    }
    if force && grace_s > 0 {
        return Err(message("--force and --grace-period greater than 0 cannot be specified together"));
    }
    if force {
        invocation.context.err("Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.\n");
    }
    let cascade = match values.text("cascade") {
        "true" | "background" | "" => "Background",
        "false" | "orphan" => "Orphan",
        "foreground" => "Foreground",
        other => {
            return Err(message(format!(
                "invalid cascade value ({other}). Must be \"background\", \"foreground\", or \"orphan\""
            )));
        }
    };
    Ok(Wish { grace_s, cascade, dry_run, wait: wait && dry_run == DryRun::No, only_names: output == "name" })
}

/// Collections as their objects.
async fn expand(
    api: &Api<'_>,
    choice: &Choice,
    targets: Vec<Target>,
    failures: &mut Vec<Failure>,
) -> Result<Vec<Target>, Failure> {
    let mut found = Vec::new();
    for target in targets {
        if target.name.is_some() {
            found.push(target);
            continue;
        }
        match builder::fetch(api, choice, &target, JSON, false).await {
            Ok(list) => found.extend(builder::items(&list).into_iter().map(|object| Target {
                namespace: object.namespace().to_owned(),
                name: Some(object.name().to_owned()),
                ..target.clone()
            })),
            Err(failure) => failures.push(failure),
        }
    }
    Ok(found)
}

fn confirmed(invocation: &Invocation<'_>, targets: &[Target]) -> Result<bool, Failure> {
    if targets.is_empty() {
        invocation.context.out("No resources found\n");
        return Ok(false);
    }
    let context = invocation.context;
    context.out(&format!("You are about to delete the following {} resource(s):\n", targets.len()));
    targets.iter().for_each(|target| context.out(&format!("{}\n", target.display())));
    context.out("Do you want to continue? (y/N): ");
    let answer = context.read_line().map_err(|error| message(error.to_string()))?;
    if answer.trim().eq_ignore_ascii_case("y") {
        return Ok(true);
    }
    context.out("deletion is cancelled\n");
    Ok(false)
}

/// Deletes one object; gives its uid.
async fn delete(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    wish: &Wish,
) -> Result<String, Failure> {
    let mut answer = Value::Null;
    if wish.dry_run != DryRun::Client {
        let mut options =
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": wish.cascade});
        if wish.grace_s >= 0 {
            options["gracePeriodSeconds"] = json!(wish.grace_s);
        }
        if wish.dry_run == DryRun::Server {
            options["dryRun"] = json!(["All"]);
        }
        let deleted = api.write(Method::DELETE, &target.path(), &options).await;
        answer = deleted.map_err(|failure| match target.source.as_str() {
            "" => failure,
            source => failure.in_front(&format!("error when deleting {source:?}")),
        })?;
    }
    let kind = target.mapping.kind_name();
    let name = target.name.as_deref().unwrap_or_default();
    if wish.only_names {
        invocation.context.out(&format!("{kind}/{name}\n"));
    } else {
        let how = if wish.grace_s == 0 { "force deleted" } else { "deleted" };
        let place = if target.mapping.namespaced {
            format!(" from {} namespace", target.namespace)
        } else {
            String::new()
        };
        invocation.context.out(&format!("{kind} {name:?} {how}{place}{}\n", wish.dry_run.suffix()));
    }
    let uid = if answer.kind() == "Status" { answer.text(&["details", "uid"]) } else { answer.uid() };
    Ok(uid.to_owned())
}

/// A week: what kubectl takes for ever.
const FOREVER: Duration = Duration::from_secs(168 * 3600);

async fn wait_for(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    deleted: &[(Target, String)],
) -> Result<(), Failure> {
    let timeout = invocation.values.duration("timeout");
    let timeout = if timeout.is_zero() { FOREVER } else { timeout };
    let end = tokio::time::Instant::now() + timeout;
    for (target, uid) in deleted {
        match wait::until_deleted(api, target, uid, end).await {
            Err(Failure::Server(status)) if matches!(status.code, 403 | 405) => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}
