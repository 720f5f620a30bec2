//! What `carob` does and kubectl does not: of several documents, none is created if one of them is wrong in itself.
//! The server judges each by a dry run; what depends on the others (a namespace that is still to come) is no mistake.

use http::Method;
use model::Reason;

use crate::api::Api;
use crate::builder::{Target, gather, with_query};
use crate::command::{DryRun, Invocation};
use crate::commands::create;
use crate::context::Context;
use crate::failure::{Failure, message};

use super::diagnose;

/// Checks the targets before the first of them is created. Does nothing as `kubectl`.
pub async fn check(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    targets: &[Result<Target, Failure>],
    dry_run: DryRun,
    validation: &str,
) -> Result<(), Failure> {
    if invocation.context.is_kubectl() {
        return Ok(());
    }
    let mut failures = Vec::new();
    for target in targets {
        match target {
            Err(failure) => failures.push(failure.clone()),
            Ok(target) => {
                let doubled = if validation == "Strict" { duplicates(target) } else { None };
                let refused = match doubled {
                    None if targets.len() > 1 && dry_run != DryRun::Client => {
                        refused(invocation, api, target, validation).await
                    }
                    doubled => doubled,
                };
                failures.extend(refused);
            }
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let (wrong, all) = (failures.len(), targets.len());
    let failure = gather(failures).err().unwrap_or(Failure::Exit(1));
    if all == 1 {
        return Err(failure);
    }
    let which = if wrong == 1 { "one is wrong".to_owned() } else { format!("{wrong} are wrong") };
    Err(failure.taught(format!("nothing was created: of {all} documents {which}\n")))
}

/// No file holds an object: `no objects passed to create`.
pub fn nothing(context: &Context, verb: &str) -> Failure {
    let failure = message(format!("no objects passed to {verb}"));
    if context.is_kubectl() {
        return failure;
    }
    failure.taught(
        "  = mend: the files hold no objects, perhaps comments only: an object begins with `apiVersion:`\n"
            .into(),
    )
}

/// Keys that stand twice: kubectl takes the last without a word.
fn duplicates(target: &Target) -> Option<Failure> {
    let origin = target.origin.as_deref()?;
    let words = origin.duplicates.as_deref()?;
    let failure = message(format!("error parsing {}: error converting YAML to JSON: {words}", origin.name));
    Some(failure.taught(diagnose::shape::duplicate(origin, words)))
}

async fn refused(
    invocation: &Invocation<'_>,
    api: &Api<'_>,
    target: &Target,
    validation: &str,
) -> Option<Failure> {
    let object = target.object.as_ref()?;
    let namespace = Some(target.namespace.as_str()).filter(|own| !own.is_empty());
    let parameters = create::write_query(invocation, DryRun::Server, validation, "carob");
    let path = with_query(&target.mapping.collection(namespace), &parameters);
    match api.write(Method::POST, &path, object).await {
        Err(Failure::Server(status)) if status.is(Reason::BadRequest) || status.is(Reason::Invalid) => {
            let failure =
                Failure::Server(status).in_front(&format!("error when creating {:?}", target.source));
            Some(create::explain(invocation, target, failure))
        }
        _ => None,
    }
}
