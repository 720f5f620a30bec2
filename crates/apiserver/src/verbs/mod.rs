//! The verbs, each written once for every resource of the table.

pub mod create;
pub mod delete;
pub mod delete_options;
pub mod get;
pub mod list;
pub mod patch;
pub mod select;
pub mod update;
pub mod watch;
pub mod write;

use std::sync::Arc;

use model::Status;

use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::subresources;

/// Answers a request to a resource.
///
/// # Errors
/// Whatever the verb answers; 404 for what is not served, 405 for verbs that are not.
pub async fn dispatch(context: &Arc<Context>) -> Result<Answer, Status> {
    let route = &context.route;
    let served = context.served()?;
    if served.row.namespaced() == route.namespace.is_empty() && !across_namespaces(context) {
        return Err(Status::no_such_resource());
    }
    if !route.subresource.is_empty() {
        return subresources::dispatch(context).await;
    }
    if !served.row.allows(route.verb) {
        return match subresources::answered(context).await {
            Some(answer) => answer,
            None => Err(Status::method_not_supported()),
        };
    }
    match route.verb {
        "get" => get::get(context).await,
        "list" => list::list(context).await,
        "watch" => watch::watch(context).await,
        "create" if !route.name.is_empty() => Err(Status::method_not_supported()),
        "create" => match subresources::answered(context).await {
            Some(answer) => answer,
            None => create::create(context).await,
        },
        "update" if !route.name.is_empty() => update::update(context).await,
        "patch" if !route.name.is_empty() => patch::patch(context).await,
        "delete" => delete::delete(context).await,
        "deletecollection" => delete::delete_collection(context).await,
        _ => Err(Status::method_not_supported()),
    }
}

/// Whether the mismatch of scope and namespace is allowed: lists over all namespaces, reviews and `namespaces` itself.
fn across_namespaces(context: &Context) -> bool {
    let route = &context.route;
    match context.route.served.as_ref() {
        Some(served) if served.row.namespaced() => {
            matches!(route.verb, "list" | "watch") && route.subresource.is_empty()
        }
        Some(served) => served.is_core("namespaces"),
        None => false,
    }
}
