//! `edit`: an object in the user's editor.

use std::io::Write;
use std::path::{Path, PathBuf};

use model::Reason;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::boxed;
use crate::api::Api;
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
        &shared::manager("kubectl-edit"),
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

const HEADER: &str = "# Please edit the object below. Lines beginning with a '#' will be ignored,\n# and an empty file will abort the edit. If an error occurs while saving this file will be\n# reopened with the relevant failures.\n#\n";

/// Why the file is opened again.
struct Trouble {
    head: String,
    more: Vec<String>,
}

impl Trouble {
    /// As a comment at the top of the file.
    fn comment(&self) -> String {
        let colon = if self.more.is_empty() { "" } else { ":" };
        let mut text = format!("# {}{colon}\n", self.head.replace('\n', "\n# "));
        for line in &self.more {
            text.push_str(&format!("# * {}\n", line.replace('\n', "\n# ")));
        }
        text + "#\n"
    }
}

/// What became of a try.
enum Tried {
    /// It is done.
    Done,
    /// The server or the parser refuses it in a way that the user can mend.
    Again(Trouble),
    /// The edit is over, the file stays.
    Kept(Failure),
}

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let files = crate::manifest::Files::of(&invocation.values)?;
    if invocation.arguments().is_empty() && files.is_empty() {
        return Err(message(builder::NOTHING_NAMED));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let targets: Result<Vec<Target>, Failure> =
        builder::objects(invocation, &api, &mapper, &choice).await?.into_iter().collect();
    let targets = targets?;
    if targets.is_empty() {
        return Err(message("edit cancelled, no objects found"));
    }
    edit(invocation, &api, &targets).await
}

/// Opens the editor until what is saved is taken, or nothing changes any more.
async fn edit(invocation: &Invocation<'_>, api: &Api<'_>, targets: &[Target]) -> Result<(), Failure> {
    let context = invocation.context;
    let original = original(invocation, targets);
    let (mut trouble, mut last, mut file): (Option<Trouble>, String, Option<PathBuf>) =
        (None, original.clone(), None);
    loop {
        let comment = trouble.as_ref().map(Trouble::comment).unwrap_or_default();
        let header = if is_json(invocation) { String::new() } else { format!("{HEADER}{comment}") };
        let path = write(invocation, &format!("{header}{last}"))?;
        if let Err(failure) = launch(invocation, &path) {
            return Err(kept(invocation, file.as_deref(), failure));
        }
        let saved = std::fs::read_to_string(&path).map_err(|error| {
            message(format!("open {}: {}", path.display(), crate::text::io_words(&error)))
        })?;
        let own = without_comments(&saved);
        if trouble.is_some() && same(&own, &last) {
            return Err(kept(
                invocation,
                Some(&path),
                message("Edit cancelled, no valid changes were saved."),
            ));
        }
        if let Some(file) = file.take() {
            let _ = std::fs::remove_file(file);
        }
        let edited = parse(&own);
        if edited.is_ok() && same(&own, &original) {
            let _ = std::fs::remove_file(&path);
            context.err("Edit cancelled, no changes made.\n");
            return Ok(());
        }
        if own.trim().is_empty() {
            let _ = std::fs::remove_file(&path);
            context.err("Edit cancelled, saved file was empty.\n");
            return Ok(());
        }
        let tried = match edited {
            Ok(objects) => send_all(invocation, api, targets, &objects, &path).await?,
            Err(error) => Tried::Again(unreadable(invocation, &targets[0], &error)),
        };
        match tried {
            Tried::Done => {
                let _ = std::fs::remove_file(&path);
                return Ok(());
            }
            Tried::Kept(failure) => return Err(failure),
            Tried::Again(why) => (trouble, last, file) = (Some(why), own, Some(path)),
        }
    }
}

fn is_json(invocation: &Invocation<'_>) -> bool {
    invocation.values.text("output") == "json"
}

/// The objects as the editor shows them.
fn original(invocation: &Invocation<'_>, targets: &[Target]) -> String {
    let mut objects: Vec<Value> = targets
        .iter()
        .map(|target| printers::without_managed_fields(target.object.clone().unwrap_or_default()))
        .collect();
    let whole = if objects.len() == 1 {
        objects.remove(0)
    } else {
        json!({"apiVersion": "v1", "kind": "List", "metadata": {}, "items": objects})
    };
    if is_json(invocation) { printers::json::pretty(&whole) } else { crate::yaml::to_string(&whole) }
}

/// A file that nobody else can read, with this text.
fn write(invocation: &Invocation<'_>, text: &str) -> Result<PathBuf, Failure> {
    let folder = invocation.context.variable("TMPDIR").unwrap_or("/tmp");
    let number = stdx::entropy::Entropy::system().below(10_000_000_000);
    let extension = if is_json(invocation) { "json" } else { "yaml" };
    let path = Path::new(folder).join(format!("{}-edit-{number}.{extension}", invocation.context.program));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    written
        .map_err(|error| message(format!("open {}: {}", path.display(), crate::text::io_words(&error))))?;
    Ok(path)
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// Whether two texts are the same objects.
fn same(left: &str, right: &str) -> bool {
    left == right
        || matches!((crate::manifest::parse(left), crate::manifest::parse(right)), (Ok(left), Ok(right)) if left == right)
}

/// The objects of a saved file, a list taken apart.
fn parse(text: &str) -> Result<Vec<Value>, String> {
    let whole = crate::manifest::parse(text)?;
    if !whole.is_null() && whole.kind().is_empty() {
        return Err("kind not set".into());
    }
    if !whole.is_null() && whole.api_version().is_empty() {
        return Err("apiVersion not set".into());
    }
    Ok(match whole.get("items").and_then(Value::as_array) {
        Some(items) if whole.kind() == "List" => items.clone(),
        _ => vec![whole],
    })
}

/// A file that cannot be read is told like an object that is not valid.
fn unreadable(invocation: &Invocation<'_>, target: &Target, error: &str) -> Trouble {
    let (resource, name) = (target.mapping.resource(), target.name.as_deref().unwrap_or_default());
    invocation.context.err(&format!("error: {resource} {name:?} is invalid\n"));
    Trouble {
        head: format!("{resource} {name:?} was not valid"),
        more: vec![format!("<nil>: Invalid value: \"The edited file failed validation\": {error}")],
    }
}

/// Says where the user's work is.
fn kept(invocation: &Invocation<'_>, path: Option<&Path>, failure: Failure) -> Failure {
    if let Some(path) = path.filter(|path| path.exists()) {
        let path = path.display().to_string();
        invocation.context.err(&format!("A copy of your changes has been stored to {path:?}\n"));
    }
    failure
}

/// Runs the editor: words of `$KUBE_EDITOR` or `$EDITOR`, through the shell where they are quoted.
fn launch(invocation: &Invocation<'_>, path: &Path) -> Result<(), Failure> {
    let context = invocation.context;
    let editor = context.variable("KUBE_EDITOR").or_else(|| context.variable("EDITOR")).unwrap_or("vi");
    let mut command = if editor.contains(['"', '\'', '\\']) {
        let mut shell = std::process::Command::new(context.variable("SHELL").unwrap_or("/bin/bash"));
        shell.arg("-c").arg(format!("{editor} {:?}", path.display().to_string()));
        shell
    } else {
        let mut words = editor.split(' ').filter(|word| !word.is_empty());
        let mut command = std::process::Command::new(words.next().unwrap_or("vi"));
        command.args(words).arg(path);
        command
    };
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(message(format!("there was a problem with the editor {editor:?}"))),
        Err(_) => Err(message(format!("unable to launch the editor {editor:?}"))),
    }
}

/// Sends what changed of each object.
async fn send_all(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    targets: &[Target],
    objects: &[Value],
    path: &Path,
) -> Result<Tried, Failure> {
    let context = invocation.context;
    let mut trouble: Option<Trouble> = None;
    let (mut retryable, mut missing) = (false, false);
    for after in objects {
        let Some(target) =
            targets.iter().find(|target| target.object.as_ref().is_some_and(|own| own.uid() == after.uid()))
        else {
            return Err(kept(
                invocation,
                Some(path),
                message("no original object found for the edited one: its uid was changed"),
            ));
        };
        let (resource, name) = (target.mapping.resource(), target.name.as_deref().unwrap_or_default());
        match send(invocation, api, target, after).await {
            Ok(()) => {}
            Err(Failure::Server(status)) if status.is(Reason::Invalid) => {
                context.err(&format!("error: {resource} {name:?} is invalid\n"));
                let causes = status.details.iter().flat_map(|details| &details.causes);
                trouble = Some(Trouble {
                    head: format!("{resource} {name:?} was not valid"),
                    more: causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect(),
                });
            }
            Err(Failure::Server(status)) if status.is(Reason::NotFound) => {
                context.err(&format!("error: {resource} {name:?} could not be found on the server\n"));
                missing = true;
            }
            Err(Failure::Server(status)) => {
                context
                    .err(&format!("error: {resource} {name:?} could not be patched: {}\n", status.message));
                retryable = true;
            }
            Err(other) => return Err(kept(invocation, Some(path), other)),
        }
    }
    if retryable {
        let program = &context.program;
        context.err(&format!(
            "You can run `{program} replace -f {}` to try this update again.\n",
            path.display()
        ));
        return Ok(Tried::Kept(Failure::Exit(1)));
    }
    if missing {
        let path = path.display().to_string();
        context.err(&format!("The edits you made on deleted resources have been saved to {path:?}\n"));
        return Ok(Tried::Kept(Failure::Exit(1)));
    }
    Ok(trouble.map_or(Tried::Done, Tried::Again))
}

async fn send(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    after: &Value,
) -> Result<(), Failure> {
    let before = printers::without_managed_fields(target.object.clone().unwrap_or_default());
    let format = printers::outcome_format(&invocation.values)?;
    if *after == before {
        return printers::outcome(invocation, &format, after, "skipped");
    }
    let changed = ["apiVersion", "kind"].iter().any(|field| after[*field] != before[*field]);
    if changed || after.name() != before.name() {
        return Err(message("At least one of apiVersion, kind and name was changed"));
    }
    let (patch, content_type) = match target.mapping.definition() {
        Some(definition) => {
            let patch = resources::patch::two_way::create(Some(definition), &before, after);
            (patch.map_err(|error| message(error.to_string()))?, "application/strategic-merge-patch+json")
        }
        None => (resources::patch::merge::diff(&before, after), "application/merge-patch+json"),
    };
    if invocation.values.on("output-patch") {
        invocation.context.out(&format!("Patch: {}\n", printers::json::compact(&patch)));
    }
    let validation = super::create::validation(invocation)?;
    let parameters =
        super::create::write_query(invocation, crate::command::DryRun::No, validation, "kubectl-edit");
    let subresource = invocation.values.text("subresource");
    let path =
        if subresource.is_empty() { target.path() } else { format!("{}/{subresource}", target.path()) };
    let bytes = patch.to_string().into_bytes();
    let edited = api.patch(&with_query(&path, &parameters), content_type, bytes).await?;
    printers::outcome(invocation, &format, &edited, "edited")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_are_comments() {
        let trouble = Trouble { head: "pods \"x\" was not valid".into(), more: vec!["a: b\nc".into()] };
        assert_eq!(trouble.comment(), "# pods \"x\" was not valid:\n# * a: b\n# c\n#\n");
    }

    #[test]
    fn saved_files_are_taken_apart() {
        assert_eq!(parse("kind: List\napiVersion: v1\nitems: [{a: 1}, {b: 2}]\n").unwrap().len(), 2);
        assert_eq!(parse("kind: Pod\napiVersion: v1\n").unwrap().len(), 1);
        assert_eq!(parse("apiVersion: v1\n").unwrap_err(), "kind not set");
        assert!(same("a: 1\n", "a:   1\n") && !same("a: 1\n", "a: 2\n"));
    }
}
