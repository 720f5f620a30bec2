//! `serviceaccounts/token`: a token for a service account, signed by the issuer.

use std::sync::Arc;

use model::{GroupVersionKind, Status};

use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::pipeline::decode;
use crate::seams::Operation;
use crate::verbs::create::match_namespace;
use crate::verbs::get;
use crate::verbs::write::Change;
use model::tree::TreeExt;

/// Issues a token.
///
/// # Errors
/// 404 for an unknown account; what the issuer says.
pub async fn issue(context: &Arc<Context>) -> Result<Answer, Status> {
    let served = context.served()?;
    let issuer = context.server.options.tokens.as_ref().ok_or_else(Status::no_such_resource)?;
    let options = decode::write_options(context, "CreateOptions")?;
    let kind = GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest");
    let definition = resources::schema::definition("io.k8s.api.authentication.v1.TokenRequest");
    let mut request = decode::object(context, &kind, definition, options.validation).await?;
    match_namespace(&mut request, context.namespace())?;
    let name = context.route.name.as_str();
    request.set(&["metadata", "name"], name);
    let cache = context.cache().await?;
    let entry = cache.get(&context.key()?).ok_or_else(|| context.not_found())?;
    let account = get::tree(served, &entry.object);
    let change = Change {
        context,
        served,
        namespace: context.namespace(),
        name,
        subresource: Some("token"),
        dry_run: options.dry_run,
        options: options.to_value("CreateOptions"),
        internal: false,
    };
    let mut admitted = change.admission(Operation::Create, request, None);
    change.mutate(&mut admitted).await?;
    change.admit(&mut admitted).await?;
    let answer = issuer.issue(&account, admitted.object, &context.user).await?;
    Ok(Answer::Other(201, answer))
}
