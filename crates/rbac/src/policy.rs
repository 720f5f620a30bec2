//! The bootstrap policy as API objects, and what it is made of.

use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::generated::policy::{CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES};

/// A rule of the table.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// Verbs.
    pub verbs: &'static [&'static str],
    /// API groups.
    pub groups: &'static [&'static str],
    /// Resources.
    pub resources: &'static [&'static str],
    /// Object names.
    pub names: &'static [&'static str],
    /// Paths.
    pub urls: &'static [&'static str],
}

/// A cluster role of the table.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// Name.
    pub name: &'static str,
    /// Roles that take these rules in, by label `rbac.authorization.k8s.io/aggregate-to-<role>`.
    pub aggregated_to: &'static [&'static str],
    /// Labels whose bearers' rules this role takes in.
    pub aggregates: &'static [&'static str],
    /// Own rules.
    pub rules: &'static [Rule],
}

/// A cluster role binding of the table.
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    /// Name.
    pub name: &'static str,
    /// Cluster role.
    pub role: &'static str,
    /// Subjects: `user:NAME`, `group:NAME`, `serviceaccount:NAMESPACE/NAME`.
    pub subjects: &'static [&'static str],
}

/// Roles in namespaces: (namespace, name, rules).
const NAMESPACE_ROLES: &[(&str, &str, &[Rule])] = &[
    (
        "kube-system",
        "extension-apiserver-authentication-reader",
        &[Rule {
            verbs: &["get", "list", "watch"],
            groups: &[""],
            resources: &["configmaps"],
            names: &["extension-apiserver-authentication"],
            urls: &[],
        }],
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager", LEADER_RULES),
    ("kube-system", "system::leader-locking-kube-scheduler", LEADER_RULES),
    ("kube-system", "system:controller:bootstrap-signer", &[SECRET_READ]),
    (
        "kube-system",
        "system:controller:cloud-provider",
        &[Rule {
            verbs: &["create", "get", "list", "watch"],
            groups: &[""],
            resources: &["configmaps"],
            names: &[],
            urls: &[],
        }],
    ),
    (
        "kube-system",
        "system:controller:token-cleaner",
        &[
            Rule {
                verbs: &["get", "list", "watch", "delete"],
                groups: &[""],
                resources: &["secrets"],
                names: &[],
                urls: &[],
            },
            EVENT_WRITE,
        ],
    ),
    (
        "kube-public",
        "system:controller:bootstrap-signer",
        &[
            Rule {
                verbs: &["get", "list", "watch"],
                groups: &[""],
                resources: &["configmaps"],
                names: &[],
                urls: &[],
            },
            Rule {
                verbs: &["update"],
                groups: &[""],
                resources: &["configmaps"],
                names: &["cluster-info"],
                urls: &[],
            },
            EVENT_WRITE,
        ],
    ),
];

const SECRET_READ: Rule =
    Rule { verbs: &["get", "list", "watch"], groups: &[""], resources: &["secrets"], names: &[], urls: &[] };
const EVENT_WRITE: Rule = Rule {
    verbs: &["create", "patch", "update"],
    groups: &["", "events.k8s.io"],
    resources: &["events"],
    names: &[],
    urls: &[],
};
const LEADER_RULES: &[Rule] = &[
    Rule {
        verbs: &["get", "watch", "list", "create", "update"],
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        names: &[],
        urls: &[],
    },
    Rule {
        verbs: &["get", "watch", "list", "create", "update"],
        groups: &["coordination.k8s.io"],
        resources: &["leasecandidates"],
        names: &[],
        urls: &[],
    },
];

/// Role bindings in namespaces: (namespace, binding).
const NAMESPACE_ROLE_BINDINGS: &[(&str, Binding)] = &[
    (
        "kube-system",
        Binding {
            name: "system::extension-apiserver-authentication-reader",
            role: "extension-apiserver-authentication-reader",
            subjects: &["user:system:kube-controller-manager", "user:system:kube-scheduler"],
        },
    ),
    (
        "kube-system",
        Binding {
            name: "system::leader-locking-kube-controller-manager",
            role: "system::leader-locking-kube-controller-manager",
            subjects: &[
                "user:system:kube-controller-manager",
                "serviceaccount:kube-system/kube-controller-manager",
                "serviceaccount:kube-system/leader-election-controller",
            ],
        },
    ),
    (
        "kube-system",
        Binding {
            name: "system::leader-locking-kube-scheduler",
            role: "system::leader-locking-kube-scheduler",
            subjects: &["user:system:kube-scheduler", "serviceaccount:kube-system/kube-scheduler"],
        },
    ),
    (
        "kube-system",
        Binding {
            name: "system:controller:bootstrap-signer",
            role: "system:controller:bootstrap-signer",
            subjects: &["serviceaccount:kube-system/bootstrap-signer"],
        },
    ),
    (
        "kube-system",
        Binding {
            name: "system:controller:cloud-provider",
            role: "system:controller:cloud-provider",
            subjects: &["serviceaccount:kube-system/cloud-provider"],
        },
    ),
    (
        "kube-system",
        Binding {
            name: "system:controller:token-cleaner",
            role: "system:controller:token-cleaner",
            subjects: &["serviceaccount:kube-system/token-cleaner"],
        },
    ),
    (
        "kube-public",
        Binding {
            name: "system:controller:bootstrap-signer",
            role: "system:controller:bootstrap-signer",
            subjects: &["serviceaccount:kube-system/bootstrap-signer"],
        },
    ),
];

const API_VERSION: &str = "rbac.authorization.k8s.io/v1";
const GROUP: &str = "rbac.authorization.k8s.io";

fn metadata(name: &str) -> Value {
    json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    })
}

fn rules(rules: &[Rule]) -> Value {
    let each = |rule: &Rule| {
        let mut value = json!({"verbs": rule.verbs});
        for (name, list) in [
            ("apiGroups", rule.groups),
            ("resources", rule.resources),
            ("resourceNames", rule.names),
            ("nonResourceURLs", rule.urls),
        ] {
            if !list.is_empty() {
                value[name] = json!(list);
            }
        }
        value
    };
    rules.iter().map(each).collect()
}

fn subjects(subjects: &[&str]) -> Value {
    let each = |subject: &&str| match subject.split_once(':') {
        Some(("serviceaccount", name)) => {
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        Some(("group", name)) => json!({"apiGroup": GROUP, "kind": "Group", "name": name}),
        _ => {
            let name = subject.strip_prefix("user:").unwrap_or(subject);
            json!({"apiGroup": GROUP, "kind": "User", "name": name})
        }
    };
    subjects.iter().map(each).collect()
}

fn binding(kind: &str, role_kind: &str, namespace: Option<&str>, binding: &Binding) -> Value {
    let mut value = json!({
        "apiVersion": API_VERSION, "kind": kind, "metadata": metadata(binding.name),
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": binding.role},
        "subjects": subjects(binding.subjects),
    });
    if let Some(namespace) = namespace {
        value.set(&["metadata", "namespace"], namespace);
    }
    value
}

/// Every object of the bootstrap policy: cluster roles, their bindings, roles, their bindings.
pub fn objects() -> Vec<Value> {
    let aggregate = |role: &str| format!("rbac.authorization.k8s.io/aggregate-to-{role}");
    let cluster_roles = CLUSTER_ROLES.iter().map(|role| {
        let mut value = json!({
            "apiVersion": API_VERSION, "kind": "ClusterRole", "metadata": metadata(role.name), "rules": rules(role.rules),
        });
        for target in role.aggregated_to {
            value["metadata"]["labels"][aggregate(target)] = json!("true");
        }
        if !role.aggregates.is_empty() {
            let selectors: Vec<Value> =
                role.aggregates.iter().map(|label| json!({"matchLabels": {aggregate(label): "true"}})).collect();
            value["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
            value["rules"] = aggregated_rules(role);
        }
        value
    });
    let bindings =
        CLUSTER_ROLE_BINDINGS.iter().map(|own| binding("ClusterRoleBinding", "ClusterRole", None, own));
    let namespaced = NAMESPACE_ROLES.iter().map(|(namespace, name, list)| {
        let mut value = json!({
            "apiVersion": API_VERSION, "kind": "Role", "metadata": metadata(name), "rules": rules(list),
        });
        value.set(&["metadata", "namespace"], *namespace);
        value
    });
    let namespaced_bindings = NAMESPACE_ROLE_BINDINGS
        .iter()
        .map(|(namespace, own)| binding("RoleBinding", "Role", Some(namespace), own));
    cluster_roles.chain(bindings).chain(namespaced).chain(namespaced_bindings).collect()
}

/// What the aggregation controller makes of a role: the rules of the roles that carry its labels, by name.
fn aggregated_rules(role: &Role) -> Value {
    let mut bearers: Vec<&Role> = CLUSTER_ROLES
        .iter()
        .filter(|other| other.aggregated_to.iter().any(|label| role.aggregates.contains(label)))
        .collect();
    bearers.sort_by_key(|other| other.name);
    let mut all: Vec<Value> = Vec::new();
    for other in bearers {
        // A role that aggregates itself carries the rules of its own bearers too (admin takes in edit takes in view).
        let nested = if other.aggregates.is_empty() { rules(other.rules) } else { aggregated_rules(other) };
        for rule in nested.as_array().into_iter().flatten() {
            if !all.contains(rule) {
                all.push(rule.clone());
            }
        }
    }
    Value::Array(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_is_whole() {
        let objects = objects();
        let mut names: Vec<(&str, &str, &str)> =
            objects.iter().map(|object| (object.kind(), object.namespace(), object.name())).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "names are unique");
        for name in ["cluster-admin", "admin", "edit", "view", "system:node", "system:basic-user"] {
            assert!(names.contains(&("ClusterRole", "", name)), "{name}");
        }
        let view = objects.iter().find(|object| object.name() == "view").unwrap();
        assert!(!view.items(&["rules"]).is_empty(), "aggregation is done");
        let admin = objects.iter().find(|object| object.name() == "admin").unwrap();
        assert!(admin.items(&["rules"]).len() > view.items(&["rules"]).len());
    }
}
