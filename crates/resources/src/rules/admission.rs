//! Webhook configurations and admission policies.

use std::collections::BTreeSet;

use model::names;
use serde_json::{Value, json};

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::checks;
use crate::rules::fill;
use crate::rules::kind::{Kind, nothing};

const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// The rules of validating webhook configurations.
pub const VALIDATING_WEBHOOKS: Kind = Kind {
    default: |object| fill::items(object, "webhooks").for_each(|hook| webhook_defaults(hook, false)),
    create: nothing,
    validate: webhooks,
    needs_revision: true,
    ..Kind::PLAIN
};

/// The rules of mutating webhook configurations.
pub const MUTATING_WEBHOOKS: Kind = Kind {
    default: |object| fill::items(object, "webhooks").for_each(|hook| webhook_defaults(hook, true)),
    ..VALIDATING_WEBHOOKS
};

/// The rules of admission policies.
pub const POLICY: Kind = Kind {
    default: |object| {
        let Some(spec) = fill::object(object, "spec") else { return };
        fill::pointer(spec, "failurePolicy", "Fail");
        if let Some(constraints) = fill::some(spec, "matchConstraints") {
            match_defaults(constraints);
        }
    },
    validate: |errors, policy| {
        let spec = policy.child("spec");
        if let Some(policy) = spec.some("failurePolicy") {
            policy.one_of(errors, &["Fail", "Ignore"]);
        }
        match spec.some("matchConstraints") {
            Some(constraints) => match_resources(errors, &constraints),
            None => errors.push(spec.child("matchConstraints").required("")),
        }
        match_conditions(errors, &spec.child("matchConditions"));
    },
    needs_revision: true,
    ..Kind::PLAIN
};

/// The rules of bindings of admission policies.
pub const POLICY_BINDING: Kind = Kind {
    default: |object| {
        let resources = fill::some(object, "spec").and_then(|spec| fill::some(spec, "matchResources"));
        if let Some(resources) = resources {
            match_defaults(resources);
        }
    },
    create: nothing,
    validate: |errors, binding| {
        let spec = binding.child("spec");
        let name = spec.child("policyName");
        if name.text().is_empty() {
            errors.push(name.required(""));
        } else {
            checks::dns_subdomain(errors, &name);
        }
        if let Some(resources) = spec.some("matchResources") {
            match_resources(errors, &resources);
        }
        let actions = spec.child("validationActions");
        let mut seen = BTreeSet::new();
        for action in actions.elements() {
            action.one_of(errors, &["Audit", "Deny", "Warn"]);
            if !seen.insert(action.text()) {
                errors.push(action.duplicate());
            }
        }
    },
    needs_revision: true,
    ..Kind::PLAIN
};

fn webhook_defaults(hook: &mut Value, mutating: bool) {
    fill::pointer(hook, "failurePolicy", "Fail");
    match_defaults(hook);
    fill::pointer(hook, "timeoutSeconds", 10);
    if mutating {
        fill::pointer(hook, "reinvocationPolicy", "Never");
    }
    fill::items(hook, "rules").for_each(|rule| fill::pointer(rule, "scope", "*"));
    let service = fill::some(hook, "clientConfig").and_then(|config| fill::some(config, "service"));
    if let Some(service) = service {
        fill::pointer(service, "port", 443);
    }
}

/// What webhooks and policies say of what they match.
fn match_defaults(holder: &mut Value) {
    fill::pointer(holder, "matchPolicy", "Equivalent");
    fill::pointer(holder, "namespaceSelector", json!({}));
    fill::pointer(holder, "objectSelector", json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        fill::items(holder, list).for_each(|rule| fill::pointer(rule, "scope", "*"));
    }
}

fn webhooks(errors: &mut Errors, configuration: &At) {
    let mut seen = BTreeSet::new();
    for hook in configuration.items("webhooks") {
        webhook(errors, &hook);
        review_versions(errors, &hook.child("admissionReviewVersions"));
        let name = hook.child("name");
        if !name.text().is_empty() && !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
    }
}

fn webhook(errors: &mut Errors, hook: &At) {
    let name = hook.child("name");
    let complaints = names::dns_subdomain(name.text());
    if name.text().is_empty() {
        errors.push(name.required(""));
    } else if !complaints.is_empty() {
        errors.push(name.invalid(complaints.join(",")));
    } else if name.text().split('.').count() < 3 {
        errors.push(name.invalid("should be a domain with at least three segments separated by dots"));
    }
    hook.items("rules").iter().for_each(|rule| operations_rule(errors, rule));
    for (key, supported) in [("failurePolicy", ["Fail", "Ignore"]), ("matchPolicy", ["Equivalent", "Exact"])]
    {
        if let Some(policy) = hook.some(key) {
            policy.one_of(errors, &supported);
        }
    }
    let effects = hook.child("sideEffects");
    if effects.value.is_null() {
        errors.push(effects.required("must specify one of None, NoneOnDryRun"));
    } else {
        effects.one_of(errors, &["None", "NoneOnDryRun"]);
    }
    let timeout = hook.child("timeoutSeconds");
    if timeout.number().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        errors.push(timeout.invalid("the timeout value must be between 1 and 30 seconds"));
    }
    for selector in ["namespaceSelector", "objectSelector"].iter().filter_map(|key| hook.some(key)) {
        checks::label_selector(errors, &selector);
    }
    if let Some(policy) = hook.some("reinvocationPolicy") {
        policy.one_of(errors, &["IfNeeded", "Never"]);
    }
    client_config(errors, &hook.child("clientConfig"));
    match_conditions(errors, &hook.child("matchConditions"));
}

/// Where a webhook is reached (`ValidateWebhookURL`, `ValidateWebhookService`).
pub fn client_config(errors: &mut Errors, config: &At) {
    let (address, service) = (config.child("url"), config.child("service"));
    if address.value.is_null() == service.value.is_null() {
        errors.push(config.required("exactly one of url or service is required"));
    } else if service.value.is_null() {
        let form = "; desired format: https://host[/path]";
        let text = address.text();
        let rest = text.strip_prefix("https://");
        if rest.is_none() {
            let scheme = text.split("://").next().filter(|_| text.contains("://")).unwrap_or_default();
            let words = format!("'https' is the only allowed URL scheme{form}");
            errors.push(address.invalid_as(scheme, words));
        }
        let host = rest.unwrap_or_default().split('/').next().unwrap_or_default();
        if host.is_empty() {
            errors.push(address.invalid_as(host, format!("host must be specified{form}")));
        }
        for (mark, what) in [('?', "query parameters"), ('#', "fragments")] {
            if let Some((_, part)) = text.split_once(mark) {
                errors.push(address.invalid_as(part, format!("{what} are not permitted in the URL")));
            }
        }
        if host.contains('@') {
            let user = host.split('@').next().unwrap_or_default();
            errors.push(address.invalid_as(user, "user information is not permitted in the URL"));
        }
    } else {
        for key in ["name", "namespace"] {
            if service.str(key).is_empty() {
                errors.push(service.child(key).required(format!("service {key} is required")));
            }
        }
        let port = service.int("port").unwrap_or_default();
        if !(1..=65_535).contains(&port) {
            let words = "port is not valid: must be between 1 and 65535, inclusive";
            errors.push(service.child("port").invalid_as(port, words));
        }
        let path = service.child("path");
        if !path.value.is_null() && !path.text().starts_with('/') {
            errors.push(path.invalid("must start with a '/'"));
        }
    }
}

fn review_versions(errors: &mut Errors, list: &At) {
    let accepted = REVIEW_VERSIONS.join(", ");
    let versions = list.elements();
    if versions.is_empty() {
        errors.push(list.required(format!("must specify one of {accepted}")));
        return;
    }
    let mut seen = BTreeSet::new();
    for version in &versions {
        if !seen.insert(version.text()) {
            errors.push(version.invalid("duplicate version"));
            continue;
        }
        version.complain(errors, names::dns1035_label(version.text()));
    }
    if !versions.iter().any(|version| REVIEW_VERSIONS.contains(&version.text())) {
        errors.push(list.invalid(format!("must include at least one of {accepted}")));
    }
}

/// A rule: groups, versions, resources and operations, a star alone.
fn operations_rule(errors: &mut Errors, rule: &At) {
    let starred = |errors: &mut Errors, list: &At, what: &str| {
        let entries = list.elements();
        if entries.len() > 1 && entries.iter().any(|entry| entry.text() == "*") {
            errors.push(list.invalid(format!("if '*' is present, must not specify other {what}")));
        }
    };
    for (key, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let list = rule.child(key);
        if list.is_empty() {
            errors.push(list.required(""));
        }
        starred(errors, &list, what);
        if key == "apiVersions" {
            for version in list.elements().iter().filter(|version| version.text().is_empty()) {
                errors.push(version.required(""));
            }
        }
    }
    let resources = rule.child("resources");
    if resources.is_empty() {
        errors.push(resources.required(""));
    }
    for resource in resources.elements().iter().filter(|resource| resource.text().is_empty()) {
        errors.push(resource.required(""));
    }
    if let Some(scope) = rule.some("scope") {
        scope.one_of(errors, &["*", "Cluster", "Namespaced"]);
    }
    let operations = rule.child("operations");
    if operations.is_empty() {
        errors.push(operations.required(""));
    }
    starred(errors, &operations, "operations");
    for operation in operations.elements() {
        operation.one_of(errors, &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]);
    }
}

fn match_resources(errors: &mut Errors, resources: &At) {
    if let Some(policy) = resources.some("matchPolicy") {
        policy.one_of(errors, &["Equivalent", "Exact"]);
    }
    for selector in ["namespaceSelector", "objectSelector"].iter().filter_map(|key| resources.some(key)) {
        checks::label_selector(errors, &selector);
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        resources.items(list).iter().for_each(|rule| operations_rule(errors, rule));
    }
}

fn match_conditions(errors: &mut Errors, list: &At) {
    let mut seen = BTreeSet::new();
    for condition in list.elements() {
        let (name, expression) = (condition.child("name"), condition.child("expression"));
        if expression.text().trim().is_empty() {
            errors.push(expression.required(""));
        }
        if name.text().is_empty() {
            errors.push(name.required(""));
        } else {
            checks::qualified_name(errors, &name);
            if !seen.insert(name.text()) {
                errors.push(name.duplicate());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;

    #[test]
    fn webhooks() {
        let mut object = json!({"webhooks": [{"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "s", "namespace": "n"}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}]}]});
        MUTATING_WEBHOOKS.default(&mut object);
        let hook = &object["webhooks"][0];
        assert_eq!(hook["timeoutSeconds"], 10);
        assert_eq!(hook["reinvocationPolicy"], "Never");
        assert_eq!(hook["clientConfig"]["service"]["port"], 443);
        assert_eq!(hook["rules"][0]["scope"], "*");
        assert_eq!(MUTATING_WEBHOOKS.validate(&object), []);
        let mut faulty = object.clone();
        faulty["webhooks"][0]["name"] = json!("a");
        faulty["webhooks"][0]["clientConfig"] = json!({"url": "http://x"});
        faulty["webhooks"][0]["sideEffects"] = json!("Some");
        assert_eq!(MUTATING_WEBHOOKS.validate(&faulty).len(), 4);
    }
}
