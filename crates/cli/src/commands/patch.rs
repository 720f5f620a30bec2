//! `patch`.

use client::options::query;
use http::Method;
use resources::patch::PatchType;
use serde_json::Value;

use super::boxed;
use crate::builder::{self, Choice, with_query};
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::printers;

/// The command.
pub const COMMAND: Command = Command {
    name: "patch",
    usage: "patch (-f FILENAME | TYPE NAME) [-p PATCH|--patch-file FILE]",
    short: "Update fields of a resource",
    long: "Update fields of a resource by a strategic merge patch, a JSON merge patch, or a JSON patch, written in JSON or YAML.",
    flags: &[
        shared::FILES,
        shared::OUTPUT,
        shared::DRY_RUN,
        shared::MANAGER,
        &[
            Flag::switch("local", "Not supported: patch the file's object without asking the server"),
            Flag::new("patch", Kind::Text, "", "The patch").short('p'),
            Flag::new("patch-file", Kind::Text, "", "File with the patch"),
            Flag::new("subresource", Kind::Text, "", "Patch this subresource instead: status, scale, resize"),
            Flag::new("type", Kind::Text, "strategic", "json, merge or strategic"),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let text = match (values.text("patch"), values.text("patch-file")) {
        ("", "") => {
            return Err(message("must specify --patch or --patch-file containing the contents of the patch"));
        }
        (patch, "") => patch.to_owned(),
        ("", file) => std::fs::read_to_string(file).map_err(|_| {
            message(format!("unable to read patch file: open {file}: no such file or directory"))
        })?,
        _ => return Err(message("cannot specify --patch and --patch-file together")),
    };
    let (content_type, kind) = match values.text("type").to_lowercase().as_str() {
        "json" => ("application/json-patch+json", PatchType::Json),
        "merge" => ("application/merge-patch+json", PatchType::Merge),
        "strategic" => ("application/strategic-merge-patch+json", PatchType::Strategic),
        other => {
            return Err(message(format!("--type must be one of [json merge strategic], not {other:?}")));
        }
    };
    if values.on("local") {
        return Err(message("--local is not supported: use --dry-run=client"));
    }
    let patch = bytes(&text)?;
    let dry_run = invocation.dry_run()?;
    let format = printers::outcome_format(values)?;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let files = crate::manifest::Files::of(values)?;
    let targets = if files.is_empty() {
        if invocation.arguments().is_empty() {
            return Err(message(
                "You must provide one or more resources by argument or filename.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'\n   '<resource> <name>'\n   '<resource>'",
            ));
        }
        builder::from_arguments(&mapper, &choice, invocation.arguments())?.into_iter().map(Ok).collect()
    } else {
        builder::from_files(invocation, &mapper, &choice, &files)?
    };
    let mut failures = Vec::new();
    for target in targets {
        let target = match target {
            Ok(target) => target,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let subresource = values.text("subresource");
        let path =
            if subresource.is_empty() { target.path() } else { format!("{}/{subresource}", target.path()) };
        let before: Value = api.call(Method::GET, &path, crate::api::JSON, None).await?;
        let after = if dry_run == DryRun::Client {
            let applied = resources::patch::apply(
                kind,
                target.mapping.definition(),
                &before,
                &patch,
                resources::schema::FieldValidation::Ignore,
            );
            applied.map_err(Failure::Server)?.object
        } else {
            let own =
                Some(values.text("field-manager")).filter(|own| !own.is_empty()).unwrap_or("kubectl-patch");
            let parameters = query(&[
                ("dryRun", (dry_run == DryRun::Server).then(|| "All".into())),
                ("fieldManager", Some(own.to_owned())),
            ]);
            match api.patch(&with_query(&path, &parameters), content_type, patch.clone()).await {
                Ok(after) => after,
                Err(failure) => {
                    failures.push(failure);
                    continue;
                }
            }
        };
        let same = dry_run == DryRun::No
            && before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"];
        let what =
            if same { "patched (no change)".to_owned() } else { format!("patched{}", dry_run.suffix()) };
        printers::outcome(invocation, &format, &after, &what)?;
    }
    builder::gather(failures)
}

/// The patch as JSON. What is neither JSON nor YAML is left to the server, whose words people know.
fn bytes(text: &str) -> Result<Vec<u8>, Failure> {
    if serde_json::from_str::<Value>(text).is_ok() || text.trim_start().starts_with(['{', '[']) {
        return Ok(text.as_bytes().to_vec());
    }
    match crate::manifest::parse(text) {
        Ok(value) => Ok(value.to_string().into_bytes()),
        Err(error) => Err(message(format!("unable to parse {text:?}: {error}"))),
    }
}
