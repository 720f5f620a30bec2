//! `apply`: what the file says becomes so, by a three-way patch between the last applied configuration, the file and
//! the server's object.

use model::tree::TreeExt;
use resources::patch::{PatchType, three_way};
use serde_json::Value;

use super::create::{self, LAST_APPLIED};
use super::{boxed, last_applied};
use crate::api::Api;
use crate::builder::{self, Choice, Target, with_query};
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::manifest::{self, Files};
use crate::printers::{self, Format};
use crate::progress::Progress;

/// How often a patch is made anew after somebody else's write.
const TRIES: usize = 5;

/// The command.
pub const COMMAND: Command = Command {
    name: "apply",
    usage: "apply (-f FILENAME | -k DIRECTORY)",
    short: "Apply a configuration to a resource by file name or stdin",
    long: "Apply a configuration to a resource by file name or stdin. The object is created if it does not exist yet.\n\nFields that an earlier apply set and the file no longer has are removed; fields that others set stay.",
    flags: &[
        shared::FILES,
        shared::OUTPUT,
        shared::DRY_RUN,
        shared::VALIDATE,
        shared::SELECTOR,
        &[
            Flag::switch("all", "With --prune: all objects of the namespace"),
            Flag::new(
                "cascade",
                Kind::Text,
                "background",
                "What becomes of dependents when an object is replaced",
            )
            .bare("background"),
            Flag::new(
                "field-manager",
                Kind::Text,
                "kubectl-client-side-apply",
                "Name under which fields are owned",
            ),
            Flag::switch("force", "Delete and create objects that cannot be patched"),
            Flag::switch("force-conflicts", "Only with --server-side: take fields from other owners"),
            Flag::new(
                "grace-period",
                Kind::Integer,
                "-1",
                "Seconds that objects get to end when they are replaced",
            ),
            Flag::new("openapi-patch", Kind::Bool, "true", "Accepted for compatibility"),
            Flag::new("overwrite", Kind::Bool, "true", "Resolve conflicts by the file's values"),
            Flag::switch("prune", "Not supported: delete objects that no file names any more"),
            Flag::new("prune-allowlist", Kind::Array, "", "Accepted for compatibility"),
            Flag::switch("server-side", "Not supported yet: apply in the server"),
            Flag::new("subresource", Kind::Text, "", "Only with --server-side: the subresource to apply to"),
            Flag::new("timeout", Kind::Duration, "0s", "How long to wait for objects that are replaced"),
            Flag::switch("wait", "Wait for objects that are replaced to be gone"),
        ],
    ],
    subcommands: &[last_applied::SET, last_applied::VIEW],
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
    if values.on("force-conflicts") && !values.on("server-side") {
        return Err(message("--force-conflicts only works with --server-side"));
    }
    if values.on("server-side") {
        return Err(message("--server-side is not supported by this client yet: apply without it"));
    }
    if values.on("prune") && !values.on("all") && values.text("selector").is_empty() {
        return Err(message(
            "all resources selected for prune without explicitly passing --all. To prune all resources, pass the --all flag. If you did not mean to prune all resources, specify a label selector",
        ));
    }
    if values.on("prune") {
        return Err(message("--prune is not supported by this client: delete what is no longer wanted"));
    }
    let validation = create::validation(invocation)?;
    let dry_run = invocation.dry_run()?;
    let format = printers::outcome_format(values)?;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let mut failures = Vec::new();
    let mut objects = Vec::new();
    let targets = builder::chosen_from_files(invocation, &mapper, &choice, &files)?;
    if targets.is_empty() {
        return Err(manifest::preflight::nothing(invocation.context, "apply"));
    }
    manifest::preflight::check(invocation, &api, &targets, dry_run, validation).await?;
    for target in targets {
        let applied = match target {
            Ok(target) => apply(invocation, &api, target, dry_run, validation).await,
            Err(failure) => Err(failure),
        };
        match applied {
            Ok((object, what)) => match &format {
                Format::Human { .. } => {
                    let what = format!("{what}{}", dry_run.suffix());
                    printers::outcome(invocation, &format, &object, &what)?;
                }
                Format::Printer(printer) if printer.is_single() => {
                    printers::outcome(invocation, &format, &object, what)?;
                }
                Format::Printer(_) => objects.push(object),
            },
            Err(failure) => failures.push(failure),
        }
    }
    if let (Format::Printer(printer), false) = (&format, objects.is_empty()) {
        let whole = if objects.len() == 1 { objects.remove(0) } else { printers::list(objects) };
        invocation.context.out(&printer.print(&printers::shown(values, &whole))?);
    }
    builder::gather(failures)
}

async fn apply(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: Target,
    dry_run: DryRun,
    validation: &str,
) -> Result<(Value, &'static str), Failure> {
    let object = target.object.clone().unwrap_or_default();
    let source = &target.source;
    if target.name.is_none() {
        if !object.text(&["metadata", "generateName"]).is_empty() {
            return Err(message(format!(
                "from {}: cannot use generate name with apply",
                object.text(&["metadata", "generateName"])
            )));
        }
        let failure = message(format!(
            "error when retrieving current configuration of {source:?}: resource name may not be empty"
        ));
        return Err(create::explain(invocation, &target, failure));
    }
    let mut modified = object.clone();
    create::annotate(&mut modified);
    let current = match api.get(&target.path()).await {
        Ok(current) => current,
        Err(failure) if failure.is_not_found() => {
            let made = create_missing(invocation, api, &target, modified, dry_run, validation).await;
            return made.map(|object| (object, "created"));
        }
        Err(failure) => {
            let words = format!(
                "error when retrieving current configuration of:\n{}\nfrom server for: {source:?}",
                described(&target)
            );
            return Err(failure.in_front(&words));
        }
    };
    if current.at(&["metadata", "annotations", LAST_APPLIED]).is_none() {
        let program = &invocation.context.program;
        invocation.context.err(&format!(
            "Warning: resource {} is missing the {LAST_APPLIED} annotation which is required by {program} apply. {program} apply should only be used on resources created declaratively by either {program} create --save-config or {program} apply. The missing annotation will be patched automatically.\n",
            format_args!("{}/{}", target.mapping.resource(), object.name()),
        ));
    }
    let (object, changed) =
        patched(invocation, api, &target, &modified, current, dry_run, validation).await?;
    if object.at(&["metadata", "deletionTimestamp"]).is_some() {
        invocation.context.err(&format!(
            "Warning: Detected changes to resource {} which is currently being deleted.\n",
            object.name()
        ));
    }
    Ok((object, if changed || dry_run == DryRun::Client { "configured" } else { "unchanged" }))
}

fn described(target: &Target) -> String {
    let mapping = &target.mapping;
    let kind = format!("{}, Kind={}", mapping.api_version(), mapping.kind);
    let resource = format!("{}, Resource={}", mapping.api_version(), mapping.plural);
    let name = target.name.as_deref().unwrap_or_default();
    let slash = |text: String| if mapping.group.is_empty() { format!("/{text}") } else { text };
    format!(
        "Resource: {:?}, GroupVersionKind: {:?}\nName: {name:?}, Namespace: {:?}",
        slash(resource),
        slash(kind),
        target.namespace
    )
}

async fn create_missing(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    mut object: Value,
    dry_run: DryRun,
    validation: &str,
) -> Result<Value, Failure> {
    without_nulls(&mut object);
    if dry_run == DryRun::Client {
        return Ok(object);
    }
    let collection =
        target.mapping.collection(Some(&target.namespace).filter(|own| !own.is_empty()).map(String::as_str));
    let parameters = create::write_query(invocation, dry_run, validation, "kubectl-client-side-apply");
    let made = api.write(http::Method::POST, &with_query(&collection, &parameters), &object).await;
    made.map_err(|failure| {
        create::explain(
            invocation,
            target,
            failure.in_front(&format!("error when creating {:?}", target.source)),
        )
    })
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, inner| !inner.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

async fn patched(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    modified: &Value,
    mut current: Value,
    dry_run: DryRun,
    validation: &str,
) -> Result<(Value, bool), Failure> {
    for left in (0..TRIES).rev() {
        let (patch, kind) = make_patch(target, modified, &current)?;
        if patch.as_object().is_some_and(serde_json::Map::is_empty) {
            return Ok((current, false));
        }
        let bytes = patch.to_string().into_bytes();
        if dry_run == DryRun::Client {
            let ignore = resources::schema::FieldValidation::Ignore;
            let applied =
                resources::patch::apply(kind, target.mapping.definition(), &current, &bytes, ignore);
            return Ok((applied.map_err(Failure::Server)?.object, true));
        }
        let content_type = match kind {
            PatchType::Strategic => "application/strategic-merge-patch+json",
            _ => "application/merge-patch+json",
        };
        let parameters = create::write_query(invocation, dry_run, validation, "kubectl-client-side-apply");
        match api.patch(&with_query(&target.path(), &parameters), content_type, bytes).await {
            Ok(object) => return Ok((object, true)),
            Err(Failure::Server(status)) if status.is(model::Reason::Conflict) && left > 0 => {
                current = api.get(&target.path()).await?;
            }
            Err(failure) => {
                if invocation.values.on("force")
                    && matches!(&failure, Failure::Server(status) if matches!(status.code, 409 | 422))
                {
                    return replace(invocation, api, target, modified, validation)
                        .await
                        .map(|object| (object, true));
                }
                let words = format!(
                    "error when applying patch:\n{}\nto:\n{}\nfor: {:?}",
                    printers::json::compact(&patch),
                    described(target),
                    target.source
                );
                return Err(explain_refusal(invocation, target, failure, &words));
            }
        }
    }
    Err(message("the object kept changing while it was patched: try again"))
}

fn explain_refusal(invocation: &Invocation<'_>, target: &Target, failure: Failure, words: &str) -> Failure {
    // What is said about a field is said about the object, as kubectl has it.
    let failure = match failure {
        Failure::Server(status) if status.is(model::Reason::Invalid) => Failure::Server(status),
        other => other.in_front(words),
    };
    create::explain(invocation, target, failure)
}

pub(super) fn make_patch(
    target: &Target,
    modified: &Value,
    current: &Value,
) -> Result<(Value, PatchType), Failure> {
    let annotation = current.text(&["metadata", "annotations", LAST_APPLIED]);
    let original: Option<Value> = match annotation {
        "" => None,
        text => Some(serde_json::from_str(text).map_err(|error| {
            message(format!("the annotation {LAST_APPLIED} of {} cannot be read: {error}", target.display()))
        })?),
    };
    match target.mapping.definition() {
        Some(definition) => {
            let patch = three_way::strategic(definition, original.as_ref(), modified, current);
            Ok((patch.map_err(|error| message(error.to_string()))?, PatchType::Strategic))
        }
        None => Ok((three_way::merge(original.as_ref(), modified, current), PatchType::Merge)),
    }
}

/// `--force`: the object goes and comes back.
pub(crate) async fn replace(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    modified: &Value,
    validation: &str,
) -> Result<Value, Failure> {
    let mut options =
        serde_json::json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"});
    let grace_s = invocation.values.integer("grace-period");
    if grace_s >= 0 {
        options["gracePeriodSeconds"] = grace_s.into();
    }
    api.write(http::Method::DELETE, &target.path(), &options).await?;
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(600);
    let progress = Progress::show(invocation.context, format!("waiting for {} to be gone", target.display()));
    super::wait::until_deleted(api, target, "", end).await?;
    drop(progress);
    create_missing(invocation, api, target, modified.clone(), DryRun::No, validation).await
}
