//! `create role`, `clusterrole` and their bindings.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::generators::{Made, made_flags, name, send};
use crate::command::{Command, Invocation};
use crate::commands::boxed;
use crate::failure::{Failure, message};
use crate::flags::{Flag, Kind};
use crate::mapping::Mapper;

const GROUP: &str = "rbac.authorization.k8s.io";
const API_VERSION: &str = "rbac.authorization.k8s.io/v1";

const VERB: Flag = Flag::new("verb", Kind::Texts, "", "Verb that is allowed; may be repeated");
const RESOURCE: Flag =
    Flag::new("resource", Kind::Texts, "", "Resource that the rule is about (pods, deployments.apps/scale)");
const RESOURCE_NAME: Flag =
    Flag::new("resource-name", Kind::Array, "", "Only objects of this name; may be repeated");
const USER: Flag = Flag::new("user", Kind::Array, "", "User to bind to the role; may be repeated");
const GROUPS: Flag = Flag::new("group", Kind::Array, "", "Group to bind to the role; may be repeated");
const ACCOUNT: Flag = Flag::new(
    "serviceaccount",
    Kind::Array,
    "",
    "Service account to bind to the role (<namespace>:<name>); may be repeated",
);

/// `create role`.
pub const ROLE: Command = Command {
    name: "role",
    usage: "role NAME --verb=verb --resource=resource.group/subresource [--resource-name=resourcename] [--dry-run=server|client|none]",
    short: "Create a role with single rule",
    flags: made_flags![VERB, RESOURCE, RESOURCE_NAME],
    run: boxed!(role),
    ..Command::EMPTY
};

/// `create clusterrole`.
pub const CLUSTER_ROLE: Command = Command {
    name: "clusterrole",
    usage: "clusterrole NAME --verb=verb --resource=resource.group [--resource-name=resourcename] [--dry-run=server|client|none]",
    short: "Create a cluster role",
    flags: made_flags![
        VERB,
        RESOURCE,
        RESOURCE_NAME,
        Flag::new("aggregation-rule", Kind::Pairs, "", "Labels of the ClusterRoles to combine (key=value)"),
        Flag::new("non-resource-url", Kind::Texts, "", "A partial URL that users may access"),
    ],
    run: boxed!(cluster_role),
    ..Command::EMPTY
};

/// `create rolebinding`.
pub const ROLE_BINDING: Command = Command {
    name: "rolebinding",
    usage: "rolebinding NAME --clusterrole=NAME|--role=NAME [--user=username] [--group=groupname] [--serviceaccount=namespace:serviceaccountname] [--dry-run=server|client|none]",
    short: "Create a role binding for a particular role or cluster role",
    flags: made_flags![
        USER,
        GROUPS,
        ACCOUNT,
        Flag::new("clusterrole", Kind::Text, "", "ClusterRole to bind to"),
        Flag::new("role", Kind::Text, "", "Role to bind to"),
    ],
    run: boxed!(role_binding),
    ..Command::EMPTY
};

/// `create clusterrolebinding`.
pub const CLUSTER_ROLE_BINDING: Command = Command {
    name: "clusterrolebinding",
    usage: "clusterrolebinding NAME --clusterrole=NAME [--user=username] [--group=groupname] [--serviceaccount=namespace:serviceaccountname] [--dry-run=server|client|none]",
    short: "Create a cluster role binding for a particular cluster role",
    flags: made_flags![
        USER,
        GROUPS,
        ACCOUNT,
        Flag::new("clusterrole", Kind::Text, "", "ClusterRole to bind to")
    ],
    required: &["clusterrole"],
    run: boxed!(cluster_role_binding),
    ..Command::EMPTY
};

const STANDARD_VERBS: [&str; 14] = [
    "*",
    "get",
    "delete",
    "list",
    "create",
    "update",
    "patch",
    "watch",
    "proxy",
    "deletecollection",
    "use",
    "bind",
    "escalate",
    "impersonate",
];
const URL_VERBS: [&str; 8] = ["*", "get", "post", "put", "delete", "patch", "head", "options"];

/// Verbs that make sense for some resources only: group and plural name.
const SPECIAL_VERBS: [(&str, &[(&str, &str)]); 4] = [
    ("use", &[("policy", "podsecuritypolicies"), ("extensions", "podsecuritypolicies")]),
    ("bind", &[(GROUP, "roles"), (GROUP, "clusterroles")]),
    ("escalate", &[(GROUP, "roles"), (GROUP, "clusterroles")]),
    (
        "impersonate",
        &[("", "users"), ("", "serviceaccounts"), ("", "groups"), ("authentication.k8s.io", "userextras")],
    ),
];

/// `pods.v1./log`: resource, group, subresource.
#[derive(Debug, Clone)]
struct Named {
    group: String,
    resource: String,
    subresource: String,
}

/// What the flags say about a rule.
struct Wish {
    verbs: Vec<String>,
    resources: Vec<Named>,
    names: Vec<String>,
}

fn unique(list: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    list.into_iter().for_each(|one| {
        if !kept.contains(&one) {
            kept.push(one);
        }
    });
    kept
}

impl Wish {
    fn of(invocation: &Invocation<'_>) -> Self {
        let values = &invocation.values;
        let mut verbs = unique(values.texts("verb"));
        if verbs.iter().any(|verb| verb == "*") {
            verbs = vec!["*".into()];
        }
        let mut resources = Vec::new();
        for text in values.texts("resource") {
            let (path, subresource) = text.split_once('/').unwrap_or((&text, ""));
            let (resource, group) = path.split_once('.').unwrap_or((path, ""));
            let named = Named {
                group: group.to_owned(),
                resource: resource.to_owned(),
                subresource: subresource.to_owned(),
            };
            if text == "*" {
                resources = vec![named];
                break;
            }
            resources.push(named);
        }
        Self { verbs, resources, names: unique(values.texts("resource-name")) }
    }

    fn warn_of_verbs(&self, invocation: &Invocation<'_>) {
        for verb in self.verbs.iter().filter(|verb| !STANDARD_VERBS.contains(&verb.as_str())) {
            invocation.context.err(&format!("Warning: '{verb}' is not a standard resource verb\n"));
        }
    }

    /// Every resource must be served, and its verbs must make sense for it.
    fn check(&self, mapper: &Mapper) -> Result<(), Failure> {
        for named in &self.resources {
            if named.resource.is_empty() {
                return Err(message("resource must be specified if apiGroup/subresource specified"));
            }
            if named.resource == "*" {
                return Ok(());
            }
            let mut failure = None;
            let (group, resource) = match find(mapper, named) {
                Ok(found) => found,
                Err(wrong) => {
                    failure = Some(wrong);
                    (named.group.clone(), named.resource.clone())
                }
            };
            for verb in &self.verbs {
                let special = SPECIAL_VERBS.iter().find(|(own, _)| own == verb);
                let Some((_, fitting)) = special else { continue };
                if !fitting.contains(&(group.as_str(), resource.as_str())) {
                    return Err(message(format!(
                        "can not perform '{verb}' on '{resource}' in group '{group}'"
                    )));
                }
                failure = None;
            }
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        Ok(())
    }

    fn rules(&self, mapper: &Mapper, urls: &[String]) -> Vec<Value> {
        let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for named in &self.resources {
            let (group, mut resource) =
                find(mapper, named).unwrap_or_else(|_| (named.group.clone(), named.resource.clone()));
            if !named.subresource.is_empty() {
                resource = format!("{resource}/{}", named.subresource);
            }
            let own = groups.entry(group).or_default();
            if !own.contains(&resource) {
                own.push(resource);
            }
        }
        let mut rules: Vec<Value> = groups
            .into_iter()
            .map(|(group, resources)| {
                let mut rule = json!({"verbs": self.verbs, "apiGroups": [group], "resources": resources});
                if !self.names.is_empty() {
                    rule["resourceNames"] = json!(self.names);
                }
                rule
            })
            .collect();
        if !urls.is_empty() {
            rules.push(json!({"verbs": self.verbs, "nonResourceURLs": urls}));
        }
        rules
    }
}

/// The served resource that is meant: its group and plural name.
fn find(mapper: &Mapper, named: &Named) -> Result<(String, String), Failure> {
    let text = if named.group.is_empty() {
        named.resource.clone()
    } else {
        format!("{}.{}", named.resource, named.group)
    };
    let fits = |group: &str| named.group.is_empty() || group.starts_with(&named.group);
    match mapper.find(&text) {
        Ok(mapping) if fits(&mapping.group) => Ok((mapping.group.clone(), mapping.plural.clone())),
        _ => Err(Failure::Plain(format!("the server doesn't have a resource type {:?}", named.resource))),
    }
}

async fn role(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let name = name(invocation)?;
    let wish = Wish::of(invocation);
    if wish.verbs.is_empty() {
        return Err(message("at least one verb must be specified"));
    }
    wish.warn_of_verbs(invocation);
    if wish.resources.is_empty() {
        return Err(message("at least one resource must be specified"));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    wish.check(&mapper)?;
    let object = json!({
        "kind": "Role", "apiVersion": API_VERSION, "metadata": {"name": name}, "rules": wish.rules(&mapper, &[]),
    });
    send(invocation, object, Made { wrap: None, ..Made::namespaced(GROUP, "roles", "") }).await
}

async fn cluster_role(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let name = name(invocation)?;
    let wish = Wish::of(invocation);
    let urls = unique(invocation.values.texts("non-resource-url"));
    let aggregated = invocation.values.texts("aggregation-rule");
    let made = Made::cluster(GROUP, "clusterroles", None);
    let mut object = json!({"kind": "ClusterRole", "apiVersion": API_VERSION, "metadata": {"name": name}});
    if !aggregated.is_empty() {
        if !(urls.is_empty() && wish.verbs.is_empty() && wish.resources.is_empty() && wish.names.is_empty()) {
            return Err(message(
                "aggregation rule must be specified without nonResourceURLs, verbs, resources or resourceNames",
            ));
        }
        let labels: Map<String, Value> = aggregated
            .iter()
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.trim().to_owned(), value.trim().into()))
            .collect();
        object["rules"] = Value::Null;
        object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
        return send(invocation, object, made).await;
    }
    if wish.verbs.is_empty() {
        return Err(message("at least one verb must be specified"));
    }
    if wish.resources.is_empty() && urls.is_empty() {
        return Err(message("one of resource or nonResourceURL must be specified"));
    }
    let api = invocation.api()?;
    let mapper = invocation.mapper(&api).await?;
    if !wish.resources.is_empty() {
        wish.warn_of_verbs(invocation);
        wish.check(&mapper)?;
    }
    if !urls.is_empty() {
        check_urls(&wish.verbs, &urls)?;
    }
    object["rules"] = wish.rules(&mapper, &urls).into();
    send(invocation, object, made).await
}

fn check_urls(verbs: &[String], urls: &[String]) -> Result<(), Failure> {
    if let Some(verb) = verbs.iter().find(|verb| !URL_VERBS.contains(&verb.as_str())) {
        return Err(message(format!("invalid verb: '{verb}' for nonResourceURL")));
    }
    for url in urls.iter().filter(|url| *url != "*") {
        if !url.starts_with('/') {
            return Err(message("nonResourceURL should start with /"));
        }
        if url[..url.len() - 1].contains('*') {
            return Err(message("nonResourceURL only supports wildcard matches when '*' is at the end"));
        }
    }
    Ok(())
}

fn subjects(invocation: &Invocation<'_>) -> Result<Vec<Value>, Failure> {
    let values = &invocation.values;
    let mut subjects = Vec::new();
    for (flag, kind) in [("user", "User"), ("group", "Group")] {
        let own = values.texts(flag);
        subjects.extend(own.into_iter().map(|name| json!({"kind": kind, "apiGroup": GROUP, "name": name})));
    }
    for account in values.texts("serviceaccount") {
        match account.split(':').collect::<Vec<_>>().as_slice() {
            [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                subjects.push(json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
            }
            _ => return Err(message("serviceaccount must be <namespace>:<name>")),
        }
    }
    Ok(subjects)
}

fn binding(invocation: &Invocation<'_>, kind: &str, role_kind: &str, role: &str) -> Result<Value, Failure> {
    let subjects = subjects(invocation)?;
    let mut object = json!({
        "kind": kind, "apiVersion": API_VERSION, "metadata": {"name": name(invocation)?},
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
    });
    if !subjects.is_empty() {
        object["subjects"] = subjects.into();
    }
    Ok(object)
}

async fn role_binding(invocation: &Invocation<'_>) -> Result<(), Failure> {
    name(invocation)?;
    let (role, cluster_role) = (invocation.values.text("role"), invocation.values.text("clusterrole"));
    if role.is_empty() == cluster_role.is_empty() {
        return Err(message("exactly one of clusterrole or role must be specified"));
    }
    let object = if role.is_empty() {
        binding(invocation, "RoleBinding", "ClusterRole", cluster_role)?
    } else {
        binding(invocation, "RoleBinding", "Role", role)?
    };
    send(invocation, object, Made::namespaced(GROUP, "rolebindings", "failed to create rolebinding:")).await
}

async fn cluster_role_binding(invocation: &Invocation<'_>) -> Result<(), Failure> {
    let object =
        binding(invocation, "ClusterRoleBinding", "ClusterRole", invocation.values.text("clusterrole"))?;
    let made = Made::cluster(GROUP, "clusterrolebindings", Some("failed to create clusterrolebinding:"));
    send(invocation, object, made).await
}
