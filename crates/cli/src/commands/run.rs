//! `run`: a Pod of an image.

use model::tree::TreeExt;
use serde_json::{Map, Value, json};

use super::boxed;
use super::create::generators::{self, Made};
use crate::command::{Command, Invocation};
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};

/// The command.
pub const COMMAND: Command = Command {
    name: "run",
    usage: "run NAME --image=image [--env=\"key=value\"] [--port=port] [--dry-run=server|client] [--overrides=inline-json] [--command] -- [COMMAND] [args...]",
    short: "Run a particular image on the cluster",
    long: "Create and run a particular image in a pod.\n\nWhat follows -- are the container's arguments, or with --command its command.",
    flags: &[
        shared::OUTPUT,
        shared::DRY_RUN,
        shared::SAVE_CONFIG,
        shared::OVERRIDES,
        shared::FILES,
        &[
            Flag::new("annotations", Kind::Array, "", "Annotation (key=value); may be repeated"),
            Flag::switch("attach", "Attach to the container when it runs"),
            Flag::new("cascade", Kind::Text, "background", "Accepted for compatibility").bare("background"),
            Flag::switch("command", "Take the arguments as the container's command"),
            Flag::new("detach-keys", Kind::Text, "ctrl-p,ctrl-q", "Accepted for compatibility"),
            Flag::new("env", Kind::Array, "", "Environment variable (NAME=value); may be repeated"),
            Flag::switch("expose", "Also make a ClusterIP Service; needs --port"),
            Flag::new("field-manager", Kind::Text, "kubectl-run", "Name under which fields are owned"),
            Flag::switch("force", "With --rm: take the Pod away without grace"),
            Flag::new("grace-period", Kind::Integer, "-1", "With --rm: seconds that the Pod gets to end"),
            Flag::new("image", Kind::Text, "", "Image of the container"),
            Flag::new(
                "image-pull-policy",
                Kind::Text,
                "",
                "Always, IfNotPresent or Never; empty leaves it to the server",
            ),
            Flag::new("labels", Kind::Text, "", "Labels, comma-separated (key=value)").short('l'),
            Flag::switch("leave-stdin-open", "Leave standard input open after the first attachment"),
            Flag::new("pod-running-timeout", Kind::Duration, "1m0s", "How long to wait for the Pod to run"),
            Flag::new("port", Kind::Text, "", "Port that the container exposes"),
            Flag::switch("privileged", "Run the container privileged"),
            Flag::switch("quiet", "Say less").short('q'),
            Flag::new("restart", Kind::Text, "Always", "Always, OnFailure or Never"),
            Flag::switch("rm", "Delete the Pod when it ends; only when attached"),
            Flag::switch("stdin", "Keep standard input open").short('i'),
            Flag::new("timeout", Kind::Duration, "0s", "With --rm: how long to wait for the Pod to go"),
            Flag::switch("tty", "Give the container a terminal").short('t'),
            Flag::new("validate", Kind::Text, "ignore", "").bare("strict"),
            Flag::new("wait", Kind::Bool, "false", "With --rm: wait until the Pod is gone"),
        ],
    ],
    required: &["image"],
    run: boxed!(run),
    ..Command::EMPTY
};

async fn run(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    let Some(name) = invocation.arguments().first().filter(|_| values.before_dash != Some(0)) else {
        return Err(invocation.usage("NAME is required for run"));
    };
    if values.text("image").is_empty() {
        return Err(message("--image is required"));
    }
    if !is_image(values.text("image")) {
        return Err(message(format!(
            "Invalid image name {:?}: invalid reference format",
            values.text("image")
        )));
    }
    let interactive = values.on("stdin");
    if values.on("tty") && !interactive {
        return Err(invocation.usage("-i/--stdin is required for containers with -t/--tty=true"));
    }
    if values.on("expose") && values.text("port").is_empty() {
        return Err(invocation.usage("--port must be set when exposing a service"));
    }
    let attach = if values.given("attach") { values.on("attach") } else { interactive };
    if values.on("rm") && !attach {
        return Err(invocation.usage("--rm should only be used for attached containers"));
    }
    let dry = !matches!(values.text("dry-run"), "none" | "false");
    if attach && dry {
        return Err(invocation.usage("--dry-run=[server|client] can't be used with attached containers options (--attach, --stdin, or --tty)"));
    }
    let policy = values.text("image-pull-policy");
    if !matches!(policy, "" | "Always" | "IfNotPresent" | "Never") {
        return Err(invocation.usage(&format!("invalid image pull policy: {policy}")));
    }
    let pod = overridden(invocation, pod(invocation, name)?)?;
    let made = Made { wrap: None, ..Made::namespaced("", "pods", "") };
    if attach {
        return super::attach::run_attached(invocation, pod).await;
    }
    let pod = generators::make(invocation, pod, made, "kubectl-run").await?;
    if values.on("expose") {
        let service = service(invocation, name)?;
        let services = Made { plural: "services", ..made };
        generators::make(invocation, service, services, "kubectl-run").await?.show(invocation)?;
        // kubectl separates the two twice.
        if values.text("output") == "yaml" {
            invocation.context.out("---\n---\n");
        }
    }
    pod.show(invocation)
}

/// Whether a text looks like an image's name (distribution's reference grammar, roughly).
fn is_image(text: &str) -> bool {
    let allowed = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@' | '[' | ']' | '+')
    };
    let (path, _) = text.split_once('@').unwrap_or((text, ""));
    let last = path.rsplit('/').next().unwrap_or(path);
    let repository = last.split(':').next().unwrap_or(last);
    let ends = repository.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let tag = last.split_once(':').is_none_or(|(_, tag)| !tag.is_empty() && !tag.contains(':'));
    text.chars().all(allowed) && ends && tag && !repository.chars().any(|c| c.is_ascii_uppercase())
}

fn labels(invocation: &Invocation<'_>, name: &str) -> Result<Map<String, Value>, Failure> {
    let text = invocation.values.text("labels");
    if text.is_empty() {
        return Ok(Map::from_iter([("run".to_owned(), name.into())]));
    }
    let mut labels = Map::new();
    for pair in text.split(',') {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| message(format!("unexpected label spec: {pair}")))?;
        labels.insert(key.to_owned(), value.into());
    }
    Ok(labels)
}

/// The Pod as the flags describe it.
fn pod(invocation: &Invocation<'_>, name: &str) -> Result<Value, Failure> {
    let values = &invocation.values;
    let mut container = json!({"name": name, "image": values.text("image"), "resources": {}});
    let rest = &invocation.arguments()[1..];
    if !rest.is_empty() {
        container[if values.on("command") { "command" } else { "args" }] = json!(rest);
    }
    let mut env = Vec::new();
    for pair in values.texts("env") {
        let (key, value) = pair
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| message(format!("invalid env: {pair}")))?;
        let mut variable = json!({"name": key});
        if !value.is_empty() {
            variable["value"] = value.into();
        }
        env.push(variable);
    }
    if !env.is_empty() {
        container["env"] = env.into();
    }
    if !values.text("image-pull-policy").is_empty() {
        container["imagePullPolicy"] = values.text("image-pull-policy").into();
    }
    let port = values.text("port");
    if !port.is_empty() {
        let number: i64 =
            port.parse().map_err(|_| message(format!("strconv.Atoi: parsing {port:?}: invalid syntax")))?;
        container["ports"] = json!([{"containerPort": number}]);
    }
    if values.on("privileged") {
        container["securityContext"] = json!({"privileged": true});
    }
    if values.on("stdin") {
        container["stdin"] = true.into();
        if !values.on("leave-stdin-open") {
            container["stdinOnce"] = true.into();
        }
    }
    if values.on("tty") {
        container["tty"] = true.into();
    }
    let restart = values.text("restart");
    if !matches!(restart, "Always" | "OnFailure" | "Never") {
        return Err(invocation.usage(&format!("invalid restart policy: {restart}")));
    }
    let mut pod = json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "labels": labels(invocation, name)?},
        "spec": {"containers": [container], "restartPolicy": restart, "dnsPolicy": "ClusterFirst"},
        "status": {},
    });
    let mut annotations = Map::new();
    for pair in values.texts("annotations") {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| message(format!("unexpected annotation spec: {pair}")))?;
        annotations.insert(key.to_owned(), value.into());
    }
    if !annotations.is_empty() {
        pod["metadata"]["annotations"] = annotations.into();
    }
    Ok(pod)
}

fn overridden(invocation: &Invocation<'_>, pod: Value) -> Result<Value, Failure> {
    overridden_as(invocation, pod, "io.k8s.api.core.v1.Pod", "Pod")
}

/// The object of this definition and kind as `--overrides` changes it.
pub fn overridden_as(
    invocation: &Invocation<'_>,
    made: Value,
    definition: &str,
    made_kind: &str,
) -> Result<Value, Failure> {
    let values = &invocation.values;
    let text = values.text("overrides");
    if text.is_empty() {
        return Ok(made);
    }
    let kind = match values.text("override-type") {
        "json" => resources::patch::PatchType::Json,
        "merge" => resources::patch::PatchType::Merge,
        "strategic" => resources::patch::PatchType::Strategic,
        other => return Err(message(format!("invalid override type: {other}"))),
    };
    let tree: Value =
        serde_json::from_str(text).or_else(|_| crate::manifest::parse(text)).map_err(|error| {
            message(if matches!(kind, resources::patch::PatchType::Json) {
                format!("error parsing overrides: {error}")
            } else {
                "Invalid JSON Patch".to_owned()
            })
        })?;
    let definition = resources::schema::definition(definition);
    let patch = tree.to_string().into_bytes();
    let validation = resources::schema::FieldValidation::Ignore;
    let patched =
        resources::patch::apply(kind, definition, &made, &patch, validation).map_err(Failure::Server)?;
    let mut object = patched.object;
    if object.kind().is_empty() {
        object["kind"] = made_kind.into();
    }
    Ok(object)
}

fn service(invocation: &Invocation<'_>, name: &str) -> Result<Value, Failure> {
    let port: i64 = invocation.values.text("port").parse().unwrap_or_default();
    let selector = labels(invocation, name)?;
    Ok(json!({
        "kind": "Service", "apiVersion": "v1", "metadata": {"name": name},
        "spec": {"ports": [{"protocol": "TCP", "port": port, "targetPort": port}], "selector": selector},
        "status": {"loadBalancer": {}},
    }))
}
