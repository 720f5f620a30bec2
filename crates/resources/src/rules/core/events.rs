//! Events, and leases.

use model::tree::TreeExt;
use serde_json::Value;

use crate::field::{Errors, FieldError, Path};
use crate::rules::at::At;
use crate::rules::checks;
use crate::rules::kind::{Kind, nothing};

/// The rules of Events of the core group.
pub const EVENT: Kind = Kind {
    create: nothing,
    validate: event,
    validate_update: Some(|errors, new, _, _| event(errors, new)),
    fields: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    field: |object, path| match path {
        "source" => match object.text(&["source", "component"]) {
            "" => object.text(&["reportingComponent"]).to_owned(),
            component => component.to_owned(),
        },
        path => crate::rules::kind::field_text(object, path),
    },
    creates_on_update: true,
    ..Kind::PLAIN
};

/// The rules of Events of `events.k8s.io`, whose fields have other names.
pub const NEW_EVENT: Kind = Kind {
    create: nothing,
    validate: |errors, event| involved(errors, event, &event.child("regarding")),
    fields: EVENT.fields,
    field: |object, path| {
        let renamed = path.replace("involvedObject.", "regarding.");
        match path {
            "source" => match object.text(&["deprecatedSource", "component"]) {
                "" => object.text(&["reportingController"]).to_owned(),
                component => component.to_owned(),
            },
            "reportingComponent" => object.text(&["reportingController"]).to_owned(),
            _ => crate::rules::kind::field_text(object, &renamed),
        }
    },
    creates_on_update: true,
    ..Kind::PLAIN
};

/// The rules of leases.
pub const LEASE: Kind = Kind { create: nothing, validate: lease, creates_on_update: true, ..Kind::PLAIN };

fn event(errors: &mut Errors, event: &At) {
    involved(errors, event, &event.child("involvedObject"));
}

/// (field, longest, in bytes) of events with a time.
const TEXTS: [(&str, usize); 3] = [("reportingInstance", 128), ("action", 128), ("reason", 128)];

/// An event lives in the namespace of what it is about (`legacyValidateEvent`).
fn involved(errors: &mut Errors, event: &At, object: &At) {
    let namespace = event.child("metadata").str("namespace");
    let own = object.str("namespace");
    // Upstream names the core field in both groups.
    let differs = |errors: &mut Errors| {
        let path = Path::new("involvedObject.namespace");
        errors.push(FieldError::invalid(&path, &Value::from(own), "does not match event.namespace"));
    };
    if !event.has("eventTime") {
        let fine = if own.is_empty() { matches!(namespace, "" | "default") } else { own == namespace };
        if !fine {
            differs(errors);
        }
        return;
    }
    if own.is_empty() && !matches!(namespace, "default" | "kube-system") {
        differs(errors);
    }
    let new = event.has("reportingController") || object.path.to_string() == "regarding";
    let reporter = event.child(if new { "reportingController" } else { "reportingComponent" });
    if reporter.text().is_empty() {
        errors.push(reporter.required(""));
    }
    checks::qualified_name(errors, &reporter);
    for (key, longest) in TEXTS {
        let field = event.child(key);
        if field.text().is_empty() {
            errors.push(field.required(""));
        }
        if field.text().len() > longest {
            errors.push(field.invalid_as("", format!("can have at most {longest} characters")));
        }
    }
    let message = if new { event.child("note") } else { event.child("message") };
    if message.text().len() > 1024 {
        errors.push(event.child("message").invalid_as("", "can have at most 1024 characters"));
    }
}

fn lease(errors: &mut Errors, lease: &At) {
    let spec = lease.child("spec");
    let duration = spec.child("leaseDurationSeconds");
    if duration.number().is_some_and(|seconds| seconds <= 0) {
        errors.push(duration.invalid("must be greater than 0"));
    }
    if let Some(transitions) = spec.some("leaseTransitions") {
        checks::nonnegative(errors, &transitions);
    }
    if let Some(strategy) = spec.some("strategy") {
        strategy.required_one_of(errors, &["OldestEmulationVersion"]);
    }
    let (preferred, holder) = (spec.child("preferredHolder"), spec.child("strategy"));
    if !preferred.text().is_empty() && holder.text().is_empty() {
        errors.push(preferred.forbidden("may only be specified if `strategy` is defined"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;
    use serde_json::json;

    #[test]
    fn events_live_with_their_object() {
        let event = |namespace: &str, object: &str, kind: &str| {
            json!({"metadata": {"namespace": namespace},
                "involvedObject": {"apiVersion": "v1", "kind": kind, "namespace": object}})
        };
        let table = [
            (event("a", "a", "Pod"), 0),
            (event("a", "b", "Pod"), 1),
            (event("default", "", "Node"), 0),
            (event("a", "", "Node"), 1),
        ];
        for (object, expected) in table {
            assert_eq!(EVENT.validate(&object).len(), expected, "{object}");
        }
    }

    #[test]
    fn the_source_may_come_from_the_reporter() {
        let object = json!({"reportingComponent": "kubelet"});
        let fields = EVENT.selectable_fields(&object);
        assert!(fields.contains(&("source", "kubelet".into())));
    }
}
