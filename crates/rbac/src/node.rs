//! The Node authorizer (https://kubernetes.io/docs/reference/access-authn-authz/node/): a node may read what its Pods
//! need, and nothing else of that kind. Everything else that nodes may do is RBAC's `system:node` rules.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use model::tree::TreeExt;
use serde_json::Value;

use crate::attributes::{Attributes, Decision};
use crate::evaluate::PolicyRule;
use crate::generated::policy::CLUSTER_ROLES;

/// Something that a Pod refers to: resource, namespace, name.
type Reference = (&'static str, String, String);

/// What each node's Pods refer to. Kept up to date Pod by Pod: [`NodeGraph::pass`] is told of all that there are, and reads only
/// those that changed.
#[derive(Debug, Default)]
pub struct NodeGraph {
    pods: HashMap<String, KnownPod>,
    /// By node; how many of its Pods refer to it.
    references: HashMap<String, HashMap<Reference, usize>>,
    /// Number of the pass that is under way.
    pass: u64,
}

/// A Pod as it was last read.
#[derive(Debug)]
struct KnownPod {
    revision: u64,
    /// The last pass that showed it.
    pass: u64,
    node: String,
    references: HashSet<Reference>,
}

/// All Pods are shown to the graph, one after the other.
pub struct Pass<'g>(&'g mut NodeGraph);

impl Pass<'_> {
    /// Shows a Pod: its key, the revision that wrote it, and how to read it.
    pub fn see(&mut self, key: &str, revision: u64, read: &dyn Fn() -> Value) {
        let pass = self.0.pass;
        if let Some(known) = self.0.pods.get_mut(key) {
            known.pass = pass;
            if known.revision == revision {
                return;
            }
        }
        self.0.forget(key);
        self.0.learn(key, revision, &read());
    }
}

impl Drop for Pass<'_> {
    /// Whatever was not shown is gone.
    fn drop(&mut self) {
        let pass = self.0.pass;
        let gone = self.0.pods.iter().filter(|(_, pod)| pod.pass != pass).map(|(key, _)| key.clone());
        for key in gone.collect::<Vec<_>>() {
            self.0.forget(&key);
        }
    }
}

/// Resources that a node reads only if a Pod of its needs them.
const GRAPHED: &[&str] =
    &["secrets", "configmaps", "persistentvolumeclaims", "persistentvolumes", "resourceclaims"];

/// Whether a node's request can only be decided with the graph; others by [`NodeGraph::default`] as well.
pub fn needs_graph(request: &Attributes) -> bool {
    let own = request.resource.as_str();
    request.group.is_empty()
        && (GRAPHED.contains(&own) || (own == "serviceaccounts" && request.subresource == "token"))
}

impl NodeGraph {
    /// Begins to show it all Pods.
    pub fn pass(&mut self) -> Pass<'_> {
        self.pass += 1;
        Pass(self)
    }

    fn learn(&mut self, key: &str, revision: u64, pod: &Value) {
        let node = pod.text(&["spec", "nodeName"]).to_owned();
        let mut references = HashSet::new();
        if !node.is_empty() {
            pod_references(pod, &mut references);
            let counts = self.references.entry(node.clone()).or_default();
            for reference in &references {
                *counts.entry(reference.clone()).or_default() += 1;
            }
        }
        self.pods.insert(key.to_owned(), KnownPod { revision, pass: self.pass, node, references });
    }

    fn forget(&mut self, key: &str) {
        let Some(pod) = self.pods.remove(key) else { return };
        let Some(counts) = self.references.get_mut(&pod.node) else { return };
        for reference in pod.references {
            if let Some(count) = counts.get_mut(&reference) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&reference);
                }
            }
        }
        if counts.is_empty() {
            self.references.remove(&pod.node);
        }
    }

    fn refers(&self, node: &str, resource: &'static str, namespace: &str, name: &str) -> bool {
        let key = (resource, namespace.to_owned(), name.to_owned());
        self.references.get(node).is_some_and(|counts| counts.contains_key(&key))
    }

    /// Decides about a node's request; other users are not its business.
    pub fn decide(&self, request: &Attributes) -> Decision {
        let Some(node) = request.user.node_name() else { return Decision::no_opinion("") };
        if !request.resource_request {
            return Decision::no_opinion("");
        }
        match (request.group.as_str(), request.resource.as_str()) {
            ("", resource) if GRAPHED.contains(&resource) => self.decide_read(node, request),
            ("", "serviceaccounts") if request.subresource == "token" => self.decide_token(node, request),
            ("coordination.k8s.io", "leases") => decide_lease(node, request),
            ("storage.k8s.io", "csinodes") => decide_own_name(node, request, "csinodes"),
            _ => decide_by_rules(request),
        }
    }

    fn decide_read(&self, node: &str, request: &Attributes) -> Decision {
        let Some(resource) = GRAPHED.iter().find(|own| **own == request.resource) else {
            return Decision::no_opinion("");
        };
        let status_write = request.resource == "persistentvolumeclaims"
            && request.subresource == "status"
            && matches!(request.verb.as_str(), "get" | "update" | "patch");
        if status_write {
            return decide_by_rules(request);
        }
        if !matches!(request.verb.as_str(), "get" | "list" | "watch") {
            return Decision::no_opinion("can only read resources of this type");
        }
        if !request.subresource.is_empty() {
            return Decision::no_opinion("cannot read subresource");
        }
        let name = match (
            request.name.as_str(),
            request.field_selector.as_deref().and_then(|text| text.strip_prefix("metadata.name=")),
        ) {
            ("", Some(name)) => name,
            (name, _) => name,
        };
        if name.is_empty() {
            return Decision::no_opinion("No Object name found");
        }
        if self.refers(node, resource, &request.namespace, name) {
            return Decision::allow("");
        }
        Decision::no_opinion(format!("no relationship found between node '{node}' and this object"))
    }

    fn decide_token(&self, node: &str, request: &Attributes) -> Decision {
        if request.verb != "create" {
            return Decision::no_opinion("can only create tokens for individual service accounts");
        }
        if self.refers(node, "serviceaccounts", &request.namespace, &request.name) {
            return Decision::allow("");
        }
        Decision::no_opinion(format!("no relationship found between node '{node}' and this object"))
    }
}

fn decide_lease(node: &str, request: &Attributes) -> Decision {
    let allowed = ["get", "create", "update", "patch", "delete"];
    if !allowed.contains(&request.verb.as_str()) {
        return Decision::no_opinion("can only get, create, update, patch, or delete a node lease");
    }
    if request.namespace != "kube-node-lease" {
        return Decision::no_opinion("can only access leases in the \"kube-node-lease\" system namespace");
    }
    if request.verb != "create" && request.name != node {
        return Decision::no_opinion("can only access node lease with the same name as the requesting node");
    }
    Decision::allow("")
}

fn decide_own_name(node: &str, request: &Attributes, what: &str) -> Decision {
    if request.verb != "create" && request.name != node {
        return Decision::no_opinion(format!(
            "can only access {what} with the same name as the requesting node"
        ));
    }
    Decision::allow("")
}

/// The rules of `system:node`, which bind no one (the Node authorizer applies them itself).
static NODE_RULES: LazyLock<Vec<PolicyRule>> = LazyLock::new(|| {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let roles = CLUSTER_ROLES.iter().filter(|role| role.name == "system:node");
    let rules = roles.flat_map(|role| role.rules.iter()).map(|rule| PolicyRule {
        verbs: owned(rule.verbs),
        api_groups: owned(rule.groups),
        resources: owned(rule.resources),
        resource_names: owned(rule.names),
        non_resource_urls: owned(rule.urls),
    });
    rules.collect()
});

fn decide_by_rules(request: &Attributes) -> Decision {
    if NODE_RULES.iter().any(|rule| rule.covers(request)) {
        return Decision::allow("");
    }
    Decision::no_opinion("")
}

/// Adds what a Pod refers to.
fn pod_references(pod: &Value, set: &mut HashSet<Reference>) {
    let namespace = pod.namespace();
    // A mirror Pod refers to nothing: whoever can write files on the node must not read secrets through it.
    if pod.at(&["metadata", "annotations", "kubernetes.io/config.mirror"]).is_some() {
        return;
    }
    let mut add = |resource: &'static str, name: &str| {
        if !name.is_empty() {
            set.insert((resource, namespace.to_owned(), name.to_owned()));
        }
    };
    add("serviceaccounts", pod.text(&["spec", "serviceAccountName"]));
    for secret in pod.items(&["spec", "imagePullSecrets"]) {
        add("secrets", secret.text(&["name"]));
    }
    let containers = ["containers", "initContainers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|list| pod.items(&["spec", list]).iter());
    for container in containers {
        for variable in container.items(&["env"]) {
            add("secrets", variable.text(&["valueFrom", "secretKeyRef", "name"]));
            add("configmaps", variable.text(&["valueFrom", "configMapKeyRef", "name"]));
        }
        for source in container.items(&["envFrom"]) {
            add("secrets", source.text(&["secretRef", "name"]));
            add("configmaps", source.text(&["configMapRef", "name"]));
        }
    }
    for volume in pod.items(&["spec", "volumes"]) {
        add("secrets", volume.text(&["secret", "secretName"]));
        add("configmaps", volume.text(&["configMap", "name"]));
        add("persistentvolumeclaims", volume.text(&["persistentVolumeClaim", "claimName"]));
        for driver in ["csi", "cephfs", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"] {
            add("secrets", volume.text(&[driver, "secretRef", "name"]));
        }
        add("secrets", volume.text(&["csi", "nodePublishSecretRef", "name"]));
        add("secrets", volume.text(&["azureFile", "secretName"]));
        for source in volume.items(&["projected", "sources"]) {
            add("secrets", source.text(&["secret", "name"]));
            add("configmaps", source.text(&["configMap", "name"]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::UserInfo;
    use serde_json::json;

    fn show(graph: &mut NodeGraph, pods: &[Value]) {
        let mut pass = graph.pass();
        for pod in pods {
            let revision = pod["metadata"]["generation"].as_u64().unwrap_or_default();
            pass.see(pod.name(), revision, &|| pod.clone());
        }
    }

    fn graph_of(pods: &[Value]) -> NodeGraph {
        let mut graph = NodeGraph::default();
        show(&mut graph, pods);
        graph
    }

    #[test]
    fn the_graph_follows_pods_that_come_change_and_go() {
        let pod = |name: &str, revision: u64, node: &str, secret: &str| {
            json!({"metadata": {"name": name, "namespace": "a", "generation": revision},
                "spec": {"nodeName": node, "volumes": [{"secret": {"secretName": secret}}]}})
        };
        let mut graph = NodeGraph::default();
        let check = |graph: &NodeGraph, expected: &[(&str, &str, bool)]| {
            for (node, secret, refers) in expected {
                assert_eq!(graph.refers(node, "secrets", "a", secret), *refers, "{node} {secret}");
            }
        };
        show(&mut graph, &[pod("p", 1, "n1", "s"), pod("q", 2, "n1", "s"), pod("r", 3, "", "t")]);
        check(&graph, &[("n1", "s", true), ("n1", "t", false), ("", "t", false)]);
        show(&mut graph, &[pod("q", 2, "n1", "never read again"), pod("r", 4, "n2", "t")]);
        check(&graph, &[("n1", "s", true), ("n1", "never read again", false), ("n2", "t", true)]);
        show(&mut graph, &[pod("q", 5, "n1", "other")]);
        check(&graph, &[("n1", "s", false), ("n1", "other", true), ("n2", "t", false)]);
        show(&mut graph, &[]);
        check(&graph, &[("n1", "other", false)]);
        assert!(graph.references.is_empty() && graph.pods.is_empty());
    }

    #[test]
    fn a_node_reads_what_its_pods_need() {
        let pods = [
            json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {"nodeName": "n1", "serviceAccountName": "sa",
                "volumes": [{"configMap": {"name": "conf"}}, {"projected": {"sources": [{"secret": {"name": "s2"}}]}}],
                "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s1"}}}]}]}}),
            json!({"metadata": {"name": "q", "namespace": "a"}, "spec": {"nodeName": "n2", "volumes": [{"secret": {"secretName": "s3"}}]}}),
            json!({"metadata": {"name": "m", "namespace": "a", "annotations": {"kubernetes.io/config.mirror": "h"}},
                "spec": {"nodeName": "n1", "volumes": [{"secret": {"secretName": "s4"}}]}}),
        ];
        let graph = graph_of(&pods);
        let user = std::sync::Arc::new(UserInfo::authenticated("system:node:n1", &["system:nodes"]));
        let check = |verb: &str, group: &str, resource: &str, namespace: &str, name: &str, allowed: bool| {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let request = Attributes {
                user: user.clone(),
                verb: verb.into(),
                resource_request: true,
                group: group.into(),
                resource: resource.into(),
                subresource: subresource.into(),
                namespace: namespace.into(),
                name: name.into(),
                ..Attributes::default()
            };
            let decision = graph.decide(&request);
            if !needs_graph(&request) {
                assert_eq!(NodeGraph::default().decide(&request).allowed, allowed, "without the graph");
            }
            assert_eq!(decision.allowed, allowed, "{verb} {resource} {name}: {}", decision.reason);
        };
        check("get", "", "configmaps", "a", "conf", true);
        check("get", "", "secrets", "a", "s1", true);
        check("watch", "", "secrets", "a", "s2", true);
        check("get", "", "secrets", "a", "s3", false);
        check("get", "", "secrets", "a", "s4", false);
        check("get", "", "secrets", "b", "s1", false);
        check("list", "", "secrets", "a", "", false);
        check("delete", "", "secrets", "a", "s1", false);
        check("create", "", "serviceaccounts/token", "a", "sa", true);
        check("create", "", "serviceaccounts/token", "a", "other", false);
        check("update", "coordination.k8s.io", "leases", "kube-node-lease", "n1", true);
        check("update", "coordination.k8s.io", "leases", "kube-node-lease", "n2", false);
        check("patch", "", "pods/status", "a", "p", true);
        check("create", "", "events", "a", "", true);
        check("list", "", "pods", "", "", true);
        check("delete", "", "namespaces", "", "a", false);
    }
}
