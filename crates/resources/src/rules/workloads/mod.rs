//! Workloads: kinds that make Pods from a template.

pub mod apps;
pub mod batch;
pub mod daemon;
mod failure_policy;
pub mod scaling;
pub mod stateful;

use model::names;
use model::selector::LabelSelector;
use model::tree::TreeExt;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::rules::at::{At, same};
use crate::rules::pod::{template_warnings, validate_template};
use crate::rules::{checks, internal};

/// A selector that must be there and select something.
fn selector(errors: &mut Errors, selector: &At, kind: &str) {
    if selector.value.is_null() {
        errors.push(selector.required(""));
        return;
    }
    checks::label_selector(errors, selector);
    not_empty(errors, selector, kind);
}

fn not_empty(errors: &mut Errors, selector: &At, kind: &str) {
    if selector.child("matchLabels").is_empty() && selector.child("matchExpressions").is_empty() {
        errors.push(selector.invalid_shown("{}".into(), format!("empty selector is invalid for {kind}")));
    }
}

/// The labels of a template must be selected.
fn selected(errors: &mut Errors, template: &At, selector: &LabelSelector) {
    let labels = template.child("metadata").child("labels");
    if !selector.is_everything() && !selector.matches(Some(labels.value)) {
        errors.push(labels.invalid("`selector` does not match template `labels`"));
    }
}

/// A template whose Pods run until they are deleted.
fn lasting_template(errors: &mut Errors, template: &At, kind: &str) {
    validate_template(errors, template.value, &template.path);
    lasting(errors, template, kind);
}

fn lasting(errors: &mut Errors, template: &At, kind: &str) {
    let spec = template.child("spec");
    let policy = spec.child("restartPolicy");
    if policy.text() != "Always" {
        errors.push(policy.not_supported(&["Always"]));
    }
    if let Some(deadline) = spec.some("activeDeadlineSeconds") {
        errors.push(deadline.forbidden(format!("activeDeadlineSeconds in {kind} is not Supported")));
    }
}

/// A selector that may not change.
fn fixed_selector(errors: &mut Errors, new: &At, old: &At) {
    let selector = new.child("spec").child("selector");
    if !same(Some(selector.value), Some(old.child("spec").child("selector").value)) {
        let shown = internal::compact("!LabelSelector", selector.value);
        let shown = if selector.value.is_null() { "null".into() } else { shown };
        errors.push(selector.invalid_shown(shown, checks::IMMUTABLE));
    }
}

/// Counts of a status: none negative, some not above others: (count, at most, words).
fn counts(errors: &mut Errors, status: &At, all: &[&str], limits: &[(&str, &str, &str)]) {
    all.iter().for_each(|key| checks::nonnegative(errors, &status.child(key)));
    for (key, limit, words) in limits {
        let number = |key: &str| status.int(key).unwrap_or_default();
        if number(key) > number(limit) {
            errors.push(status.child(key).invalid_as(number(key), *words));
        }
    }
}

/// `collisionCount` never falls.
fn collisions(errors: &mut Errors, new: &At, old: &At) {
    let count = |at: &At| at.child("status").int("collisionCount");
    if let Some(before) = count(old)
        && count(new).unwrap_or_default() < before
    {
        let field = new.child("status").child("collisionCount");
        errors.push(field.invalid_as(count(new).unwrap_or_default(), "cannot be decremented"));
    }
}

/// The warning about names that make no good host names.
fn name_warning(object: &Value) -> Option<String> {
    let complaints = names::dns_label(object.name());
    (!complaints.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
             label is recommended: [{}]",
            complaints.join(" ")
        )
    })
}

/// Warnings about the template at a path: on creation, and when anything of the spec changed.
fn warnings_of_template(object: &Value, old: Option<&Value>, path: &[&str], named: bool) -> Vec<String> {
    let changed = old.is_none_or(|old| !same(object.get("spec"), old.get("spec")));
    let mut list = Vec::new();
    if named && old.is_none() {
        list.extend(name_warning(object));
    }
    if let Some(template) = object.at(path).filter(|_| changed) {
        list.extend(template_warnings(template, &Path::new(path.join("."))));
    }
    list
}

/// A whole number or a percentage, not negative.
pub fn count_or_percent(errors: &mut Errors, at: &At) {
    match at.value {
        Value::String(text) => at.complain(errors, names::percent(text)),
        _ => checks::nonnegative(errors, at),
    }
}

/// The number of a percentage.
fn percentage(value: &Value) -> Option<i64> {
    let digits = value.as_str()?.strip_suffix('%')?;
    digits.parse().ok()
}

/// The number of a count or a percentage.
fn amount(value: &Value) -> i64 {
    percentage(value).or_else(|| value.as_i64()).unwrap_or_default()
}

/// A percentage of at most 100.
pub fn at_most_all(errors: &mut Errors, at: &At) {
    if percentage(at.value).is_some_and(|percent| percent > 100) {
        errors.push(at.invalid("must not be greater than 100%"));
    }
}
