//! `rollout history` and `rollout undo`: the revisions of a workload, which are ReplicaSets of a Deployment and
//! ControllerRevisions of others.

use std::collections::BTreeMap;

use model::tree::TreeExt;
use serde_json::{Value, json};

use super::rollout::is_named;
use crate::api::Api;
use crate::builder::{self, Choice, Target, items, selector_query, with_query};
use crate::command::{DryRun, Invocation};
use crate::commands::create::LAST_APPLIED;
use crate::commands::pods;
use crate::describe::workloads::is_controlled_by;
use crate::describe::{Writer, template};
use crate::failure::{Failure, message};
use crate::printers::{self, Format};
use crate::text::tabs;

/// The annotation with a ReplicaSet's revision.
const REVISION: &str = "deployment.kubernetes.io/revision";
/// The annotation with what a revision was made by.
const CAUSE: &str = "kubernetes.io/change-cause";
/// The label that tells the ReplicaSets of a Deployment apart.
const HASH: &str = "pod-template-hash";

/// A revision: what holds it, and the template of its Pods.
struct Revision {
    holder: Value,
    template: Value,
}

/// The revisions of a workload by number.
async fn revisions(
    api: &Api<'_>,
    target: &Target,
    object: &Value,
) -> Result<BTreeMap<i64, Revision>, Failure> {
    let plural = if object.kind() == "Deployment" { "replicasets" } else { "controllerrevisions" };
    let path = client::Path::collection("apps", "v1", plural, Some(&target.namespace));
    let selector = selector_query(&pods::selector(object).unwrap_or_default());
    let list = api.get(&with_query(path.as_str(), &selector)).await?;
    let own = items(&list).into_iter().filter(|one| is_controlled_by(one, object));
    Ok(own.map(|holder| numbered(holder, object)).collect())
}

fn numbered(holder: Value, object: &Value) -> (i64, Revision) {
    if object.kind() == "Deployment" {
        let number = holder.text(&["metadata", "annotations", REVISION]).parse().unwrap_or(0);
        let template = holder["spec"]["template"].clone();
        return (number, Revision { holder, template });
    }
    // A ControllerRevision is the patch that makes the workload so.
    let mut template = holder["data"]["spec"]["template"].clone();
    template.unset(&["$patch"]);
    (holder.integer(&["revision"]).unwrap_or(0), Revision { holder, template })
}

fn is_kept(target: &Target) -> bool {
    target.mapping.group == "apps"
        && matches!(&*target.mapping.kind, "Deployment" | "DaemonSet" | "StatefulSet")
}

/// `Pod`, `ReplicaSet.apps`, and whether kubectl knows the kind as one with Pods.
fn unsupported(target: &Target, what: &str) -> Failure {
    let (kind, group) = (&target.mapping.kind, &target.mapping.group);
    let named = if group.is_empty() { kind.clone() } else { format!("{kind}.{group}") };
    if matches!(&**kind, "Pod" | "ReplicaSet" | "ReplicationController" | "Job" | "CronJob") {
        return message(format!("no {what} has been implemented for {named:?}"));
    }
    let verb = if what == "rollbacker" { "rollbacker" } else { "history" };
    message(format!("error retrieving {verb} for {named:?}, no visitor method exists for {{{group} {kind}}}"))
}

fn described(shown: &Value) -> String {
    let mut writer = Writer::default();
    template(shown, &mut writer);
    tabs::align(&writer.text, tabs::DESCRIBE)
}

async fn each(invocation: &Invocation<'_>, api: &Api<'_>) -> Result<(Vec<Target>, Vec<Failure>), Failure> {
    let mapper = invocation.mapper(api).await?;
    let choice = Choice { all: true, ..Choice::of(invocation)? };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for target in builder::objects(invocation, api, &mapper, &choice).await? {
        match target {
            Ok(target) => found.push(target),
            Err(failure) => failures.push(failure),
        }
    }
    Ok((found, failures))
}

/// `rollout history`.
pub async fn history(invocation: &Invocation<'_>) -> Result<(), Failure> {
    is_named(invocation)?;
    let revision = invocation.values.integer("revision");
    if revision < 0 {
        return Err(message(format!("revision must be a positive integer: {revision}")));
    }
    let format = printers::outcome_format(&invocation.values)?;
    let api = invocation.api()?;
    let (found, mut failures) = each(invocation, &api).await?;
    for target in found {
        failures.extend(show(invocation, &api, &target, revision, &format).await.err());
    }
    builder::gather(failures)
}

async fn show(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    revision: i64,
    format: &Format,
) -> Result<(), Failure> {
    if !is_kept(target) {
        return Err(unsupported(target, "history viewer"));
    }
    let object = target.object.clone().unwrap_or_default();
    let known = revisions(api, target, &object).await?;
    let missing = || message("unable to find the specified revision");
    if let Format::Printer(printer) = format {
        let chosen: Vec<&Revision> = match revision {
            0 => known.values().collect(),
            number => vec![known.get(&number).ok_or_else(missing)?],
        };
        for one in chosen {
            let holder = printers::shown(&invocation.values, &one.holder);
            invocation.context.out(&printer.print(&holder)?);
        }
        return Ok(());
    }
    let text = if known.is_empty() {
        "No rollout history found.".to_owned()
    } else if revision > 0 {
        let one = known.get(&revision).ok_or_else(missing)?;
        let mut shown = one.template.clone();
        let cause = cause(one);
        if !cause.is_empty() && object.kind() == "Deployment" {
            shown["metadata"]["annotations"][CAUSE] = cause.into();
        }
        described(&shown)
    } else {
        overview(&known)
    };
    let with = if revision > 0 { format!("with revision #{revision}") } else { String::new() };
    invocation.context.out(&format!("{} {with}\n{text}\n", printers::name(&object)));
    Ok(())
}

fn cause(one: &Revision) -> &str {
    one.holder.text(&["metadata", "annotations", CAUSE])
}

fn overview(known: &BTreeMap<i64, Revision>) -> String {
    let mut text = "REVISION\tCHANGE-CAUSE\n".to_owned();
    for (number, one) in known {
        let cause = if cause(one).is_empty() { "<none>" } else { cause(one) };
        text.push_str(&format!("{number}\t{cause}\n"));
    }
    tabs::align(&text, tabs::DESCRIBE)
}

/// `rollout undo`.
pub async fn undo(invocation: &Invocation<'_>) -> Result<(), Failure> {
    is_named(invocation)?;
    let dry_run = invocation.dry_run()?;
    let format = printers::outcome_format(&invocation.values)?;
    let api = invocation.api()?;
    let (found, mut failures) = each(invocation, &api).await?;
    for target in found {
        let object = target.object.clone().unwrap_or_default();
        if object.at(&["metadata", "annotations", LAST_APPLIED]).is_some() {
            let program = &invocation.context.program;
            invocation.context.err(&format!(
                "Warning: resource {}/{} was previously managed with '{program} apply'. Rolling back will not update the {LAST_APPLIED} annotation, which may cause unexpected behavior on future '{program} apply' operations. Consider using '{program} apply' with your previous configuration file instead.\n",
                target.mapping.plural,
                object.name()
            ));
        }
        match roll_back(invocation, &api, &target, &object, dry_run).await {
            Ok(what) => {
                printers::outcome(invocation, &format, &object, &format!("{what}{}", dry_run.suffix()))?;
            }
            Err(failure) => failures.push(failure),
        }
    }
    builder::gather(failures)
}

/// The revision to go to: the one that was asked for, or the one before the latest.
fn chosen(known: &BTreeMap<i64, Revision>, wanted: i64) -> Option<&Revision> {
    if wanted != 0 { known.get(&wanted) } else { known.values().nth_back(1) }
}

async fn roll_back(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    object: &Value,
    dry_run: DryRun,
) -> Result<String, Failure> {
    if !is_kept(target) {
        return Err(unsupported(target, "rollbacker"));
    }
    let is_deployment = object.kind() == "Deployment";
    let wanted = invocation.values.integer("to-revision");
    let unknown = || message(format!("unable to find specified revision {wanted} in history"));
    if wanted < 0 {
        return Err(unknown());
    }
    let known = revisions(api, target, object).await?;
    let to = match chosen(&known, wanted) {
        Some(to) => to,
        None if wanted > 0 => return Err(unknown()),
        None if is_deployment => {
            return Err(message(format!("no rollout history found for deployment {:?}", object.name())));
        }
        None => return Err(message("no last revision to roll back to")),
    };
    let mut template = to.template.clone();
    if dry_run == DryRun::Client {
        let words = if is_deployment { "" } else { "will roll back to " };
        return Ok(format!("{words}{}", described(&template)));
    }
    if object["spec"]["paused"] == true {
        return Err(message(
            "you cannot rollback a paused deployment; resume it first with 'kubectl rollout resume' and try again",
        ));
    }
    template.unset(&["metadata", "labels", HASH]);
    if same(&template, &object["spec"]["template"]) {
        return Ok(format!("skipped rollback (current template already matches revision {wanted})"));
    }
    let (patch, content_type) = if is_deployment {
        (deployment_patch(object, to, template), "application/json-patch+json")
    } else {
        (to.holder["data"].clone(), "application/strategic-merge-patch+json")
    };
    let dry = if dry_run == DryRun::Server { "dryRun=All" } else { "" };
    let path = with_query(&target.path(), dry);
    let sent = api.patch(&path, content_type, patch.to_string().into_bytes()).await;
    sent.map_err(|failure| match failure {
        Failure::Server(status) => {
            message(format!("failed restoring revision {wanted}: {}", crate::failure::words_of(&status)))
        }
        other => other,
    })?;
    Ok("rolled back".to_owned())
}

fn same(one: &Value, other: &Value) -> bool {
    let bare = |template: &Value| {
        let mut template = template.clone();
        template.unset(&["metadata", "creationTimestamp"]);
        template.unset(&["metadata", "labels", HASH]);
        template
    };
    bare(one) == bare(other)
}

/// The template goes back, and with it the annotations that the revision was made with.
fn deployment_patch(object: &Value, to: &Revision, template: Value) -> Value {
    // These belong to the Deployment or the ReplicaSet itself, not to the revision.
    let stays = |key: &str| {
        key == LAST_APPLIED
            || matches!(
                key.strip_prefix("deployment.kubernetes.io/"),
                Some("revision" | "revision-history" | "desired-replicas" | "max-replicas")
            )
            || key == "deprecated.deployment.rollback.to"
    };
    let of = |value: &Value| value["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    let mut annotations = serde_json::Map::new();
    annotations.extend(of(object).into_iter().filter(|(key, _)| stays(key)));
    annotations.extend(of(&to.holder).into_iter().filter(|(key, _)| !stays(key)));
    json!([
        {"op": "replace", "path": "/spec/template", "value": template},
        // Not replaced: there may be none yet.
        {"op": "add", "path": "/metadata/annotations", "value": annotations},
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_before_the_latest_is_gone_back_to() {
        let set = |number: i64| {
            let holder = json!({"metadata": {"annotations": {REVISION: number.to_string(), CAUSE: "why"}}, "spec": {"template": {"n": number}}});
            numbered(holder, &json!({"kind": "Deployment"}))
        };
        let known: BTreeMap<i64, Revision> = [set(3), set(1), set(7)].into_iter().collect();
        assert_eq!(overview(&known), "REVISION  CHANGE-CAUSE\n1         why\n3         why\n7         why\n");
        for (wanted, want) in [(0, Some(3)), (1, Some(1)), (2, None)] {
            let number = chosen(&known, wanted).and_then(|one| one.template.integer(&["n"]));
            assert_eq!(number, want, "{wanted}");
        }
        let patched = deployment_patch(
            &json!({"metadata": {"annotations": {REVISION: "7", "mine": "gone"}}}),
            &known[&3],
            json!({}),
        );
        assert_eq!(patched[1]["value"], json!({REVISION: "7", CAUSE: "why"}));
        let one = numbered(
            json!({"revision": 4, "data": {"spec": {"template": {"$patch": "replace", "spec": {}}}}}),
            &json!({"kind": "DaemonSet"}),
        );
        assert_eq!((one.0, one.1.template), (4, json!({"spec": {}})));
    }
}
