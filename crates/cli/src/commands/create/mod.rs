//! `create`: objects of files, or simple ones made of flags.

mod access;
mod data;
pub mod generators;
pub mod policies;
mod services;
mod token;
mod workloads;

use http::Method;
use serde_json::{Value, json};

use super::{boxed, raw};
use crate::api::Api;
use crate::builder::{self, Choice, Target, with_query};
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::manifest::{self, Files, diagnose};
use crate::printers;

/// The annotation that `apply` compares with.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The command.
pub const COMMAND: Command = Command {
    name: "create",
    usage: "create -f FILENAME",
    short: "Create a resource from a file or from stdin",
    long: "Create a resource from a file or from stdin.\n\nJSON and YAML are read; a file may hold several objects.",
    flags: &[
        shared::FILES,
        shared::OUTPUT,
        shared::DRY_RUN,
        shared::VALIDATE,
        shared::SAVE_CONFIG,
        shared::SELECTOR,
        &shared::manager("kubectl-create"),
        &[
            Flag::switch("edit", "Accepted only in kubectl: edit the object before it is created"),
            Flag::new("raw", Kind::Text, "", "Path to send the file to as it is"),
            Flag::switch("windows-line-endings", "Accepted for compatibility"),
        ],
    ],
    subcommands: generators::COMMANDS,
    run: boxed!(run),
    ..Command::EMPTY
};

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let files = Files::of(values)?;
    if !invocation.arguments().is_empty() {
        return Err(invocation.usage(&format!("Unexpected args: [{}]", invocation.arguments().join(" "))));
    }
    if files.is_empty() {
        return Err(message("must specify one of -f and -k"));
    }
    if values.on("edit") {
        return Err(message("--edit is not supported: edit the file and create it"));
    }
    let path = values.text("raw");
    if !path.is_empty() {
        raw::check(path)?;
        return raw::send(invocation, Method::POST, path).await;
    }
    let validation = validation(invocation)?;
    let dry_run = invocation.dry_run()?;
    let format = printers::outcome_format(values)?;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let mut failures = Vec::new();
    let targets = builder::chosen_from_files(invocation, &mapper, &choice, &files)?;
    if targets.is_empty() {
        return Err(manifest::preflight::nothing(invocation.context, "create"));
    }
    manifest::preflight::check(invocation, &api, &targets, dry_run, validation).await?;
    for target in targets {
        let created = match target {
            Ok(target) => create_target(invocation, &api, target, dry_run, validation).await,
            Err(failure) => Err(failure),
        };
        match created {
            Ok(object) => {
                let what = format!("created{}", dry_run.suffix());
                printers::outcome(invocation, &format, &object, &what)?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    builder::gather(failures)
}

async fn create_target(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: Target,
    dry_run: DryRun,
    validation: &str,
) -> Result<Value, Failure> {
    let mut object = target.object.clone().unwrap_or_default();
    if invocation.values.on("save-config") {
        annotate(&mut object);
    }
    if dry_run == DryRun::Client {
        return Ok(object);
    }
    let created = post(invocation, api, &target, &object, dry_run, validation).await;
    created.map_err(|failure| {
        explain(invocation, &target, failure.in_front(&format!("error when creating {:?}", target.source)))
    })
}

/// Sends an object to be created.
pub async fn post(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    object: &Value,
    dry_run: DryRun,
    validation: &str,
) -> Result<Value, Failure> {
    let collection =
        target.mapping.collection(Some(&target.namespace).filter(|own| !own.is_empty()).map(String::as_str));
    let path = with_query(&collection, &write_query(invocation, dry_run, validation, "kubectl-create"));
    api.write(Method::POST, &path, object).await
}

/// The parameters of a write.
pub fn write_query(invocation: &Invocation<'_>, dry_run: DryRun, validation: &str, manager: &str) -> String {
    let own = Some(invocation.values.text("field-manager")).filter(|own| !own.is_empty()).unwrap_or(manager);
    client::options::query(&[
        ("dryRun", (dry_run == DryRun::Server).then(|| "All".into())),
        ("fieldManager", Some(own.to_owned())),
        ("fieldValidation", Some(validation.to_owned()).filter(|text| !text.is_empty())),
    ])
}

/// `--validate` as the server names it.
pub fn validation(invocation: &Invocation<'_>) -> Result<&'static str, Failure> {
    let text = invocation.values.text("validate");
    match text {
        "strict" | "true" => Ok("Strict"),
        "warn" => Ok("Warn"),
        "ignore" | "false" => Ok("Ignore"),
        other => Err(message(format!(
            "invalid - validate option {other:?}; must be one of: strict (or true), warn, ignore (or false)"
        ))),
    }
}

/// Puts the configuration into the object's annotation, as `apply` finds it later.
pub fn annotate(object: &mut Value) {
    let text = configuration(object);
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][LAST_APPLIED] = text.into();
}

/// The configuration as the annotation holds it: without the annotation itself.
pub fn configuration(object: &Value) -> String {
    let mut bare = object.clone();
    if !bare["metadata"]["annotations"].is_object() {
        bare["metadata"]["annotations"] = json!({});
    }
    if let Some(annotations) = bare["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    printers::json::compact(&bare) + "\n"
}

/// For `carob`: where in the file that stands which the server refuses, and what to write instead.
pub fn explain(invocation: &Invocation<'_>, target: &Target, failure: Failure) -> Failure {
    let (Some(object), Some(origin)) = (&target.object, &target.origin) else { return failure };
    if invocation.context.is_kubectl() {
        return failure;
    }
    let hint = match &failure {
        Failure::Server(status) => diagnose::server(origin, object, target.mapping.definition(), status),
        _ if target.name.is_none() => diagnose::shape::nameless(origin, object),
        _ => String::new(),
    };
    failure.taught(hint)
}

/// Documents whose objects may be created, for other commands.
pub fn documents(invocation: &Invocation<'_>, files: &Files) -> Result<Vec<manifest::Document>, Failure> {
    let mut all = Vec::new();
    for source in manifest::read(invocation.context, files)? {
        for document in manifest::documents(invocation.context, &source, manifest::Look::Decoded) {
            all.push(document?);
        }
    }
    Ok(all)
}
