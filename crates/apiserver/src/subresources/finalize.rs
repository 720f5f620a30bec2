//! `namespaces/finalize`: takes finalizers off a namespace's spec.

use std::sync::Arc;

use model::Status;

use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::verbs::update;

/// Replaces the namespace's finalizers; without any left a terminating namespace goes.
///
/// # Errors
/// As an update.
pub async fn finalize(context: &Arc<Context>) -> Result<Answer, Status> {
    update::update(context).await
}
