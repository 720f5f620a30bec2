//! `cordon`, `uncordon` and `drain`: nodes closed for new Pods, opened again, and emptied.

mod verdict;

use std::time::Duration;

use futures::future::join_all;
use http::Method;
use model::Reason;
use model::tree::TreeExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::verdict::{Allowed, Verdict, daemon_set, grouped, is_given_up, verdict};
use super::{boxed, wait};
use crate::api::{Api, JSON};
use crate::builder::{self, Choice, Target, with_query};
use crate::command::{Command, DryRun, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};
use crate::mapping::Mapper;

/// How long an eviction waits that a budget does not allow yet.
const RETRY: Duration = Duration::from_secs(5);
/// What kubectl takes for ever.
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

const fn node_verb(name: &'static str, usage: &'static str, short: &'static str) -> Command {
    Command {
        name,
        usage,
        short,
        flags: &[shared::DRY_RUN, shared::SELECTOR],
        run: boxed!(cordon),
        ..Command::EMPTY
    }
}

/// `cordon`.
pub const CORDON: Command = node_verb("cordon", "cordon NODE", "Mark node as unschedulable");

/// `uncordon`.
pub const UNCORDON: Command = node_verb("uncordon", "uncordon NODE", "Mark node as schedulable");

/// `drain`.
pub const DRAIN: Command = Command {
    name: "drain",
    usage: "drain NODE",
    short: "Drain node in preparation for maintenance",
    long: "Drain node in preparation for maintenance: it takes no new Pods, and those that it has are evicted.\n\n Static Pods stay, and Pods of DaemonSets with --ignore-daemonsets. Pods that nothing would make again go with --force only, those with emptyDir volumes with --delete-emptydir-data only.",
    flags: &[
        shared::DRY_RUN,
        shared::SELECTOR,
        shared::CHUNK,
        &[
            Flag::switch("delete-emptydir-data", "Also evict Pods whose emptyDir volumes are lost with them"),
            Flag::switch("disable-eviction", "Delete Pods without asking disruption budgets"),
            Flag::switch("force", "Also evict Pods that no controller makes again"),
            Flag::new(
                "grace-period",
                Kind::Integer,
                "-1",
                "Seconds that each Pod gets to end; below 0 its own",
            ),
            Flag::switch("ignore-daemonsets", "Leave Pods of DaemonSets where they are"),
            Flag::new("pod-selector", Kind::Text, "", "Only Pods with these labels"),
            Flag::new(
                "skip-wait-for-delete-timeout",
                Kind::Integer,
                "0",
                "Do not wait for Pods that have been ending for more seconds than this; 0 waits for all",
            ),
            Flag::new("timeout", Kind::Duration, "0s", "How long to wait; 0 is for ever"),
        ],
    ],
    run: boxed!(drain),
    ..Command::EMPTY
};

async fn nodes(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    mapper: &Mapper,
) -> Result<Vec<(Target, Value)>, Vec<Failure>> {
    let choice = Choice::of(invocation).map_err(|failure| vec![failure])?;
    let mut arguments = vec!["nodes".to_owned()];
    arguments.extend(invocation.arguments().iter().cloned());
    let targets = builder::from_arguments(mapper, &choice, &arguments).map_err(|failure| vec![failure])?;
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for target in targets {
        match builder::fetch(api, &choice, &target, JSON, false).await {
            Ok(answer) => found.extend(
                builder::items(&answer)
                    .into_iter()
                    .map(|node| (Target { name: Some(node.name().to_owned()), ..target.clone() }, node)),
            ),
            Err(failure) => failures.push(failure),
        }
    }
    if failures.is_empty() { Ok(found) } else { Err(failures) }
}

/// What every command for nodes refuses.
fn check(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let named = !invocation.arguments().is_empty();
    if !named && !invocation.values.given("selector") {
        return Err(invocation.usage(&format!("USAGE: {} NODE [flags]", invocation.command.name)));
    }
    if named && !invocation.values.text("selector").is_empty() {
        return Err(invocation.usage("error: cannot specify both a node name and a --selector option"));
    }
    Ok(())
}

async fn cordon(invocation: &Invocation<'_>) -> Result<(), Failure> {
    check(invocation)?;
    let dry_run = invocation.dry_run()?;
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let found = nodes(invocation, &api, &mapper)
        .await
        .or_else(|failures| builder::gather(failures).map(|()| Vec::new()))?;
    mark(invocation, &api, &found, invocation.command.name == "cordon", dry_run).await;
    Ok(())
}

/// Closes or opens nodes; what fails is told, and the next one is taken.
async fn mark(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    found: &[(Target, Value)],
    close: bool,
    dry_run: DryRun,
) {
    let verb = if close { "cordon" } else { "uncordon" };
    for (target, node) in found {
        let name = node.name();
        let suffix = dry_run.suffix();
        if (node["spec"]["unschedulable"] == true) == close {
            invocation.context.out(&format!("node/{name} already {verb}ed{suffix}\n"));
            continue;
        }
        if dry_run != DryRun::Client {
            let dry = if dry_run == DryRun::Server { "dryRun=All" } else { "" };
            let patch = json!({"spec": {"unschedulable": close.then_some(true)}}).to_string().into_bytes();
            let path = with_query(&target.path(), dry);
            let sent = api.patch(&path, "application/strategic-merge-patch+json", patch).await;
            if let Err(failure) = sent {
                let words = failure.words();
                invocation.context.err(&format!("error: unable to {verb} node {name:?}: {words}\n"));
                continue;
            }
        }
        invocation.context.out(&format!("node/{name} {verb}ed{suffix}\n"));
    }
}

async fn drain(invocation: &Invocation<'_>) -> Result<(), Failure> {
    check(invocation)?;
    let dry_run = invocation.dry_run()?;
    if model::selector::LabelSelector::parse(invocation.values.text("pod-selector")).is_err() {
        return Err(message("--pod-selector=<pod_selector> must be a valid label selector"));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let found = nodes(invocation, &api, &mapper)
        .await
        .or_else(|failures| builder::gather(failures).map(|()| Vec::new()))?;
    mark(invocation, &api, &found, true, dry_run).await;
    let context = invocation.context;
    let (mut fatal, mut pending) = (Vec::new(), Vec::new());
    for (_, node) in &found {
        let name = node.name();
        match empty(invocation, &api, &mapper, name, dry_run).await {
            Ok(()) => context.out(&format!("node/{name} drained{}\n", dry_run.suffix())),
            Err(failure) => {
                context.err(&format!(
                    "error: unable to drain node {name:?} due to error: {}, continuing command...\n",
                    failure.words()
                ));
                fatal.push(failure);
                pending.push(name);
            }
        }
    }
    if !pending.is_empty() {
        context.err("There are pending nodes to be drained:\n");
        pending.iter().for_each(|name| context.err(&format!(" {name}\n")));
    }
    builder::gather(fatal)
}

/// The Pods of a node that go; the failure names those that must not.
async fn chosen(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    mapper: &Mapper,
    node: &str,
) -> Result<(Vec<Value>, String), Failure> {
    let values = &invocation.values;
    let choice = Choice {
        all_namespaces: true,
        selector: values.text("pod-selector").to_owned(),
        field_selector: format!("spec.nodeName={node}"),
        chunk: u64::try_from(values.integer("chunk-size")).unwrap_or(0),
        ..Choice::default()
    };
    let targets = builder::from_arguments(mapper, &choice, &["pods".to_owned()])?;
    let mut found = Vec::new();
    for target in targets.iter().filter(|target| target.mapping.group.is_empty()) {
        found.extend(builder::items(&builder::fetch(api, &choice, target, JSON, false).await?));
    }
    let allowed = Allowed {
        force: values.on("force"),
        ignore_daemon_sets: values.on("ignore-daemonsets"),
        delete_data: values.on("delete-emptydir-data"),
        skip_after_s: values.integer("skip-wait-for-delete-timeout"),
    };
    let (mut going, mut warnings, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for pod in found {
        let missing = match daemon_set(&pod) {
            Some(name) => {
                let sets = client::Path::collection("apps", "v1", "daemonsets", Some(pod.namespace()));
                api.get(sets.join(name).as_str()).await.err()
            }
            None => None,
        };
        let place = format!("{}/{}", pod.namespace(), pod.name());
        match verdict(&pod, allowed, missing.as_ref(), invocation.context.now()) {
            Verdict::Goes => going.push(pod),
            Verdict::GoesWith(text) => {
                warnings.push((text, place));
                going.push(pod);
            }
            Verdict::Stays => {}
            Verdict::StaysWith(text) => warnings.push((text, place)),
            Verdict::Refused(text) => refused.push((text, place)),
        }
    }
    if !refused.is_empty() {
        let lines = grouped(&refused, |text, pods| format!("cannot delete {text}: {pods}"));
        let lines: Vec<Failure> = lines.into_iter().map(message).collect();
        return Err(builder::gather(lines).err().unwrap_or_else(|| message("")));
    }
    Ok((going, grouped(&warnings, |text, pods| format!("{text}: {pods}")).join("; ")))
}

async fn empty(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    mapper: &Mapper,
    node: &str,
    dry_run: DryRun,
) -> Result<(), Failure> {
    let context = invocation.context;
    let (pods, warnings) = chosen(invocation, api, mapper, node).await?;
    if !warnings.is_empty() {
        context.err(&format!("Warning: {warnings}\n"));
    }
    if dry_run == DryRun::Client {
        for pod in &pods {
            context.out(&format!("evicting pod {}/{} (dry run)\n", pod.namespace(), pod.name()));
        }
        return Ok(());
    }
    let timeout = invocation.values.duration("timeout");
    let end = Instant::now() + if timeout.is_zero() { FOREVER } else { timeout };
    let outcomes = join_all(pods.iter().map(|pod| remove(invocation, api, mapper, pod, dry_run, end))).await;
    let failures: Vec<Failure> = outcomes.into_iter().filter_map(Result::err).collect();
    let Err(failure) = builder::gather(failures) else { return Ok(()) };
    if let Ok((left, _)) = chosen(invocation, api, mapper, node).await
        && !left.is_empty()
    {
        let words = failure.words();
        context.err(&format!("There are pending pods in node {node:?} when an error occurred: {words}\n"));
        left.iter().for_each(|pod| context.err(&format!("pod/{}\n", pod.name())));
    }
    Err(failure)
}

/// Evicts or deletes one Pod and waits until it is gone.
async fn remove(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    mapper: &Mapper,
    pod: &Value,
    dry_run: DryRun,
    end: Instant,
) -> Result<(), Failure> {
    let context = invocation.context;
    let (name, namespace) = (pod.name(), pod.namespace());
    let evicts = !invocation.values.on("disable-eviction");
    let target = Target {
        mapping: mapper.find("pods")?,
        namespace: namespace.to_owned(),
        name: Some(name.to_owned()),
        object: None,
        source: String::new(),
        origin: None,
    };
    match if evicts {
        evict(invocation, api, pod, dry_run, end).await
    } else {
        delete(invocation, api, &target, dry_run).await
    } {
        Ok(()) => {}
        Err(failure) if failure.is_not_found() => return Ok(()),
        Err(failure) => return Err(failure),
    }
    if dry_run == DryRun::Server {
        return Ok(());
    }
    let skip_after_s = invocation.values.integer("skip-wait-for-delete-timeout");
    if let Ok(now) = api.get(&target.path()).await
        && is_given_up(&now, skip_after_s, context.now())
    {
        context.out(&format!(
            "pod {name:?} has DeletionTimestamp older than {skip_after_s} seconds, skipping\n"
        ));
        return Ok(());
    }
    let gone =
        tokio::time::timeout_at(end, wait::until_deleted(api, &target, pod.uid(), end + FOREVER)).await;
    gone.unwrap_or_else(|_| Err(message("context deadline exceeded"))).map_err(|failure| {
        let words = failure.words();
        message(format!(
            "error when waiting for pod {name:?} in namespace {namespace:?} to terminate: {words}"
        ))
    })?;
    let done = if evicts { "evicted" } else { "deleted" };
    context.out(&format!("pod/{name} {done}\n"));
    Ok(())
}

fn options(invocation: &Invocation<'_>, dry_run: DryRun) -> Value {
    let mut options = json!({});
    let grace_s = invocation.values.integer("grace-period");
    if grace_s >= 0 {
        options["gracePeriodSeconds"] = grace_s.into();
    }
    if dry_run == DryRun::Server {
        options["dryRun"] = json!(["All"]);
    }
    options
}

async fn delete(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    dry_run: DryRun,
) -> Result<(), Failure> {
    let mut options = options(invocation, dry_run);
    options["kind"] = "DeleteOptions".into();
    options["apiVersion"] = "v1".into();
    api.write(Method::DELETE, &target.path(), &options).await.map(drop)
}

/// Asks for an eviction until no budget stands against it.
async fn evict(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    pod: &Value,
    dry_run: DryRun,
    end: Instant,
) -> Result<(), Failure> {
    let context = invocation.context;
    let (name, namespace) = (pod.name(), pod.namespace());
    let path = client::Path::collection("", "v1", "pods", Some(namespace)).join(name).join("eviction");
    let eviction = json!({
        "kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": name, "namespace": namespace},
        "deleteOptions": options(invocation, dry_run),
    });
    loop {
        context.out(&format!("evicting pod {namespace}/{name}{}\n", dry_run.suffix()));
        if Instant::now() >= end {
            let limit = stdx::duration::format_go(invocation.values.duration("timeout"));
            return Err(message(format!(
                "error when evicting pods/{name:?} -n {namespace:?}: global timeout reached: {limit}"
            )));
        }
        match api.write(Method::POST, path.as_str(), &eviction).await {
            Ok(_) => return Ok(()),
            Err(failure) if failure.is_not_found() => return Err(failure),
            Err(Failure::Server(status)) if status.is(Reason::TooManyRequests) => {
                context.err(&format!(
                    "error when evicting pods/{name:?} -n {namespace:?} (will retry after {}s): {}\n",
                    RETRY.as_secs(),
                    status.message
                ));
                tokio::time::sleep(RETRY).await;
            }
            Err(failure) => {
                let words = failure.words();
                return Err(message(format!("error when evicting pods/{name:?} -n {namespace:?}: {words}")));
            }
        }
    }
}
