//! Deletions (k8s.io/apiserver/pkg/registry/rest `BeforeDelete`, generic/registry `Store.Delete`): graceful for kinds
//! that have grace, held up by finalizers, otherwise at once.

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use model::tree::TreeExt;
use model::{Status, time};
use serde_json::{Value, json};
use store::{Expect, Outcome, Transaction};

use super::delete_options::{DeleteOptions, Propagation};
use super::list::Listed;
use super::select::Selection;
use super::update::decode_record;
use super::write::Change;
use super::{get, list};
use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::routes::Served;
use crate::seams::Operation;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const ATTEMPTS_MAX: usize = 100;
/// Deletions of one collection at work at once.
const COLLECTION_CONCURRENCY: usize = 32;

/// What is to happen to an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It is being deleted already and stays as it is.
    Pending,
    /// It is marked and waits.
    Mark(Value),
    /// It goes.
    Remove,
}

/// What a deletion came to.
pub struct Deleted {
    /// The object: its last state, or marked.
    pub wire: Bytes,
    /// Its uid.
    pub uid: String,
    /// It is gone.
    pub gone: bool,
}

/// Deletes one object.
///
/// # Errors
/// 404; 409 when a precondition does not hold; what admission says.
pub async fn delete(context: &Context) -> Result<Answer, Status> {
    let served = context.served()?;
    let options = DeleteOptions::read(context).await?;
    let deleted = delete_object(context, &context.route.name, context.namespace(), &options).await?;
    let code = if !deleted.gone && options.orphan_dependents == Some(false) { 202 } else { 200 };
    if deleted.gone && !returns_object(served) {
        return Ok(Answer::Other(code, success(served, &context.route.name, &deleted.uid)));
    }
    Ok(Answer::Wire(code, deleted.wire))
}

/// Kinds whose deletion answers with the object (upstream's `ReturnDeletedObject`).
fn returns_object(served: &Served) -> bool {
    match served.row.group.as_str() {
        "" => matches!(
            served.row.plural.as_str(),
            "pods"
                | "services"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "podtemplates"
                | "resourcequotas"
                | "serviceaccounts"
        ),
        "storage.k8s.io" => served.row.plural != "csistoragecapacities",
        "policy" => served.row.plural == "podsecuritypolicies",
        "resource.k8s.io" => true,
        _ => false,
    }
}

fn success(served: &Served, name: &str, uid: &str) -> Value {
    let mut details = json!({"name": name, "kind": served.row.plural, "uid": uid});
    if !served.row.group.is_empty() {
        details["group"] = json!(served.row.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

/// Deletes every selected object of a collection.
///
/// # Errors
/// What listing or deleting one of them says (objects that went meanwhile are fine).
pub async fn delete_collection(context: &Context) -> Result<Answer, Status> {
    let served = context.served()?;
    let options = DeleteOptions::read(context).await?;
    let cache = context.cache().await?;
    let selection = Selection::of(context, served)?;
    let page = list::page(context, served, &cache, &selection).await?;
    // Several at once share the store's commits.
    for entries in page.entries.chunks(COLLECTION_CONCURRENCY) {
        let mut work: Vec<BoxFuture<'_, Result<Deleted, Status>>> = Vec::with_capacity(entries.len());
        for entry in entries {
            let (namespace, name) = crate::objects::split_key(&served.prefix, &entry.key);
            work.push(Box::pin(delete_object(context, name, namespace, &options)));
        }
        for outcome in futures::future::join_all(work).await {
            match outcome {
                Err(status) if !status.is(model::Reason::NotFound) => return Err(status),
                _ => {}
            }
        }
    }
    Ok(Answer::List(Box::new(Listed { revision: cache.current_revision(), ..page })))
}

/// Deletes an object, whoever asked for it.
///
/// # Errors
/// As [`delete`].
pub async fn delete_object(
    context: &Context,
    name: &str,
    namespace: &str,
    options: &DeleteOptions,
) -> Result<Deleted, Status> {
    let served = context.served()?;
    let change = Change {
        context,
        served,
        namespace,
        name,
        subresource: None,
        dry_run: options.dry_run,
        options: options.to_value(),
        internal: false,
    };
    let cache = context.server.objects().cache(&served.prefix).await?;
    let key = change.key();
    let missing = || Status::not_found(&served.resource, name);
    let entry = cache.get(&key).ok_or_else(missing)?;
    let (mut old, mut revision) = (get::tree(served, &entry.object), entry.modified);
    drop(entry);
    let mut admitted = false;
    for _ in 0..ATTEMPTS_MAX {
        check_preconditions(served, &old, options)?;
        if !admitted {
            let mut request = change.admission(Operation::Delete, Value::Null, Some(old.clone()));
            change.mutate(&mut request).await?;
            change.admit(&mut request).await?;
            admitted = true;
        }
        match perform(&change, &key, &old, revision, options).await? {
            Ok(deleted) => return Ok(deleted),
            Err(None) => return Err(missing()),
            Err(Some(record)) => (old, revision) = (decode_record(&change, &record)?, record.modified),
        }
    }
    Err(Status::modified(&served.resource, name))
}

type Lost = Option<store::Record>;

async fn perform(
    change: &Change<'_>,
    key: &str,
    old: &Value,
    revision: u64,
    options: &DeleteOptions,
) -> Result<Result<Deleted, Lost>, Status> {
    let now = change.context.server.options.clock.now();
    let (object, gone) = match decide(change.served, old, options, now) {
        Step::Pending => (old.clone(), false),
        Step::Mark(object) => (object, false),
        Step::Remove => (old.clone(), true),
    };
    let encoded = change.encode(&object);
    let done = |revision: u64| Deleted {
        wire: change.wire(&object, &encoded, revision),
        uid: object.uid().to_owned(),
        gone,
    };
    if change.dry_run || (!gone && object == *old) {
        return Ok(Ok(done(revision)));
    }
    let transaction = match gone {
        true => Transaction::delete(key, revision),
        false => Transaction::default().expect(key, Expect::Modified(revision)).put(
            key,
            encoded.clone(),
            change.served.lease_ttl_s(),
        ),
    };
    match change.transact(transaction).await? {
        Outcome::Committed { revision: at } => {
            if gone {
                change.context.server.services.release(change.served, old);
            }
            Ok(Ok(done(if gone { revision } else { at })))
        }
        Outcome::Conflict { observed } => Ok(Err(observed.into_iter().next().flatten())),
    }
}

fn check_preconditions(served: &Served, old: &Value, options: &DeleteOptions) -> Result<(), Status> {
    if let Some(wanted) = options.uid.as_deref().filter(|wanted| *wanted != old.uid()) {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            old.uid()
        );
        return Err(Status::conflict(&served.resource, old.name(), &why));
    }
    let version = old.resource_version();
    if let Some(wanted) = options.resource_version.as_deref().filter(|wanted| *wanted != version) {
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
             ({version}). The object might have been modified"
        );
        return Err(Status::conflict(&served.resource, old.name(), &why));
    }
    Ok(())
}

/// Decides what a deletion does.
pub fn decide(served: &Served, old: &Value, options: &DeleteOptions, now: Timestamp) -> Step {
    if served.is_core("namespaces") {
        return decide_namespace(old, options, now);
    }
    let mut object = old.clone();
    let finalizers = wanted_finalizers(served, old, options);
    let held = !finalizers.is_empty();
    set_finalizers(&mut object, &finalizers);
    let marked = old.at(&["metadata", "deletionTimestamp"]).is_some();
    let grace = served.row.rules.deletion_grace_s(old, options.grace_s);
    match (grace, marked) {
        (Some(_), true) => shorten(old, object, options, held),
        (Some(grace_s), false) => {
            if grace_s == 0 && !held {
                return Step::Remove;
            }
            mark(&mut object, now, grace_s);
            Step::Mark(object)
        }
        (None, _) if !held => Step::Remove,
        (None, true) => {
            object.set(&["metadata", "deletionGracePeriodSeconds"], 0);
            if object == *old { Step::Pending } else { Step::Mark(object) }
        }
        (None, false) => {
            mark(&mut object, now, 0);
            Step::Mark(object)
        }
    }
}

/// An object being deleted gracefully: a later deletion may only shorten its grace.
fn shorten(old: &Value, mut object: Value, options: &DeleteOptions, held: bool) -> Step {
    let Some(present) = old.integer(&["metadata", "deletionGracePeriodSeconds"]) else {
        return if held { Step::Mark(object) } else { Step::Remove };
    };
    let Some(asked) = options.grace_s.filter(|asked| *asked < present) else {
        return Step::Pending;
    };
    if asked == 0 && !held {
        return Step::Remove;
    }
    if let Some(at) = time::parse(old.text(&["metadata", "deletionTimestamp"])) {
        let at = at.saturating_sub(SignedDuration::from_secs(present - asked)).unwrap_or(at);
        object.set(&["metadata", "deletionTimestamp"], time::format_seconds(at));
    }
    object.set(&["metadata", "deletionGracePeriodSeconds"], asked);
    Step::Mark(object)
}

fn mark(object: &mut Value, now: Timestamp, grace_s: i64) {
    let at = now.saturating_add(SignedDuration::from_secs(grace_s)).unwrap_or(now);
    object.set(&["metadata", "deletionTimestamp"], time::format_seconds(at));
    object.set(&["metadata", "deletionGracePeriodSeconds"], grace_s);
    if let Some(generation) = object.integer(&["metadata", "generation"]).filter(|generation| *generation > 0)
    {
        object.set(&["metadata", "generation"], generation + 1);
    }
}

/// Namespaces go in two steps: marked and emptied first.
fn decide_namespace(old: &Value, options: &DeleteOptions, now: Timestamp) -> Step {
    let mut object = old.clone();
    if old.at(&["metadata", "deletionTimestamp"]).is_none() {
        object.set(&["metadata", "deletionTimestamp"], time::format_seconds(now));
        object.set(&["status", "phase"], "Terminating");
        let mut finalizers = finalizers(old);
        let orphan =
            options.orphan_dependents == Some(true) || options.propagation == Some(Propagation::Orphan);
        finalizers.retain(|finalizer| finalizer != ORPHAN);
        if orphan {
            finalizers.push(ORPHAN.into());
        }
        set_finalizers(&mut object, &finalizers);
        return Step::Mark(object);
    }
    let waits = !old.items(&["spec", "finalizers"]).is_empty() || !finalizers(old).is_empty();
    if waits { Step::Pending } else { Step::Remove }
}

fn finalizers(object: &Value) -> Vec<String> {
    let all = object.items(&["metadata", "finalizers"]).iter();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    if finalizers.is_empty() {
        object.unset(&["metadata", "finalizers"]);
    } else {
        object.set(&["metadata", "finalizers"], json!(finalizers));
    }
}

/// Finalizers with those of garbage collection as asked (`deletionFinalizersForGarbageCollection`).
fn wanted_finalizers(served: &Served, old: &Value, options: &DeleteOptions) -> Vec<String> {
    let mut finalizers = finalizers(old);
    let asked = match (options.orphan_dependents, options.propagation) {
        (Some(true), _) => Some(Propagation::Orphan),
        (Some(false), _) => Some(Propagation::Background),
        (None, policy) => policy,
    };
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    let default_orphans = matches!(
        (served.row.group.as_str(), served.row.plural.as_str()),
        ("batch", "jobs") | ("", "replicationcontrollers")
    );
    let wanted = match asked {
        Some(policy) => policy,
        None if has(ORPHAN) => Propagation::Orphan,
        None if has(FOREGROUND) => Propagation::Foreground,
        None if default_orphans => Propagation::Orphan,
        None => Propagation::Background,
    };
    let keep = match wanted {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    finalizers.retain(|finalizer| {
        (finalizer != ORPHAN && finalizer != FOREGROUND) || Some(finalizer.as_str()) == keep
    });
    if let Some(name) = keep.filter(|name| !finalizers.iter().any(|finalizer| finalizer == name)) {
        finalizers.push(name.into());
    }
    finalizers
}
