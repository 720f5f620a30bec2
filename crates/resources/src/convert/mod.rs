//! Pure conversions between the versions of a resource, and the `Scale` view of resources that have replicas.

mod autoscaling;
mod event;
pub mod scale;

use serde_json::Value;

use crate::row::Resource;

/// Shows an object of one version in another. Versions of the same shape differ in `apiVersion` alone; what a target
/// does not know is dropped when it is normalised.
pub fn convert(from: &Resource, to: &Resource, mut object: Value) -> Value {
    if from.group == to.group && from.version == to.version {
        return object;
    }
    match (
        (from.group.as_str(), from.version.as_str()),
        (to.group.as_str(), to.version.as_str()),
        to.kind.as_str(),
    ) {
        (("", _), ("events.k8s.io", _), "Event") => event::from_core(&mut object),
        (("events.k8s.io", _), ("", _), "Event") => event::to_core(&mut object),
        ((_, "v1"), (_, "v2"), "HorizontalPodAutoscaler") => autoscaling::to_v2(&mut object),
        ((_, "v2"), (_, "v1"), "HorizontalPodAutoscaler") => autoscaling::to_v1(&mut object),
        _ => {}
    }
    object["apiVersion"] = to.api_version().into();
    if let Some(definition) = crate::schema::definition(&to.definition) {
        // The source was checked against its own schema; a value the target cannot hold is a bug in a conversion, and
        // then the object is shown as converted rather than lost.
        let kept = object.clone();
        if crate::schema::normalise(definition, &mut object).is_err() {
            object = kept;
        }
    }
    object
}

/// The selectable field of the stored version that a field of `events.k8s.io/v1` is called.
pub fn field_label<'a>(group: &str, kind: &str, label: &'a str) -> std::borrow::Cow<'a, str> {
    if (group, kind) != ("events.k8s.io", "Event") {
        return label.into();
    }
    match (label, label.strip_prefix("regarding.")) {
        ("reportingController", _) => "reportingComponent".into(),
        (_, Some(rest)) => format!("involvedObject.{rest}").into(),
        _ => label.into(),
    }
}
