//! Patches: RFC 6902, RFC 7386 and Kubernetes' strategic merge patch.

use bytes::Bytes;
use model::Status;
use resources::patch::PatchType;
use resources::schema::FieldValidation;
use serde_json::Value;

use super::create::match_namespace;
use super::update::{match_name, update_object};
use super::write::{Change, strip_metadata};
use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::pipeline::decode;
use crate::pipeline::negotiate::unsupported_media;
use crate::routes::Served;

/// Patches an object, or with a subresource its part.
///
/// # Errors
/// 415 for patches of another kind, else as an update.
pub async fn patch(context: &Context) -> Result<Answer, Status> {
    let served = context.served()?;
    let options = decode::write_options(context, "PatchOptions")?;
    let kind = kind(context, served)?;
    let patch = context.read_body().await?;
    let subresource = Some(context.route.subresource.as_str()).filter(|name| !name.is_empty());
    let change = Change {
        context,
        served,
        namespace: context.namespace(),
        name: &context.route.name,
        subresource,
        dry_run: options.dry_run,
        options: options.to_value("PatchOptions"),
        internal: false,
    };
    let make = |old: &Value| patched(context, served, kind, &patch, old, options.validation);
    let written = update_object(&change, &make).await?;
    Ok(Answer::Wire(200, written.wire))
}

/// The kind of patch, from `Content-Type`.
///
/// # Errors
/// 415.
pub fn kind(context: &Context, served: &Served) -> Result<PatchType, Status> {
    let header = context.header("content-type");
    match PatchType::parse(header) {
        Some(kind @ (PatchType::Json | PatchType::Merge)) => Ok(kind),
        Some(PatchType::Strategic) if served.definition.is_some() => Ok(PatchType::Strategic),
        _ => {
            let strategic =
                if served.definition.is_some() { ", application/strategic-merge-patch+json" } else { "" };
            let accepted = format!("application/json-patch+json, application/merge-patch+json{strategic}");
            Err(unsupported_media(&accepted))
        }
    }
}

fn patched(
    context: &Context,
    served: &Served,
    kind: PatchType,
    patch: &Bytes,
    old: &Value,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let patched = resources::patch::apply(kind, served.definition, old, patch, validation)?;
    for warning in patched.warnings {
        context.warn(warning);
    }
    let mut object = patched.object;
    object["kind"] = served.kind.kind.as_str().into();
    object["apiVersion"] = served.api_version.as_str().into();
    match_name(context, &mut object)?;
    match_namespace(&mut object, context.namespace())?;
    strip_metadata(&mut object);
    served.row.rules.default(&mut object);
    Ok(object)
}
