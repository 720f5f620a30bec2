//! Deployments, ReplicaSets, ReplicationControllers, the templates and revisions beside them, and what the rules of
//! all that run Pods share.

use model::selector::LabelSelector;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::{
    amount, at_most_all, collisions, count_or_percent, counts, fixed_selector, lasting_template, selected,
    selector, warnings_of_template,
};
use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::kind::{Kind, is_status, nothing};
use crate::rules::pod::{default_template, drop_disabled, validate_template};
use crate::rules::{checks, fill, generic_update};

pub(super) const TOO_MANY: &str = "cannot be greater than status.replicas";
pub(super) const TEMPLATE: &[&str] = &["spec", "template"];

/// The rules of Deployments.
pub const DEPLOYMENT: Kind = Kind {
    default: deployment_defaults,
    create,
    update: |object, old, subresource| {
        update(object, old, subresource);
        if is_status(subresource) {
            match old.at(&["metadata", "labels"]) {
                Some(labels) => object.set(&["metadata", "labels"], labels.clone()),
                None => drop(object.unset(&["metadata", "labels"])),
            }
        }
    },
    validate: |errors, deployment| deployment_spec(errors, &deployment.child("spec")),
    validate_update: Some(|errors, new, old, subresource| {
        if is_status(subresource) {
            deployment_status(errors, new, old);
        } else {
            deployment_spec(errors, &new.child("spec"));
            fixed_selector(errors, new, old);
        }
    }),
    warnings: |object, old| warnings_of_template(object, old, TEMPLATE, true),
    ..Kind::PLAIN
};

/// The rules of ReplicaSets.
pub const REPLICA_SET: Kind = Kind {
    default: |object| {
        let spec = with_template(object);
        fill::pointer(spec, "replicas", 1);
    },
    create,
    update,
    validate: |errors, set| replica_set_spec(errors, &set.child("spec")),
    validate_update: Some(|errors, new, old, subresource| {
        if is_status(subresource) {
            replica_set_status(errors, &new.child("status"));
        } else {
            replica_set_spec(errors, &new.child("spec"));
            fixed_selector(errors, new, old);
        }
    }),
    warnings: |object, old| warnings_of_template(object, old, TEMPLATE, true),
    fields: &["status.replicas"],
    field: replicas_field,
    ..Kind::PLAIN
};

/// The rules of ReplicationControllers.
pub const REPLICATION_CONTROLLER: Kind = Kind {
    default: |object| {
        let labels = object.at(&["spec", "template", "metadata", "labels"]).cloned();
        let spec = with_template(object);
        fill::pointer(spec, "replicas", 1);
        let Some(labels) = labels.filter(|labels| !crate::rules::at::is_empty(labels)) else { return };
        for path in [&["spec", "selector"][..], &["metadata", "labels"]] {
            if object.at(path).is_none_or(crate::rules::at::is_empty) {
                object.set(path, labels.clone());
            }
        }
    },
    create,
    update,
    validate: |errors, controller| controller_spec(errors, &controller.child("spec")),
    validate_update: Some(|errors, new, _, subresource| {
        if is_status(subresource) {
            replica_set_status(errors, &new.child("status"));
        } else {
            controller_spec(errors, &new.child("spec"));
        }
    }),
    warnings: |object, old| warnings_of_template(object, old, TEMPLATE, true),
    fields: &["status.replicas"],
    field: replicas_field,
    ..Kind::PLAIN
};

/// The rules of ControllerRevisions.
pub const REVISION: Kind = Kind {
    create: nothing,
    validate: |errors, revision| {
        checks::nonnegative(errors, &revision.child("revision"));
        let data = revision.child("data");
        if data.value.is_null() {
            errors.push(data.required("data is mandatory"));
        } else if !data.value.is_object() {
            errors.push(data.required("data must be a valid JSON object"));
        }
    },
    validate_update: Some(|errors, new, old, _| {
        checks::nonnegative(errors, &new.child("revision"));
        checks::immutable(errors, &new.child("data"), old.value.get("data"));
    }),
    ..Kind::PLAIN
};

/// The rules of PodTemplates.
pub const POD_TEMPLATE: Kind = Kind {
    default: |object| {
        if let Some(template) = fill::object(object, "template") {
            default_template(template);
        }
    },
    create: nothing,
    validate: |errors, object| {
        let template = object.child("template");
        validate_template(errors, template.value, &template.path);
    },
    ..Kind::PLAIN
};

fn replicas_field(object: &Value, _: &str) -> String {
    object.integer(&["status", "replicas"]).unwrap_or_default().to_string()
}

/// Defaults of the template; gives the spec.
pub(super) fn with_template(object: &mut Value) -> &mut Value {
    let spec = object.at_mut(&["spec"]);
    if spec.is_null() {
        *spec = json!({});
    }
    if let Some(template) = fill::object(spec, "template") {
        default_template(template);
    }
    spec
}

pub(super) fn create(object: &mut Value) {
    object.set(&["status"], json!({}));
    if let Some(spec) = object.pointer_mut("/spec/template/spec") {
        drop_disabled(spec, None);
    }
}

pub(super) fn update(object: &mut Value, old: &Value, subresource: Option<&str>) {
    generic_update(object, old, subresource);
    if let Some(spec) = object.pointer_mut("/spec/template/spec") {
        drop_disabled(spec, old.pointer("/spec/template/spec"));
    }
}

fn deployment_defaults(object: &mut Value) {
    let spec = with_template(object);
    fill::pointer(spec, "replicas", 1);
    fill::pointer(spec, "revisionHistoryLimit", 10);
    fill::pointer(spec, "progressDeadlineSeconds", 600);
    let Some(strategy) = fill::object(spec, "strategy") else { return };
    fill::plain(strategy, "type", "RollingUpdate");
    if strategy.text(&["type"]) == "RollingUpdate"
        && let Some(rolling) = fill::object(strategy, "rollingUpdate")
    {
        fill::pointer(rolling, "maxUnavailable", "25%");
        fill::pointer(rolling, "maxSurge", "25%");
    }
}

fn deployment_spec(errors: &mut Errors, spec: &At) {
    checks::nonnegative(errors, &spec.child("replicas"));
    replicated(errors, spec, "deployment");
    let strategy = spec.child("strategy");
    let rolling = strategy.child("rollingUpdate");
    match strategy.str("type") {
        "Recreate" => {
            if !rolling.value.is_null() {
                errors.push(rolling.forbidden("may not be specified when strategy `type` is 'Recreate'"));
            }
        }
        "RollingUpdate" if rolling.value.is_null() => {
            errors.push(rolling.required("this should be defaulted and never be nil"));
        }
        "RollingUpdate" => {
            let [unavailable, surge] = ["maxUnavailable", "maxSurge"].map(|key| rolling.child(key));
            count_or_percent(errors, &unavailable);
            count_or_percent(errors, &surge);
            if amount(unavailable.value) == 0 && amount(surge.value) == 0 {
                errors.push(unavailable.invalid("may not be 0 when `maxSurge` is 0"));
            }
            at_most_all(errors, &unavailable);
        }
        kind => {
            let shown = format!("{{\"Type\":{},\"RollingUpdate\":{}}}", Value::from(kind), rolling.value);
            let mut error = strategy.not_supported(&["Recreate", "RollingUpdate"]);
            error.value = shown;
            errors.push(error);
        }
    }
    checks::nonnegative(errors, &spec.child("minReadySeconds"));
    checks::nonnegative(errors, &spec.child("revisionHistoryLimit"));
    let deadline = spec.child("progressDeadlineSeconds");
    checks::nonnegative(errors, &deadline);
    let ready = spec.int("minReadySeconds").unwrap_or_default();
    if deadline.number().is_some_and(|deadline| deadline <= ready) {
        errors.push(deadline.invalid("must be greater than minReadySeconds"));
    }
}

/// Selector and template of Deployments and ReplicaSets.
fn replicated(errors: &mut Errors, spec: &At, kind: &str) {
    let own = spec.child("selector");
    selector(errors, &own, kind);
    match LabelSelector::from_tree(Some(own.value)) {
        Err(_) => {
            let shown = crate::rules::internal::compact("!LabelSelector", own.value);
            errors.push(own.invalid_shown(shown, "invalid label selector"));
        }
        Ok(selector) => {
            let template = spec.child("template");
            selected(errors, &template, &selector);
            lasting_template(errors, &template, "ReplicaSet");
        }
    }
}

fn deployment_status(errors: &mut Errors, new: &At, old: &At) {
    let all = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    let limits = [
        ("updatedReplicas", "replicas", TOO_MANY),
        ("readyReplicas", "replicas", TOO_MANY),
        ("availableReplicas", "replicas", TOO_MANY),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    ];
    counts(errors, &new.child("status"), &all, &limits);
    collisions(errors, new, old);
}

fn replica_set_spec(errors: &mut Errors, spec: &At) {
    checks::nonnegative(errors, &spec.child("replicas"));
    checks::nonnegative(errors, &spec.child("minReadySeconds"));
    // Upstream says "deployment" here too.
    replicated(errors, spec, "deployment");
}

fn replica_set_status(errors: &mut Errors, status: &At) {
    let all = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "observedGeneration",
        "terminatingReplicas",
    ];
    let limits = [
        ("fullyLabeledReplicas", "replicas", TOO_MANY),
        ("readyReplicas", "replicas", TOO_MANY),
        ("availableReplicas", "replicas", TOO_MANY),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    ];
    counts(errors, status, &all, &limits);
}

fn controller_spec(errors: &mut Errors, spec: &At) {
    checks::nonnegative(errors, &spec.child("minReadySeconds"));
    let own = spec.child("selector");
    if own.is_empty() {
        errors.push(own.required(""));
    }
    let replicas = spec.child("replicas");
    if replicas.value.is_null() {
        errors.push(replicas.required(""));
    }
    checks::nonnegative(errors, &replicas);
    let template = spec.child("template");
    if template.value.is_null() {
        errors.push(template.required(""));
        return;
    }
    selected(errors, &template, &LabelSelector::from_map(Some(own.value)));
    lasting_template(errors, &template, "ReplicationController");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;
    use crate::rules::workloads::daemon::{DAEMON_SET, TEMPLATE_GENERATION};
    use crate::rules::workloads::stateful::STATEFUL_SET;

    fn object(kind: &Kind, extra: Value) -> Value {
        let mut spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": {
            "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}});
        for (key, value) in extra.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        let mut object = json!({"metadata": {"name": "w", "namespace": "n"}, "spec": spec});
        kind.default(&mut object);
        kind.prepare_for_create(&mut object);
        object
    }

    fn texts(errors: &Errors) -> Vec<String> {
        errors.iter().map(|error| format!("{}: {}", error.path, error.to_cause().message)).collect()
    }

    #[test]
    fn deployments() {
        let fine = object(&DEPLOYMENT, json!({}));
        assert_eq!(texts(&DEPLOYMENT.validate(&fine)), Vec::<String>::new());
        let spec = &fine["spec"];
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        assert_eq!(spec["template"]["spec"]["containers"][0]["terminationMessagePolicy"], "File");
        assert!(spec["template"]["spec"].get("enableServiceLinks").is_none());
        let mut again = fine.clone();
        DEPLOYMENT.default(&mut again);
        assert_eq!(again, fine);
        let other = object(&DEPLOYMENT, json!({"selector": {"matchLabels": {"app": "b"}}}));
        let expected = "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template \
                        `labels`";
        assert_eq!(texts(&DEPLOYMENT.validate(&other)), [expected]);
        let both = object(&DEPLOYMENT, json!({"selector": {"matchLabels": {"app": "a", "x": "y"}}}));
        let errors = texts(&DEPLOYMENT.validate_update(&both, &fine, None));
        assert_eq!(
            errors.last().map(String::as_str),
            Some(
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"a\",\"x\":\"y\"}}: field is immutable"
            )
        );
    }

    #[test]
    fn the_others() {
        for kind in [&REPLICA_SET, &DAEMON_SET, &STATEFUL_SET] {
            let fine = object(kind, json!({}));
            assert_eq!(texts(&kind.validate(&fine)), Vec::<String>::new());
            assert_eq!(texts(&kind.validate_update(&fine, &fine, None)), Vec::<String>::new());
            let faulty = object(kind, json!({"selector": null}));
            assert!(!kind.validate(&faulty).is_empty() || std::ptr::eq(kind, &DAEMON_SET));
        }
        let set = object(&STATEFUL_SET, json!({}));
        let mut changed = set.clone();
        changed["spec"]["serviceName"] = json!("x");
        assert_eq!(STATEFUL_SET.validate_update(&changed, &set, None).len(), 1);
        let daemons = object(&DAEMON_SET, json!({}));
        assert_eq!(daemons["metadata"]["annotations"][TEMPLATE_GENERATION], "1");
        let mut changed = daemons.clone();
        changed["spec"]["template"]["spec"]["nodeName"] = json!("n");
        DAEMON_SET.prepare_for_update(&mut changed, &daemons, None);
        assert_eq!(changed["metadata"]["annotations"][TEMPLATE_GENERATION], "2");
    }

    #[test]
    fn controllers_take_selector_and_labels_from_the_template() {
        let mut controller = json!({"metadata": {"name": "w"}, "spec": {"template": {
            "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        REPLICATION_CONTROLLER.default(&mut controller);
        assert_eq!(controller["spec"]["selector"], json!({"app": "a"}));
        assert_eq!(controller["metadata"]["labels"], json!({"app": "a"}));
        assert_eq!(texts(&REPLICATION_CONTROLLER.validate(&controller)), Vec::<String>::new());
    }
}
