//! `create deployment`, `job` and `cronjob`: workloads of images.

use serde_json::{Value, json};
use stdx::entropy::Entropy;

use super::generators::{Made, made_flags, name_and_command, send};
use crate::builder::{self, Choice};
use crate::command::{Command, Invocation};
use crate::commands::boxed;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind};

/// `create deployment`.
pub const DEPLOYMENT: Command = Command {
    name: "deployment",
    aliases: &["deploy"],
    usage: "deployment NAME --image=image -- [COMMAND] [args...]",
    short: "Create a deployment with the specified name",
    flags: made_flags![
        Flag::new("image", Kind::Texts, "", "Images to run; may be repeated"),
        Flag::new("port", Kind::Integer, "-1", "The port that the first container exposes"),
        Flag::new("replicas", Kind::Integer, "1", "How many Pods").short('r'),
    ],
    required: &["image"],
    run: boxed!(deployment),
    ..Command::EMPTY
};

/// `create job`.
pub const JOB: Command = Command {
    name: "job",
    usage: "job NAME --image=image [--from=cronjob/name] -- [COMMAND] [args...]",
    short: "Create a job with the specified name",
    flags: made_flags![
        Flag::new("image", Kind::Text, "", "Image to run"),
        Flag::new("from", Kind::Text, "", "CronJob to take the Job from"),
    ],
    run: boxed!(job),
    ..Command::EMPTY
};

/// `create cronjob`.
pub const CRON_JOB: Command = Command {
    name: "cronjob",
    aliases: &["cj"],
    usage: "cronjob NAME --image=image --schedule='0/5 * * * ?' -- [COMMAND] [args...] [flags]",
    short: "Create a cron job with the specified name",
    flags: made_flags![
        Flag::new("image", Kind::Text, "", "Image to run"),
        Flag::new("restart", Kind::Text, "", "The Job's restart policy: OnFailure or Never"),
        Flag::new("schedule", Kind::Text, "", "When the Job is run, in cron's format"),
    ],
    required: &["image", "schedule"],
    run: boxed!(cron_job),
    ..Command::EMPTY
};

async fn deployment(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let (name, command) = name_and_command(invocation)?;
    let values = &invocation.values;
    let images = values.texts("image");
    if images.len() > 1 && !command.is_empty() {
        return Err(message("cannot specify multiple --image options and command"));
    }
    let mut containers: Vec<Value> =
        images.iter().map(|image| container(&container_name(image), image, command)).collect();
    if values.integer("port") >= 0
        && let Some(first) = containers.first_mut()
    {
        first["ports"] = json!([{"containerPort": values.integer("port")}]);
    }
    let labels = json!({"app": name});
    let object = json!({
        "kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": values.integer("replicas"), "selector": {"matchLabels": labels}, "strategy": {},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
        "status": {},
    });
    send(invocation, object, Made::namespaced("apps", "deployments", "failed to create deployment:")).await
}

/// An image's last word as a container's name; made unique where letters had to be replaced.
fn container_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    let name = last.split([':', '@']).next().unwrap_or(last);
    if !name.contains(['_', '.']) {
        return name.to_owned();
    }
    format!("{}-{}", name.replace(['_', '.'], "-"), Entropy::system().name_suffix(5))
}

fn container(name: &str, image: &str, command: &[String]) -> Value {
    let mut container = json!({"name": name, "image": image, "resources": {}});
    if !command.is_empty() {
        container["command"] = json!(command);
    }
    container
}

async fn job(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let (name, command) = name_and_command(invocation)?;
    let (image, from) = (invocation.values.text("image"), invocation.values.text("from"));
    if image.is_empty() == from.is_empty() {
        return Err(message("either --image or --from must be specified"));
    }
    if !from.is_empty() {
        return job_from(invocation, name, from, command).await;
    }
    let object = json!({
        "kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": name},
        "spec": {"template": {
            "metadata": {},
            "spec": {"containers": [container(name, image, command)], "restartPolicy": "Never"},
        }},
        "status": {},
    });
    send(invocation, object, Made::namespaced("batch", "jobs", "failed to create job:")).await
}

async fn job_from(
    invocation: &Invocation<'_>,
    name: &str,
    from: &str,
    command: &[String],
) -> Result<(), Failure> {
    if !command.is_empty() {
        return Err(message("cannot specify --from and command"));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    let choice = Choice::of(invocation)?;
    let targets = builder::from_arguments(&mapper, &choice, &[from.to_owned()])?;
    let [target] = targets.as_slice() else { return Err(message("from must be an existing cronjob")) };
    let owner = api.get(&target.path()).await?;
    if target.mapping.kind != "CronJob" {
        let package =
            if target.mapping.group.is_empty() { "v1".into() } else { target.mapping.version.clone() };
        return Err(message(format!("unknown object type *{package}.{}", target.mapping.kind)));
    }
    let template = &owner["spec"]["jobTemplate"];
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.entry("cronjob.kubernetes.io/instantiate").or_insert_with(|| "manual".into());
    let mut object = json!({
        "kind": "Job", "apiVersion": "batch/v1",
        "metadata": {
            "name": name, "annotations": annotations,
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "CronJob", "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"], "controller": true,
            }],
        },
        "spec": template["spec"], "status": {},
    });
    if let Some(labels) = template["metadata"].get("labels") {
        object["metadata"]["labels"] = labels.clone();
    }
    send(invocation, object, Made::namespaced("batch", "jobs", "failed to create job:")).await
}

async fn cron_job(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let (name, command) = name_and_command(invocation)?;
    let values = &invocation.values;
    let restart = Some(values.text("restart")).filter(|text| !text.is_empty()).unwrap_or("OnFailure");
    let template = json!({
        "metadata": {},
        "spec": {"containers": [container(name, values.text("image"), command)], "restartPolicy": restart},
    });
    let object = json!({
        "kind": "CronJob", "apiVersion": "batch/v1", "metadata": {"name": name},
        "spec": {
            "schedule": values.text("schedule"),
            "jobTemplate": {"metadata": {"name": name}, "spec": {"template": template}},
        },
        "status": {},
    });
    send(invocation, object, Made::namespaced("batch", "cronjobs", "failed to create cronjob:")).await
}
