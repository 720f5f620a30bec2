//! `rollout`: workloads restarted, paused and resumed, and how far a change has come.

use client::WatchEvent;
use client::options::query;
use futures::StreamExt;
use model::tree::TreeExt;
use serde_json::Value;
use tokio::time::Instant;

use super::boxed;
use super::set::{Changer, change_objects, find};
use crate::api::{Api, JSON};
use crate::builder::{self, Choice, Target, with_query};
use crate::command::{Command, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Groups, Kind, shared};
use crate::manifest::Files;

const FLAGS: Groups = &[shared::FILES, shared::OUTPUT, shared::SELECTOR, &shared::manager("kubectl-rollout")];

/// The command.
pub const COMMAND: Command = Command {
    name: "rollout",
    usage: "rollout SUBCOMMAND",
    short: "Manage the rollout of a resource",
    long: "Manage the rollout of one or many resources.",
    help_is_answer: true,
    subcommands: &[
        Command {
            name: "history",
            usage: "history (TYPE NAME | TYPE/NAME) [flags]",
            short: "View rollout history",
            flags: &[
                shared::FILES,
                shared::OUTPUT,
                shared::SELECTOR,
                &[Flag::new(
                    "revision",
                    Kind::Integer,
                    "0",
                    "Show this revision with its template; 0 lists all",
                )],
            ],
            run: boxed!(super::rollout_history::history),
            ..Command::EMPTY
        },
        Command {
            name: "pause",
            usage: "pause RESOURCE",
            short: "Mark the provided resource as paused",
            flags: FLAGS,
            run: boxed!(pause),
            ..Command::EMPTY
        },
        Command {
            name: "restart",
            usage: "restart RESOURCE",
            short: "Restart a resource",
            flags: FLAGS,
            run: boxed!(restart),
            ..Command::EMPTY
        },
        Command {
            name: "resume",
            usage: "resume RESOURCE",
            short: "Resume a paused resource",
            flags: FLAGS,
            run: boxed!(resume),
            ..Command::EMPTY
        },
        Command {
            name: "status",
            usage: "status (TYPE NAME | TYPE/NAME) [flags]",
            short: "Show the status of the rollout",
            flags: &[
                shared::FILES,
                shared::SELECTOR,
                &[
                    Flag::new("revision", Kind::Integer, "0", "Only this revision; 0 is the latest"),
                    Flag::new("timeout", Kind::Duration, "0s", "How long to watch; 0 is for ever"),
                    Flag::new("watch", Kind::Bool, "true", "Watch until it is done").short('w'),
                ],
            ],
            run: boxed!(status),
            ..Command::EMPTY
        },
        Command {
            name: "undo",
            usage: "undo (TYPE NAME | TYPE/NAME) [flags]",
            short: "Undo a previous rollout",
            flags: &[
                shared::FILES,
                shared::OUTPUT,
                shared::DRY_RUN,
                shared::SELECTOR,
                &[Flag::new(
                    "to-revision",
                    Kind::Integer,
                    "0",
                    "The revision to go back to; 0 is the last one",
                )],
            ],
            run: boxed!(super::rollout_history::undo),
            ..Command::EMPTY
        },
    ],
    ..Command::EMPTY
};

pub(super) fn is_named(invocation: &Invocation<'_>) -> Result<(), Failure> {
    if invocation.arguments().is_empty() && Files::of(&invocation.values)?.is_empty() {
        return Err(message("required resource not specified"));
    }
    Ok(())
}

/// `deployments.apps "x" words`, as a failure of one object is told.
fn about(target: &Target, words: &str) -> Failure {
    let name = target.name.as_deref().unwrap_or_default();
    Failure::Plain(format!("error: {} {name:?} {words}\n", target.mapping.resource()))
}

async fn change(
    invocation: &Invocation<'_>,
    done: &str,
    change: impl Fn(&Target, &mut Value) -> Result<(), Failure>,
) -> Result<(), Failure> {
    is_named(invocation)?;
    let manager = "kubectl-rollout";
    let changer =
        Changer { done, manager, failed: "failed to patch:", ..Changer::new(invocation.arguments()) };
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for target in find(invocation, &changer).await? {
        // What cannot be changed is told in words of its own.
        let tried = target.and_then(|target| {
            let mut after = target.object.clone().unwrap_or_default();
            change(&target, &mut after).map(|()| target)
        });
        match tried {
            Ok(target) => found.push(Ok(target)),
            Err(failure) => failures.push(failure),
        }
    }
    if found.is_empty() && failures.is_empty() {
        let (namespace, _) = invocation.namespace()?;
        invocation.context.err(&format!("No resources found in {namespace} namespace.\n"));
    }
    let changed = change_objects(invocation, &changer, found, |target, object| {
        change(target, object)?;
        Ok(Vec::new())
    });
    failures.extend(changed.await.err());
    builder::gather(failures)
}

async fn restart(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let now = jiff::Timestamp::from_second(invocation.context.now().as_second()).unwrap_or_default();
    change(invocation, "restarted", |target, object| {
        if !matches!(object.kind(), "Deployment" | "DaemonSet" | "StatefulSet") {
            return Err(about(target, "restarting is not supported"));
        }
        if object["spec"]["paused"] == true {
            return Err(about(target, "can't restart paused deployment (run rollout resume first)"));
        }
        let metadata = &mut object["spec"]["template"]["metadata"];
        metadata["annotations"]["kubectl.kubernetes.io/restartedAt"] = now.to_string().into();
        Ok(())
    })
    .await
}

async fn pause(invocation: &Invocation<'_>) -> Result<(), Failure> {
    change(invocation, "paused", |target, object| {
        if object.kind() != "Deployment" {
            return Err(about(target, "pausing is not supported"));
        }
        if object["spec"]["paused"] == true {
            return Err(about(target, "is already paused"));
        }
        object["spec"]["paused"] = true.into();
        Ok(())
    })
    .await
}

async fn resume(invocation: &Invocation<'_>) -> Result<(), Failure> {
    change(invocation, "resumed", |target, object| {
        if object.kind() != "Deployment" {
            return Err(about(target, "resuming is not supported"));
        }
        if object["spec"]["paused"] != true {
            return Err(about(target, "is not paused"));
        }
        object.unset(&["spec", "paused"]);
        Ok(())
    })
    .await
}

/// How far a workload has come: the line, and whether that is the end.
fn progress(object: &Value) -> Result<(String, bool), Failure> {
    let number = |path: &[&str]| object.integer(path).unwrap_or(0);
    let name = object.name();
    let observed = number(&["metadata", "generation"]) <= number(&["status", "observedGeneration"]);
    let wanted = object.integer(&["spec", "replicas"]).unwrap_or(1);
    match object.kind() {
        "Deployment" if observed => {
            let conditions = object.items(&["status", "conditions"]);
            let late =
                |one: &Value| one["type"] == "Progressing" && one["reason"] == "ProgressDeadlineExceeded";
            if conditions.iter().any(late) {
                return Err(message(format!("deployment {name:?} exceeded its progress deadline")));
            }
            let updated = number(&["status", "updatedReplicas"]);
            let total = number(&["status", "replicas"]);
            let available = number(&["status", "availableReplicas"]);
            let waiting = format!("Waiting for deployment {name:?} rollout to finish: ");
            Ok(match () {
                () if updated < wanted => {
                    (format!("{waiting}{updated} out of {wanted} new replicas have been updated...\n"), false)
                }
                () if total > updated => {
                    (format!("{waiting}{} old replicas are pending termination...\n", total - updated), false)
                }
                () if available < updated => {
                    (format!("{waiting}{available} of {updated} updated replicas are available...\n"), false)
                }
                () => (format!("deployment {name:?} successfully rolled out\n"), true),
            })
        }
        "Deployment" => Ok(("Waiting for deployment spec update to be observed...\n".into(), false)),
        "DaemonSet" if observed => {
            let wanted = number(&["status", "desiredNumberScheduled"]);
            let updated = number(&["status", "updatedNumberScheduled"]);
            let available = number(&["status", "numberAvailable"]);
            let waiting = format!("Waiting for daemon set {name:?} rollout to finish: ");
            Ok(match () {
                () if updated < wanted => {
                    (format!("{waiting}{updated} out of {wanted} new pods have been updated...\n"), false)
                }
                () if available < wanted => {
                    (format!("{waiting}{available} of {wanted} updated pods are available...\n"), false)
                }
                () => (format!("daemon set {name:?} successfully rolled out\n"), true),
            })
        }
        "DaemonSet" => Ok(("Waiting for daemon set spec update to be observed...\n".into(), false)),
        "StatefulSet" if observed && number(&["status", "observedGeneration"]) > 0 => {
            Ok(stateful_set_progress(object, wanted))
        }
        "StatefulSet" => Ok(("Waiting for statefulset spec update to be observed...\n".into(), false)),
        _ => Err(message("")),
    }
}

fn stateful_set_progress(object: &Value, wanted: i64) -> (String, bool) {
    let number = |name: &str| object.integer(&["status", name]).unwrap_or(0);
    let revision = |name: &str| object.text(&["status", name]);
    let ready = number("readyReplicas");
    if ready < wanted {
        return (format!("Waiting for {} pods to be ready...\n", wanted - ready), false);
    }
    if revision("updateRevision") != revision("currentRevision") {
        let (updated, target) = (number("updatedReplicas"), revision("updateRevision"));
        let text = format!(
            "waiting for statefulset rolling update to complete {updated} pods at revision {target}...\n"
        );
        return (text, false);
    }
    let (current, reached) = (number("currentReplicas"), revision("currentRevision"));
    (format!("statefulset rolling update complete {current} pods at revision {reached}...\n"), true)
}

async fn status(invocation: &Invocation<'_>) -> Result<(), Failure> {
    is_named(invocation)?;
    let revision = invocation.values.integer("revision");
    if revision < 0 {
        return Err(message(format!("revision must be a positive integer: {revision}")));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let mut failures = Vec::new();
    for target in builder::objects(invocation, &api, &mapper, &choice).await? {
        let done = match target {
            Ok(target) => follow(invocation, &api, &target).await,
            Err(failure) => Err(failure),
        };
        failures.extend(done.err());
    }
    builder::gather(failures)
}

async fn follow(invocation: &Invocation<'_>, api: &Api<'_>, target: &Target) -> Result<(), Failure> {
    let mut object = target.object.clone().unwrap_or_default();
    if !matches!(object.kind(), "Deployment" | "DaemonSet" | "StatefulSet") {
        let (kind, group) = (&target.mapping.kind, &target.mapping.group);
        let named = if group.is_empty() { kind.clone() } else { format!("{kind}.{group}") };
        return Err(message(format!("no status viewer has been implemented for {named}")));
    }
    let strategy = if object.kind() == "Deployment" { "strategy" } else { "updateStrategy" };
    if object.kind() != "Deployment" && object["spec"][strategy]["type"] != "RollingUpdate" {
        return Err(message("rollout status is only available for RollingUpdate strategy type"));
    }
    let limit = invocation.values.duration("timeout");
    let end = (!limit.is_zero()).then(|| Instant::now() + limit);
    let parameters = query(&[
        ("watch", Some("true".into())),
        ("fieldSelector", Some(format!("metadata.name={}", object.name()))),
        ("resourceVersion", Some(object.resource_version().to_owned())),
    ]);
    let collection = target.mapping.collection(Some(&target.namespace));
    let mut events = None;
    loop {
        let (text, done) = progress(&object)?;
        invocation.context.out(&text);
        if done || !invocation.values.on("watch") {
            return Ok(());
        }
        if events.is_none() {
            events = Some(api.watch(&with_query(&collection, &parameters), JSON).await?);
        }
        let Some(events) = events.as_mut() else { return Ok(()) };
        let next = match end {
            Some(end) => tokio::time::timeout_at(end, events.next())
                .await
                .map_err(|_| message("timed out waiting for the condition"))?,
            None => events.next().await,
        };
        match next {
            Some(Ok(WatchEvent::Added(now) | WatchEvent::Modified(now))) => object = now,
            Some(Ok(WatchEvent::Deleted(_))) => return Err(message("object has been deleted")),
            Some(Ok(WatchEvent::Bookmark { .. })) => {}
            Some(Err(status)) => return Err(status.into()),
            None => return Err(message("watch closed before UntilWithoutRetry timeout")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::progress;

    #[test]
    fn progress_is_told_in_kubectls_words() {
        let deployment = |status: serde_json::Value| json!({"kind": "Deployment", "metadata": {"name": "x", "generation": 1}, "spec": {"replicas": 2}, "status": status});
        for (status, want, end) in [
            (json!({}), "Waiting for deployment spec update to be observed...\n", false),
            (
                json!({"observedGeneration": 1, "updatedReplicas": 1}),
                "Waiting for deployment \"x\" rollout to finish: 1 out of 2 new replicas have been updated...\n",
                false,
            ),
            (
                json!({"observedGeneration": 1, "updatedReplicas": 2, "replicas": 3}),
                "Waiting for deployment \"x\" rollout to finish: 1 old replicas are pending termination...\n",
                false,
            ),
            (
                json!({"observedGeneration": 1, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 1}),
                "Waiting for deployment \"x\" rollout to finish: 1 of 2 updated replicas are available...\n",
                false,
            ),
            (
                json!({"observedGeneration": 1, "updatedReplicas": 2, "replicas": 2, "availableReplicas": 2}),
                "deployment \"x\" successfully rolled out\n",
                true,
            ),
        ] {
            assert_eq!(progress(&deployment(status)).unwrap(), (want.to_owned(), end));
        }
    }
}
