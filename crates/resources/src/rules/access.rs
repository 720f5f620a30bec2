//! Roles, bindings and certificate signing requests.

use model::names;
use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::field::Errors;
use crate::rules::at::At;
use crate::rules::kind::{Kind, nothing};
use crate::rules::pod::validate::signer_name;
use crate::rules::{checks, fill, generic_update};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The rules of Roles.
pub const ROLE: Kind = Kind {
    create: nothing,
    validate: |errors, role| role.items("rules").iter().for_each(|rule| policy_rule(errors, rule, true)),
    name: names::path_segment,
    creates_on_update: true,
    ..Kind::PLAIN
};

/// The rules of ClusterRoles.
pub const CLUSTER_ROLE: Kind = Kind {
    create: nothing,
    validate: |errors, role| {
        role.items("rules").iter().for_each(|rule| policy_rule(errors, rule, false));
        if let Some(aggregation) = role.some("aggregationRule") {
            let selectors = aggregation.child("clusterRoleSelectors");
            if selectors.is_empty() {
                let words = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                errors.push(selectors.required(words));
            }
            selectors.elements().iter().for_each(|selector| checks::label_selector(errors, selector));
        }
    },
    name: names::path_segment,
    creates_on_update: true,
    ..Kind::PLAIN
};

/// The rules of RoleBindings.
pub const ROLE_BINDING: Kind = Kind {
    default: binding_defaults,
    create: nothing,
    validate: |errors, binding| role_binding(errors, binding, true),
    validate_update: Some(|errors, new, old, _| {
        role_binding(errors, new, true);
        fixed_role(errors, new, old);
    }),
    name: names::path_segment,
    creates_on_update: true,
    ..Kind::PLAIN
};

/// The rules of ClusterRoleBindings.
pub const CLUSTER_ROLE_BINDING: Kind = Kind {
    validate: |errors, binding| role_binding(errors, binding, false),
    validate_update: Some(|errors, new, old, _| {
        role_binding(errors, new, false);
        fixed_role(errors, new, old);
    }),
    ..ROLE_BINDING
};

fn policy_rule(errors: &mut Errors, rule: &At, namespaced: bool) {
    let verbs = rule.child("verbs");
    if verbs.is_empty() {
        errors.push(verbs.required("verbs must contain at least one value"));
    }
    let urls = rule.child("nonResourceURLs");
    let [groups, resources, named] = ["apiGroups", "resources", "resourceNames"].map(|key| rule.child(key));
    if !urls.is_empty() {
        if namespaced {
            errors.push(urls.invalid("namespaced rules cannot apply to non-resource URLs"));
        }
        if [&groups, &resources, &named].iter().any(|list| !list.is_empty()) {
            errors.push(urls.invalid("rules cannot apply to both regular resources and non-resource URLs"));
        }
        return;
    }
    if groups.is_empty() {
        errors.push(groups.required("resource rules must supply at least one api group"));
    }
    if resources.is_empty() {
        errors.push(resources.required("resource rules must supply at least one resource"));
    }
}

fn binding_defaults(object: &mut Value) {
    if let Some(role) = fill::object(object, "roleRef") {
        fill::plain(role, "apiGroup", GROUP);
    }
    for subject in fill::items(object, "subjects") {
        if matches!(subject.text(&["kind"]), "User" | "Group") {
            fill::plain(subject, "apiGroup", GROUP);
        }
    }
}

fn role_binding(errors: &mut Errors, binding: &At, namespaced: bool) {
    let role = binding.child("roleRef");
    role.child("apiGroup").one_of(errors, &[GROUP]);
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    role.child("kind").one_of(errors, kinds);
    if role.require(errors, "name") {
        let name = role.child("name");
        name.complain(errors, names::path_segment(name.text(), false));
    }
    for subject in binding.items("subjects") {
        let (name, group) = (subject.child("name"), subject.child("apiGroup"));
        subject.require(errors, "name");
        match subject.str("kind") {
            "ServiceAccount" => {
                if !name.text().is_empty() {
                    name.complain(errors, names::dns_subdomain(name.text()));
                }
                if !group.text().is_empty() {
                    errors.push(group.not_supported(&[""]));
                }
                if !namespaced && subject.str("namespace").is_empty() {
                    errors.push(subject.child("namespace").required(""));
                }
            }
            "User" | "Group" => group.one_of(errors, &[GROUP]),
            _ => errors.push(subject.child("kind").not_supported(&["ServiceAccount", "User", "Group"])),
        }
    }
}

fn fixed_role(errors: &mut Errors, new: &At, old: &At) {
    let (role, before) = (new.child("roleRef"), old.child("roleRef"));
    let keys = ["apiGroup", "kind", "name"];
    if keys.iter().any(|key| role.str(key) != before.str(key)) {
        let [group, kind, name] = keys.map(|key| Value::from(role.str(key)));
        let shown = format!("{{\"APIGroup\":{group},\"Kind\":{kind},\"Name\":{name}}}");
        errors.push(role.invalid_shown(shown, "cannot change roleRef"));
    }
}

/// The rules of certificate signing requests. Who asks is written into them by the pipeline.
pub const SIGNING_REQUEST: Kind = Kind {
    update: |object, old, subresource| match subresource {
        Some("approval") => {
            let conditions = object.at(&["status", "conditions"]).cloned();
            generic_update(object, old, Some("status"));
            match old.at(&["status"]) {
                Some(status) => object.set(&["status"], status.clone()),
                None => object.set(&["status"], json!({})),
            }
            if let Some(conditions) = conditions {
                object.set(&["status", "conditions"], conditions);
            }
        }
        Some(_) => {
            generic_update(object, old, Some("status"));
            keep_decisions(object, old);
        }
        None => {
            generic_update(object, old, None);
            match old.at(&["spec"]) {
                Some(spec) => object.set(&["spec"], spec.clone()),
                None => drop(object.unset(&["spec"])),
            }
        }
    },
    validate: signing_request,
    validate_update: Some(|errors, new, _, subresource| {
        if subresource.is_some() {
            conditions(errors, new);
        }
    }),
    fields: &["spec.signerName"],
    ..Kind::PLAIN
};

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

fn signing_request(errors: &mut Errors, request: &At) {
    let spec = request.child("spec");
    if spec.str("request").is_empty() {
        let words = "PEM block type must be CERTIFICATE REQUEST";
        errors.push(spec.child("request").invalid(words));
    }
    let usages = spec.child("usages");
    if usages.is_empty() {
        errors.push(usages.required(""));
    }
    let mut seen = std::collections::BTreeSet::new();
    usages.elements().iter().for_each(|usage| usage.one_of(errors, &USAGES));
    for usage in usages.elements() {
        if !seen.insert(usage.text()) {
            errors.push(usage.duplicate());
        }
    }
    let signer = spec.child("signerName");
    if signer.text() == "kubernetes.io/legacy-unknown" {
        errors.push(signer.invalid("the legacy signerName is not allowed via this API version"));
    } else {
        signer_name(errors, &signer);
    }
    if let Some(expiration) = spec.some("expirationSeconds").filter(|at| at.number().is_some_and(|s| s < 600))
    {
        let words = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(expiration.invalid(words));
    }
    conditions(errors, request);
}

fn conditions(errors: &mut Errors, request: &At) {
    let list = request.child("status").child("conditions");
    let (mut approved, mut denied) = (false, false);
    let mut seen = std::collections::BTreeSet::new();
    for condition in list.elements() {
        let (kind, status) = (condition.child("type"), condition.child("status"));
        if kind.text().is_empty() {
            errors.push(kind.required(""));
        }
        if status.text().is_empty() {
            errors.push(status.required(""));
        } else {
            status.one_of(errors, &["False", "True", "Unknown"]);
        }
        let decision = matches!(kind.text(), "Approved" | "Denied" | "Failed");
        if decision && status.text() != "True" && !status.text().is_empty() {
            errors.push(status.not_supported(&["True"]));
        }
        approved |= kind.text() == "Approved";
        denied |= kind.text() == "Denied";
        if approved && denied && matches!(kind.text(), "Approved" | "Denied") {
            let words = "Approved and Denied conditions are mutually exclusive";
            errors.push(kind.invalid(words));
        }
        if !seen.insert(kind.text()) {
            errors.push(kind.duplicate());
        }
    }
}

/// A write to the status neither adds nor removes approvals.
fn keep_decisions(object: &mut Value, old: &Value) {
    let decision = |condition: &Value| matches!(condition.text(&["type"]), "Approved" | "Denied");
    let before = old.items(&["status", "conditions"]).iter().filter(|one| decision(one)).cloned();
    let now = object.items(&["status", "conditions"]).iter().filter(|one| !decision(one)).cloned();
    let list: Vec<Value> = before.chain(now).collect();
    if !list.is_empty() {
        object.set(&["status", "conditions"], list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;

    #[test]
    fn roles_and_bindings() {
        assert_eq!(
            ROLE.validate(&json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]})),
            []
        );
        assert_eq!(ROLE.validate(&json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/"]}]})).len(), 1);
        assert!(ROLE.name_errors("system:x", false).is_empty());
        let mut binding =
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]});
        ROLE_BINDING.default(&mut binding);
        assert_eq!(ROLE_BINDING.validate(&binding), []);
        assert_eq!(CLUSTER_ROLE_BINDING.validate(&binding).len(), 1);
        let mut other = binding.clone();
        other["roleRef"]["name"] = json!("q");
        assert_eq!(ROLE_BINDING.validate_update(&other, &binding, None)[0].detail, "cannot change roleRef");
    }

    #[test]
    fn requests_are_fixed() {
        let old = json!({"spec": {"signerName": "a.b/c"}, "status": {"conditions": [{"type": "Approved"}]}});
        let mut new = json!({"spec": {"signerName": "x.y/z"}, "status": {"certificate": "x"}});
        SIGNING_REQUEST.prepare_for_update(&mut new, &old, Some("status"));
        assert_eq!(new["spec"]["signerName"], "a.b/c");
        assert_eq!(new["status"]["conditions"][0]["type"], "Approved");
        let mut approval = json!({"status": {"certificate": "x", "conditions": [{"type": "Denied"}]}});
        SIGNING_REQUEST.prepare_for_update(&mut approval, &old, Some("approval"));
        assert_eq!(approval["status"], json!({"conditions": [{"type": "Denied"}]}));
    }
}
