//! `edit`: an object in the user's editor.

use std::io::Write;

use model::tree::TreeExt;
use serde_json::Value;

use super::boxed;
use crate::builder::{self, Choice, Target, with_query};
use crate::command::{Command, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::printers;

/// The command.
pub const COMMAND: Command = Command {
    name: "edit",
    usage: "edit (RESOURCE/NAME | -f FILENAME)",
    short: "Edit a resource on the server",
    long: "Edit a resource on the server with the editor of $KUBE_EDITOR or $EDITOR, otherwise vi. What is saved is sent as a patch.",
    flags: &[
        shared::FILES,
        shared::OUTPUT,
        shared::VALIDATE,
        shared::MANAGER,
        &[
            Flag::switch("output-patch", "Show the patch"),
            Flag::switch("save-config", "Accepted for compatibility"),
            Flag::new("subresource", Kind::Text, "", "Edit this subresource instead: status, scale"),
            Flag::switch("windows-line-endings", "Accepted for compatibility"),
        ],
    ],
    run: boxed!(run),
    ..Command::EMPTY
};

const HEADER: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n# and an empty file will abort the edit. If an error occurs while saving, your changes are kept in a file.\n#\n";

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let files = crate::manifest::Files::of(&invocation.values)?;
    if invocation.arguments().is_empty() && files.is_empty() {
        return Err(message("must specify one of -f and -k"));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let mut failures = Vec::new();
    for target in builder::objects(invocation, &api, &mapper, &choice).await? {
        let edited = match target {
            Ok(target) => edit(invocation, &api, &target).await,
            Err(failure) => Err(failure),
        };
        failures.extend(edited.err());
    }
    builder::gather(failures)
}

async fn edit(
    invocation: &Invocation<'_>,
    api: &crate::api::Api<'_>,
    target: &Target,
) -> Result<(), Failure> {
    let before = printers::without_managed_fields(target.object.clone().unwrap_or_default());
    let text = format!("{HEADER}{}", crate::yaml::to_string(&before));
    let path =
        std::env::temp_dir().join(format!("{}-edit-{}.yaml", invocation.context.program, before.uid()));
    let failed = |error: std::io::Error| message(format!("{}: {error}", path.display()));
    let _ = std::fs::remove_file(&path);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)?;
    launch(invocation, &path)?;
    let saved = std::fs::read_to_string(&path).map_err(failed)?;
    let own: String = saved
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| format!("{line}\n"))
        .collect();
    if own.trim().is_empty() || saved == text {
        let _ = std::fs::remove_file(&path);
        invocation.context.err("Edit cancelled, no changes made.\n");
        return Ok(());
    }
    match send(invocation, api, target, &before, &own).await {
        Ok(changed) => {
            let _ = std::fs::remove_file(&path);
            if !changed {
                invocation.context.err("Edit cancelled, no changes made.\n");
            }
            Ok(())
        }
        Err(failure) => {
            invocation.context.err(&failure.text());
            invocation.context.err(&format!(
                "A copy of your changes has been stored to {:?}\n",
                path.display().to_string()
            ));
            Err(message("Edit cancelled, no valid changes were saved."))
        }
    }
}

/// Runs the editor through the shell, so that `$EDITOR` may have arguments.
fn launch(invocation: &Invocation<'_>, path: &std::path::Path) -> Result<(), Failure> {
    let context = invocation.context;
    let editor = context.variable("KUBE_EDITOR").or_else(|| context.variable("EDITOR")).unwrap_or("vi");
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("sh")
        .arg(path)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(message(format!("there was a problem with the editor {editor:?}"))),
    }
}

async fn send(
    invocation: &Invocation<'_>,
    api: &crate::api::Api<'_>,
    target: &Target,
    before: &Value,
    text: &str,
) -> Result<bool, Failure> {
    let after = crate::manifest::parse(text).map_err(message)?;
    for field in ["apiVersion", "kind"] {
        if after[field] != before[field] {
            return Err(message("At least one of apiVersion, kind and name was changed"));
        }
    }
    if after.name() != before.name() {
        return Err(message("At least one of apiVersion, kind and name was changed"));
    }
    let (patch, content_type) = match target.mapping.definition() {
        Some(definition) => {
            let patch = resources::patch::two_way::create(Some(definition), before, &after);
            (patch.map_err(|error| message(error.to_string()))?, "application/strategic-merge-patch+json")
        }
        None => (resources::patch::merge::diff(before, &after), "application/merge-patch+json"),
    };
    if patch.as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok(false);
    }
    if invocation.values.on("output-patch") {
        invocation.context.out(&format!("Patch: {}\n", printers::json::compact(&patch)));
    }
    let validation = super::create::validation(invocation)?;
    let parameters =
        super::create::write_query(invocation, crate::command::DryRun::No, validation, "kubectl-edit");
    let subresource = invocation.values.text("subresource");
    let path =
        if subresource.is_empty() { target.path() } else { format!("{}/{subresource}", target.path()) };
    let edited =
        api.patch(&with_query(&path, &parameters), content_type, patch.to_string().into_bytes()).await?;
    let format = printers::outcome_format(&invocation.values)?;
    printers::outcome(invocation, &format, &edited, "edited")?;
    Ok(true)
}
