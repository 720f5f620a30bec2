//! Changed objects: PUT, and the transaction that every other change ends in.

use bytes::Bytes;
use model::tree::TreeExt;
use model::{Cause, Status};
use resources::rules::metadata;
use serde_json::Value;
use store::{Outcome, Transaction};

use super::create::{create_object, match_namespace};
use super::get;
use super::write::{Change, content_differs, strip_metadata};
use crate::objects::{Held, ObjectDecoder};
use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::pipeline::decode;
use crate::routes::Generation;
use crate::seams::Operation;
use store::cache::Decode;

/// How often a lost race is repeated.
const ATTEMPTS_MAX: usize = 100;

/// Replaces an object, or with a subresource its part.
///
/// # Errors
/// As every step of the pipeline answers.
pub async fn update(context: &Context) -> Result<Answer, Status> {
    let served = context.served()?;
    let options = decode::write_options(context, "UpdateOptions")?;
    let mut object = decode::object(context, &served.kind, served.definition, options.validation).await?;
    match_name(context, &mut object)?;
    match_namespace(&mut object, context.namespace())?;
    strip_metadata(&mut object);
    served.row.rules.default(&mut object);
    let subresource = Some(context.route.subresource.as_str()).filter(|name| !name.is_empty());
    let change = Change {
        context,
        served,
        namespace: context.namespace(),
        name: &context.route.name,
        subresource,
        dry_run: options.dry_run,
        options: options.to_value("UpdateOptions"),
        internal: false,
    };
    let creates = subresource.is_none() && served.row.rules.allows_create_on_update();
    if creates && context.cache().await?.get(&change.key()).is_none() {
        object.unset(&["metadata", "uid"]);
        object.unset(&["metadata", "resourceVersion"]);
        return Ok(Answer::Wire(201, create_object(change, object).await?));
    }
    let written = update_object(&change, &|_old| Ok(object.clone())).await?;
    Ok(Answer::Wire(200, written.wire))
}

/// The name in the body and in the path have to agree.
///
/// # Errors
/// 400 in upstream's words.
pub fn match_name(context: &Context, object: &mut Value) -> Result<(), Status> {
    let (own, wanted) = (object.name().to_owned(), context.route.name.as_str());
    if own.is_empty() {
        if object.text(&["metadata", "generateName"]).is_empty() || !wanted.is_empty() {
            object.set(&["metadata", "name"], wanted);
        }
        return Ok(());
    }
    if own != wanted {
        let text = format!("the name of the object ({own}) does not match the name on the URL ({wanted})");
        return Err(Status::bad_request(text));
    }
    Ok(())
}

/// What an update came to.
pub struct Written {
    /// The object's bytes.
    pub wire: Bytes,
    /// It was the last change of an object being deleted: the object is gone.
    pub deleted: bool,
}

/// Makes the new object of the old one; called again after a lost race.
pub type Make<'m> = &'m (dyn Fn(&Value) -> Result<Value, Status> + Send + Sync);

/// Changes an object: what `make` makes of the present one is prepared, admitted, validated and stored. Nothing is
/// written when nothing changes.
///
/// # Errors
/// As every step answers; 404; 409 when the object says another resourceVersion.
pub async fn update_object(change: &Change<'_>, make: Make<'_>) -> Result<Written, Status> {
    let cache = change.context.server.objects().cache(&change.served.prefix).await?;
    let key = change.key();
    let missing = || Status::not_found(&change.served.resource, change.name);
    let entry = cache.get(&key).ok_or_else(missing)?;
    let (mut old, mut revision) = (get::tree(change.served, &entry.object), entry.modified);
    drop(entry);
    for _ in 0..ATTEMPTS_MAX {
        let object = make(&old)?;
        check_preconditions(change, &object, &old)?;
        match attempt(change, &key, object, &old, revision).await? {
            Attempt::Written(written) => return Ok(written),
            Attempt::Lost(None) => return Err(missing()),
            Attempt::Lost(Some(record)) => {
                revision = record.modified;
                let held = ObjectDecoder.decode(&key, &record.value, revision);
                old = get::tree(change.served, &held.map_err(Status::internal)?);
            }
        }
    }
    Err(Status::modified(&change.served.resource, change.name))
}

enum Attempt {
    Written(Written),
    Lost(Option<store::Record>),
}

fn check_preconditions(change: &Change<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    let (resource, name) = (&change.served.resource, change.name);
    let (uid, old_uid) = (object.uid(), old.uid());
    if !uid.is_empty() && uid != old_uid {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {old_uid}");
        return Err(Status::conflict(resource, name, &why));
    }
    match object.resource_version() {
        "" if change.served.row.rules.requires_resource_version() && change.subresource.is_none() => {
            let cause = Cause {
                reason: "FieldValueInvalid".into(),
                message: "Invalid value: 0: must be specified for an update".into(),
                field: "metadata.resourceVersion".into(),
            };
            Err(Status::invalid(&change.served.kind.group, &change.served.kind.kind, name, vec![cause]))
        }
        version if !version.is_empty() && version != old.resource_version() => {
            Err(Status::modified(resource, name))
        }
        _ => Ok(()),
    }
}

async fn attempt(
    change: &Change<'_>,
    key: &str,
    object: Value,
    old: &Value,
    revision: u64,
) -> Result<Attempt, Status> {
    let mut request = change.admission(Operation::Update, object, Some(old.clone()));
    keep_system_metadata(&mut request.object, old);
    if !change.internal {
        change.mutate(&mut request).await?;
        prepare(change, &mut request.object, old);
    }
    let server = &change.context.server;
    let reserved = server.services.reserve(change.served, &mut request.object, Some(old), change.dry_run)?;
    if !change.internal {
        validate(change, &request.object, old)?;
        change.admit(&mut request).await?;
    }
    let object = &request.object;
    if object == old {
        change.abandon(&request).await;
        let encoded = change.encode(object);
        return Ok(Attempt::Written(Written {
            wire: change.wire(object, &encoded, revision),
            deleted: false,
        }));
    }
    let deleted = is_finished(change, object);
    let encoded = change.encode(object);
    if change.dry_run {
        change.abandon(&request).await;
        return Ok(Attempt::Written(Written {
            wire: change.wire(object, &encoded, revision),
            deleted: false,
        }));
    }
    let transaction = match deleted {
        true => Transaction::delete(key, revision),
        false => Transaction::default().expect(key, store::Expect::Modified(revision)).put(
            key,
            encoded.clone(),
            change.served.lease_ttl_s(),
        ),
    };
    match change.transact(transaction).await {
        Ok(Outcome::Committed { revision }) => {
            reserved.keep();
            if deleted {
                server.services.release(change.served, object);
            }
            Ok(Attempt::Written(Written { wire: change.wire(object, &encoded, revision), deleted }))
        }
        Ok(Outcome::Conflict { observed }) => {
            change.abandon(&request).await;
            Ok(Attempt::Lost(observed.into_iter().next().flatten()))
        }
        Err(status) => {
            change.abandon(&request).await;
            Err(status)
        }
    }
}

/// What an update never changes (`rest.BeforeUpdate`).
fn keep_system_metadata(object: &mut Value, old: &Value) {
    for field in
        ["creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"]
    {
        match old.at(&["metadata", field]) {
            Some(value) => object.set(&["metadata", field], value.clone()),
            None => drop(object.unset(&["metadata", field])),
        }
    }
    match old.at(&["metadata", "generation"]) {
        Some(generation) => object.set(&["metadata", "generation"], generation.clone()),
        None => drop(object.unset(&["metadata", "generation"])),
    }
}

fn prepare(change: &Change<'_>, object: &mut Value, old: &Value) {
    // Once more: policies may have touched them.
    keep_system_metadata(object, old);
    change.served.row.rules.prepare_for_update(object, old, change.subresource);
    keep_system_metadata(object, old);
    let rises = match change.served.generation {
        Generation::None | Generation::One => false,
        Generation::Content => content_differs(object, old),
        Generation::ContentAnd(part) => {
            let part = ["metadata", part];
            content_differs(object, old)
                || (change.subresource.is_none() && object.at(&part) != old.at(&part))
        }
    };
    if rises {
        let generation = old.integer(&["metadata", "generation"]).unwrap_or(0) + 1;
        object.set(&["metadata", "generation"], generation);
    }
}

fn validate(change: &Change<'_>, object: &Value, old: &Value) -> Result<(), Status> {
    let row = &change.served.row;
    let mut errors = metadata::validate_update(object, old, change.served.definition.is_some());
    errors.extend(row.rules.validate_update(object, old, change.subresource));
    if !errors.is_empty() {
        return Err(change.invalid(change.name, &errors));
    }
    for warning in row.rules.warnings(object, Some(old)) {
        change.context.warn(warning);
    }
    Ok(())
}

/// Whether an object being deleted has nothing left to wait for.
fn is_finished(change: &Change<'_>, object: &Value) -> bool {
    let waits_for_content =
        change.served.is_core("namespaces") && !object.items(&["spec", "finalizers"]).is_empty();
    object.at(&["metadata", "deletionTimestamp"]).is_some()
        && object.items(&["metadata", "finalizers"]).is_empty()
        && object.integer(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0) == 0
        && !waits_for_content
}

/// Decodes stored bytes into an object of the version asked for.
///
/// # Errors
/// 500 when the bytes are no object.
pub fn decode_record(change: &Change<'_>, record: &store::Record) -> Result<Value, Status> {
    let held: Held =
        ObjectDecoder.decode(&record.key, &record.value, record.modified).map_err(Status::internal)?;
    Ok(get::tree(change.served, &held))
}
