//! Owner garbage collection (upstream's garbagecollector): dependents of owners that are gone go too; owners that wait
//! for their dependents, or want to leave them behind, are served.

use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::action::{Action, PatchKind, Target};

/// Finalizer of foreground deletion.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of orphaning deletion.
pub const ORPHAN: &str = "orphan";

/// What was found out about one owner, live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// There, with the uid of the reference.
    Live,
    /// There, and waiting for its dependents to go.
    Waiting,
    /// Not there (or another object of that name).
    Gone,
}

fn has_finalizer(object: &Value, name: &str) -> bool {
    object.items(&["metadata", "finalizers"]).iter().any(|own| own == name)
}

fn deleting(object: &Value) -> bool {
    object.at(&["metadata", "deletionTimestamp"]).is_some()
}

/// Decides for a dependent, given each of its owners in the order of its references. The caller has looked at the
/// owners themselves, not at a copy: a stale copy deletes what is fresh.
pub fn decide_dependent(target: &Target, object: &Value, owners: &[Owner]) -> Vec<Action> {
    let references = object.items(&["metadata", "ownerReferences"]);
    if references.is_empty()
        || owners.len() != references.len()
        || deleting(object) && !has_finalizer(object, FOREGROUND)
    {
        return Vec::new();
    }
    let uid = Some(object.uid().to_owned());
    if owners.contains(&Owner::Live) {
        let keep: Vec<Value> = references
            .iter()
            .zip(owners)
            .filter(|(_, owner)| **owner == Owner::Live)
            .map(|(reference, _)| reference.clone())
            .collect();
        if keep.len() == references.len() {
            return Vec::new();
        }
        return vec![set_references(target, object, keep)];
    }
    if deleting(object) {
        return Vec::new();
    }
    let waiting = owners.contains(&Owner::Waiting);
    let propagation = if waiting || has_finalizer(object, FOREGROUND) { "Foreground" } else { "Background" };
    let propagation = if has_finalizer(object, ORPHAN) { "Orphan" } else { propagation };
    vec![Action::Delete { target: target.clone(), uid, grace_s: None, propagation: Some(propagation) }]
}

/// Decides for an owner that is being deleted with a finalizer of ours. `dependents`: what refers to its uid.
pub fn decide_owner(target: &Target, object: &Value, dependents: &[(Target, Value)]) -> Vec<Action> {
    if !deleting(object) {
        return Vec::new();
    }
    if has_finalizer(object, ORPHAN) {
        let mut actions: Vec<Action> = dependents
            .iter()
            .map(|(own, dependent)| {
                let references = dependent.items(&["metadata", "ownerReferences"]).iter();
                let keep = references.filter(|reference| reference["uid"] != object.uid()).cloned().collect();
                set_references(own, dependent, keep)
            })
            .collect();
        actions.push(drop_finalizer(target, object, ORPHAN));
        return actions;
    }
    if !has_finalizer(object, FOREGROUND) {
        return Vec::new();
    }
    let blocks = |dependent: &Value| {
        let references = dependent.items(&["metadata", "ownerReferences"]);
        references.iter().any(|own| own["uid"] == object.uid() && own["blockOwnerDeletion"] == true)
    };
    if !dependents.iter().any(|(_, dependent)| blocks(dependent)) {
        return vec![drop_finalizer(target, object, FOREGROUND)];
    }
    Vec::new()
}

/// Guarded by uid and version: the references are replaced as a whole.
fn set_references(target: &Target, object: &Value, references: Vec<Value>) -> Action {
    let patch = json!({"metadata": {
        "uid": object.uid(), "resourceVersion": object.resource_version(),
        "ownerReferences": if references.is_empty() { Value::Null } else { Value::Array(references) },
    }});
    Action::Patch { target: target.clone(), subresource: None, kind: PatchKind::Merge, patch }
}

fn drop_finalizer(target: &Target, object: &Value, name: &str) -> Action {
    let left: Vec<&Value> =
        object.items(&["metadata", "finalizers"]).iter().filter(|own| *own != name).collect();
    let patch = json!({"metadata": {
        "uid": object.uid(), "resourceVersion": object.resource_version(), "finalizers": left,
    }});
    Action::Patch { target: target.clone(), subresource: None, kind: PatchKind::Merge, patch }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dependent(owners: &[&str]) -> Value {
        let references: Vec<Value> =
            owners.iter().map(|uid| json!({"uid": uid, "blockOwnerDeletion": true})).collect();
        json!({"metadata": {"name": "d", "uid": "d", "resourceVersion": "1", "ownerReferences": references}})
    }

    #[test]
    fn dependents_go_with_their_last_owner() {
        let target = Target::core("pods", "a", "d");
        let count =
            |owners: &[&str], found: &[Owner]| decide_dependent(&target, &dependent(owners), found).len();
        assert_eq!(count(&[], &[]), 0);
        assert_eq!(count(&["x"], &[Owner::Live]), 0);
        let [Action::Delete { propagation, .. }] =
            &decide_dependent(&target, &dependent(&["x"]), &[Owner::Gone])[..]
        else {
            panic!()
        };
        assert_eq!(*propagation, Some("Background"));
        let [Action::Delete { propagation, .. }] =
            &decide_dependent(&target, &dependent(&["x"]), &[Owner::Waiting])[..]
        else {
            panic!()
        };
        assert_eq!(*propagation, Some("Foreground"));
        let [Action::Patch { patch, .. }] =
            &decide_dependent(&target, &dependent(&["x", "y"]), &[Owner::Gone, Owner::Live])[..]
        else {
            panic!()
        };
        assert_eq!(patch["metadata"]["ownerReferences"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn owners_wait_or_orphan() {
        let target = Target::core("pods", "a", "o");
        let owner = |finalizer: &str| json!({"metadata": {"name": "o", "uid": "o", "deletionTimestamp": "x", "finalizers": [finalizer, "other"]}});
        let one = [(Target::core("pods", "a", "d"), dependent(&["o"]))];
        assert!(decide_owner(&target, &owner(FOREGROUND), &one).is_empty(), "still blocked");
        assert_eq!(decide_owner(&target, &owner(FOREGROUND), &[]).len(), 1);
        assert_eq!(decide_owner(&target, &owner(ORPHAN), &one).len(), 2);
        assert!(decide_owner(&target, &owner("other"), &one).is_empty());
    }
}
