//! `label` and `annotate`: pairs of an object's metadata set and removed.

use client::options::query;
use serde_json::{Map, Value, json};

use super::boxed;
use crate::builder::{self, Choice, Target, with_query};
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::printers;

const FLAGS: [&[Flag]; 7] = [
    shared::FILES,
    shared::OUTPUT,
    shared::DRY_RUN,
    shared::SELECTOR,
    shared::FIELD_SELECTOR,
    shared::ALL_NAMESPACES,
    &[
        Flag::switch("all", "All objects of the types in the namespace"),
        Flag::switch("list", "Only show what is there"),
        Flag::switch("local", "Change the object of the file and print it: no server is asked"),
        Flag::switch("overwrite", "Change values that are there already"),
        Flag::new("resource-version", Kind::Text, "", "Only if the object still has this version"),
    ],
];

const fn flags(manager: &'static [Flag]) -> [&'static [Flag]; 8] {
    let [files, output, dry_run, selector, fields, namespaces, own] = FLAGS;
    [files, output, dry_run, selector, fields, namespaces, own, manager]
}

/// `label`.
pub const LABEL: Command = Command {
    name: "label",
    usage: "label [--overwrite] (-f FILENAME | TYPE NAME) KEY_1=VAL_1 ... KEY_N=VAL_N [--resource-version=version]",
    short: "Update the labels on a resource",
    long: "Update the labels on a resource. KEY- removes a label.",
    flags: &flags(&shared::manager("kubectl-label")),
    run: boxed!(label),
    ..Command::EMPTY
};

/// `annotate`.
pub const ANNOTATE: Command = Command {
    name: "annotate",
    usage: "annotate [--overwrite] (-f FILENAME | TYPE NAME) KEY_1=VAL_1 ... KEY_N=VAL_N [--resource-version=version]",
    short: "Update the annotations on a resource",
    long: "Update the annotations on a resource. KEY- removes an annotation.",
    flags: &flags(&shared::manager("kubectl-annotate")),
    run: boxed!(annotate),
    ..Command::EMPTY
};

/// What tells the two commands apart.
struct Way {
    field: &'static str,
    what: &'static str,
    done: &'static str,
}

async fn label(invocation: &Invocation<'_>) -> Result<(), Failure> {
    run(invocation, &Way { field: "labels", what: "label", done: "labeled" }).await
}

async fn annotate(invocation: &Invocation<'_>) -> Result<(), Failure> {
    run(invocation, &Way { field: "annotations", what: "annotation", done: "annotated" }).await
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    set: Vec<(String, String)>,
    remove: Vec<String>,
}

fn is_pair(word: &str) -> bool {
    (word.contains('=') && !word.starts_with('=')) || (word.ends_with('-') && word != "-")
}

/// Types and names first, then pairs.
fn divide<'a>(arguments: &'a [String], what: &str) -> Result<(&'a [String], &'a [String]), Failure> {
    let at = arguments.iter().position(|word| is_pair(word)).unwrap_or(arguments.len());
    let (resources, pairs) = arguments.split_at(at);
    if let Some(stray) = pairs.iter().find(|word| !is_pair(word)) {
        return Err(message(format!("all resources must be specified before {what} changes: {stray}")));
    }
    Ok((resources, pairs))
}

fn changes(pairs: &[String], way: &Way) -> Result<Changes, Failure> {
    let mut changes = Changes::default();
    let what = way.what;
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            changes.remove.push(pair.trim_end_matches('-').to_owned());
            continue;
        };
        if key.is_empty() || (what == "label" && value.contains('=')) {
            return Err(message(format!("invalid {what} spec: {pair}")));
        }
        let problems = if what == "label" { model::names::label_value(value) } else { Vec::new() };
        if !problems.is_empty() {
            return Err(message(format!("invalid label value: {pair:?}: {}", problems.join(";"))));
        }
        changes.set.push((key.to_owned(), value.to_owned()));
    }
    let twice: Vec<&str> = changes
        .remove
        .iter()
        .filter(|key| changes.set.iter().any(|(own, _)| own == *key))
        .map(String::as_str)
        .collect();
    if !twice.is_empty() {
        return Err(message(match what {
            "label" => "can not both modify and remove a label in the same command".to_owned(),
            _ => format!(
                "can not both modify and remove the following annotation(s) in the same command: {}",
                twice.join(",")
            ),
        }));
    }
    Ok(changes)
}

async fn run(invocation: &Invocation<'_>, way: &Way) -> Result<(), Failure> {
    let values = &invocation.values;
    let local = values.on("local");
    let (resources, pairs) = divide(invocation.arguments(), way.what)?;
    let changes = changes(pairs, way)?;
    let files = crate::manifest::Files::of(values)?;
    for selector in ["selector", "field-selector"] {
        if values.on("all") && !values.text(selector).is_empty() {
            return Err(message(format!("cannot set --all and --{selector} at the same time")));
        }
    }
    if local {
        check_local(invocation, resources, &files)?;
    } else if resources.is_empty() && files.is_empty() {
        return Err(message(
            "one or more resources must be specified as <resource> <name> or <resource>/<name>",
        ));
    }
    if pairs.is_empty() && !values.on("list") {
        return Err(message(format!("at least one {} update is required", way.what)));
    }
    let dry_run = invocation.dry_run()?;
    let format = printers::outcome_format(values)?;
    if local {
        for document in super::create::documents(invocation, &files)? {
            if let Some((object, what, _)) = change(invocation, way, document.object, &changes)? {
                printers::outcome(invocation, &format, &object, &what)?;
            }
        }
        return Ok(());
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let resources =
        Invocation { values: values.with_arguments(resources), path: String::new(), ..*invocation };
    let mut failures = Vec::new();
    for target in builder::objects(&resources, &api, &mapper, &choice).await? {
        let done = match target {
            Ok(target) => one(invocation, &api, way, &target, &changes, dry_run).await,
            Err(failure) => Err(failure),
        };
        match done {
            Ok(None) => {}
            Ok(Some((object, what))) => {
                printers::outcome(invocation, &format, &object, &format!("{what}{}", dry_run.suffix()))?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    builder::gather(failures)
}

/// What --local refuses.
fn check_local(
    invocation: &Invocation<'_>,
    resources: &[String],
    files: &crate::manifest::Files,
) -> Result<(), Failure> {
    if invocation.dry_run()? == DryRun::Server {
        return Err(message("cannot specify --local and --dry-run=server - did you mean --dry-run=client?"));
    }
    if !resources.is_empty() {
        return Err(message(
            "can only use local files by -f pod.yaml or --filename=pod.json when --local=true is set",
        ));
    }
    if files.is_empty() {
        return Err(message("one or more files must be specified as -f pod.yaml or --filename=pod.json"));
    }
    Ok(())
}

async fn one(
    invocation: &Invocation<'_>,
    api: &crate::api::Api<'_>,
    way: &Way,
    target: &Target,
    changes: &Changes,
    dry_run: DryRun,
) -> Result<Option<(Value, String)>, Failure> {
    let object = target.object.clone().unwrap_or_default();
    let Some((object, what, patch)) = change(invocation, way, object, changes)? else { return Ok(None) };
    let Some(patch) = patch.filter(|_| dry_run != DryRun::Client) else { return Ok(Some((object, what))) };
    let parameters = query(&[
        ("dryRun", (dry_run == DryRun::Server).then(|| "All".into())),
        ("fieldManager", Some(invocation.values.text("field-manager").to_owned())),
    ]);
    let path = with_query(&target.path(), &parameters);
    let patched = api.patch(&path, "application/merge-patch+json", patch.to_string().into_bytes()).await?;
    Ok(Some((patched, what)))
}

/// The changed object, what is said about it, and the patch if anything changed; nothing if it was only shown.
fn change(
    invocation: &Invocation<'_>,
    way: &Way,
    mut object: Value,
    changes: &Changes,
) -> Result<Option<(Value, String, Option<Value>)>, Failure> {
    let values = &invocation.values;
    let known = object["metadata"][way.field].as_object().cloned().unwrap_or_default();
    if values.on("list") && changes == &Changes::default() {
        for (key, value) in &known {
            invocation.context.out(&format!("{key}={}\n", value.as_str().unwrap_or_default()));
        }
        return Ok(None);
    }
    if !values.on("overwrite") {
        refuse_overwrites(&known, changes, way)?;
    }
    for key in changes.remove.iter().filter(|key| !known.contains_key(*key)) {
        if way.what == "label" {
            invocation.context.out(&format!("label {key:?} not found.\n"));
        }
    }
    let added: Vec<_> = changes
        .set
        .iter()
        .filter(|(key, value)| known.get(key).and_then(Value::as_str) != Some(value))
        .collect();
    let removed: Vec<_> = changes.remove.iter().filter(|key| known.contains_key(*key)).collect();
    let what = match (way.what, added.is_empty(), removed.is_empty()) {
        ("annotation", ..) | (_, false, _) => way.done,
        (_, true, false) => "unlabeled",
        _ => "not labeled",
    };
    let mut patch = Map::new();
    patch.extend(added.into_iter().map(|(key, value)| (key.clone(), json!(value))));
    patch.extend(removed.into_iter().map(|key| (key.clone(), Value::Null)));
    if patch.is_empty() {
        return Ok(Some((object, what.to_owned(), None)));
    }
    let mut patch = json!({"metadata": {way.field: patch}});
    if !values.text("resource-version").is_empty() {
        patch["metadata"]["resourceVersion"] = values.text("resource-version").into();
    }
    json_patch::merge(&mut object, &patch);
    Ok(Some((object, what.to_owned(), Some(patch))))
}

fn refuse_overwrites(known: &Map<String, Value>, changes: &Changes, way: &Way) -> Result<(), Failure> {
    let mut told = Vec::new();
    for (key, value) in &changes.set {
        match known.get(key).and_then(Value::as_str) {
            Some(old) if old != value => told.push(format!("'{key}' already has a value ({old})")),
            _ => {}
        }
    }
    if told.is_empty() {
        return Ok(());
    }
    if way.what == "annotation" {
        let told = told.join("; ");
        return Err(message(format!(
            "--overwrite is false but found the following declared annotation(s): {told}"
        )));
    }
    builder::gather(
        told.into_iter().map(|text| message(format!("{text}, and --overwrite is false"))).collect(),
    )
}
