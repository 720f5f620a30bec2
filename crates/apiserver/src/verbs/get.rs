//! One object.

use bytes::Bytes;
use model::Status;
use serde_json::Value;

use crate::objects::Held;
use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::routes::Served;

/// Answers from the cache with the shared bytes.
///
/// # Errors
/// 404; 500 for an object that is stored but unreadable.
pub async fn get(context: &Context) -> Result<Answer, Status> {
    let served = context.served()?;
    let cache = context.cache().await?;
    let key = context.key()?;
    if let Some(wanted) = minimum_revision(context)? {
        wait_for(&cache, wanted).await?;
    }
    match cache.get(&key) {
        Some(entry) => Ok(Answer::Wire(200, wire(served, &entry.object))),
        None => match cache.undecodable(&key) {
            Some(bad) => {
                Err(Status::internal(format!("stored object {key} cannot be decoded: {}", bad.message)))
            }
            None => Err(context.not_found()),
        },
    }
}

/// The revision a reader wants at least.
pub fn minimum_revision(context: &Context) -> Result<Option<u64>, Status> {
    let text = context.query.text("resourceVersion");
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    super::select::parse_revision(text).map(Some)
}

/// Waits a little for the cache to reach a revision.
///
/// # Errors
/// 504 in upstream's words when it does not.
pub async fn wait_for(cache: &crate::objects::ResourceCache, revision: u64) -> Result<(), Status> {
    if cache.current_revision() >= revision {
        return Ok(());
    }
    let limit = std::time::Duration::from_secs(3);
    if tokio::time::timeout(limit, cache.wait_until(revision)).await.is_ok() {
        return Ok(());
    }
    let current = cache.current_revision();
    let text = format!("Timeout: Too large resource version: {revision}, current: {current}");
    let mut status = Status::new(504, model::Reason::Timeout, text);
    let cause = model::Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    };
    let details =
        model::status::Details { causes: vec![cause], retry_after_seconds: 1, ..Default::default() };
    status.details = Some(Box::new(details));
    Err(status)
}

/// An object's bytes in the version asked for.
pub fn wire(served: &Served, held: &Held) -> Bytes {
    if served.is_storage_version() {
        return held.wire.clone();
    }
    let tree = resources::convert::convert(&served.storage, &served.row, held.tree());
    crate::pipeline::answer::write(crate::pipeline::negotiate::Format::Json, &tree)
}

/// An object's tree in the version asked for.
pub fn tree(served: &Served, held: &Held) -> Value {
    let tree = held.tree();
    if served.is_storage_version() {
        return tree;
    }
    resources::convert::convert(&served.storage, &served.row, tree)
}
