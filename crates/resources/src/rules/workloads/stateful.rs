//! StatefulSets.

use model::names;
use model::selector::LabelSelector;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::apps::{TEMPLATE, TOO_MANY, create, update, with_template};
use super::{
    amount, at_most_all, collisions, count_or_percent, counts, lasting, selected, selector,
    warnings_of_template,
};
use crate::field::Errors;
use crate::rules::at::{At, same};
use crate::rules::kind::{Kind, is_status};
use crate::rules::pod::defaults::claim_spec;
use crate::rules::pod::validate_template;
use crate::rules::{checks, fill, storage, warnings};

/// The rules of StatefulSets.
pub const STATEFUL_SET: Kind = Kind {
    default: stateful_defaults,
    create,
    update,
    validate: |errors, set| stateful_spec(errors, &set.child("spec"), true),
    validate_update: Some(|errors, new, old, subresource| {
        if is_status(subresource) {
            stateful_status(errors, new, old);
        } else {
            stateful_spec(errors, &new.child("spec"), false);
            stateful_changes(errors, new, old);
        }
    }),
    name: names::dns_label_name,
    warnings: stateful_warnings,
    ..Kind::PLAIN
};

fn stateful_defaults(object: &mut Value) {
    let spec = with_template(object);
    fill::plain(spec, "podManagementPolicy", "OrderedReady");
    fill::pointer(spec, "replicas", 1);
    fill::pointer(spec, "revisionHistoryLimit", 10);
    if let Some(strategy) = fill::object(spec, "updateStrategy") {
        if strategy.text(&["type"]).is_empty() {
            fill::plain(strategy, "type", "RollingUpdate");
            fill::pointer(strategy, "rollingUpdate", json!({}));
        }
        if strategy.text(&["type"]) == "RollingUpdate"
            && let Some(rolling) = fill::some(strategy, "rollingUpdate")
        {
            fill::pointer(rolling, "partition", 0);
        }
    }
    if let Some(policy) = fill::object(spec, "persistentVolumeClaimRetentionPolicy") {
        fill::plain(policy, "whenDeleted", "Retain");
        fill::plain(policy, "whenScaled", "Retain");
    }
    for claim in fill::items(spec, "volumeClaimTemplates") {
        fill::plain(claim, "apiVersion", "v1");
        fill::plain(claim, "kind", "PersistentVolumeClaim");
        if let Some(spec) = fill::object(claim, "spec") {
            claim_spec(spec);
        }
        if let Some(status) = fill::object(claim, "status") {
            fill::plain(status, "phase", "Pending");
        }
    }
}

fn stateful_spec(errors: &mut Errors, spec: &At, new: bool) {
    let policy = spec.child("podManagementPolicy");
    match policy.text() {
        "" => errors.push(policy.required("")),
        "OrderedReady" | "Parallel" => {}
        _ => errors.push(policy.invalid("must be 'OrderedReady' or 'Parallel'")),
    }
    stateful_strategy(errors, &spec.child("updateStrategy"));
    if let Some(policy) = spec.some("persistentVolumeClaimRetentionPolicy") {
        for key in ["whenDeleted", "whenScaled"] {
            policy.child(key).one_of(errors, &["Retain", "Delete"]);
        }
    }
    if new {
        for claim in spec.items("volumeClaimTemplates") {
            storage::claim_spec(errors, &claim.child("spec"));
        }
    }
    checks::nonnegative(errors, &spec.child("replicas"));
    checks::nonnegative(errors, &spec.child("minReadySeconds"));
    let start = spec.child("ordinals").child("start");
    checks::nonnegative(errors, &start);
    let service = spec.child("serviceName");
    if new && !service.text().is_empty() {
        checks::dns_label(errors, &service);
    }
    let own = spec.child("selector");
    selector(errors, &own, "statefulset");
    let template = spec.child("template");
    if let Ok(selector) = LabelSelector::from_tree(Some(own.value)) {
        selected(errors, &template, &selector);
        let seen = with_claims(&template, spec);
        validate_template(errors, &seen, &template.path);
    }
    lasting(errors, &template, "StatefulSet");
}

/// The template as its Pods will be: volumes of the claims, host names given out.
fn with_claims(template: &At, spec: &At) -> Value {
    let mut seen = template.value.clone();
    let claims = spec.items("volumeClaimTemplates");
    let names: Vec<String> =
        claims.iter().map(|claim| claim.child("metadata").str("name").to_owned()).collect();
    let Some(spec) = seen.get_mut("spec") else { return seen };
    spec.unset(&["subdomain"]);
    spec.unset(&["hostname"]);
    if names.is_empty() {
        return seen;
    }
    let volume = |name: &String| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    let mut volumes: Vec<Value> = names.iter().map(volume).collect();
    let own = spec.items(&["volumes"]).iter();
    volumes.extend(own.filter(|volume| !names.iter().any(|name| name == volume.text(&["name"]))).cloned());
    spec.set(&["volumes"], volumes);
    seen
}

fn stateful_strategy(errors: &mut Errors, strategy: &At) {
    let rolling = strategy.child("rollingUpdate");
    match strategy.str("type") {
        "" => errors.push(strategy.required("")),
        "OnDelete" => {
            if !rolling.value.is_null() {
                errors.push(rolling.invalid("only allowed for updateStrategy 'RollingUpdate'"));
            }
        }
        "RollingUpdate" => {
            checks::nonnegative(errors, &rolling.child("partition"));
            if let Some(unavailable) = rolling.some("maxUnavailable") {
                count_or_percent(errors, &unavailable);
                if amount(unavailable.value) == 0 {
                    errors.push(unavailable.invalid("cannot be 0"));
                }
                at_most_all(errors, &unavailable);
            }
        }
        kind => {
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{}}}", Value::from(kind), rolling.value);
            errors.push(strategy.invalid_shown(shown, "must be 'RollingUpdate' or 'OnDelete'"));
        }
    }
}

/// What of a StatefulSet may change.
const STATEFUL_MUTABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn stateful_changes(errors: &mut Errors, new: &At, old: &At) {
    let rest = |at: &At| {
        let mut spec = at.child("spec").value.clone();
        STATEFUL_MUTABLE.iter().for_each(|key| drop(spec.unset(&[key])));
        spec
    };
    if !same(Some(&rest(new)), Some(&rest(old))) {
        let words = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                     'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                     'minReadySeconds' are forbidden";
        errors.push(new.child("spec").forbidden(words));
    }
}

fn stateful_status(errors: &mut Errors, new: &At, old: &At) {
    let all = [
        "replicas",
        "readyReplicas",
        "currentReplicas",
        "updatedReplicas",
        "availableReplicas",
        "observedGeneration",
        "collisionCount",
    ];
    let limits = [
        ("readyReplicas", "replicas", TOO_MANY),
        ("currentReplicas", "replicas", TOO_MANY),
        ("updatedReplicas", "replicas", TOO_MANY),
        ("availableReplicas", "replicas", TOO_MANY),
        ("availableReplicas", "readyReplicas", "cannot be greater than status.readyReplicas"),
    ];
    counts(errors, &new.child("status"), &all, &limits);
    collisions(errors, new, old);
}

fn stateful_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut list = warnings_of_template(object, old, TEMPLATE, false);
    for claim in At::root(object).child("spec").items("volumeClaimTemplates") {
        warnings::claim_spec(&mut list, &claim);
    }
    if object.integer(&["spec", "revisionHistoryLimit"]).is_some_and(|limit| limit < 0) {
        let words = "a negative value retains all historical revisions; a value >= 0 is recommended";
        list.push(format!("spec.revisionHistoryLimit: {words}"));
    }
    list
}
