//! `patch`.

use client::options::query;
use model::tree::TreeExt;
use resources::patch::PatchType;
use serde_json::Value;

use super::boxed;
use crate::api::Api;
use crate::builder::{self, Choice, Target, with_query};
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
        &shared::manager("kubectl-patch"),
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

/// What was asked for.
struct Wish {
    patch: Vec<u8>,
    content_type: &'static str,
    kind: PatchType,
    dry_run: DryRun,
}

fn wish(invocation: &Invocation<'_>) -> Result<Wish, Failure> {
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
    Ok(Wish { patch: bytes(&text)?, content_type, kind, dry_run: invocation.dry_run()? })
}

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let wish = wish(invocation)?;
    let format = printers::outcome_format(values)?;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let files = crate::manifest::Files::of(values)?;
    let targets = if files.is_empty() {
        if invocation.arguments().is_empty() {
            return Err(message(builder::NOTHING_NAMED));
        }
        builder::from_arguments(&mapper, &choice, invocation.arguments())?.into_iter().map(Ok).collect()
    } else {
        builder::from_files(invocation, &mapper, &choice, &files)?
    };
    let mut failures = Vec::new();
    for target in targets {
        let patched = match target {
            Ok(target) => patch(invocation, &api, &wish, &target).await,
            Err(failure) => Err(failure),
        };
        match patched {
            Ok((after, true)) => {
                printers::outcome(invocation, &format, &after, "patched")?;
            }
            Ok((after, false)) => printers::outcome(invocation, &format, &after, "patched (no change)")?,
            Err(failure) => failures.push(failure),
        }
    }
    builder::gather(failures)
}

/// Patches one object; gives it, and whether anything changed.
async fn patch(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    wish: &Wish,
    target: &Target,
) -> Result<(Value, bool), Failure> {
    let subresource = invocation.values.text("subresource");
    let path =
        if subresource.is_empty() { target.path() } else { format!("{}/{subresource}", target.path()) };
    let before = api.get(&path).await?;
    if wish.dry_run == DryRun::Client {
        let ignore = resources::schema::FieldValidation::Ignore;
        let applied =
            resources::patch::apply(wish.kind, target.mapping.definition(), &before, &wish.patch, ignore);
        return Ok((applied.map_err(Failure::Server)?.object, true));
    }
    let manager = invocation.values.text("field-manager");
    let parameters = query(&[
        ("dryRun", (wish.dry_run == DryRun::Server).then(|| "All".into())),
        ("fieldManager", Some(manager.to_owned())),
    ]);
    let after = api.patch(&with_query(&path, &parameters), wish.content_type, wish.patch.clone()).await?;
    let changed = wish.dry_run == DryRun::Server || before.resource_version() != after.resource_version();
    Ok((after, changed))
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
