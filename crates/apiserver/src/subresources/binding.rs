//! `pods/binding` and the legacy `bindings`: a Pod gets its node (pkg/registry/core/pod/storage `BindingREST`).

use std::sync::Arc;

use model::tree::TreeExt;
use model::{GroupResource, GroupVersionKind, Status, time};
use serde_json::{Map, Value, json};

use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::pipeline::decode;
use crate::seams::Operation;
use crate::verbs::create::match_namespace;
use crate::verbs::update::update_object;
use crate::verbs::write::Change;

/// Binds the Pod named in the path, or in the binding.
///
/// # Errors
/// 409 when the Pod is bound or being deleted; 404; 422.
pub async fn bind(context: &Arc<Context>, name: &str) -> Result<Answer, Status> {
    let options = decode::write_options(context, "CreateOptions")?;
    let kind = GroupVersionKind::new("", "v1", "Binding");
    let definition = resources::schema::definition("io.k8s.api.core.v1.Binding");
    let mut binding = decode::object(context, &kind, definition, options.validation).await?;
    match_namespace(&mut binding, &context.route.namespace)?;
    let name = if name.is_empty() { binding.name().to_owned() } else { name.to_owned() };
    if !binding.name().is_empty() && binding.name() != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    binding.set(&["metadata", "name"], name.as_str());
    validate(&binding)?;
    let routes = context.server.objects().routes();
    let served = routes.find("", "v1", "pods").ok_or_else(Status::no_such_resource)?;
    let change = Change {
        context,
        served,
        namespace: &context.route.namespace,
        name: &name,
        subresource: Some("binding"),
        dry_run: options.dry_run,
        options: options.to_value("CreateOptions"),
        internal: false,
    };
    let mut request = change.admission(Operation::Create, binding, None);
    change.mutate(&mut request).await?;
    change.admit(&mut request).await?;
    let binding = request.object;
    let now = time::format_seconds(context.server.options.clock.now());
    let change = Change { internal: true, ..change };
    update_object(&change, &|old| bound(old, &binding, &now)).await?;
    let status =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(Answer::Other(201, status))
}

fn validate(binding: &Value) -> Result<(), Status> {
    let kind = binding.text(&["target", "kind"]);
    let mut causes = Vec::new();
    if !matches!(kind, "" | "Node") {
        causes.push(model::Cause {
            reason: "FieldValueNotSupported".into(),
            message: format!("Unsupported value: {kind:?}: supported values: \"Node\", \"<empty>\""),
            field: "target.kind".into(),
        });
    }
    if binding.text(&["target", "name"]).is_empty() {
        causes.push(model::Cause {
            reason: "FieldValueRequired".into(),
            message: "Required value".into(),
            field: "target.name".into(),
        });
    }
    if causes.is_empty() {
        return Ok(());
    }
    Err(Status::invalid("", "Binding", binding.name(), causes))
}

/// The Pod with its node, the binding's annotations and labels, and the condition `PodScheduled`.
fn bound(old: &Value, binding: &Value, now: &str) -> Result<Value, Status> {
    let resource = GroupResource::new("", "pods/binding");
    let name = old.name();
    let node = binding.text(&["target", "name"]);
    let refuse = |why: String| Err(Status::conflict(&resource, name, &why));
    let uid = binding.uid();
    if !uid.is_empty() && uid != old.uid() {
        return refuse(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            old.uid()
        ));
    }
    let version = binding.resource_version();
    if !version.is_empty() && version != old.resource_version() {
        return refuse(format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {}",
            old.resource_version()
        ));
    }
    if old.at(&["metadata", "deletionTimestamp"]).is_some() {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let present = old.text(&["spec", "nodeName"]);
    if !present.is_empty() {
        return refuse(format!("pod {name} is already assigned to node {present:?}"));
    }
    if !old.items(&["spec", "schedulingGates"]).is_empty() {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = old.clone();
    pod.set(&["spec", "nodeName"], node);
    for field in ["annotations", "labels"] {
        for (key, value) in binding.at(&["metadata", field]).and_then(Value::as_object).into_iter().flatten()
        {
            let map = pod.at_mut(&["metadata", field]);
            if !map.is_object() {
                *map = Value::Object(Map::new());
            }
            map[key] = value.clone();
        }
    }
    let mut condition =
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    if let Some(generation) = old.integer(&["metadata", "generation"]) {
        condition["observedGeneration"] = json!(generation);
    }
    let mut conditions: Vec<Value> = old.items(&["status", "conditions"]).to_vec();
    conditions.retain(|condition| condition["type"] != "PodScheduled");
    conditions.push(condition);
    pod.set(&["status", "conditions"], Value::Array(conditions));
    Ok(pod)
}
