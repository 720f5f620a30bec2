//! Requests, limits and claims of containers and of whole Pods.

use std::collections::BTreeSet;

use model::names;
use model::quantity::Quantity;
use serde_json::{Value, json};

use super::{Context, Subject};
use crate::field::{Errors, Fault, FieldError};
use crate::rules::at::At;
use crate::rules::pod::defaults::{aggregate, supported_for_pods};
use crate::rules::{checks, internal};

/// `resources` of a container.
pub(super) fn of_container(errors: &mut Errors, resources: &At, claims: &BTreeSet<&str>) {
    requirements(errors, resources, container_name);
    claim_names(errors, &resources.child("claims"), claims);
}

/// `overhead`, looked at as limits are.
pub fn overhead(errors: &mut Errors, overhead: &At) {
    let wrapped = json!({"limits": overhead.value});
    requirements(errors, &At::new(&wrapped, overhead.path.clone()), container_name);
}

type NameRule = fn(&mut Errors, &str, &At);

/// A name that containers may use for a resource.
pub fn container_name(errors: &mut Errors, name: &str, at: &At) {
    checks::resource_name(errors, name, at);
    if !name.contains('/') {
        let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || checks::is_huge_page(name);
        if !standard {
            errors.push(at.invalid_as(name, "must be a standard resource for containers"));
        }
    } else if !checks::is_native(name) && !checks::is_extended(name) {
        errors.push(at.invalid_as(name, "doesn't follow extended resource name standard"));
    }
}

fn pod_name(errors: &mut Errors, name: &str, at: &At) {
    if checks::resource_name(errors, name, at) && !supported_for_pods(name) {
        let shown = Value::from(name);
        errors.push(At::new(&shown, at.path.clone()).not_supported(&["cpu", "hugepages-", "memory"]));
    }
}

/// Limits, then requests against limits, then huge pages (`validateResourceRequirements` but for the claims).
fn requirements(errors: &mut Errors, resources: &At, name_rule: NameRule) {
    let limits = resources.entries("limits");
    let (mut compute, mut huge_pages) = (false, false);
    let mut entry = |errors: &mut Errors, name: &str, at: &At| {
        compute |= matches!(name, "cpu" | "memory");
        huge_pages |= checks::is_huge_page(name);
        name_rule(errors, name, at);
        checks::resource_quantity(errors, name, at);
    };
    for (name, at) in &limits {
        entry(errors, name, at);
        divisible(errors, name, at);
    }
    let limits_at = resources.child("limits");
    let requests_at = resources.child("requests");
    for (name, at) in resources.entries("requests") {
        entry(errors, name, &at);
        let request = Quantity::of(Some(at.value));
        let limit = limits.iter().find(|(own, _)| *own == name).map(|(_, at)| Quantity::of(Some(at.value)));
        let relation = match &limit {
            Some(limit) if request != *limit && !checks::may_overcommit(name) => Some(("equal to", limit)),
            Some(limit) if request > *limit => Some(("less than or equal to", limit)),
            _ => None,
        };
        if let Some((relation, limit)) = relation {
            let words = format!("must be {relation} {name} limit of {limit}");
            errors.push(requests_at.invalid_as(request.to_string(), words));
        }
        if limit.is_none() && !checks::may_overcommit(name) {
            errors.push(limits_at.required("Limit must be set for non overcommitable resources"));
        }
        divisible(errors, name, &at);
    }
    if huge_pages && !compute {
        errors.push(resources.forbidden("HugePages require cpu or memory"));
    }
}

fn divisible(errors: &mut Errors, name: &str, at: &At) {
    let quantity = Quantity::of(Some(at.value));
    if checks::is_huge_page(name) && !checks::divides_huge_page(name, &quantity) {
        errors.push(at.invalid(format!("{quantity} is not positive integer multiple of {name}")));
    }
}

fn claim_names(errors: &mut Errors, list: &At, known: &BTreeSet<&str>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for claim in list.elements() {
        let (name, request) = (claim.str("name"), claim.str("request"));
        if name.is_empty() {
            errors.push(claim.required(""));
            continue;
        }
        let twice = |text: &str| FieldError::duplicate(&claim.path, &Value::from(text));
        if seen.contains(name) {
            errors.push(twice(name));
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                checks::dns_label(errors, &claim.child("request"));
                key = format!("{name}/{request}");
            }
            if seen.contains(&key) {
                errors.push(twice(&key));
            } else if request.is_empty() {
                let prefix = format!("{name}/");
                errors.extend(seen.iter().filter(|key| key.starts_with(&prefix)).map(|_| twice(name)));
            }
            seen.insert(key);
        }
        if !known.contains(name) {
            let known: Vec<&str> = known.iter().copied().collect();
            let which =
                if known.is_empty() { " which is empty".into() } else { format!(": {}", known.join(", ")) };
            errors.push(FieldError {
                fault: Fault::NotFound,
                path: claim.path.clone(),
                value: Value::from(name).to_string(),
                detail: format!("must be one of the names in pod.spec.resourceClaims{which}"),
            });
        }
    }
}

/// `resourceClaims` of a Pod.
pub(super) fn pod_claims(errors: &mut Errors, spec: &At, subject: &Subject) {
    let mut seen = BTreeSet::new();
    for claim in spec.items("resourceClaims") {
        if subject.mirror {
            errors.push(super::forbidden_at("", "static pods do not support resource claims"));
            continue;
        }
        let name = claim.child("name");
        if name.text().is_empty() {
            errors.push(name.required(""));
        } else if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        } else {
            checks::dns_label(errors, &name);
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"];
        let words = match sources.iter().filter(|key| claim.has(key)).count() {
            0 => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            1 => "",
            _ => "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
        };
        if !words.is_empty() {
            errors.push(claim.invalid_shown(internal::compact("PodResourceClaim", claim.value), words));
        }
        for source in sources.iter().filter_map(|key| claim.some(key)) {
            source.complain(errors, names::dns_subdomain(source.text()));
        }
    }
}

/// `resources` of a whole Pod.
pub(super) fn of_pod(errors: &mut Errors, spec: &At, context: &Context) {
    let Some(resources) = spec.some("resources") else { return };
    if context.os == Some("windows") {
        errors.push(resources.forbidden("may not be set for a windows pod"));
        return;
    }
    let claims = resources.child("claims");
    if !claims.value.is_null() {
        errors.push(claims.forbidden("claims may not be set for Resources at pod-level"));
    }
    requirements(errors, &resources, pod_name);
    claim_names(errors, &claims, &context.claims);
    agree_with_containers(errors, spec, &resources);
}

fn agree_with_containers(errors: &mut Errors, spec: &At, resources: &At) {
    for (kind, words) in [("requests", "requests"), ("limits", "limits")] {
        for (name, sum) in aggregate(spec.value, kind) {
            if kind == "limits" && !checks::is_huge_page(&name) {
                continue;
            }
            let own = resources.entries(kind).into_iter().find(|(own, _)| *own == name);
            if let Some((_, own)) = own.filter(|(_, own)| sum > Quantity::of(Some(own.value))) {
                errors.push(own.invalid(format!(
                    "must be greater than or equal to aggregate container {words} of {sum}"
                )));
            }
        }
    }
    for (index, container) in spec.items("containers").iter().enumerate() {
        for (name, limit) in container.child("resources").entries("limits") {
            let own = resources.entries("limits").into_iter().find(|(own, _)| *own == name);
            let Some(of_pod) = own.map(|(_, own)| Quantity::of(Some(own.value))) else { continue };
            if Quantity::of(Some(limit.value)) > of_pod {
                let path = resources.path.child("containers").index(index).key(name).child("limits");
                let words = format!("must be less than or equal to pod limits of {of_pod}");
                errors.push(FieldError::invalid(&path, limit.value, words));
            }
        }
    }
}
