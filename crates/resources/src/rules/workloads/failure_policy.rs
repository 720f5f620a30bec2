//! A Job's policies about failed Pods and about success.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::{Errors, FieldError};
use crate::rules::at::At;
use crate::rules::checks;

const RULES_MAX: usize = 20;
const CODES_MAX: usize = 255;

/// `podFailurePolicy`.
pub(super) fn check(errors: &mut Errors, spec: &At, policy: &At) {
    let list = policy.child("rules");
    let rules = list.elements();
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&list.path, rules.len(), RULES_MAX));
    }
    let pods = spec.child("template").child("spec");
    let containers = [pods.items("containers"), pods.items("initContainers")].concat();
    let names: BTreeSet<&str> = containers.iter().map(|container| container.str("name")).collect();
    for rule in rules {
        let action = rule.child("action");
        let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
        match action.text() {
            "" => errors.push(action.required(valid_values(&actions))),
            "FailIndex" if !spec.has("backoffLimitPerIndex") => {
                errors.push(action.invalid("requires the backoffLimitPerIndex to be set"));
            }
            _ => action.one_of(errors, &actions),
        }
        let conditions = rule.items("onPodConditions");
        let codes = rule.some("onExitCodes");
        if let Some(codes) = &codes {
            exit_codes(errors, codes, &names);
        }
        if conditions.len() > RULES_MAX {
            errors.push(FieldError::too_many(
                &rule.child("onPodConditions").path,
                conditions.len(),
                RULES_MAX,
            ));
        }
        for pattern in &conditions {
            checks::qualified_name(errors, &pattern.child("type"));
            let status = pattern.child("status");
            let known = ["False", "True", "Unknown"];
            if status.text().is_empty() {
                errors.push(status.required(valid_values(&known)));
            } else {
                status.one_of(errors, &known);
            }
        }
        let words = match (codes.is_some(), conditions.is_empty()) {
            (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(rule.invalid_shown(String::new(), words));
    }
}

fn valid_values(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

fn exit_codes(errors: &mut Errors, codes: &At, names: &BTreeSet<&str>) {
    let operator = codes.child("operator");
    let known = ["In", "NotIn"];
    if operator.text().is_empty() {
        errors.push(operator.required(valid_values(&known)));
    } else {
        operator.one_of(errors, &known);
    }
    if let Some(name) = codes.some("containerName").filter(|name| !names.contains(name.text())) {
        errors.push(name.invalid("must be one of the container or initContainer names in the pod template"));
    }
    let list = codes.child("values");
    let values: Vec<i64> = list.elements().iter().map(|value| value.number().unwrap_or_default()).collect();
    if values.is_empty() {
        errors.push(list.invalid("at least one value is required"));
    } else if values.len() > CODES_MAX {
        errors.push(FieldError::too_many(&list.path, values.len(), CODES_MAX));
    }
    let mut seen = BTreeSet::new();
    for value in list.elements() {
        let number = value.number().unwrap_or_default();
        if operator.text() == "In" && number == 0 {
            errors.push(value.invalid("must not be 0 for the In operator"));
        }
        if !seen.insert(number) {
            errors.push(value.duplicate());
        }
    }
    if !values.is_sorted() {
        errors.push(list.invalid("must be ordered"));
    }
}

/// `successPolicy`.
pub(super) fn success(errors: &mut Errors, spec: &At) {
    let Some(policy) = spec.some("successPolicy") else { return };
    if spec.str("completionMode") != "Indexed" {
        errors.push(policy.invalid("requires indexed completion mode"));
        return;
    }
    let list = policy.child("rules");
    let rules = list.elements();
    if rules.is_empty() {
        errors
            .push(list.required("at least one rules must be specified when the successPolicy is specified"));
    }
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_many(&list.path, rules.len(), RULES_MAX));
    }
    let completions = spec.int("completions").unwrap_or_default();
    for rule in rules {
        let (count, indexes) = (rule.child("succeededCount"), rule.child("succeededIndexes"));
        if count.value.is_null() && indexes.value.is_null() {
            errors
                .push(rule.required("at least one of succeededCount or succeededIndexes must be specified"));
        }
        let mut total = 0;
        if !indexes.value.is_null() {
            match count_indexes(indexes.text(), completions) {
                Ok(number) => total = number,
                Err(words) => {
                    errors.push(indexes.invalid(format!("error parsing succeededIndexes: {words}")))
                }
            }
        }
        let Some(number) = count.number() else { continue };
        checks::nonnegative(errors, &count);
        if number > completions {
            errors.push(count.invalid(format!(
                "must be less than or equal to {completions} (the number of specified completions)"
            )));
        }
        if indexes.value != &Value::Null && number > total {
            errors.push(count.invalid(format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            )));
        }
    }
}

/// How many indexes `0-3,5` names.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let (mut total, mut last) = (0, None);
    for part in text.split(',') {
        let (first, end) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| -> Result<i64, String> {
            let number = text.parse::<i64>().ok().filter(|number| *number >= 0);
            let words = || format!("cannot convert string to integer for index: {text:?}");
            let number = number.ok_or_else(words)?;
            if number >= completions { Err(format!("too large index: {text:?}")) } else { Ok(number) }
        };
        let (first, end) = (number(first)?, number(end)?);
        if last.is_some_and(|last| first <= last) {
            let last = last.unwrap_or_default();
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        if part.contains('-') && first >= end {
            return Err(format!("non-increasing order, previous: {first}, current: {end}"));
        }
        total += end - first + 1;
        last = Some(end);
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes() {
        assert_eq!(count_indexes("0-3,5", 10), Ok(5));
        assert_eq!(count_indexes("", 10), Ok(0));
        for faulty in ["3,1", "a", "0-20", "3-3"] {
            assert!(count_indexes(faulty, 10).is_err(), "{faulty}");
        }
    }
}
