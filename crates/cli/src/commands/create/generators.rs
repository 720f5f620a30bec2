//! Simple objects made of flags: `create namespace x`.

use http::Method;
use serde_json::{Map, Value, json};

use super::{annotate, write_query};
use crate::api::Api;
use crate::builder::with_query;
use crate::command::{Command, DryRun, Invocation};
use crate::commands::boxed;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Groups, Kind, shared};
use crate::printers::{self, Format, Printer};

const COMMON: Groups =
    &[shared::OUTPUT, shared::DRY_RUN, shared::VALIDATE, shared::SAVE_CONFIG, shared::MANAGER];

const DATA: &[Flag] = &[
    Flag::new("from-literal", Kind::Array, "", "A key with its value (key=value); may be repeated"),
    Flag::new("from-file", Kind::Texts, "", "A file, or key=file, or a directory; may be repeated"),
    Flag::new("from-env-file", Kind::Texts, "", "A file of key=value lines"),
    Flag::switch("append-hash", "Not supported: append a hash to the name"),
];

/// The commands below `create`.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "configmap",
        aliases: &["cm"],
        usage: "configmap NAME [--from-file=[key=]source] [--from-literal=key1=value1] [--dry-run=server|client|none]",
        short: "Create a config map from a local file, directory or literal value",
        flags: &[COMMON[0], COMMON[1], COMMON[2], COMMON[3], COMMON[4], DATA],
        run: boxed!(config_map),
        ..Command::EMPTY
    },
    Command {
        name: "deployment",
        aliases: &["deploy"],
        usage: "deployment NAME --image=image -- [COMMAND] [args...]",
        short: "Create a deployment with the specified name",
        flags: &[
            COMMON[0],
            COMMON[1],
            COMMON[2],
            COMMON[3],
            COMMON[4],
            &[
                Flag::new("image", Kind::Texts, "", "Images to run; may be repeated"),
                Flag::new("port", Kind::Integer, "-1", "Port that the container exposes"),
                Flag::new("replicas", Kind::Integer, "1", "How many Pods").short('r'),
            ],
        ],
        required: &["image"],
        run: boxed!(deployment),
        ..Command::EMPTY
    },
    Command {
        name: "job",
        usage: "job NAME --image=image [--from=cronjob/name] -- [COMMAND] [args...]",
        short: "Create a job with the specified name",
        flags: &[
            COMMON[0],
            COMMON[1],
            COMMON[2],
            COMMON[3],
            COMMON[4],
            &[
                Flag::new("image", Kind::Text, "", "Image to run"),
                Flag::new("from", Kind::Text, "", "CronJob to take the Job from"),
            ],
        ],
        run: boxed!(job),
        ..Command::EMPTY
    },
    Command {
        name: "namespace",
        aliases: &["ns"],
        usage: "namespace NAME [--dry-run=server|client|none]",
        short: "Create a namespace with the specified name",
        flags: COMMON,
        run: boxed!(namespace),
        ..Command::EMPTY
    },
    Command {
        name: "secret",
        usage: "secret (docker-registry | generic | tls)",
        short: "Create a secret using a specified subcommand",
        subcommands: &[Command {
            name: "generic",
            usage: "generic NAME [--type=string] [--from-file=[key=]source] [--from-literal=key1=value1] [--dry-run=server|client|none]",
            short: "Create a secret from a local file, directory, or literal value",
            flags: &[
                COMMON[0],
                COMMON[1],
                COMMON[2],
                COMMON[3],
                COMMON[4],
                DATA,
                &[Flag::new("type", Kind::Text, "", "Type of the secret")],
            ],
            run: boxed!(secret),
            ..Command::EMPTY
        }],
        ..Command::EMPTY
    },
    Command {
        name: "serviceaccount",
        aliases: &["sa"],
        usage: "serviceaccount NAME [--dry-run=server|client|none]",
        short: "Create a service account with the specified name",
        flags: COMMON,
        run: boxed!(service_account),
        ..Command::EMPTY
    },
];

fn name<'a>(invocation: &'a Invocation<'_>) -> Result<&'a str, Failure> {
    match invocation.arguments() {
        [name] => Ok(name),
        list => Err(invocation.usage(&format!("exactly one NAME is required, got {}", list.len()))),
    }
}

/// Name before `--`, command after it.
fn name_and_command<'a>(invocation: &'a Invocation<'_>) -> Result<(&'a str, Vec<&'a String>), Failure> {
    let arguments = invocation.arguments();
    let before = invocation.values.before_dash.unwrap_or(arguments.len().min(1));
    match &arguments[..before] {
        [name] => Ok((name, arguments[before..].iter().collect())),
        list => Err(invocation.usage(&format!("exactly one NAME is required, got {}", list.len()))),
    }
}

/// What kind of object is made.
#[derive(Clone, Copy)]
pub struct Made {
    /// API group.
    pub group: &'static str,
    /// Plural name.
    pub plural: &'static str,
    /// Whether it lives in a namespace.
    pub namespaced: bool,
    /// Words in front of what the server says.
    pub wrap: Option<&'static str>,
}

const fn made(group: &'static str, plural: &'static str, wrap: &'static str) -> Made {
    Made { group, plural, namespaced: true, wrap: Some(wrap) }
}

/// Creates a made object, or prints it.
pub async fn send(invocation: &Invocation<'_>, mut object: Value, made: Made) -> Result<(), Failure> {
    let Made { group, plural, namespaced, .. } = made;
    let (namespace, explicit) = invocation.namespace()?;
    let (api_version, kind) =
        (object["apiVersion"].as_str().unwrap_or_default(), object["kind"].as_str().unwrap_or_default());
    let version = api_version.rsplit('/').next().unwrap_or("v1").to_owned();
    let definition = resources::registry()
        .by_kind(&model::GroupVersionKind::new(group, &*version, kind))
        .and_then(|row| resources::schema::definition(&row.definition));
    if namespaced && (explicit || namespace != "default") {
        object["metadata"]["namespace"] = namespace.as_str().into();
    }
    if invocation.values.on("save-config") {
        annotate(&mut object);
    }
    let dry_run = invocation.dry_run()?;
    let format = printers::outcome_format(&invocation.values)?;
    if dry_run == DryRun::Client {
        if let Format::Printer(Printer::Json) = format {
            invocation.context.out(&printers::json::in_field_order(&object, definition));
            return Ok(());
        }
        return printers::outcome(invocation, &format, &object, &format!("created{}", dry_run.suffix()));
    }
    let validation = super::validation(invocation)?;
    let api: Api<'_> = invocation.api()?;
    let path = client::Path::collection(group, &version, plural, namespaced.then_some(namespace.as_str()));
    let path = with_query(path.as_str(), &write_query(invocation, dry_run, validation, "kubectl-create"));
    let created =
        api.write(Method::POST, &path, &object).await.map_err(|failure| match (failure, made.wrap) {
            (Failure::Server(status), Some(words)) => message(format!("{words} {}", status.message)),
            (other, _) => other,
        })?;
    printers::outcome(invocation, &format, &created, &format!("created{}", dry_run.suffix()))
}

async fn namespace(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let object = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name(invocation)?}, "spec": {}, "status": {}});
    send(invocation, object, Made { group: "", plural: "namespaces", namespaced: false, wrap: None }).await
}

async fn service_account(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let object =
        json!({"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": name(invocation)?}});
    send(invocation, object, made("", "serviceaccounts", "failed to create serviceaccount:")).await
}

async fn config_map(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let mut object =
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name(invocation)?}});
    let (mut text, mut binary) = (Map::new(), Map::new());
    for (key, bytes) in data(invocation)? {
        match String::from_utf8(bytes) {
            Ok(value) => text.insert(key, value.into()),
            Err(error) => binary.insert(key, base64(error.as_bytes()).into()),
        };
    }
    if !text.is_empty() {
        object["data"] = text.into();
    }
    if !binary.is_empty() {
        object["binaryData"] = binary.into();
    }
    send(invocation, object, made("", "configmaps", "failed to create configmap:")).await
}

async fn secret(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let mut object = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": name(invocation)?}});
    let data: Map<String, Value> =
        data(invocation)?.into_iter().map(|(key, bytes)| (key, base64(&bytes).into())).collect();
    if !data.is_empty() {
        object["data"] = data.into();
    }
    if !invocation.values.text("type").is_empty() {
        object["type"] = invocation.values.text("type").into();
    }
    send(invocation, object, made("", "secrets", "failed to create secret")).await
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}

async fn deployment(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let (name, command) = name_and_command(invocation)?;
    let values = &invocation.values;
    let images = values.texts("image");
    if images.len() > 1 && !command.is_empty() {
        return Err(message("cannot specify multiple --image options and command"));
    }
    let mut containers: Vec<Value> = images.iter().map(|image| container(image, &command)).collect();
    if values.integer("port") > 0
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
    send(invocation, object, made("apps", "deployments", "failed to create deployment:")).await
}

/// A container named after its image.
fn container(image: &str, command: &[&String]) -> Value {
    let name = image.rsplit('/').next().unwrap_or(image);
    let name = name.split([':', '@']).next().unwrap_or(name).replace('_', "-");
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
        return job_from(invocation, name, from, &command).await;
    }
    let mut container = container(image, &command);
    container["name"] = name.into();
    let object = json!({
        "kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": name},
        "spec": {"template": {"metadata": {}, "spec": {"containers": [container], "restartPolicy": "Never"}}},
        "status": {},
    });
    send(invocation, object, made("batch", "jobs", "failed to create job:")).await
}

async fn job_from(
    invocation: &Invocation<'_>,
    name: &str,
    from: &str,
    command: &[&String],
) -> Result<(), Failure> {
    if !command.is_empty() {
        return Err(message("cannot specify --from and command"));
    }
    let (kind, cron_job) = from.split_once('/').unwrap_or(("", from));
    if !matches!(kind, "cronjob" | "cronjobs" | "cj" | "cronjob.batch" | "cronjobs.batch") {
        return Err(message(format!("from must be an existing cronjob: {from}")));
    }
    let (namespace, _) = invocation.namespace()?;
    let path = client::Path::collection("batch", "v1", "cronjobs", Some(&namespace)).join(cron_job);
    let owner = invocation.api()?.get(path.as_str()).await?;
    let template = &owner["spec"]["jobTemplate"];
    let mut annotations = template["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
    annotations.insert("cronjob.kubernetes.io/instantiate".into(), "manual".into());
    let object = json!({
        "kind": "Job", "apiVersion": "batch/v1",
        "metadata": {
            "name": name, "annotations": annotations, "labels": template["metadata"]["labels"],
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "CronJob", "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"], "controller": true,
            }],
        },
        "spec": template["spec"],
    });
    send(invocation, object, made("batch", "jobs", "failed to create job:")).await
}

/// Keys and values of literals and files.
fn data(invocation: &Invocation<'_>) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let values = &invocation.values;
    if values.on("append-hash") {
        return Err(message("--append-hash is not supported"));
    }
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    for file in values.texts("from-file") {
        from_file(&file, &mut found)?;
    }
    for literal in values.texts("from-literal") {
        let pair = literal.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) =
            pair.ok_or_else(|| message(format!("invalid literal source {literal}, expected key=value")))?;
        found.push((key.to_owned(), unquoted(value).as_bytes().to_vec()));
    }
    for file in values.texts("from-env-file") {
        let text = String::from_utf8_lossy(&read(&file)?).into_owned();
        for line in
            text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            found.push((key.to_owned(), value.as_bytes().to_vec()));
        }
    }
    for (at, (key, _)) in found.iter().enumerate() {
        if found[..at].iter().any(|(other, _)| other == key) {
            return Err(message(format!(
                "cannot add key {key:?}, another key by that name already exists in Data"
            )));
        }
        if let Some(why) = model::names::config_key(key).first() {
            return Err(message(format!("{key:?} is not a valid key name: {why}")));
        }
    }
    Ok(found)
}

fn unquoted(value: &str) -> &str {
    let inner = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(value)
}

fn read(path: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => message(format!("error reading {path}: no such file or directory")),
        _ => message(format!("error reading {path}: {error}")),
    })
}

fn from_file(source: &str, found: &mut Vec<(String, Vec<u8>)>) -> Result<(), Failure> {
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let (key, path) = match source.split_once('=') {
        Some((key, path)) => (key.to_owned(), path),
        None => (base(source), source),
    };
    if !std::path::Path::new(path).is_dir() {
        found.push((key, read(path)?));
        return Ok(());
    }
    if source.contains('=') {
        return Err(message("cannot give a key name for a directory path"));
    }
    let entries = std::fs::read_dir(path)
        .map_err(|error| message(format!("error listing files in {path}: {error}")))?;
    let mut files: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    for file in files {
        let name = file.display().to_string();
        found.push((base(&name), read(&name)?));
    }
    Ok(())
}
