//! `pods/eviction`: a deletion that disruption budgets may refuse (pkg/registry/core/pod/storage/eviction.go).

use std::sync::Arc;

use model::selector::LabelSelector;
use model::status::Details;
use model::tree::TreeExt;
use model::{Cause, GroupResource, GroupVersionKind, Reason, Status, time};
use serde_json::{Value, json};

use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::pipeline::decode;
use crate::seams::{ObjectReader, Operation};
use crate::verbs::create::match_namespace;
use crate::verbs::delete::delete_object;
use crate::verbs::delete_options::DeleteOptions;
use crate::verbs::get;
use crate::verbs::update::update_object;
use crate::verbs::write::Change;

/// Evicts a Pod.
///
/// # Errors
/// 429 when a budget does not allow it; 500 when two budgets cover the Pod.
pub async fn evict(context: &Arc<Context>) -> Result<Answer, Status> {
    let served = context.served()?;
    let options = decode::write_options(context, "CreateOptions")?;
    let kind = GroupVersionKind::new("policy", "v1", "Eviction");
    let definition = resources::schema::definition("io.k8s.api.policy.v1.Eviction");
    let mut eviction = decode::object(context, &kind, definition, options.validation).await?;
    match_namespace(&mut eviction, context.namespace())?;
    let name = context.route.name.as_str();
    if !eviction.name().is_empty() && eviction.name() != name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    eviction.set(&["metadata", "name"], name);
    let cache = context.cache().await?;
    let entry = cache.get(&context.key()?).ok_or_else(|| context.not_found())?;
    let pod = get::tree(served, &entry.object);
    let change = Change {
        context,
        served,
        namespace: context.namespace(),
        name,
        subresource: Some("eviction"),
        dry_run: options.dry_run,
        options: options.to_value("CreateOptions"),
        internal: false,
    };
    let mut request = change.admission(Operation::Create, eviction, None);
    change.mutate(&mut request).await?;
    change.admit(&mut request).await?;
    let eviction = request.object;
    let delete = delete_options(&eviction, options.dry_run);
    if !budgets_ignored(&pod) {
        spend(context, &pod, delete.dry_run).await?;
    }
    mark_disrupted(context, name, &delete).await?;
    delete_object(context, name, context.namespace(), &delete).await?;
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Answer::Other(201, status))
}

fn delete_options(eviction: &Value, dry_run: bool) -> DeleteOptions {
    let options = &eviction["deleteOptions"];
    let text = |path: &[&str]| Some(options.text(path).to_owned()).filter(|text| !text.is_empty());
    DeleteOptions {
        grace_s: options.integer(&["gracePeriodSeconds"]).map(|grace| if grace < 0 { 1 } else { grace }),
        uid: text(&["preconditions", "uid"]),
        resource_version: None,
        dry_run: dry_run || !options.items(&["dryRun"]).is_empty(),
        ..DeleteOptions::default()
    }
}

/// Pods that have ended, wait for a node or are being deleted are evicted whatever budgets say.
fn budgets_ignored(pod: &Value) -> bool {
    matches!(pod.text(&["status", "phase"]), "Succeeded" | "Failed" | "Pending")
        || pod.at(&["metadata", "deletionTimestamp"]).is_some()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.items(&["status", "conditions"]);
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Takes one disruption from the budget that covers the Pod.
async fn spend(context: &Arc<Context>, pod: &Value, dry_run: bool) -> Result<(), Status> {
    let objects = context.server.objects();
    let resource = GroupResource::new("policy", "poddisruptionbudgets");
    let all = objects.list(&resource, Some(context.namespace())).await?;
    let covers = |budget: &Value| {
        let selector = LabelSelector::from_tree(budget.at(&["spec", "selector"]))
            .unwrap_or_else(|_| LabelSelector::nothing());
        selector.matches_object(pod)
    };
    let covering: Vec<_> = all.into_iter().filter(|budget| covers(budget)).collect();
    let budget = match covering.as_slice() {
        [] => return Ok(()),
        [budget] => budget,
        _ => {
            let text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::new(500, Reason::InternalError, text));
        }
    };
    let always = budget.text(&["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    let healthy_enough = budget.integer(&["status", "currentHealthy"]).unwrap_or(0)
        >= budget.integer(&["status", "desiredHealthy"]).unwrap_or(0)
        && budget.integer(&["status", "desiredHealthy"]).unwrap_or(0) > 0;
    if !is_ready(pod) && (always || healthy_enough) {
        return Ok(());
    }
    let routes = objects.routes();
    let served = routes.find("policy", "v1", "poddisruptionbudgets").ok_or_else(Status::no_such_resource)?;
    let change = Change {
        context,
        served,
        namespace: context.namespace(),
        name: budget.name(),
        subresource: Some("status"),
        dry_run,
        options: Value::Null,
        internal: true,
    };
    let now = time::format_seconds(context.server.options.clock.now());
    let pod_name = pod.name().to_owned();
    update_object(&change, &|old| spent(old, &pod_name, &now)).await.map(drop)
}

fn spent(old: &Value, pod_name: &str, now: &str) -> Result<Value, Status> {
    let name = old.name();
    let generation = old.integer(&["metadata", "generation"]).unwrap_or(0);
    if old.integer(&["status", "observedGeneration"]).unwrap_or(0) < generation {
        let text = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(10, text, name));
    }
    let allowed = old.integer(&["status", "disruptionsAllowed"]).unwrap_or(0);
    if allowed < 0 {
        let resource = GroupResource::new("policy", "poddisruptionbudget");
        return Err(Status::forbidden(&resource, name, "pdb disruptions allowed is negative"));
    }
    if allowed == 0 {
        let desired = old.integer(&["status", "desiredHealthy"]).unwrap_or(0);
        let current = old.integer(&["status", "currentHealthy"]).unwrap_or(0);
        let text =
            format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently");
        return Err(refused(0, text, name));
    }
    let mut budget = old.clone();
    budget.set(&["status", "disruptionsAllowed"], allowed - 1);
    let disrupted = budget.at_mut(&["status", "disruptedPods"]);
    if !disrupted.is_object() {
        *disrupted = json!({});
    }
    disrupted[pod_name] = json!(now);
    Ok(budget)
}

fn refused(retry_after_s: i32, cause: String, _budget: &str) -> Status {
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut status = Status::new(429, Reason::TooManyRequests, text);
    let cause = Cause { reason: "DisruptionBudget".into(), message: cause, field: String::new() };
    status.details = Some(Box::new(Details {
        causes: vec![cause],
        retry_after_seconds: retry_after_s,
        ..Details::default()
    }));
    status
}

/// Adds the condition `DisruptionTarget`.
async fn mark_disrupted(context: &Arc<Context>, name: &str, delete: &DeleteOptions) -> Result<(), Status> {
    let served = context.served()?;
    let change = Change {
        context,
        served,
        namespace: context.namespace(),
        name,
        subresource: Some("status"),
        dry_run: delete.dry_run,
        options: Value::Null,
        internal: true,
    };
    let now = time::format_seconds(context.server.options.clock.now());
    let make = |old: &Value| {
        let mut pod = old.clone();
        let mut conditions: Vec<Value> = old.items(&["status", "conditions"]).to_vec();
        conditions.retain(|condition| condition["type"] != "DisruptionTarget");
        conditions
            .push(json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": now}));
        pod.set(&["status", "conditions"], Value::Array(conditions));
        Ok(pod)
    };
    update_object(&change, &make).await.map(drop)
}
