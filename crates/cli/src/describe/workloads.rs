//! Workloads: what makes Pods of a template.

use model::tree::TreeExt;
use serde_json::Value;

use super::writer::{beginning, or_none, pairs, plain};
use super::{Described, Writer, pod};
use crate::commands::pods;
use crate::text::{rfc1123, since};

/// The Pods that a workload's selector chooses.
pub fn related(object: &Value) -> Vec<(&'static str, String)> {
    let path = client::Path::collection("", "v1", "pods", Some(object.namespace()));
    let selector = crate::builder::selector_query(&selector(object));
    vec![("pods", crate::builder::with_query(path.as_str(), &selector))]
}

/// The ReplicaSets of a Deployment.
pub fn replica_sets(object: &Value) -> Vec<(&'static str, String)> {
    let path = client::Path::collection("apps", "v1", "replicasets", Some(object.namespace()));
    let selector = crate::builder::selector_query(&selector(object));
    vec![("replicasets", crate::builder::with_query(path.as_str(), &selector))]
}

fn selector(object: &Value) -> String {
    pods::selector(object).unwrap_or_default()
}

fn number(object: &Value, path: &[&str]) -> i64 {
    object.integer(path).unwrap_or(0)
}

/// Whether `owner` is the object's controller.
pub fn is_controlled_by(object: &Value, owner: &Value) -> bool {
    let owners = object.items(&["metadata", "ownerReferences"]);
    owners.iter().any(|one| one["controller"] == true && one.text(&["uid"]) == owner.uid())
}

fn controlled_by(object: &Value, out: &mut Writer) {
    let owners = object.items(&["metadata", "ownerReferences"]);
    if let Some(owner) = owners.iter().find(|one| one["controller"] == true) {
        out.field(0, "Controlled By", format!("{}/{}", owner.text(&["kind"]), owner.text(&["name"])));
    }
}

fn named(object: &Value, out: &mut Writer) {
    out.field(0, "Name", object.name());
    out.field(0, "Namespace", object.namespace());
}

fn labelled(object: &Value, out: &mut Writer) {
    out.labels("Labels", object.at(&["metadata", "labels"]));
    out.annotations("Annotations", object.at(&["metadata", "annotations"]));
}

fn pods_status(described: &Described<'_>, out: &mut Writer) {
    let mut counts = [0; 4];
    for pod in described.items("pods").iter().filter(|pod| is_controlled_by(pod, described.object)) {
        let phases = ["Running", "Pending", "Succeeded", "Failed"];
        if let Some(at) = phases.iter().position(|phase| pod.text(&["status", "phase"]) == *phase) {
            counts[at] += 1;
        }
    }
    if let Some(Err(error)) = described.related("pods") {
        out.field(0, "Pods Status", format!("error in fetching pods: {error}"));
        return;
    }
    let [running, waiting, succeeded, failed] = counts;
    let text = format!("{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed");
    out.field(0, "Pods Status", text);
}

fn conditions(object: &Value, out: &mut Writer) {
    let conditions = object.items(&["status", "conditions"]);
    if conditions.is_empty() {
        return;
    }
    out.line(0, "Conditions:\n  Type\tStatus\tReason");
    out.line(1, "----\t------\t------");
    for one in conditions {
        let [kind, status, reason] = ["type", "status", "reason"].map(|field| one.text(&[field]));
        out.line(1, format!("{kind} \t{status}\t{reason}"));
    }
}

/// A Deployment.
pub fn deployment(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    let (spec, status) = (&object["spec"], &object["status"]);
    named(object, out);
    out.field(0, "CreationTimestamp", rfc1123(object.text(&["metadata", "creationTimestamp"])));
    labelled(object, out);
    out.field(0, "Selector", selector(object));
    let [updated, total, available, unavailable] =
        ["updatedReplicas", "replicas", "availableReplicas", "unavailableReplicas"]
            .map(|field| number(status, &[field]));
    let wanted = number(spec, &["replicas"]);
    out.field(
        0,
        "Replicas",
        format!(
            "{wanted} desired | {updated} updated | {total} total | {available} available | {unavailable} unavailable"
        ),
    );
    out.field(0, "StrategyType", spec.text(&["strategy", "type"]));
    out.field(0, "MinReadySeconds", number(spec, &["minReadySeconds"]));
    if let Some(rolling) = spec.at(&["strategy", "rollingUpdate"]) {
        let [unavailable, surge] = ["maxUnavailable", "maxSurge"].map(|field| plain(rolling.at(&[field])));
        out.field(0, "RollingUpdateStrategy", format!("{unavailable} max unavailable, {surge} max surge"));
    }
    pod::template(&spec["template"], out);
    conditions(object, out);
    let own: Vec<Value> =
        described.items("replicasets").into_iter().filter(|set| is_controlled_by(set, object)).collect();
    if !own.is_empty() {
        let (new, old): (Vec<&Value>, Vec<&Value>) = own.iter().partition(|set| is_current(set, spec));
        out.field(0, "OldReplicaSets", sets(&old));
        out.field(0, "NewReplicaSet", sets(&new));
    }
}

/// Whether a ReplicaSet has the Deployment's template, apart from the label that tells ReplicaSets apart.
fn is_current(set: &Value, spec: &Value) -> bool {
    let mut template = set["spec"]["template"].clone();
    template.unset(&["metadata", "labels", "pod-template-hash"]);
    let mut wanted = spec["template"].clone();
    for one in [&mut template, &mut wanted] {
        one.unset(&["metadata", "creationTimestamp"]);
    }
    template == wanted
}

fn sets(list: &[&Value]) -> String {
    let text = |set: &&Value| {
        let (now, wanted) = (number(set, &["status", "replicas"]), number(set, &["spec", "replicas"]));
        format!("{} ({now}/{wanted} replicas created)", set.name())
    };
    or_none(&list.iter().map(text).collect::<Vec<_>>().join(", ")).to_owned()
}

/// A ReplicaSet or ReplicationController.
pub fn replica_set(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    named(object, out);
    out.field(0, "Selector", selector(object));
    labelled(object, out);
    if object.kind() == "ReplicaSet" {
        controlled_by(object, out);
    }
    let (now, wanted) = (number(object, &["status", "replicas"]), number(object, &["spec", "replicas"]));
    out.field(0, "Replicas", format!("{now} current / {wanted} desired"));
    pods_status(described, out);
    pod::template(&object["spec"]["template"], out);
    conditions(object, out);
}

/// A StatefulSet.
pub fn stateful_set(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    let spec = &object["spec"];
    named(object, out);
    out.field(0, "CreationTimestamp", rfc1123(object.text(&["metadata", "creationTimestamp"])));
    out.field(0, "Selector", selector(object));
    labelled(object, out);
    let (wanted, total) = (number(spec, &["replicas"]), number(object, &["status", "replicas"]));
    out.field(0, "Replicas", format!("{wanted} desired | {total} total"));
    out.field(0, "Update Strategy", spec.text(&["updateStrategy", "type"]));
    let rolling = &spec["updateStrategy"]["rollingUpdate"];
    if let Some(partition) = rolling.integer(&["partition"]) {
        out.field(1, "Partition", partition);
        out.optional(1, "MaxUnavailable", &plain(rolling.at(&["maxUnavailable"])));
    }
    pods_status(described, out);
    pod::template(&spec["template"], out);
    claim_templates(spec.items(&["volumeClaimTemplates"]), out);
}

fn claim_templates(claims: &[Value], out: &mut Writer) {
    if claims.is_empty() {
        out.field(0, "Volume Claims", "<none>");
        return;
    }
    out.line(0, "Volume Claims:");
    for claim in claims {
        out.field(1, "Name", claim.name());
        out.field(1, "StorageClass", claim.text(&["spec", "storageClassName"]));
        out.labels("  Labels", claim.at(&["metadata", "labels"]));
        out.annotations("  Annotations", claim.at(&["metadata", "annotations"]));
        let capacity = plain(claim.at(&["spec", "resources", "requests", "storage"]));
        out.field(1, "Capacity", if capacity.is_empty() { "<default>" } else { &capacity });
        let modes: Vec<&str> =
            claim.items(&["spec", "accessModes"]).iter().filter_map(Value::as_str).collect();
        out.field(1, "Access Modes", format!("[{}]", modes.join(" ")));
    }
}

/// A DaemonSet.
pub fn daemon_set(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    let template = &object["spec"]["template"];
    named(object, out);
    out.field(0, "Selector", selector(object));
    out.field(0, "Node-Selector", or_none(&pairs(template.at(&["spec", "nodeSelector"]), "=").join(",")));
    labelled(object, out);
    for (title, field) in [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        out.line(0, format!("{title}: {}", number(object, &["status", field])));
    }
    pods_status(described, out);
    pod::template(template, out);
}

/// A Job.
pub fn job(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    let (spec, status) = (&object["spec"], &object["status"]);
    named(object, out);
    out.field(0, "Selector", selector(object));
    labelled(object, out);
    controlled_by(object, out);
    out.optional(0, "Parallelism", &plain(spec.at(&["parallelism"])));
    let completions = plain(spec.at(&["completions"]));
    out.field(0, "Completions", if completions.is_empty() { "<unset>" } else { &completions });
    for (title, field) in [
        ("Completion Mode", "completionMode"),
        ("Suspend", "suspend"),
        ("Backoff Limit", "backoffLimit"),
        ("TTL Seconds After Finished", "ttlSecondsAfterFinished"),
    ] {
        out.optional(0, title, &plain(spec.at(&[field])));
    }
    for (title, field) in [("Start Time", "startTime"), ("Completed At", "completionTime")] {
        if !status.text(&[field]).is_empty() {
            out.field(0, title, rfc1123(status.text(&[field])));
        }
    }
    if let (false, Some(end)) =
        (status.text(&["startTime"]).is_empty(), model::time::parse(status.text(&["completionTime"])))
    {
        out.field(0, "Duration", since(status.text(&["startTime"]), end));
    }
    if let Some(seconds) = spec.integer(&["activeDeadlineSeconds"]) {
        out.field(0, "Active Deadline Seconds", format!("{seconds}s"));
    }
    let [active, succeeded, failed] = ["active", "succeeded", "failed"].map(|field| number(status, &[field]));
    let ready = status.integer(&["ready"]).map(|ready| format!(" ({ready} Ready)")).unwrap_or_default();
    out.field(
        0,
        "Pods Statuses",
        format!("{active} Active{ready} / {succeeded} Succeeded / {failed} Failed"),
    );
    if spec.text(&["completionMode"]) == "Indexed" {
        out.field(0, "Completed Indexes", or_none(status.text(&["completedIndexes"])));
    }
    pod::template(&spec["template"], out);
}

/// A CronJob.
pub fn cron_job(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    let spec = &object["spec"];
    let job = &spec["jobTemplate"]["spec"];
    let or_unset = |value: Option<&Value>, unit: &str| match plain(value) {
        text if text.is_empty() => "<unset>".to_owned(),
        text => format!("{text}{unit}"),
    };
    beginning(object, out);
    out.field(0, "Schedule", spec.text(&["schedule"]));
    out.field(0, "Concurrency Policy", spec.text(&["concurrencyPolicy"]));
    out.field(0, "Suspend", if spec["suspend"] == true { "True" } else { "False" });
    for (title, field, unit) in [
        ("Time Zone", "timeZone", ""),
        ("Successful Job History Limit", "successfulJobsHistoryLimit", ""),
        ("Failed Job History Limit", "failedJobsHistoryLimit", ""),
        ("Starting Deadline Seconds", "startingDeadlineSeconds", "s"),
    ] {
        out.field(0, title, or_unset(spec.at(&[field]), unit));
    }
    let chosen =
        if job.at(&["selector"]).is_some() { selector(&spec["jobTemplate"]) } else { "<unset>".into() };
    out.field(0, "Selector", chosen);
    out.field(0, "Parallelism", or_unset(job.at(&["parallelism"]), ""));
    out.field(0, "Completions", or_unset(job.at(&["completions"]), ""));
    if let Some(seconds) = job.integer(&["activeDeadlineSeconds"]) {
        out.field(0, "Active Deadline Seconds", format!("{seconds}s"));
    }
    pod::template(&job["template"], out);
    match object.text(&["status", "lastScheduleTime"]) {
        "" => out.field(0, "Last Schedule Time", "<unset>"),
        time => out.field(0, "Last Schedule Time", rfc1123(time)),
    }
    let active: Vec<&str> =
        object.items(&["status", "active"]).iter().map(|one| one.text(&["name"])).collect();
    out.field(0, "Active Jobs", or_none(&active.join(", ")));
}
