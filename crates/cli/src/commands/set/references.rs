//! `set selector` and `set subject`: what a Service chooses, and whom a binding is about.

use model::tree::TreeExt;
use serde_json::{Value, json};

use super::change::{Changer, change_objects, find};
use super::{ALL, LOCAL, check_choice};
use crate::command::{Command, Invocation};
use crate::commands::boxed;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind, shared};

/// `set selector`.
pub const SELECTOR: Command = Command {
    name: "selector",
    usage: "selector (-f FILENAME | TYPE NAME) EXPRESSIONS [--resource-version=version]",
    short: "Set the selector on a resource",
    long: "Set the selector of a Service. The one that it had is replaced.",
    flags: &[
        shared::FILE_NAMES,
        shared::RECURSIVE_AT_ONCE,
        shared::OUTPUT,
        shared::DRY_RUN,
        &shared::manager("kubectl-set"),
        &[
            ALL,
            LOCAL,
            Flag::new("resource-version", Kind::Text, "", "Only if the object still has this version"),
        ],
    ],
    run: boxed!(selector),
    ..Command::EMPTY
};

/// `set subject`.
pub const SUBJECT: Command = Command {
    name: "subject",
    usage: "subject (-f FILENAME | TYPE NAME) [--user=username] [--group=groupname] [--serviceaccount=namespace:serviceaccountname] [--dry-run=server|client|none]",
    short: "Update the user, group, or service account in a role binding or cluster role binding",
    flags: &[
        shared::FILES,
        shared::OUTPUT,
        shared::DRY_RUN,
        shared::SELECTOR,
        &shared::manager("kubectl-set"),
        &[
            ALL,
            LOCAL,
            Flag::new("group", Kind::Array, "", "Group to bind; may be repeated"),
            Flag::new(
                "serviceaccount",
                Kind::Array,
                "",
                "Service account to bind (namespace:name); may be repeated",
            ),
            Flag::new("user", Kind::Array, "", "User to bind; may be repeated"),
        ],
    ],
    run: boxed!(subject),
    ..Command::EMPTY
};

async fn selector(invocation: &Invocation<'_>) -> Result<(), Failure> {
    invocation.dry_run()?;
    let Some((text, resources)) = invocation.arguments().split_last() else {
        return Err(message("one selector is required"));
    };
    let changer = Changer { done: "selector updated", even_without_change: true, ..Changer::new(resources) };
    let found = find(invocation, &changer).await?;
    let other = |target: &Result<_, Failure>| {
        let target: &crate::builder::Target = target.as_ref().ok()?;
        target.object.as_ref().filter(|object| object.kind() != "Service").map(drop)
    };
    if found.iter().any(|target| other(target).is_some()) {
        return Err(message("setting a selector is only supported for Services"));
    }
    let labels = labels(text)?;
    let version = invocation.values.text("resource-version");
    change_objects(invocation, &changer, found, |_, object| {
        object["spec"]["selector"] = labels.clone();
        if !version.is_empty() {
            object["metadata"]["resourceVersion"] = version.into();
        }
        Ok(Vec::new())
    })
    .await
}

/// `a=b,c=d` as a map: a Service knows nothing but equality.
fn labels(text: &str) -> Result<Value, Failure> {
    let mut found = json!({});
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let pair = part.split_once("==").or_else(|| part.split_once('='));
        match pair.filter(|(key, _)| !key.trim().is_empty() && !key.ends_with('!')) {
            Some((key, value)) => found[key.trim()] = value.trim().into(),
            None => return Err(message(format!("match expression {part} not supported on this object"))),
        }
    }
    Ok(found)
}

async fn subject(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let values = &invocation.values;
    invocation.dry_run()?;
    let changer = Changer {
        done: "subjects updated",
        failed: "failed to patch subjects to rolebinding:",
        ..Changer::new(invocation.arguments())
    };
    let found = find(invocation, &changer).await?;
    check_choice(invocation)?;
    let [users, groups, accounts] = ["user", "group", "serviceaccount"].map(|flag| {
        let mut texts = values.texts(flag);
        texts.sort();
        texts.dedup();
        texts
    });
    if users.is_empty() && groups.is_empty() && accounts.is_empty() {
        return Err(message("you must specify at least one value of user, group or serviceaccount"));
    }
    let (namespace, _) = invocation.namespace()?;
    let mut subjects = Vec::new();
    for (kind, names) in [("User", users), ("Group", groups)] {
        let one =
            |name: &String| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
        subjects.extend(names.iter().map(one));
    }
    let cluster_wide = found.iter().flatten().any(|target| target.mapping.kind == "ClusterRoleBinding");
    for account in &accounts {
        let (own, name) = match account.split(':').collect::<Vec<_>>().as_slice() {
            [own, name] if !name.is_empty() => ((*own).to_owned(), (*name).to_owned()),
            _ => return Err(message("serviceaccount must be <namespace>:<name>")),
        };
        if own.is_empty() && cluster_wide {
            return Err(message("serviceaccount must be <namespace>:<name>, namespace must be specified"));
        }
        let own = if own.is_empty() { namespace.clone() } else { own };
        subjects.push(json!({"kind": "ServiceAccount", "name": name, "namespace": own}));
    }
    change_objects(invocation, &changer, found, |_, object| {
        if !matches!(object.kind(), "RoleBinding" | "ClusterRoleBinding") {
            return Err(message("setting subjects is only supported for RoleBinding/ClusterRoleBinding"));
        }
        let mut known = object.items(&["subjects"]).to_vec();
        let new: Vec<Value> = subjects.iter().filter(|one| !known.contains(one)).cloned().collect();
        if !new.is_empty() {
            known.extend(new);
            object["subjects"] = known.into();
        }
        Ok(Vec::new())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_equalities() {
        assert_eq!(labels("a=b, c==d").unwrap(), json!({"a": "b", "c": "d"}));
        for text in ["a in (b)", "!a", "a!=b", "a"] {
            assert!(labels(text).is_err(), "{text}");
        }
    }
}
