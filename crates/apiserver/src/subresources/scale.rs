//! `scale`: replicas of a workload as `autoscaling/v1 Scale`.

use std::sync::Arc;

use model::tree::TreeExt;
use model::{GroupVersionKind, Status};
use resources::convert::scale;
use resources::patch::PatchType;
use serde_json::Value;

use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::pipeline::decode;
use crate::pipeline::negotiate::unsupported_media;
use crate::verbs::get;
use crate::verbs::update::{match_name, update_object};
use crate::verbs::write::Change;

const DEFINITION: &str = "io.k8s.api.autoscaling.v1.Scale";

/// Reads, replaces or patches a scale.
///
/// # Errors
/// As the verb of the object itself.
pub async fn dispatch(context: &Arc<Context>, verb: &str) -> Result<Answer, Status> {
    let served = context.served()?;
    if verb == "get" {
        let cache = context.cache().await?;
        let entry = cache.get(&context.key()?).ok_or_else(|| context.not_found())?;
        return Ok(Answer::Other(200, scale::read(&get::tree(served, &entry.object))));
    }
    let options = decode::write_options(context, "UpdateOptions")?;
    let kind = GroupVersionKind::new("autoscaling", "v1", "Scale");
    let definition = resources::schema::definition(DEFINITION);
    let change = Change {
        context,
        served,
        namespace: context.namespace(),
        name: &context.route.name,
        subresource: Some("scale"),
        dry_run: options.dry_run,
        options: options.to_value("UpdateOptions"),
        internal: false,
    };
    let written = if verb == "update" {
        let mut new = decode::object(context, &kind, definition, options.validation).await?;
        match_name(context, &mut new)?;
        update_object(&change, &|old| scaled(old, &new)).await?
    } else {
        let header = context.header("content-type");
        let patch_type = PatchType::parse(header).filter(|kind| *kind != PatchType::Apply).ok_or_else(|| {
            unsupported_media("application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json")
        })?;
        let patch = context.read_body().await?;
        let make = |old: &Value| {
            let current = scale::read(old);
            let new = resources::patch::apply(patch_type, definition, &current, &patch, options.validation)?;
            scaled(old, &new.object)
        };
        update_object(&change, &make).await?
    };
    let object: Value = serde_json::from_slice(&written.wire).map_err(Status::internal)?;
    Ok(Answer::Other(200, scale::read(&object)))
}

/// The object with the scale's replicas, under the scale's conditions.
fn scaled(old: &Value, new: &Value) -> Result<Value, Status> {
    let mut object = old.clone();
    let replicas = new.integer(&["spec", "replicas"]).unwrap_or(0);
    if replicas < 0 {
        let cause = model::Cause {
            reason: "FieldValueInvalid".into(),
            message: format!("Invalid value: {replicas}: must be greater than or equal to 0"),
            field: "spec.replicas".into(),
        };
        return Err(Status::invalid("autoscaling", "Scale", old.name(), vec![cause]));
    }
    scale::write(&mut object, new);
    for field in ["resourceVersion", "uid"] {
        match new.at(&["metadata", field]) {
            Some(value) => object.set(&["metadata", field], value.clone()),
            None => drop(object.unset(&["metadata", field])),
        }
    }
    Ok(object)
}
