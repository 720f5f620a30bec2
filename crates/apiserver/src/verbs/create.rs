//! New objects.

use bytes::Bytes;
use model::tree::TreeExt;
use model::{Reason, Status};
use resources::rules::metadata;
use serde_json::{Value, json};
use store::{Expect, Outcome, Transaction};

use super::write::{Change, strip_metadata};
use crate::pipeline::answer::Answer;
use crate::pipeline::context::Context;
use crate::pipeline::decode;
use crate::routes::Generation;
use crate::seams::Operation;

/// Generated names are tried so often (upstream's `RetryGenerateName`).
const NAME_ATTEMPTS_MAX: usize = 8;
/// Letters of a generated name before the random ones.
const NAME_PREFIX_MAX: usize = 58;

/// Creates.
///
/// # Errors
/// As every step of the pipeline answers.
pub async fn create(context: &Context) -> Result<Answer, Status> {
    let served = context.served()?;
    let options = decode::write_options(context, "CreateOptions")?;
    let object = decode::object(context, &served.kind, served.definition, options.validation).await?;
    let name = object.name().to_owned();
    let change = Change {
        context,
        served,
        namespace: context.namespace(),
        name: &name,
        subresource: None,
        dry_run: options.dry_run,
        options: options.to_value("CreateOptions"),
        internal: false,
    };
    Ok(Answer::Wire(201, create_object(change, object).await?))
}

/// Makes a decoded object's namespace the request's.
///
/// # Errors
/// 400 when the object says another.
pub fn match_namespace(object: &mut Value, namespace: &str) -> Result<(), Status> {
    match (object.namespace(), namespace) {
        (own, wanted) if own == wanted => Ok(()),
        ("", wanted) => {
            object.set(&["metadata", "namespace"], wanted);
            Ok(())
        }
        (_, "") => {
            object.unset(&["metadata", "namespace"]);
            Ok(())
        }
        _ => Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

/// Defaults, admits, validates and stores a new object; gives its bytes.
///
/// # Errors
/// As every step answers; 409 when the name is taken.
pub async fn create_object(change: Change<'_>, mut object: Value) -> Result<Bytes, Status> {
    let rules = &change.served.row.rules;
    match_namespace(&mut object, change.namespace)?;
    strip_metadata(&mut object);
    rules.default(&mut object);
    let mut request = change.admission(Operation::Create, object, None);
    change.mutate(&mut request).await?;
    let mut object = request.object.take();
    if !object.resource_version().is_empty() {
        let text = "resourceVersion should not be set on objects to be created";
        return Err(Status::new(500, Reason::Unknown, text));
    }
    fill_metadata(&change, &mut object);
    rules.prepare_for_create(&mut object);
    if change.served.generation != Generation::None {
        object.set(&["metadata", "generation"], 1);
    }
    let generated = object.name().is_empty() && !object.text(&["metadata", "generateName"]).is_empty();
    if !generated {
        let name = object.name().to_owned();
        return store_new(&Change { name: &name, ..change }, object).await;
    }
    for attempt in 1.. {
        let name = generated_name(&change, &object);
        object.set(&["metadata", "name"], name.as_str());
        let change = Change { name: &name, options: change.options.clone(), ..change };
        match store_new(&change, object.clone()).await {
            Err(status) if status.is(Reason::AlreadyExists) => {
                if attempt >= NAME_ATTEMPTS_MAX {
                    return Err(names_exhausted(status));
                }
            }
            outcome => return outcome,
        }
    }
    unreachable!("the loop ends by its bound")
}

fn names_exhausted(mut status: Status) -> Status {
    status.message.push_str(", the server was not able to generate a unique name for the object");
    if let Some(details) = &mut status.details {
        details.retry_after_seconds = 1;
    }
    status
}

fn generated_name(change: &Change<'_>, object: &Value) -> String {
    let prefix = object.text(&["metadata", "generateName"]);
    let mut cut = prefix.len().min(NAME_PREFIX_MAX);
    while !prefix.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{}", &prefix[..cut], change.context.server.options.entropy.name_suffix(5))
}

fn fill_metadata(change: &Change<'_>, object: &mut Value) {
    let options = &change.context.server.options;
    if !object.get("metadata").is_some_and(Value::is_object) {
        object["metadata"] = json!({});
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        object.unset(&["metadata", field]);
    }
    object.set(&["metadata", "creationTimestamp"], model::time::format_seconds(options.clock.now()));
    object.set(&["metadata", "uid"], options.entropy.uuid());
}

async fn store_new(change: &Change<'_>, mut object: Value) -> Result<Bytes, Status> {
    let (server, row) = (&change.context.server, &change.served.row);
    let reserved = server.services.reserve(change.served, &mut object, None, change.dry_run)?;
    let mut errors = metadata::validate_create(
        &object,
        row.namespaced(),
        &|name, prefix| row.rules.name_errors(name, prefix),
        change.served.definition.is_some(),
    );
    errors.extend(row.rules.validate(&object));
    if !errors.is_empty() {
        return Err(change.invalid(change.name, &errors));
    }
    for warning in row.rules.warnings(&object, None) {
        change.context.warn(warning);
    }
    let mut request = change.admission(Operation::Create, object, None);
    change.admit(&mut request).await?;
    let object = &request.object;
    let key = change.key();
    let encoded = change.encode(object);
    if change.dry_run {
        let cache = server.objects().cache(&change.served.prefix).await?;
        change.abandon(&request).await;
        if cache.get(&key).is_some() {
            return Err(Status::already_exists(&change.served.resource, change.name));
        }
        return Ok(crate::pipeline::answer::write(Default::default(), object));
    }
    let transaction = Transaction::default().expect(key.clone(), Expect::Absent).put(
        key,
        encoded.clone(),
        change.served.lease_ttl_s(),
    );
    match change.transact(transaction).await {
        Ok(Outcome::Committed { revision }) => {
            reserved.keep();
            Ok(change.wire(object, &encoded, revision))
        }
        Ok(Outcome::Conflict { .. }) => {
            change.abandon(&request).await;
            Err(Status::already_exists(&change.served.resource, change.name))
        }
        Err(status) => {
            change.abandon(&request).await;
            Err(status)
        }
    }
}
