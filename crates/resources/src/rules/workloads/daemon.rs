//! DaemonSets.

use model::selector::LabelSelector;
use model::tree::TreeExt;
use serde_json::Value;

use super::apps::{TEMPLATE, create, update, with_template};
use super::{
    amount, at_most_all, collisions, count_or_percent, counts, fixed_selector, lasting_template, not_empty,
    warnings_of_template,
};
use crate::field::{Errors, FieldError};
use crate::rules::at::{At, same};
use crate::rules::kind::{Kind, is_status};
use crate::rules::{checks, fill};

/// The rules of DaemonSets.
pub const DAEMON_SET: Kind = Kind {
    default: daemon_defaults,
    create: |object| {
        create(object);
        daemon_generation(object, None);
    },
    update: |object, old, subresource| {
        update(object, old, subresource);
        if !is_status(subresource) {
            daemon_generation(object, Some(old));
        }
    },
    validate: |errors, set| daemon_spec(errors, &set.child("spec")),
    validate_update: Some(|errors, new, old, subresource| {
        if is_status(subresource) {
            daemon_status(errors, new, old);
        } else {
            fixed_selector(errors, new, old);
            daemon_spec(errors, &new.child("spec"));
        }
    }),
    warnings: |object, old| warnings_of_template(object, old, TEMPLATE, false),
    ..Kind::PLAIN
};

fn daemon_defaults(object: &mut Value) {
    let spec = with_template(object);
    fill::pointer(spec, "revisionHistoryLimit", 10);
    let Some(strategy) = fill::object(spec, "updateStrategy") else { return };
    fill::plain(strategy, "type", "RollingUpdate");
    if strategy.text(&["type"]) == "RollingUpdate"
        && let Some(rolling) = fill::object(strategy, "rollingUpdate")
    {
        fill::pointer(rolling, "maxUnavailable", 1);
        fill::pointer(rolling, "maxSurge", 0);
    }
}

/// Annotation that carries the generation of a DaemonSet's template in `apps/v1`.
pub(super) const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The template's generation rises with each of its changes.
fn daemon_generation(object: &mut Value, old: Option<&Value>) {
    let read = |object: &Value| -> i64 {
        object.text(&["metadata", "annotations", TEMPLATE_GENERATION]).parse().unwrap_or_default()
    };
    let generation = match old {
        None => read(object).max(1),
        Some(old) if same(object.at(TEMPLATE), old.at(TEMPLATE)) => read(old),
        Some(old) => read(old) + 1,
    };
    object.set(&["metadata", "annotations", TEMPLATE_GENERATION], generation.to_string());
}

fn daemon_spec(errors: &mut Errors, spec: &At) {
    let own = spec.child("selector");
    checks::label_selector(errors, &own);
    let template = spec.child("template");
    if let Ok(selector) = LabelSelector::from_tree(Some(own.value))
        && !selector.matches(template.value.at(&["metadata", "labels"]))
    {
        let labels = template.child("metadata").child("labels");
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
    if !own.value.is_null() {
        not_empty(errors, &own, "daemonset");
    }
    lasting_template(errors, &template, "DaemonSet");
    checks::nonnegative(errors, &spec.child("minReadySeconds"));
    let strategy = spec.child("updateStrategy");
    let rolling = strategy.child("rollingUpdate");
    match strategy.str("type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling.value.is_null() => errors.push(rolling.required("")),
        "RollingUpdate" => {
            let [unavailable, surge] = ["maxUnavailable", "maxSurge"].map(|key| rolling.child(key));
            [&unavailable, &surge].into_iter().for_each(|at| count_or_percent(errors, at));
            [&unavailable, &surge].into_iter().for_each(|at| at_most_all(errors, at));
            match (amount(unavailable.value) != 0, amount(surge.value) != 0) {
                (true, true) => errors.push(surge.invalid("may not be set when maxUnavailable is non-zero")),
                (false, false) => errors.push(unavailable.required("cannot be 0 when maxSurge is 0")),
                _ => {}
            }
        }
        kind => {
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{}}}", Value::from(kind), rolling.value);
            let error = strategy.not_supported(&["RollingUpdate", "OnDelete"]);
            errors.push(FieldError { value: shown, ..error });
        }
    }
    checks::nonnegative(errors, &spec.child("revisionHistoryLimit"));
}

fn daemon_status(errors: &mut Errors, new: &At, old: &At) {
    let all = [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ];
    counts(errors, &new.child("status"), &all, &[]);
    collisions(errors, new, old);
}
