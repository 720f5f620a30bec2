//! LimitRanges, ResourceQuotas, PriorityClasses and RuntimeClasses.

use std::collections::BTreeSet;

use model::names;
use model::quantity::Quantity;
use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::kind::{Kind, is_status, nothing};
use crate::rules::pod::validate;
use crate::rules::{checks, fill, warnings};

/// The rules of LimitRanges.
pub const LIMIT_RANGE: Kind = Kind {
    default: limit_defaults,
    create: nothing,
    validate: limit_range,
    creates_on_update: true,
    ..Kind::PLAIN
};

/// The rules of ResourceQuotas.
pub const RESOURCE_QUOTA: Kind = Kind {
    default: |object| {
        for part in ["spec", "status"] {
            if let Some(part) = fill::some(object, part) {
                fill::round_resources(part, &["hard", "used"]);
            }
        }
    },
    create: |object| object.set(&["status"], json!({})),
    validate: quota,
    validate_update: Some(|errors, new, old, subresource| {
        if is_status(subresource) {
            hard(errors, &new.child("status"));
            return;
        }
        quota(errors, new);
        let scopes = |at: &At| -> BTreeSet<String> {
            at.child("spec").items("scopes").iter().map(|scope| scope.text().to_owned()).collect()
        };
        if scopes(new) != scopes(old) {
            errors.push(new.child("spec").child("scopes").invalid(checks::IMMUTABLE));
        }
    }),
    ..Kind::PLAIN
};

/// The rules of PriorityClasses.
pub const PRIORITY_CLASS: Kind = Kind {
    default: |object| fill::pointer(object, "preemptionPolicy", "PreemptLowerPriority"),
    create: nothing,
    validate: priority_class,
    validate_update: Some(|errors, new, old, _| {
        if new.int("value").unwrap_or_default() != old.int("value").unwrap_or_default() {
            errors.push(new.child("value").forbidden("may not be changed in an update."));
        }
        checks::immutable(errors, &new.child("preemptionPolicy"), old.value.get("preemptionPolicy"));
    }),
    ..Kind::PLAIN
};

/// The rules of RuntimeClasses.
pub const RUNTIME_CLASS: Kind = Kind {
    default: |object| {
        if let Some(overhead) = fill::some(object, "overhead") {
            fill::round_resources(overhead, &["podFixed"]);
        }
    },
    create: nothing,
    validate: runtime_class,
    validate_update: Some(|errors, new, old, _| {
        checks::immutable(errors, &new.child("handler"), old.value.get("handler"));
    }),
    warnings: |object, _| {
        let selector = At::root(object).child("scheduling").entries("nodeSelector");
        let words = selector.iter().filter_map(|(key, _)| warnings::old_node_label(key));
        words.map(|words| format!("scheduling.nodeSelector: {words}")).collect()
    },
    creates_on_update: true,
    needs_revision: true,
    ..Kind::PLAIN
};

fn limit_defaults(object: &mut Value) {
    let Some(spec) = fill::some(object, "spec") else { return };
    for limit in fill::items(spec, "limits") {
        let container = limit.text(&["type"]) == "Container";
        fill::round_resources(limit, &["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"]);
        if container {
            fill::copy_missing(limit, "max", "default");
            fill::copy_missing(limit, "default", "defaultRequest");
            fill::copy_missing(limit, "min", "defaultRequest");
        }
    }
}

fn limit_range(errors: &mut Errors, range: &At) {
    let mut seen = BTreeSet::new();
    for limit in range.child("spec").items("limits") {
        let kind = limit.child("type");
        let complaints = names::qualified_name(kind.text());
        if !complaints.is_empty() {
            kind.complain(errors, complaints);
        } else if !kind.text().contains('/')
            && !["Pod", "Container", "PersistentVolumeClaim"].contains(&kind.text())
        {
            errors.push(kind.invalid("must be a standard limit type or fully qualified"));
        }
        if !seen.insert(kind.text()) {
            errors.push(kind.duplicate());
        }
        one_limit(errors, &limit);
    }
}

fn one_limit(errors: &mut Errors, limit: &At) {
    let kind = limit.str("type");
    let mut names = BTreeSet::new();
    for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        if kind == "Pod" && list.starts_with("default") {
            if !limit.child(list).is_empty() {
                errors.push(limit.child(list).forbidden("may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        if list == "maxLimitRequestRatio" && kind == "PersistentVolumeClaim" {
            let storage = ["min", "max"].iter().any(|list| limit.child(list).has("storage"));
            if !storage {
                let words = "either minimum or maximum storage value is required, but neither was provided";
                errors.push(limit.child("limits").required(words));
            }
        }
        for (name, at) in limit.entries(list) {
            if matches!(kind, "Pod" | "Container") {
                validate::resources::container_name(errors, name, &at);
            } else {
                checks::resource_name(errors, name, &at);
            }
            names.insert(name);
        }
    }
    for name in names {
        amounts(errors, limit, name);
    }
}

/// The amounts of one resource against each other.
fn amounts(errors: &mut Errors, limit: &At, name: &str) {
    let pod = limit.str("type") == "Pod";
    let amount = |list: &str| {
        let at = limit.child(list);
        let value = at.value.get(name).filter(|_| !(pod && list.starts_with("default")))?;
        Some(Quantity::of(Some(value)))
    };
    let (min, max, default) = (amount("min"), amount("max"), amount("default"));
    let (request, ratio) = (amount("defaultRequest"), amount("maxLimitRequestRatio"));
    let mut compare = |low: &Option<Quantity>,
                       high: &Option<Quantity>,
                       list: &str,
                       shown: &Option<Quantity>,
                       words: &str| {
        if let (Some(low), Some(high), Some(shown)) = (low, high, shown)
            && low > high
        {
            let words = words.replace("{low}", &low.to_string()).replace("{high}", &high.to_string());
            let at = At::new(&Value::Null, limit.child(list).path.key(name));
            errors.push(at.invalid_as(shown.to_string(), words));
        }
    };
    compare(&min, &max, "min", &min, "min value {low} is greater than max value {high}");
    compare(
        &min,
        &request,
        "defaultRequest",
        &request,
        "min value {low} is greater than default request value {high}",
    );
    compare(
        &request,
        &max,
        "defaultRequest",
        &request,
        "default request value {low} is greater than max value {high}",
    );
    let words = "default request value {low} is greater than default limit value {high}";
    compare(&request, &default, "defaultRequest", &request, words);
    compare(&min, &default, "default", &min, "min value {low} is greater than default value {high}");
    compare(&default, &max, "default", &max, "default value {low} is greater than max value {high}");
    let one = Some(Quantity::new(1, model::quantity::Format::DecimalSi));
    compare(&one, &ratio, "maxLimitRequestRatio", &ratio, "ratio {high} is less than 1");
    let path = |list: &str| limit.child(list).path.key(name);
    if let (Some(ratio), Some(min), Some(max)) = (&ratio, &min, &max) {
        let limit = max.approximate() / min.approximate();
        if ratio.approximate() > limit {
            let at = At::new(&Value::Null, path("maxLimitRequestRatio"));
            errors.push(at.invalid_as(
                ratio.to_string(),
                format!("ratio {ratio} is greater than max/min = {limit:.6}"),
            ));
        }
    }
    if let (Some(default), Some(request)) = (&default, &request)
        && !checks::may_overcommit(name)
        && default != request
    {
        let at = At::new(&Value::Null, path("defaultRequest"));
        let words = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        errors.push(at.invalid_as(request.to_string(), words));
    }
}

const QUOTA_NAMES: [&str; 19] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];
const COMPUTE: [&str; 6] =
    ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

fn quota(errors: &mut Errors, quota: &At) {
    let spec = quota.child("spec");
    hard(errors, &spec);
    scopes(errors, &spec);
    scope_selector(errors, &spec);
}

fn hard(errors: &mut Errors, part: &At) {
    for (name, at) in part.entries("hard").into_iter().chain(part.entries("used")) {
        checks::resource_name(errors, name, &at);
        let huge = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
        if !name.contains('/') && !QUOTA_NAMES.contains(&name) && !huge {
            errors.push(at.invalid_as(name, "must be a standard resource for quota"));
        }
        checks::resource_quantity(errors, name, &at);
    }
}

fn scope_covers(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ => resource == "pods" || COMPUTE.contains(&resource),
    }
}

fn scopes(errors: &mut Errors, spec: &At) {
    let list = spec.child("scopes");
    let given: Vec<&str> = list.elements().iter().map(At::text).collect();
    for scope in &given {
        if !SCOPES.contains(scope) {
            errors.push(list.invalid("unsupported scope"));
        }
        for (name, _) in spec.entries("hard") {
            if SCOPES.contains(scope) && QUOTA_NAMES.contains(&name) && !scope_covers(scope, name) {
                errors.push(list.invalid("unsupported scope applied to resource"));
            }
        }
    }
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| given.contains(scope)) {
            errors.push(list.invalid("conflicting scopes"));
        }
    }
}

fn scope_selector(errors: &mut Errors, spec: &At) {
    let Some(selector) = spec.some("scopeSelector") else { return };
    let list = selector.child("matchScopes");
    for expression in selector.items("matchExpressions") {
        let scope = expression.child("scopeName");
        let operator = expression.child("operator");
        if !SCOPES.contains(&scope.text()) {
            errors.push(scope.invalid_as(scope.text(), "unsupported scope"));
        }
        for (name, _) in spec.entries("hard") {
            if QUOTA_NAMES.contains(&name) && !scope_covers(scope.text(), name) {
                errors.push(list.invalid("unsupported scope applied to resource"));
            }
        }
        let presence = matches!(
            scope.text(),
            "BestEffort" | "NotBestEffort" | "Terminating" | "NotTerminating" | "CrossNamespacePodAffinity"
        );
        if presence && operator.text() != "Exists" {
            let words = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                         ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                         ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(operator.invalid_as(operator.text(), words));
        }
        let values = expression.child("values");
        match operator.text() {
            "In" | "NotIn" if values.is_empty() => {
                let words =
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(values.required(words));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let words =
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(values.invalid(words));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(operator.invalid_as(other, "not a valid selector operator")),
        }
    }
}

/// Highest priority of classes that are not the system's own.
const PRIORITY_MAX: i64 = 1_000_000_000;

fn priority_class(errors: &mut Errors, class: &At) {
    let name = class.child("metadata").child("name");
    let value = class.int("value").unwrap_or_default();
    if name.text().starts_with("system-") {
        let known = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];
        if !known.contains(&(name.text(), value)) {
            let words = "priority class names with 'system-' prefix are reserved for system use only. error:";
            let why = if known.iter().any(|(own, _)| *own == name.text()) {
                format!(
                    "value of {} PriorityClass must be {}",
                    name.text(),
                    known.iter().find(|(own, _)| *own == name.text()).map_or(0, |(_, value)| *value)
                )
            } else {
                format!("{} is not a known system priority class", name.text())
            };
            errors.push(class.child("metadata").child("name").forbidden(format!("{words} {why}")));
        }
    } else if value > PRIORITY_MAX {
        let words = format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}");
        errors.push(class.child("value").forbidden(words));
    }
    if let Some(policy) = class.some("preemptionPolicy") {
        policy.required_one_of(errors, &["PreemptLowerPriority", "Never"]);
    }
}

fn runtime_class(errors: &mut Errors, class: &At) {
    let handler = class.child("handler");
    handler.complain(errors, names::dns_label(handler.text()));
    if let Some(overhead) = class.some("overhead") {
        let fixed = overhead.child("podFixed");
        validate::resources::overhead(errors, &At::new(fixed.value, fixed.path));
    }
    if let Some(scheduling) = class.some("scheduling") {
        checks::labels(errors, &scheduling.child("nodeSelector"));
        validate::tolerations(errors, &scheduling.child("tolerations"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;

    #[test]
    fn limits_follow_each_other() {
        let mut object =
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}]}});
        LIMIT_RANGE.default(&mut object);
        let limit = &object["spec"]["limits"][0];
        assert_eq!(limit["default"], json!({"cpu": "2"}));
        assert_eq!(limit["defaultRequest"], json!({"cpu": "2"}));
        assert!(LIMIT_RANGE.validate(&object).is_empty());
        let faulty = json!({"spec": {"limits": [{"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}}]}});
        assert_eq!(LIMIT_RANGE.validate(&faulty).len(), 1);
    }

    #[test]
    fn quotas() {
        let table = [
            (json!({"hard": {"cpu": "1", "count/pods": "2"}}), 0),
            (json!({"hard": {"bogus": "1"}}), 2),
            (json!({"hard": {"pods": "1500m"}}), 1),
            (json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}), 1),
            (json!({"scopes": ["BestEffort", "NotBestEffort"]}), 1),
        ];
        for (spec, expected) in table {
            let errors = RESOURCE_QUOTA.validate(&json!({"spec": spec}));
            assert_eq!(errors.len(), expected, "{spec} {errors:?}");
        }
    }

    #[test]
    fn priorities() {
        let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value});
        assert!(PRIORITY_CLASS.validate(&class("a", 5)).is_empty());
        assert!(PRIORITY_CLASS.validate(&class("system-node-critical", 2_000_001_000)).is_empty());
        assert_eq!(PRIORITY_CLASS.validate(&class("system-x", 5)).len(), 1);
        assert_eq!(PRIORITY_CLASS.validate(&class("a", 2_000_000_000)).len(), 1);
    }
}
