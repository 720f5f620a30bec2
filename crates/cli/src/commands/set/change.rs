//! One way of changing objects for `set`, `rollout` and the like: fetched (or read from files), changed, and sent as the
//! patch between before and after.

use model::tree::TreeExt;
use serde_json::Value;

use crate::builder::{self, Choice, Target, with_query};
use crate::command::{DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::manifest::Files;
use crate::printers;

const LOCAL_NEEDS_FILES: &str = "error: you must specify resources by --filename when --local is set.\nExample resource specifications include:\n   '-f rsrc.yaml'\n   '--filename=rsrc.json'";

/// How a command changes objects.
pub struct Changer<'a> {
    /// Types and names.
    pub resources: &'a [String],
    /// What is said afterwards: `image updated`.
    pub done: &'a str,
    /// Words in front of a refused patch.
    pub failed: &'a str,
    /// The name under which fields are owned.
    pub manager: &'a str,
    /// An unchanged object is told of and sent, too.
    pub even_without_change: bool,
}

impl<'a> Changer<'a> {
    /// A changer of these resources for `set`.
    pub fn new(resources: &'a [String]) -> Self {
        Self { resources, done: "", failed: "", manager: "kubectl-set", even_without_change: false }
    }
}

/// The specification of the Pods that an object is or makes.
pub fn pod_spec(object: &mut Value) -> Result<&mut Value, Failure> {
    let version = object.api_version().rsplit('/').next().unwrap_or_default().to_owned();
    let path: &[&str] = match object.kind() {
        "Pod" => &["spec"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
        "Deployment" | "DaemonSet" | "ReplicaSet" | "StatefulSet" | "Job" | "ReplicationController" => {
            &["spec", "template", "spec"]
        }
        kind => {
            return Err(message(format!(
                "the object is not a pod or does not have a pod template: *{version}.{kind}"
            )));
        }
    };
    Ok(path.iter().fold(object, |own, step| &mut own[*step]))
}

/// The objects that are meant.
pub async fn find(
    invocation: &Invocation<'_>,
    changer: &Changer<'_>,
) -> Result<Vec<Result<Target, Failure>>, Failure> {
    let values = &invocation.values;
    let api = invocation.api()?;
    let choice = Choice::of(invocation)?;
    let files = Files::of(values)?;
    let local = values.on("local");
    if local && !changer.resources.is_empty() {
        return Err(Failure::Plain(LOCAL_NEEDS_FILES.into()));
    }
    if changer.resources.is_empty() && files.is_empty() {
        return Err(message(builder::NOTHING_NAMED));
    }
    let mapper = invocation.mapper(&api).await?;
    if local {
        return builder::from_files(invocation, &mapper, &choice, &files);
    }
    let own = values.with_arguments(changer.resources);
    let own = Invocation { values: own, path: String::new(), ..*invocation };
    builder::objects(&own, &api, &mapper, &choice).await
}

/// Changes the objects and tells of each. `change` gets the object's name and its Pods' specification.
pub async fn change_all(
    invocation: &Invocation<'_>,
    changer: &Changer<'_>,
    found: Vec<Result<Target, Failure>>,
    change: impl Fn(&Target, &mut Value) -> Result<Vec<Failure>, Failure>,
) -> Result<(), Failure> {
    change_objects(invocation, changer, found, |target, object| change(target, pod_spec(object)?)).await
}

/// As [`change_all`], with the whole object.
pub async fn change_objects(
    invocation: &Invocation<'_>,
    changer: &Changer<'_>,
    found: Vec<Result<Target, Failure>>,
    change: impl Fn(&Target, &mut Value) -> Result<Vec<Failure>, Failure>,
) -> Result<(), Failure> {
    let format = printers::outcome_format(&invocation.values)?;
    let dry_run = invocation.dry_run()?;
    let mut failures = Vec::new();
    for target in found {
        let target = match target {
            Ok(target) => target,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        let before = target.object.clone().unwrap_or_default();
        let mut after = before.clone();
        match change(&target, &mut after) {
            Ok(problems) => failures.extend(problems),
            Err(failure) => {
                let name = format!("{}/{}", target.mapping.plural, before.name());
                failures.push(Failure::Plain(format!("error: {name} {}\n", failure.words())));
                continue;
            }
        }
        if before == after && !changer.even_without_change {
            continue;
        }
        let changed = if invocation.values.on("local") || dry_run == DryRun::Client {
            Ok(after)
        } else {
            send(invocation, changer, &target, &before, &after, dry_run).await
        };
        let what = format!("{}{}", done(invocation, changer), dry_run.suffix());
        match changed {
            Ok(object) => printers::outcome(invocation, &format, &object, &what)?,
            Err(failure) => failures.push(failure),
        }
    }
    builder::gather(failures)
}

fn done(invocation: &Invocation<'_>, changer: &Changer<'_>) -> String {
    if !changer.done.is_empty() {
        return changer.done.to_owned();
    }
    let what = match invocation.command.name {
        "resources" => "resource requirements",
        name => name,
    };
    format!("{what} updated")
}

async fn send(
    invocation: &Invocation<'_>,
    changer: &Changer<'_>,
    target: &Target,
    before: &Value,
    after: &Value,
    dry_run: DryRun,
) -> Result<Value, Failure> {
    let patch = resources::patch::two_way::create(target.mapping.definition(), before, after)
        .map_err(|error| message(error.to_string()))?;
    let parameters = super::super::create::write_query(invocation, dry_run, "", changer.manager);
    let path = with_query(&target.path(), &parameters);
    let content_type = "application/strategic-merge-patch+json";
    let sent = invocation.api()?.patch(&path, content_type, patch.to_string().into_bytes()).await;
    sent.map_err(|failure| match failure {
        Failure::Server(status) if !changer.failed.is_empty() => {
            message(format!("{} {}", changer.failed, crate::failure::words_of(&status)))
        }
        other => other,
    })
}
