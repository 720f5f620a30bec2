//! Paths below an object, and resources that are answered instead of stored.

pub mod binding;
pub mod eviction;
pub mod finalize;
pub mod nodes;
pub mod pods;
pub mod proxy;
pub mod reviews;
pub mod scale;
pub mod token;

use std::sync::Arc;

use model::Status;

use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::verbs::{get, patch, update};

/// Answers a request to a subresource.
///
/// # Errors
/// 404 for what is not served, 405 for verbs that are not.
pub async fn dispatch(context: &Arc<Context>) -> Result<Answer, Status> {
    let served = context.served()?;
    let route = &context.route;
    let subresource = served.row.subresource(&route.subresource).ok_or_else(Status::no_such_resource)?;
    let name = route.subresource.as_str();
    if !subresource.verbs.iter().any(|verb| verb == route.verb) {
        return Err(Status::method_not_supported());
    }
    match (name, route.verb) {
        ("scale", verb) => scale::dispatch(context, verb).await,
        ("binding", _) => binding::bind(context, &route.name).await,
        ("eviction", _) => eviction::evict(context).await,
        ("token", _) => token::issue(context).await,
        ("finalize", _) => finalize::finalize(context).await,
        ("log" | "exec" | "attach" | "portforward", _) => pods::dispatch(context).await,
        ("proxy", _) if route.plural == "nodes" => pods::dispatch(context).await,
        ("proxy", _) => proxy::dispatch(context).await,
        (_, "get") => get::get(context).await,
        (_, "update") => update::update(context).await,
        (_, "patch") => patch::patch(context).await,
        _ => Err(Status::method_not_supported()),
    }
}

/// Answers resources that are not stored: reviews, legacy bindings, component statuses. `None`: it is stored.
pub async fn answered(context: &Arc<Context>) -> Option<Result<Answer, Status>> {
    let served = context.route.served.as_ref()?;
    match (served.row.group.as_str(), served.row.plural.as_str(), context.route.verb) {
        ("", "bindings", "create") => Some(binding::bind(context, "").await),
        ("authorization.k8s.io" | "authentication.k8s.io", _, "create") => {
            Some(reviews::review(context).await)
        }
        _ => None,
    }
}
