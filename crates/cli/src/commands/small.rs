//! Small commands: `cluster-info`, `options`, `replace`, `scale`.

use http::Method;
use model::tree::TreeExt;
use serde_json::json;

use super::{boxed, create, raw};
use crate::builder::{self, Choice, with_query};
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, help, shared};
use crate::manifest::Files;
use crate::printers;

/// `cluster-info`.
pub const CLUSTER_INFO: Command = Command {
    name: "cluster-info",
    usage: "cluster-info [flags]",
    short: "Display cluster information",
    run: boxed!(cluster_info),
    ..Command::EMPTY
};

/// `options`.
pub const OPTIONS: Command = Command {
    name: "options",
    usage: "options",
    short: "Print the list of flags inherited by all commands",
    run: boxed!(options),
    ..Command::EMPTY
};

/// `replace`.
pub const REPLACE: Command = Command {
    name: "replace",
    usage: "replace -f FILENAME",
    short: "Replace a resource by file name or stdin",
    long: "Replace a resource by file name or stdin. --force deletes the object and creates it anew.",
    flags: &[
        shared::FILES,
        shared::OUTPUT,
        shared::DRY_RUN,
        shared::VALIDATE,
        shared::SAVE_CONFIG,
        &shared::manager("kubectl-replace"),
        &[
            Flag::new("cascade", Kind::Text, "background", "With --force: what becomes of dependents")
                .bare("background"),
            Flag::new("raw", Kind::Text, "", "Path to put the file to as it is"),
            Flag::new("subresource", Kind::Text, "", "status, scale or resize in place of the object itself"),
            Flag::switch("wait", "With --force: accepted for compatibility, it waits in any case"),
            Flag::switch("force", "Delete the object and create it anew"),
            Flag::new(
                "grace-period",
                Kind::Integer,
                "-1",
                "With --force: seconds that the object gets to end",
            ),
            Flag::new("timeout", Kind::Duration, "0s", "With --force: how long to wait until it is gone"),
        ],
    ],
    run: boxed!(replace),
    ..Command::EMPTY
};

/// `scale`.
pub const SCALE: Command = Command {
    name: "scale",
    usage: "scale [--resource-version=version] [--current-replicas=count] --replicas=COUNT (-f FILENAME | TYPE NAME)",
    short: "Set a new size for a deployment, replica set, or replication controller",
    flags: &[
        shared::FILES,
        shared::OUTPUT,
        shared::DRY_RUN,
        shared::SELECTOR,
        &[
            Flag::switch("all", "All objects of the types in the namespace"),
            Flag::new("current-replicas", Kind::Integer, "-1", "Only if there are so many now"),
            Flag::new("replicas", Kind::Integer, "0", "How many there shall be"),
            Flag::new("resource-version", Kind::Text, "", "Only if the object still has this version"),
            Flag::new("timeout", Kind::Duration, "0s", "Accepted for compatibility"),
        ],
    ],
    required: &["replicas"],
    run: boxed!(scale),
    ..Command::EMPTY
};

async fn options(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let list = help::options(shared::GLOBAL);
    invocation.context.out(&format!("The following options can be passed to any command:\n\n{list}"));
    Ok(())
}

async fn cluster_info(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let api = invocation.api()?;
    // Only a server that answers is running.
    api.get("/version").await?;
    let program = &invocation.context.program;
    invocation.context.out(&format!(
        "Kubernetes control plane is running at {}\n\nTo further debug and diagnose cluster problems, use '{program} cluster-info dump'.\n",
        api.server()
    ));
    Ok(())
}

async fn replace(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let files = Files::of(&invocation.values)?;
    if files.is_empty() {
        return Err(message("must specify one of -f and -k"));
    }
    let raw_path = invocation.values.text("raw");
    if !raw_path.is_empty() {
        raw::check(raw_path)?;
        return raw::send(invocation, Method::PUT, raw_path).await;
    }
    let subresource = match invocation.values.text("subresource") {
        "" => String::new(),
        name @ ("status" | "scale" | "resize") => format!("/{name}"),
        other => {
            return Err(message(format!(
                "invalid subresource value: {other:?}. Must be one of [status scale resize]"
            )));
        }
    };
    let validation = create::validation(invocation)?;
    let dry_run = invocation.dry_run()?;
    let format = printers::outcome_format(&invocation.values)?;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let mut failures = Vec::new();
    for target in builder::from_files(invocation, &mapper, &choice, &files)? {
        let target = match target {
            Ok(target) => target,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let mut object = target.object.clone().unwrap_or_default();
        if invocation.values.on("save-config") {
            create::annotate(&mut object);
        }
        let replaced = if dry_run == DryRun::Client {
            Ok(object)
        } else if invocation.values.on("force") {
            super::apply::replace(invocation, &api, &target, &object, validation).await
        } else {
            let parameters = create::write_query(invocation, dry_run, validation, "kubectl-replace");
            let put = api
                .write(Method::PUT, &with_query(&(target.path() + &subresource), &parameters), &object)
                .await;
            put.map_err(|failure| failure.in_front(&format!("error when replacing {:?}", target.source)))
        };
        match replaced {
            Ok(object) => {
                printers::outcome(invocation, &format, &object, &format!("replaced{}", dry_run.suffix()))?;
            }
            Err(failure) => failures.push(create::explain(invocation, &target, failure)),
        }
    }
    builder::gather(failures)
}

async fn scale(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let replicas = values.integer("replicas");
    if replicas < 0 {
        return Err(message(
            "The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0",
        ));
    }
    if invocation.arguments().is_empty() && Files::of(values)?.is_empty() {
        return Err(message(builder::NOTHING_NAMED));
    }
    let dry_run = invocation.dry_run()?;
    let format = printers::outcome_format(values)?;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let mut failures = Vec::new();
    let found = builder::objects(invocation, &api, &mapper, &choice).await?;
    if found.is_empty() {
        return Err(message("no objects passed to scale"));
    }
    for target in found {
        let target = match target {
            Ok(target) => target,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let path = format!("{}/scale", target.path());
        let now = api.get(&path).await?;
        let current = values.integer("current-replicas");
        let count = now.integer(&["spec", "replicas"]).unwrap_or(0);
        if current >= 0 && current != count {
            failures.push(message(format!("Expected replicas to be {current}, was {count}")));
            continue;
        }
        if dry_run != DryRun::Client {
            let mut patch = json!({"spec": {"replicas": replicas}});
            if !values.text("resource-version").is_empty() {
                patch["metadata"]["resourceVersion"] = values.text("resource-version").into();
            }
            let dry = if dry_run == DryRun::Server { "dryRun=All" } else { "" };
            let bytes = patch.to_string().into_bytes();
            api.patch(&with_query(&path, dry), "application/merge-patch+json", bytes).await?;
        }
        let object = target.object.clone().unwrap_or_default();
        printers::outcome(invocation, &format, &object, &format!("scaled{}", dry_run.suffix()))?;
    }
    builder::gather(failures)
}
