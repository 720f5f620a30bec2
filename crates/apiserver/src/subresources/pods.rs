//! `pods/log`, `exec`, `attach`, `portforward`, and the proxies of Pods, Services and nodes
//! (pkg/registry/core/pod/strategy.go, pod/rest).

use std::sync::Arc;

use client::full_body;
use http::Method;
use model::tree::TreeExt;
use model::{Cause, Status};
use serde_json::{Value, json};

use super::nodes::{forward, segment};
use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::seams::Operation;
use crate::verbs::get;
use crate::verbs::write::Change;

/// The lists of containers in a Pod's spec, in the order upstream looks.
const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Answers a subresource that a node answers.
///
/// # Errors
/// 400 for options that do not fit the Pod, 404, what the node says.
pub async fn dispatch(context: &Arc<Context>) -> Result<Answer, Status> {
    let subresource = context.route.subresource.as_str();
    if context.route.plural == "nodes" {
        return node_proxy(context).await;
    }
    let pod = pod(context).await?;
    match subresource {
        "log" => log(context, &pod).await,
        "exec" | "attach" => stream(context, &pod, subresource).await,
        "portforward" => {
            connect(context, "PodPortForwardOptions").await?;
            let node = bound_node(&pod)?;
            let path = format!("/portForward/{}/{}", pod.namespace(), pod.name());
            let query = context.raw_query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
            relay(context, &node, &format!("{path}{query}")).await
        }
        _ => Err(Status::no_such_resource()),
    }
}

async fn pod(context: &Context) -> Result<Value, Status> {
    let served = context.served()?;
    let cache = context.cache().await?;
    let entry = cache.get(&context.key()?).ok_or_else(|| context.not_found())?;
    Ok(get::tree(served, &entry.object))
}

/// Lets admission at a connection.
async fn connect(context: &Arc<Context>, kind: &str) -> Result<(), Status> {
    let mut options = json!({"kind": kind, "apiVersion": "v1"});
    for (name, value) in context.query.pairs() {
        options[name.as_str()] = match (name.as_str(), value.as_str()) {
            ("command", _) => json!(context.query.all("command").collect::<Vec<_>>()),
            (_, "true") => json!(true),
            (_, "false") => json!(false),
            (_, text) => json!(text),
        };
    }
    let change = Change {
        context,
        served: context.served()?,
        namespace: context.namespace(),
        name: &context.route.name,
        subresource: Some(&context.route.subresource),
        dry_run: false,
        options: Value::Null,
        internal: false,
    };
    let mut request = change.admission(Operation::Connect, options, None);
    change.mutate(&mut request).await?;
    change.admit(&mut request).await
}

/// The node of a Pod.
fn bound_node(pod: &Value) -> Result<String, Status> {
    match pod.text(&["spec", "nodeName"]) {
        "" => Err(Status::bad_request(format!("pod {} does not have a host assigned", pod.name()))),
        node => Ok(node.to_owned()),
    }
}

fn names<'p>(pod: &'p Value, list: &str) -> Vec<&'p str> {
    pod.items(&["spec", list]).iter().map(|container| container.text(&["name"])).collect()
}

/// The container meant: the one named, or the only one (`pod.LogLocation`, `streamLocation`).
fn container(pod: &Value, asked: &str) -> Result<String, Status> {
    if !asked.is_empty() {
        let found = LISTS.iter().any(|list| names(pod, list).contains(&asked));
        let text = format!("container {asked} is not valid for pod {}", pod.name());
        return if found { Ok(asked.to_owned()) } else { Err(Status::bad_request(text)) };
    }
    match names(pod, "containers").as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {}", pod.name()))),
        many => {
            let mut text = format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                pod.name(),
                many.join(" ")
            );
            for (list, words) in [("initContainers", "init"), ("ephemeralContainers", "ephemeral")] {
                let names = names(pod, list);
                if !names.is_empty() {
                    text.push_str(&format!(" or one of the {words} containers: [{}]", names.join(" ")));
                }
            }
            Err(Status::bad_request(text))
        }
    }
}

/// Parameters of `log` that go to the node.
const LOG_PARAMETERS: &[&str] =
    &["follow", "previous", "timestamps", "sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"];

async fn log(context: &Arc<Context>, pod: &Value) -> Result<Answer, Status> {
    check_log_options(context)?;
    let container = container(pod, context.query.text("container"))?;
    // Without a node there is nothing to read yet; upstream answers with an empty stream.
    let node = pod.text(&["spec", "nodeName"]).to_owned();
    if node.is_empty() {
        return Ok(Answer::Response(crate::pipeline::answer::raw(200, "text/plain", "")));
    }
    let mut path = format!("/containerLogs/{}/{}/{}", pod.namespace(), pod.name(), segment(&container));
    let mut separator = '?';
    for name in LOG_PARAMETERS {
        if let Some(value) = context.query.get(name).filter(|value| !value.is_empty() && *value != "false") {
            path.push_str(&format!("{separator}{name}={}", segment(value)));
            separator = '&';
        }
    }
    let mut answer = forward(context, &node, Method::GET, &path, full_body("")).await?;
    if let Answer::Response(response) = &mut answer {
        let headers = response.headers_mut();
        headers.remove(http::header::CONTENT_LENGTH);
        headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    }
    Ok(answer)
}

fn check_log_options(context: &Context) -> Result<(), Status> {
    let query = &context.query;
    let mut causes = Vec::new();
    let mut fault = |field: &str, message: String| {
        let reason =
            if message.starts_with("Forbidden") { "FieldValueForbidden" } else { "FieldValueInvalid" };
        causes.push(Cause { reason: reason.into(), message, field: field.into() });
    };
    for (name, least, words) in [
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ] {
        if let Some(number) = query.number(name)?.filter(|number| *number < least) {
            fault(name, format!("Invalid value: {number}: {words}"));
        }
    }
    if query.get("sinceSeconds").is_some() && query.get("sinceTime").is_some() {
        fault(
            "sinceSeconds",
            "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified".into(),
        );
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("", "PodLogOptions", &context.route.name, causes))
}

async fn stream(context: &Arc<Context>, pod: &Value, subresource: &str) -> Result<Answer, Status> {
    let query = &context.query;
    let (kind, verb) = match subresource {
        "exec" => ("PodExecOptions", "exec"),
        _ => ("PodAttachOptions", "attach"),
    };
    check_stream_options(context, subresource)?;
    connect(context, kind).await?;
    let container = container(pod, query.text("container"))?;
    let node = bound_node(pod)?;
    let mut path = format!("/{verb}/{}/{}/{}", pod.namespace(), pod.name(), segment(&container));
    let mut parameters: Vec<String> = Vec::new();
    for (from, to) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")] {
        if query.flag(from) {
            parameters.push(format!("{to}=1"));
        }
    }
    if subresource == "exec" {
        parameters.extend(query.all("command").map(|command| format!("command={}", segment(command))));
    }
    if !parameters.is_empty() {
        path.push('?');
        path.push_str(&parameters.join("&"));
    }
    relay(context, &node, &path).await
}

fn check_stream_options(context: &Context, subresource: &str) -> Result<(), Status> {
    let query = &context.query;
    let any = ["stdin", "stdout", "stderr"].iter().any(|name| query.flag(name));
    // Absent means yes for output, as upstream's defaults have it.
    let any = any || (query.get("stdout").is_none() && query.get("stderr").is_none());
    if !any {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    if query.flag("tty") && query.flag("stderr") {
        return Err(Status::bad_request("tty and stderr cannot both be true"));
    }
    if subresource == "exec" && query.all("command").next().is_none() {
        return Err(Status::bad_request("you must specify at least 1 command"));
    }
    Ok(())
}

/// Hands an upgrade on to the node.
async fn relay(context: &Arc<Context>, node: &str, path: &str) -> Result<Answer, Status> {
    if context.upgrade.lock().is_none() {
        return Err(Status::bad_request("Upgrade request required"));
    }
    forward(context, node, context.method.clone(), path, full_body("")).await
}

/// `nodes/NAME/proxy/…`: the node's own API.
async fn node_proxy(context: &Arc<Context>) -> Result<Answer, Status> {
    connect(context, "NodeProxyOptions").await?;
    let rest = if context.route.rest.is_empty() { "/" } else { context.route.rest.as_str() };
    let query = context.raw_query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    let body = context.body.lock().take().unwrap_or_else(|| full_body(""));
    // `NAME:PORT` names another port upstream; the node's own is the only one reached here.
    let node = context.route.name.split(':').next().unwrap_or_default();
    forward(context, node, context.method.clone(), &format!("{rest}{query}"), body).await
}
