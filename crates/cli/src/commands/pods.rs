//! Pods as `logs`, `exec`, `attach` and `port-forward` see them: which one is meant, and which of its containers.

use model::tree::TreeExt;
use serde_json::Value;

use crate::api::Api;
use crate::builder::{self, Choice};
use crate::context::Context;
use crate::failure::{Failure, message};
use crate::mapping::Mapper;

/// The annotation that names the container to take.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The lists of containers with what is put after their names.
pub const LISTS: [(&str, &str); 3] =
    [("containers", ""), ("initContainers", " (init)"), ("ephemeralContainers", " (ephem)")];

/// `a, b, c (init)`.
pub fn container_names(pod: &Value) -> String {
    let mut names = Vec::new();
    for (list, note) in LISTS {
        names.extend(pod.items(&["spec", list]).iter().map(|one| format!("{}{note}", one.text(&["name"]))));
    }
    names.join(", ")
}

/// The container of this name, with the list that it is in.
pub fn container<'a>(pod: &'a Value, name: &str) -> Option<(&'static str, &'a Value)> {
    LISTS.iter().find_map(|(list, _)| {
        let found = pod.items(&["spec", list]).iter().find(|one| one.text(&["name"]) == name);
        found.map(|found| (*list, found))
    })
}

/// The container that is meant: named, annotated, or the first. What was chosen is said unless `quiet`.
pub fn choose(context: &Context, pod: &Value, named: &str, quiet: bool) -> Result<String, Failure> {
    if !named.is_empty() {
        if container(pod, named).is_none() {
            return Err(message(format!(
                "container {named} is not valid for pod {} out of: {}",
                pod.name(),
                container_names(pod)
            )));
        }
        return Ok(named.to_owned());
    }
    let annotated = pod.text(&["metadata", "annotations", DEFAULT_CONTAINER]);
    if !annotated.is_empty() {
        if container(pod, annotated).is_some() {
            return Ok(annotated.to_owned());
        }
        context.err(&format!("Default container name {annotated:?} not found in pod {}\n", pod.name()));
    }
    let first = pod.items(&["spec", "containers"]).first().map(|one| one.text(&["name"])).unwrap_or_default();
    let names = container_names(pod);
    if names.contains(", ") && !quiet {
        context.err(&format!("Defaulted container {first:?} out of: {names}\n"));
    }
    Ok(first.to_owned())
}

/// The Pods that `POD`, `TYPE/NAME` means: itself, or those that a workload or Service selects, the best one first.
pub async fn resolve(
    api: &Api<'_>,
    mapper: &Mapper,
    choice: &Choice,
    argument: &str,
) -> Result<Vec<Value>, Failure> {
    let argument = if argument.contains('/') { argument.to_owned() } else { format!("pods/{argument}") };
    let targets = builder::from_arguments(mapper, choice, &[argument])?;
    let Some(target) = targets.first() else { return Err(message("expected a resource")) };
    let object = api.get(&target.path()).await?;
    if object.kind() == "Pod" {
        return Ok(vec![object]);
    }
    let selector = selector(&object).ok_or_else(|| {
        message(format!(
            "cannot get the logs from {}: selector for {} not implemented",
            target.display(),
            object.kind()
        ))
    })?;
    let path = client::Path::collection("", "v1", "pods", Some(&target.namespace));
    let list = api.get(&builder::with_query(path.as_str(), &builder::selector_query(&selector))).await?;
    let mut pods = builder::items(&list);
    // Ready ones first, then those that run, as kubectl sorts for logs and attachments.
    pods.sort_by_key(|pod| (pod.text(&["status", "phase"]) != "Running", !is_ready(pod)));
    if pods.is_empty() {
        return Err(message("timed out waiting for the condition"));
    }
    Ok(pods)
}

/// Whether the Pod's condition says so.
pub fn is_ready(pod: &Value) -> bool {
    pod.items(&["status", "conditions"])
        .iter()
        .any(|one| one.text(&["type"]) == "Ready" && one.text(&["status"]) == "True")
}

/// The label selector of a workload or Service, as text.
pub fn selector(object: &Value) -> Option<String> {
    let selector = object.at(&["spec", "selector"])?;
    let labels = if matches!(object.kind(), "Service" | "ReplicationController") {
        selector
    } else {
        if let Some(list) =
            selector.get("matchExpressions").and_then(Value::as_array).filter(|list| !list.is_empty())
        {
            return Some(expressions(selector, list));
        }
        selector.get("matchLabels")?
    };
    let map = labels.as_object()?;
    let pairs: Vec<String> =
        map.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    Some(pairs.join(","))
}

fn expressions(selector: &Value, list: &[Value]) -> String {
    let mut parts: Vec<String> = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .map(|map| {
            map.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect()
        })
        .unwrap_or_default();
    for one in list {
        let key = one.text(&["key"]);
        let values: Vec<&str> = one.items(&["values"]).iter().filter_map(Value::as_str).collect();
        parts.push(match one.text(&["operator"]) {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}
