//! `diff`: what an `apply` would change, shown by `diff -u` or the program of `$KUBECTL_EXTERNAL_DIFF`.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use http::Method;
use model::tree::TreeExt;
use resources::patch::PatchType;
use serde_json::{Value, json};

use super::create::{LAST_APPLIED, write_query};
use super::{apply, boxed};
use crate::api::Api;
use crate::builder::{self, Choice, Target, with_query};
use crate::command::{Command, DryRun, Invocation};
use crate::context::Context;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::manifest::Files;
use crate::printers;

/// How often a directory of a new name is tried.
const TRIES: u32 = 100;
/// What stands for values of Secrets.
const MASK: &str = "***";

/// The command.
pub const COMMAND: Command = Command {
    name: "diff",
    usage: "diff -f FILENAME",
    short: "Diff the live version against a would-be applied version",
    long: "Show what apply would change: the server's object against the one that it would become.\n\n The exit code is 0 without a difference, 1 with one, more than 1 if something failed. $KUBECTL_EXTERNAL_DIFF names the program that compares; otherwise it is diff -u -N.",
    flags: &[
        shared::FILES,
        shared::SELECTOR,
        &[
            Flag::new(
                "concurrency",
                Kind::Integer,
                "1",
                "Accepted for compatibility: objects are taken in their order",
            ),
            Flag::new(
                "field-manager",
                Kind::Text,
                "kubectl-client-side-apply",
                "Name under which fields are owned",
            ),
            Flag::switch("force-conflicts", "Only with --server-side: take fields from other owners"),
            Flag::switch("prune", "Not supported: show what apply --prune would delete"),
            Flag::new("prune-allowlist", Kind::Array, "", "Accepted for compatibility"),
            Flag::switch("server-side", "Not supported yet: apply in the server"),
            Flag::switch("show-managed-fields", "Keep managedFields"),
            Flag::switch("show-secrets", "Show the values of Secrets"),
        ],
    ],
    // 1 says that there are differences.
    misused_code: 2,
    run: boxed!(run),
    ..Command::EMPTY
};

/// An exit code of 1 says that there are differences: failures have a code of their own.
async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    compare(invocation).await.map_err(|failure| match failure {
        Failure::Exit(code) => Failure::Exit(code),
        other => Failure::Command { code: 2, message: other.text() },
    })
}

async fn compare(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    if !invocation.arguments().is_empty() {
        return Err(invocation.usage(&format!("Unexpected args: [{}]", invocation.arguments().join(" "))));
    }
    let files = Files::of(values)?;
    if files.is_empty() {
        return Err(message("must specify one of -f and -k"));
    }
    if values.on("force-conflicts") && !values.on("server-side") {
        return Err(message("--force-conflicts only works with --server-side"));
    }
    for flag in ["server-side", "prune"] {
        if values.on(flag) {
            return Err(message(format!("--{flag} is not supported by this client yet: diff without it")));
        }
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let targets = builder::chosen_from_files(invocation, &mapper, &choice, &files)?;
    let folders = Folders::make(invocation.context)?;
    for target in targets {
        let target = target?;
        let live = match api.get(&target.path()).await {
            Ok(live) => Some(live),
            Err(failure) if failure.is_not_found() => None,
            Err(failure) => return Err(failure),
        };
        let merged = merged(invocation, &api, &target, live.as_ref()).await?;
        let deleted = live.as_ref().is_some_and(|live| live.at(&["metadata", "deletionTimestamp"]).is_some());
        folders.write(invocation, &target, live, merged)?;
        if deleted {
            let name = target.name.as_deref().unwrap_or_default();
            invocation.context.err(&format!(
                "Warning: Detected changes to resource {name} which is currently being deleted.\n"
            ));
        }
    }
    folders.compare(invocation.context)
}

/// The object as the server would have it after an apply.
async fn merged(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    live: Option<&Value>,
) -> Result<Value, Failure> {
    let mut object = target.object.clone().unwrap_or_default();
    let parameters = write_query(invocation, DryRun::Server, "", "kubectl-client-side-apply");
    let Some(live) = live else {
        let namespace = Some(target.namespace.as_str()).filter(|own| !own.is_empty());
        let path = with_query(&target.mapping.collection(namespace), &parameters);
        return api.write(Method::POST, &path, &object).await;
    };
    // The annotation itself is no part of what is compared, and taking it away no change.
    object.unset(&["metadata", "annotations", LAST_APPLIED]);
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    let (patch, kind) = apply::make_patch(target, &object, live)?;
    if patch.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(live.clone());
    }
    let content_type = match kind {
        PatchType::Strategic => "application/strategic-merge-patch+json",
        _ => "application/merge-patch+json",
    };
    let path = with_query(&target.path(), &parameters);
    api.patch(&path, content_type, patch.to_string().into_bytes()).await
}

/// Hides values of Secrets, but not whether they differ.
fn mask(live: &mut Option<Value>, merged: &mut Value) {
    let mut none = Value::Null;
    let live = live.as_mut().unwrap_or(&mut none);
    let maps = [&*live, &*merged].map(|one| one["data"].as_object().cloned().unwrap_or_default());
    let [before, after] = &maps;
    for key in before.keys().chain(after.keys()) {
        let (own, other) = (before.get(key), after.get(key));
        let differ = own.is_some() && other.is_some() && own != other;
        let (first, second) = if differ { ("*** (before)", "*** (after)") } else { (MASK, MASK) };
        if own.is_some() {
            live["data"][key.as_str()] = first.into();
        }
        if other.is_some() {
            merged["data"][key.as_str()] = second.into();
        }
    }
}

/// Two directories with one file for every object; gone when dropped.
struct Folders {
    live: PathBuf,
    merged: PathBuf,
}

impl Drop for Folders {
    fn drop(&mut self) {
        for folder in [&self.live, &self.merged] {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

fn make_folder(parent: &Path, name: &str) -> Result<PathBuf, Failure> {
    for number in 0..TRIES {
        let path = parent.join(format!("{name}-{}{number:02}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(message(format!("mkdir {}: {}", path.display(), crate::text::io_words(&error))));
            }
        }
    }
    Err(message(format!("no name for a directory is left below {}: empty it", parent.display())))
}

impl Folders {
    fn make(context: &Context) -> Result<Self, Failure> {
        let parent = PathBuf::from(context.variable("TMPDIR").unwrap_or("/tmp"));
        let live = make_folder(&parent, "LIVE")?;
        let merged = make_folder(&parent, "MERGED").inspect_err(|_| {
            let _ = std::fs::remove_dir_all(&live);
        })?;
        Ok(Self { live, merged })
    }

    fn write(
        &self,
        invocation: &Invocation<'_>,
        target: &Target,
        mut live: Option<Value>,
        mut merged: Value,
    ) -> Result<(), Failure> {
        let values = &invocation.values;
        let mapping = &target.mapping;
        if mapping.kind == "Secret" && mapping.group.is_empty() && !values.on("show-secrets") {
            mask(&mut live, &mut merged);
        }
        let version = mapping.api_version().replace('/', ".");
        let name = merged.name().to_owned();
        let name = format!("{version}.{}.{}.{name}", mapping.kind, target.namespace);
        for (folder, object) in [(&self.live, live), (&self.merged, Some(merged))] {
            let text = object.map(|object| crate::yaml::to_string(&printers::shown(values, &object)));
            let path = folder.join(&name);
            let mut options = std::fs::OpenOptions::new();
            let written = options.write(true).create(true).truncate(true).mode(0o700).open(&path).and_then(
                |mut file| std::io::Write::write_all(&mut file, text.unwrap_or_default().as_bytes()),
            );
            written.map_err(|error| {
                message(format!("open {}: {}", path.display(), crate::text::io_words(&error)))
            })?;
        }
        Ok(())
    }

    /// Runs the program that compares; its exit code is the command's.
    fn compare(&self, context: &Context) -> Result<(), Failure> {
        let own = context.variable("KUBECTL_EXTERNAL_DIFF").unwrap_or("diff -u -N");
        let mut words = own.split(' ');
        let program = words.next().unwrap_or_default();
        // Only plain flags, as kubectl has it: the variable is no shell line.
        let is_plain = |word: &&str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-=".contains(c))
        };
        let (flags, folders) = (words.filter(is_plain), [&self.live, &self.merged]);
        let mut command = Process::new(program);
        // kubectl puts the user's flags after the directories.
        match context.variable("KUBECTL_EXTERNAL_DIFF") {
            Some(_) => command.args(folders).args(flags),
            None => command.args(flags).args(folders),
        };
        let failed = |why: String| message(format!("failed to run {program:?}: {why}"));
        let output = command.output().map_err(|error| {
            failed(match error.kind() {
                std::io::ErrorKind::NotFound => {
                    format!("exec: {program:?}: executable file not found in $PATH")
                }
                _ => error.to_string(),
            })
        })?;
        context.out_bytes(&output.stdout);
        context.err_bytes(&output.stderr);
        match output.status.code() {
            Some(0) => Ok(()),
            Some(1) => Err(Failure::Exit(1)),
            Some(code) => Err(failed(format!("exit status {code}"))),
            None => Err(failed(output.status.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_still_differ() {
        let mut live = Some(json!({"data": {"same": "a", "other": "b", "gone": "c"}}));
        let mut merged = json!({"data": {"same": "a", "other": "x", "new": "y"}});
        mask(&mut live, &mut merged);
        assert_eq!(live, Some(json!({"data": {"same": "***", "other": "*** (before)", "gone": "***"}})));
        assert_eq!(merged, json!({"data": {"same": "***", "other": "*** (after)", "new": "***"}}));
        let mut merged = json!({"data": {"new": "y"}});
        mask(&mut None, &mut merged);
        assert_eq!(merged, json!({"data": {"new": "***"}}));
    }
}
