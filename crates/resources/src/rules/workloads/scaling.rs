//! Autoscalers and disruption budgets; cron expressions.

use model::names;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::{at_most_all, count_or_percent};
use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::kind::{Kind, is_status};
use crate::rules::{checks, fill};

/// The rules of HorizontalPodAutoscalers (`autoscaling/v2`; `v1` has fewer fields of the same names).
pub const AUTOSCALER: Kind = Kind {
    default: autoscaler_defaults,
    validate: |errors, scaler| autoscaler(errors, &scaler.child("spec")),
    validate_update: Some(|errors, new, _, subresource| {
        if is_status(subresource) {
            for key in ["currentReplicas", "desiredReplicas"] {
                checks::nonnegative(errors, &new.child("status").child(key));
            }
        } else {
            autoscaler(errors, &new.child("spec"));
        }
    }),
    ..Kind::PLAIN
};

/// The rules of PodDisruptionBudgets.
pub const DISRUPTION_BUDGET: Kind = Kind {
    validate: |errors, budget| disruption_budget(errors, &budget.child("spec")),
    validate_update: Some(|errors, new, _, subresource| {
        if is_status(subresource) {
            for key in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
                checks::nonnegative(errors, &new.child("status").child(key));
            }
        } else {
            disruption_budget(errors, &new.child("spec"));
        }
    }),
    needs_revision: true,
    ..Kind::PLAIN
};

fn autoscaler_defaults(object: &mut Value) {
    let second = object.api_version() == "autoscaling/v2";
    let Some(spec) = fill::object(object, "spec") else { return };
    fill::pointer(spec, "minReplicas", 1);
    if !second {
        return;
    }
    if spec.items(&["metrics"]).is_empty() {
        spec.set(
            &["metrics"],
            json!([{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80}}}]),
        );
    }
    let Some(behavior) = fill::some(spec, "behavior") else { return };
    let policy = |kind: &str, value: i64| json!({"type": kind, "value": value, "periodSeconds": 15});
    if let Some(up) = fill::object(behavior, "scaleUp") {
        fill::pointer(up, "stabilizationWindowSeconds", 0);
        fill::pointer(up, "selectPolicy", "Max");
        fill::pointer(up, "policies", json!([policy("Pods", 4), policy("Percent", 100)]));
    }
    if let Some(down) = fill::object(behavior, "scaleDown") {
        fill::pointer(down, "selectPolicy", "Max");
        fill::pointer(down, "policies", json!([policy("Percent", 100)]));
    }
}

fn autoscaler(errors: &mut Errors, spec: &At) {
    let (min, max) = (spec.child("minReplicas"), spec.child("maxReplicas"));
    if min.number().is_some_and(|number| number < 1) {
        errors.push(min.invalid("must be greater than or equal to 1"));
    }
    let most = max.number().unwrap_or_default();
    if most == 0 {
        errors.push(max.required("must be set and greater than 0"));
    } else if most < 0 {
        errors.push(max.invalid("must be greater than or equal to 1"));
    }
    if min.number().is_some_and(|least| most < least) {
        errors.push(max.invalid_as(most, "must be greater than or equal to `minReplicas`"));
    }
    let target = spec.child("scaleTargetRef");
    for key in ["kind", "name"] {
        if target.require(errors, key) {
            let field = target.child(key);
            field.complain(errors, names::path_segment(field.text(), false));
        }
    }
    for metric in spec.items("metrics") {
        let kinds = ["ContainerResource", "External", "Object", "Pods", "Resource"];
        metric.child("type").required_one_of(errors, &kinds);
    }
    for key in ["scaleUp", "scaleDown"] {
        let Some(rules) = spec.child("behavior").some(key) else { continue };
        checks::nonnegative(errors, &rules.child("stabilizationWindowSeconds"));
        if let Some(policy) = rules.some("selectPolicy") {
            policy.one_of(errors, &["Disabled", "Max", "Min"]);
        }
        let list = rules.child("policies");
        if list.is_empty() {
            errors.push(list.required("must specify at least one Policy"));
        }
        for policy in list.elements() {
            policy.child("type").one_of(errors, &["Percent", "Pods"]);
            checks::positive(errors, &policy.child("value"));
            checks::positive(errors, &policy.child("periodSeconds"));
            let period = policy.child("periodSeconds");
            if period.number().is_some_and(|seconds| seconds > 1800) {
                errors.push(period.invalid("must be less than or equal to 1800"));
            }
        }
    }
}

fn disruption_budget(errors: &mut Errors, spec: &At) {
    let (least, most) = (spec.child("minAvailable"), spec.child("maxUnavailable"));
    if !least.value.is_null() && !most.value.is_null() {
        let shown = format!(
            "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
            least.value,
            if spec.has("selector") {
                crate::rules::internal::compact("!LabelSelector", spec.child("selector").value)
            } else {
                "null".into()
            },
            most.value,
            spec.child("unhealthyPodEvictionPolicy").value,
        );
        errors.push(spec.invalid_shown(shown, "minAvailable and maxUnavailable cannot be both set"));
    }
    for at in [least, most].iter().filter(|at| !at.value.is_null()) {
        count_or_percent(errors, at);
        at_most_all(errors, at);
    }
    if let Some(selector) = spec.some("selector") {
        checks::label_selector(errors, &selector);
    }
    if let Some(policy) = spec.some("unhealthyPodEvictionPolicy") {
        policy.one_of(errors, &["AlwaysAllow", "IfHealthyBudget"]);
    }
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What is wrong with a cron expression, in the words of the library upstream uses.
///
/// # Errors
/// The words.
pub(super) fn cron_fault(schedule: &str) -> Result<(), String> {
    if let Some(descriptor) = schedule.strip_prefix('@') {
        let known = ["yearly", "annually", "monthly", "weekly", "daily", "midnight", "hourly"];
        let every = descriptor.strip_prefix("every ").is_some_and(is_duration);
        return if known.contains(&descriptor) || every {
            Ok(())
        } else {
            Err(format!("unrecognized descriptor: {schedule}"))
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != 5 {
        let (count, shown) = (fields.len(), fields.join(" "));
        return Err(format!("expected exactly 5 fields, found {count}: [{shown}]"));
    }
    let bounds: [(u32, u32, &[&str], u32); 5] =
        [(0, 59, &[], 0), (0, 23, &[], 0), (1, 31, &[], 0), (1, 12, &MONTHS, 1), (0, 6, &DAYS, 0)];
    for (field, (low, high, names, first)) in fields.iter().zip(bounds) {
        for part in field.split(',') {
            cron_range(part, low, high, names, first)?;
        }
    }
    Ok(())
}

fn is_duration(text: &str) -> bool {
    let mut rest = text;
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let unit = ["ms", "us", "ns", "h", "m", "s"].iter().find(|unit| rest[digits..].starts_with(**unit));
        let Some(unit) = unit.filter(|_| digits > 0) else { return false };
        rest = &rest[digits + unit.len()..];
        any = true;
    }
    any
}

fn cron_range(part: &str, low: u32, high: u32, names: &[&str], first: u32) -> Result<(), String> {
    let number = |text: &str| -> Result<u32, String> {
        let lower = text.to_lowercase();
        if let Some(index) = names.iter().position(|name| *name == lower) {
            return Ok(index as u32 + first);
        }
        let words =
            || format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax");
        text.parse::<u32>().map_err(|_| words())
    };
    let pieces: Vec<&str> = part.split('/').collect();
    let ends: Vec<&str> = pieces[0].split('-').collect();
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?"] => (low, high),
        [one] => (number(one)?, number(one)?),
        [from, to] => (number(from)?, number(to)?),
        _ => return Err(format!("too many hyphens: {part}")),
    };
    match pieces.as_slice() {
        [_] => {}
        [_, step] => {
            if number(step)? == 0 {
                return Err(format!("step of range should be a positive number: {part}"));
            }
            if ends.len() == 1 {
                end = high;
            }
        }
        _ => return Err(format!("too many slashes: {part}")),
    }
    if start < low {
        return Err(format!("beginning of range ({start}) below minimum ({low}): {part}"));
    }
    if end > high {
        return Err(format!("end of range ({end}) above maximum ({high}): {part}"));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;

    #[test]
    fn cron() {
        let table = [
            ("* * * * *", None),
            ("60 * * * *", Some("end of range (60) above maximum (59): 60")),
            ("*/0 * * * *", Some("step of range should be a positive number: */0")),
            ("a * * * *", Some("failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax")),
            ("* *", Some("expected exactly 5 fields, found 2: [* *]")),
            ("@x", Some("unrecognized descriptor: @x")),
            ("5-1 * * * *", Some("beginning of range (5) beyond end of range (1): 5-1")),
        ];
        for (text, expected) in table {
            assert_eq!(cron_fault(text).err().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn budgets_and_autoscalers() {
        let budget = |spec: Value| DISRUPTION_BUDGET.validate(&json!({"spec": spec})).len();
        assert_eq!(budget(json!({"minAvailable": 1})), 0);
        assert_eq!(budget(json!({"minAvailable": "101%"})), 1);
        assert_eq!(budget(json!({"minAvailable": 1, "maxUnavailable": 1})), 1);
        let mut scaler = json!({"apiVersion": "autoscaling/v2", "spec": {"maxReplicas": 3,
            "scaleTargetRef": {"kind": "Deployment", "name": "d"}}});
        AUTOSCALER.default(&mut scaler);
        assert_eq!(scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
        assert!(AUTOSCALER.validate(&scaler).is_empty());
        assert_eq!(AUTOSCALER.validate(&json!({"spec": {}})).len(), 3);
    }
}
