//! Deployments, sets, jobs and what else makes Pods.

use model::tree::TreeExt;
use serde_json::Value;

use super::cells::{self, Row, row};
use super::{AGE, NAME, Printer, age, flag, number, text, wide};

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "apps",
        kind: "Deployment",
        columns: &[
            NAME,
            text("Ready"),
            text("Up-to-date"),
            text("Available"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector"),
        ],
        cells: deployment,
    },
    Printer { group: "apps", kind: "ReplicaSet", columns: REPLICAS, cells: replica_set },
    Printer { group: "", kind: "ReplicationController", columns: REPLICAS, cells: replication_controller },
    Printer {
        group: "apps",
        kind: "StatefulSet",
        columns: &[NAME, text("Ready"), AGE, wide("Containers"), wide("Images")],
        cells: stateful_set,
    },
    Printer {
        group: "apps",
        kind: "DaemonSet",
        columns: &[
            NAME,
            number("Desired"),
            number("Current"),
            number("Ready"),
            number("Up-to-date"),
            number("Available"),
            text("Node Selector"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector"),
        ],
        cells: daemon_set,
    },
    Printer {
        group: "batch",
        kind: "Job",
        columns: &[
            NAME,
            text("Status"),
            text("Completions"),
            text("Duration"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector"),
        ],
        cells: job,
    },
    Printer {
        group: "batch",
        kind: "CronJob",
        columns: &[
            NAME,
            text("Schedule"),
            text("Timezone"),
            flag("Suspend"),
            number("Active"),
            text("Last Schedule"),
            AGE,
            wide("Containers"),
            wide("Images"),
            wide("Selector"),
        ],
        cells: cron_job,
    },
    Printer {
        group: "apps",
        kind: "ControllerRevision",
        columns: &[NAME, text("Controller"), text("Revision"), AGE],
        cells: controller_revision,
    },
    Printer {
        group: "",
        kind: "PodTemplate",
        columns: &[NAME, text("Containers"), text("Images"), text("Pod Labels")],
        cells: pod_template,
    },
    Printer {
        group: "policy",
        kind: "PodDisruptionBudget",
        columns: &[NAME, text("Min Available"), text("Max Unavailable"), number("Allowed Disruptions"), AGE],
        cells: disruption_budget,
    },
    Printer {
        group: "autoscaling",
        kind: "Scale",
        columns: &[text("Name"), number("Desired"), number("Available"), AGE],
        cells: |scale| {
            row![
                scale.name(),
                scale.number(&["spec", "replicas"]),
                scale.number(&["status", "replicas"]),
                scale.age()
            ]
        },
    },
];

const REPLICAS: &[super::Column] = &[
    NAME,
    number("Desired"),
    number("Current"),
    number("Ready"),
    AGE,
    wide("Containers"),
    wide("Images"),
    wide("Selector"),
];

/// Names and images of a Pod template's containers.
fn template(object: &Row<'_>) -> (String, String) {
    cells::containers(object.items(&["spec", "template", "spec", "containers"]))
}

fn selector(object: &Row<'_>) -> String {
    cells::selector(object.object.at(&["spec", "selector"]))
}

fn deployment(deployment: &Row<'_>) -> Vec<Value> {
    let (names, images) = template(deployment);
    let status = |field: &str| deployment.number(&["status", field]);
    row![
        deployment.name(),
        format!("{}/{}", status("readyReplicas"), deployment.number(&["spec", "replicas"])),
        status("updatedReplicas"),
        status("availableReplicas"),
        deployment.age(),
        names,
        images,
        deployment.object.at(&["spec", "selector"]).map(cells::label_selector).unwrap_or_default(),
    ]
}

fn replicas(set: &Row<'_>, selector: String) -> Vec<Value> {
    let (names, images) = template(set);
    row![
        set.name(),
        set.number(&["spec", "replicas"]),
        set.number(&["status", "replicas"]),
        set.number(&["status", "readyReplicas"]),
        set.age(),
        names,
        images,
        selector,
    ]
}

fn replica_set(set: &Row<'_>) -> Vec<Value> {
    replicas(set, selector(set))
}

fn replication_controller(set: &Row<'_>) -> Vec<Value> {
    replicas(set, cells::labels(set.object.at(&["spec", "selector"])))
}

fn stateful_set(set: &Row<'_>) -> Vec<Value> {
    let (names, images) = template(set);
    let ready = format!("{}/{}", set.number(&["status", "readyReplicas"]), set.number(&["spec", "replicas"]));
    row![set.name(), ready, set.age(), names, images]
}

fn daemon_set(set: &Row<'_>) -> Vec<Value> {
    let (names, images) = template(set);
    let status = |field: &str| set.number(&["status", field]);
    row![
        set.name(),
        status("desiredNumberScheduled"),
        status("currentNumberScheduled"),
        status("numberReady"),
        status("updatedNumberScheduled"),
        status("numberAvailable"),
        cells::labels(set.object.at(&["spec", "template", "spec", "nodeSelector"])),
        set.age(),
        names,
        images,
        selector(set),
    ]
}

fn job(job: &Row<'_>) -> Vec<Value> {
    let succeeded = job.number(&["status", "succeeded"]);
    let completions =
        match (job.object.integer(&["spec", "completions"]), job.number(&["spec", "parallelism"])) {
            (Some(wanted), _) => format!("{succeeded}/{wanted}"),
            (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
            (None, _) => format!("{succeeded}/1"),
        };
    let (names, images) = template(job);
    row![job.name(), job_status(job), completions, job_duration(job), job.age(), names, images, selector(job)]
}

fn job_status(job: &Row<'_>) -> &'static str {
    let is = |kind: &str| job.condition_true(kind);
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if job.deleting() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn job_duration(job: &Row<'_>) -> String {
    let time = |field: &str| model::time::parse(job.text(&["status", field]));
    let Some(start) = time("startTime") else { return String::new() };
    age::human(age::seconds_between(start, time("completionTime").unwrap_or(job.now)))
}

fn cron_job(cron_job: &Row<'_>) -> Vec<Value> {
    let suspend = match cron_job.object.at(&["spec", "suspend"]).and_then(Value::as_bool) {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let last = match cron_job.has(&["status", "lastScheduleTime"]) {
        true => cron_job.since(&["status", "lastScheduleTime"]),
        false => "<none>".into(),
    };
    let (names, images) =
        cells::containers(cron_job.items(&["spec", "jobTemplate", "spec", "template", "spec", "containers"]));
    row![
        cron_job.name(),
        cron_job.text(&["spec", "schedule"]),
        cron_job.object.at(&["spec", "timeZone"]).and_then(Value::as_str).unwrap_or("<none>"),
        suspend,
        cron_job.count(&["status", "active"]),
        last,
        cron_job.age(),
        names,
        images,
        cells::selector(cron_job.object.at(&["spec", "jobTemplate", "spec", "selector"])),
    ]
}

fn controller_revision(revision: &Row<'_>) -> Vec<Value> {
    let owners = revision.items(&["metadata", "ownerReferences"]);
    let owner = owners.iter().find(|owner| owner.at(&["controller"]) == Some(&Value::Bool(true)));
    let controller = owner.map_or("<none>".into(), |owner| {
        let (group, _) = model::gvk::split_api_version(owner.text(&["apiVersion"]));
        let kind = model::GroupResource::new(group, owner.text(&["kind"])).to_string().to_lowercase();
        format!("{kind}/{}", owner.text(&["name"]))
    });
    row![revision.name(), controller, revision.number(&["revision"]), revision.age()]
}

fn pod_template(pod_template: &Row<'_>) -> Vec<Value> {
    let (names, images) = cells::containers(pod_template.items(&["template", "spec", "containers"]));
    let labels = cells::labels(pod_template.object.at(&["template", "metadata", "labels"]));
    row![pod_template.name(), names, images, labels]
}

fn disruption_budget(budget: &Row<'_>) -> Vec<Value> {
    let limit = |field: &str| {
        budget.object.at(&["spec", field]).map_or("N/A".into(), |limit| cells::plain(Some(limit)))
    };
    row![
        budget.name(),
        limit("minAvailable"),
        limit("maxUnavailable"),
        budget.number(&["status", "disruptionsAllowed"]),
        budget.age(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cells_of(print: fn(&Row<'_>) -> Vec<Value>, object: Value) -> Value {
        let now = model::time::parse("2026-01-02T03:04:05Z").unwrap();
        print(&Row { object: &object, now }).into()
    }

    #[test]
    fn workloads_show_their_progress() {
        let spec = json!({"replicas": 3, "selector": {"matchLabels": {"a": "b"}, "matchExpressions": [
            {"key": "c", "operator": "In", "values": ["y", "x"]}]}, "template": {"spec": {"containers": [
            {"name": "one", "image": "i:1"}, {"name": "two", "image": "i:2"}]}}});
        let object = json!({"metadata": {"name": "d"}, "spec": spec, "status": {"readyReplicas": 2, "updatedReplicas": 3}});
        let want = json!(["d", "2/3", 3, 0, "<unknown>", "one,two", "i:1,i:2", "a=b,c in (x,y)"]);
        assert_eq!(cells_of(deployment, object), want);
        let object = json!({"metadata": {"name": "j"}, "spec": {"parallelism": 2}, "status": {"succeeded": 1,
            "startTime": "2026-01-02T03:00:00Z", "completionTime": "2026-01-02T03:00:30Z",
            "conditions": [{"type": "Complete", "status": "True"}]}});
        let want = json!(["j", "Complete", "1/1 of 2", "30s", "<unknown>", "", "", "<none>"]);
        assert_eq!(cells_of(job, object), want);
        let object = json!({"metadata": {"name": "c"}, "spec": {"schedule": "* * * * *", "suspend": false}});
        let want = json!(["c", "* * * * *", "<none>", "False", 0, "<none>", "<unknown>", "", "", "<none>"]);
        assert_eq!(cells_of(cron_job, object), want);
    }
}
