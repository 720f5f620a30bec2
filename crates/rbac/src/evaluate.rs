//! RBAC evaluation (https://kubernetes.io/docs/reference/access-authn-authz/rbac/): does any role bound to the user
//! hold a rule that covers the request?

use std::collections::HashMap;

use model::UserInfo;
use model::tree::TreeExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::attributes::{Attributes, Decision};

/// `rbac.authorization.k8s.io/v1 PolicyRule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PolicyRule {
    /// Verbs; `*` is all.
    pub verbs: Vec<String>,
    /// API groups; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Resources, `pods`, `pods/log`, `*/scale`; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Object names; empty is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths, with `*` at the end as a wildcard.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

fn has(list: &[String], value: &str) -> bool {
    list.iter().any(|own| own == "*" || own == value)
}

impl PolicyRule {
    /// Whether the rule covers a request.
    pub fn covers(&self, request: &Attributes) -> bool {
        if !has(&self.verbs, &request.verb) {
            return false;
        }
        if !request.resource_request {
            return self.non_resource_urls.iter().any(|url| covers_path(url, &request.path));
        }
        has(&self.api_groups, &request.group)
            && self.covers_resource(request)
            && (self.resource_names.is_empty() || self.resource_names.contains(&request.name))
    }

    fn covers_resource(&self, request: &Attributes) -> bool {
        self.resources.iter().any(|own| {
            own == "*"
                || match own.split_once('/') {
                    None => request.subresource.is_empty() && *own == request.resource,
                    Some((resource, subresource)) => {
                        !request.subresource.is_empty()
                            && subresource == request.subresource
                            && (resource == "*" || resource == request.resource)
                    }
                }
        })
    }
}

fn covers_path(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix.trim_end_matches('*')),
        None => pattern == path,
    }
}

/// A binding, read once.
#[derive(Debug, Clone)]
struct Bound {
    name: String,
    role_kind: String,
    role: String,
}

/// The bindings of a namespace, or those of the cluster, by whom they bind.
#[derive(Debug, Clone, Default)]
struct Bindings {
    all: Vec<Bound>,
    users: HashMap<String, Vec<usize>>,
    groups: HashMap<String, Vec<usize>>,
}

impl Bindings {
    /// Adds a binding of a namespace; of the cluster if that is empty.
    fn add(&mut self, object: &Value, namespace: &str) {
        let at = self.all.len();
        self.all.push(Bound {
            name: object.name().to_owned(),
            role_kind: object.text(&["roleRef", "kind"]).to_owned(),
            role: object.text(&["roleRef", "name"]).to_owned(),
        });
        for subject in object.items(&["subjects"]) {
            let name = subject.text(&["name"]);
            match subject.text(&["kind"]) {
                "User" => self.users.entry(name.to_owned()).or_default().push(at),
                "Group" => self.groups.entry(name.to_owned()).or_default().push(at),
                "ServiceAccount" => {
                    let own = subject.text(&["namespace"]);
                    let namespace = if own.is_empty() { namespace } else { own };
                    if !namespace.is_empty() {
                        let user = format!("system:serviceaccount:{namespace}:{name}");
                        self.users.entry(user).or_default().push(at);
                    }
                }
                _ => {}
            }
        }
    }

    /// Those that bind a user, in their order.
    fn of(&self, user: &UserInfo) -> impl Iterator<Item = &Bound> {
        let own = self.users.get(&user.username).into_iter();
        let groups = user.groups.iter().filter_map(|group| self.groups.get(group));
        let mut found: Vec<usize> = own.chain(groups).flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|at| &self.all[at])
    }
}

/// All roles and bindings, indexed. Made anew when one of them changes.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    cluster_roles: HashMap<String, Vec<PolicyRule>>,
    /// By namespace and name.
    roles: HashMap<String, HashMap<String, Vec<PolicyRule>>>,
    cluster_bindings: Bindings,
    bindings: HashMap<String, Bindings>,
}

fn rules_of(object: &Value) -> Vec<PolicyRule> {
    let rules = object.items(&["rules"]).iter();
    rules.filter_map(|rule| serde_json::from_value(rule.clone()).ok()).collect()
}

impl Policy {
    /// Indexes `ClusterRole`, `Role`, `ClusterRoleBinding` and `RoleBinding` objects; others are ignored.
    pub fn new<'a>(objects: impl IntoIterator<Item = &'a Value>) -> Self {
        let mut policy = Self::default();
        for object in objects {
            let (name, namespace) = (object.name().to_owned(), object.namespace().to_owned());
            match object.kind() {
                "ClusterRole" => drop(policy.cluster_roles.insert(name, rules_of(object))),
                "Role" => drop(policy.roles.entry(namespace).or_default().insert(name, rules_of(object))),
                "ClusterRoleBinding" => policy.cluster_bindings.add(object, ""),
                "RoleBinding" => {
                    policy.bindings.entry(namespace.clone()).or_default().add(object, &namespace)
                }
                _ => {}
            }
        }
        policy
    }

    /// Decides. `system:masters` may do everything.
    pub fn decide(&self, request: &Attributes) -> Decision {
        if request.user.in_group("system:masters") {
            return Decision::allow("");
        }
        let mut missing = Vec::new();
        let mut found = None;
        self.visit(&request.user, &request.namespace, |binding, kind, rules| match rules {
            Some(rules) if found.is_none() && rules.iter().any(|rule| rule.covers(request)) => {
                let scope =
                    if kind == "RoleBinding" { format!("/{}", request.namespace) } else { String::new() };
                found = Some(format!(
                    "RBAC: allowed by {kind} \"{}{scope}\" of {} \"{}\" to User {:?}",
                    binding.name, binding.role_kind, binding.role, request.user.username
                ));
            }
            Some(_) => {}
            None => missing.push(match binding.role_kind.as_str() {
                "ClusterRole" => {
                    format!("clusterrole.rbac.authorization.k8s.io {:?} not found", binding.role)
                }
                _ => format!("role.rbac.authorization.k8s.io {:?} not found", binding.role),
            }),
        });
        match (found, missing.as_slice()) {
            (Some(reason), _) => Decision::allow(reason),
            (None, []) => Decision::no_opinion(""),
            (None, [one]) => Decision::no_opinion(format!("RBAC: {one}")),
            (None, many) => Decision::no_opinion(format!("RBAC: [{}]", many.join(", "))),
        }
    }

    /// Rules that a user holds in a namespace (`SelfSubjectRulesReview`; escalation checks).
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<PolicyRule> {
        let mut all = Vec::new();
        self.visit(user, namespace, |_, _, rules| all.extend(rules.into_iter().flatten().cloned()));
        all
    }

    /// Rules of a role, if it is there.
    pub fn role_rules(&self, kind: &str, namespace: &str, name: &str) -> Option<&[PolicyRule]> {
        let rules = match kind {
            "ClusterRole" => self.cluster_roles.get(name),
            _ => self.roles.get(namespace).and_then(|roles| roles.get(name)),
        };
        rules.map(Vec::as_slice)
    }

    fn visit<'a>(
        &'a self,
        user: &UserInfo,
        namespace: &str,
        mut each: impl FnMut(&'a Bound, &'static str, Option<&'a [PolicyRule]>),
    ) {
        for binding in self.cluster_bindings.of(user) {
            each(binding, "ClusterRoleBinding", self.role_rules("ClusterRole", "", &binding.role));
        }
        for binding in self.bindings.get(namespace).into_iter().flat_map(|bindings| bindings.of(user)) {
            each(binding, "RoleBinding", self.role_rules(&binding.role_kind, namespace, &binding.role));
        }
    }
}

/// Rules of `wanted` that `held` does not cover, for upstream's check against escalation: each rule is split into its
/// single (verb, group, resource, name) parts, and each part has to be covered by one rule.
pub fn uncovered(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    wanted.iter().flat_map(split).filter(|part| !held.iter().any(|rule| contains(rule, part))).collect()
}

fn split(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut parts = Vec::new();
    for verb in &rule.verbs {
        for url in &rule.non_resource_urls {
            let non_resource_urls = vec![url.clone()];
            parts.push(PolicyRule { verbs: vec![verb.clone()], non_resource_urls, ..PolicyRule::default() });
        }
        for group in &rule.api_groups {
            for resource in &rule.resources {
                let part = PolicyRule {
                    verbs: vec![verb.clone()],
                    api_groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    parts.push(part.clone());
                }
                for name in &rule.resource_names {
                    parts.push(PolicyRule { resource_names: vec![name.clone()], ..part.clone() });
                }
            }
        }
    }
    parts
}

/// Whether a rule holds all of a single part.
fn contains(rule: &PolicyRule, part: &PolicyRule) -> bool {
    let all = |own: &[String], wanted: &[String]| wanted.iter().all(|value| has(own, value));
    let resource = |wanted: &String| {
        has(&rule.resources, wanted)
            || wanted.split_once('/').is_some_and(|(_, sub)| rule.resources.contains(&format!("*/{sub}")))
    };
    let names = rule.resource_names.is_empty()
        || (!part.resource_names.is_empty()
            && part.resource_names.iter().all(|name| rule.resource_names.contains(name)));
    let urls = part
        .non_resource_urls
        .iter()
        .all(|wanted| rule.non_resource_urls.iter().any(|own| own == wanted || covers_path(own, wanted)));
    all(&rule.verbs, &part.verbs)
        && all(&rule.api_groups, &part.api_groups)
        && part.resources.iter().all(resource)
        && names
        && urls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(user: &UserInfo, text: &str) -> Attributes {
        let mut words = text.split(' ');
        let verb = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let user = std::sync::Arc::new(user.clone());
        if target.starts_with('/') {
            return Attributes { user, verb, path: target.into(), ..Attributes::default() };
        }
        let namespace = words.next().unwrap_or_default().to_owned();
        let name = words.next().unwrap_or_default().to_owned();
        let (resource, group) = target.split_once('.').unwrap_or((target, ""));
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes {
            user,
            verb,
            namespace,
            name,
            resource_request: true,
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            ..Attributes::default()
        }
    }

    #[test]
    fn the_bootstrap_policy_decides_as_upstream() {
        let objects = crate::policy::objects();
        let policy = Policy::new(&objects);
        let scheduler = UserInfo::authenticated("system:kube-scheduler", &[]);
        let admin = UserInfo::authenticated("admin", &["system:masters"]);
        let pod = UserInfo::service_account("default", "default", "");
        let collector = UserInfo::service_account("kube-system", "generic-garbage-collector", "");
        let monitoring = UserInfo::authenticated("m", &["system:monitoring"]);
        for (user, text, allowed) in [
            (&admin, "delete nodes", true),
            (&scheduler, "create pods/binding default", true),
            (&scheduler, "create pods default", false),
            (&scheduler, "update leases.coordination.k8s.io kube-system", true),
            (&scheduler, "update leases.coordination.k8s.io default", false),
            (&pod, "create selfsubjectaccessreviews.authorization.k8s.io", true),
            (&pod, "list pods default", false),
            (&pod, "get /version", true),
            (&pod, "get /metrics", false),
            (&pod, "get /apis/apps", true),
            (&monitoring, "get /metrics", true),
            (&monitoring, "get /livez/ping", true),
            (&collector, "delete anything.example.com x", true),
            (&UserInfo::anonymous(), "get /healthz", true),
            (&UserInfo::anonymous(), "get /api", false),
        ] {
            let decision = policy.decide(&request(user, text));
            assert_eq!(decision.allowed, allowed, "{} {text}: {}", user.username, decision.reason);
        }
    }

    #[test]
    fn what_is_not_held_is_found() {
        let rule = |text: &str| -> PolicyRule { serde_json::from_str(text).unwrap() };
        let held = [rule(r#"{"verbs":["get","list"],"apiGroups":[""],"resources":["pods"]}"#)];
        let wanted = [rule(r#"{"verbs":["get","delete"],"apiGroups":[""],"resources":["pods","secrets"]}"#)];
        let missing = uncovered(&held, &wanted);
        assert_eq!(missing.len(), 3, "{missing:?}");
        assert!(
            uncovered(&[rule(r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#)], &wanted).is_empty()
        );
    }

    #[test]
    fn sentences_are_upstreams() {
        let user = UserInfo::authenticated("x", &[]);
        let text = request(&user, "list pods default").sentence();
        assert_eq!(
            text,
            r#"User "x" cannot list resource "pods" in API group "" in the namespace "default""#
        );
        let text = request(&user, "get nodes.metrics.k8s.io").sentence();
        assert_eq!(
            text,
            r#"User "x" cannot get resource "nodes" in API group "metrics.k8s.io" at the cluster scope"#
        );
        assert_eq!(request(&user, "get /metrics").sentence(), r#"User "x" cannot get path "/metrics""#);
    }
}
