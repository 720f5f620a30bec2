//! What the user may do: the Node authorizer, then RBAC. Roles and Pods are indexed once and again when one of them
//! changed; nothing is read per request.

use std::sync::Arc;

use async_trait::async_trait;
use model::{GroupResource, UserInfo};
use parking_lot::RwLock;
use rbac::Policy;
use rbac::node::{NodeGraph, needs_graph};
use serde_json::{Value, json};

use crate::seams::{Attributes, Authorizer, Decision, ObjectReader};

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";
const RBAC_RESOURCES: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

/// Something computed from all objects of some resources, kept until one of them changes.
struct Memo<T> {
    resources: Vec<GroupResource>,
    held: RwLock<Option<(Vec<u64>, Arc<T>)>>,
}

impl<T> Memo<T> {
    fn new(resources: Vec<GroupResource>) -> Self {
        Self { resources, held: RwLock::new(None) }
    }

    async fn get(
        &self,
        reader: &dyn ObjectReader,
        compute: impl Fn(&[Arc<Value>]) -> T,
    ) -> Result<Arc<T>, String> {
        // Read before the lists: a change in between only makes the memo look old, never new.
        let generations: Vec<u64> =
            self.resources.iter().map(|resource| reader.generation(resource)).collect();
        if let Some((held, value)) = &*self.held.read()
            && *held == generations
            && !generations.contains(&0)
        {
            return Ok(value.clone());
        }
        let mut objects = Vec::new();
        for resource in &self.resources {
            objects.extend(reader.list(resource, None).await.map_err(|status| status.message)?);
        }
        let value = Arc::new(compute(&objects));
        *self.held.write() = Some((generations, value.clone()));
        Ok(value)
    }
}

/// Node authorizer and RBAC over the objects in the store.
pub struct NodeAndRbac {
    reader: Arc<dyn ObjectReader>,
    policy: Memo<Policy>,
    /// The graph, and the generation of Pods that it shows.
    graph: tokio::sync::Mutex<(u64, NodeGraph)>,
}

impl NodeAndRbac {
    /// Reads roles, bindings and Pods through `reader`.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        let policy = RBAC_RESOURCES.map(|resource| GroupResource::new(RBAC_GROUP, resource)).to_vec();
        Self { reader, policy: Memo::new(policy), graph: Default::default() }
    }

    /// What the Node authorizer says of a node's request.
    async fn decide_for_node(&self, attributes: &Attributes) -> Result<Decision, String> {
        if !needs_graph(attributes) {
            return Ok(NodeGraph::default().decide(attributes));
        }
        let pods = GroupResource::new("", "pods");
        let (held, graph) = &mut *self.graph.lock().await;
        // Read before the Pods: a change in between only makes the graph look old, never new.
        let generation = self.reader.generation(&pods);
        if generation == 0 || *held != generation {
            // Until the pass has come to its end it counts as never made.
            *held = 0;
            let mut pass = graph.pass();
            let mut see = |key: &str, revision: u64, read: &dyn Fn() -> Value| pass.see(key, revision, read);
            self.reader.visit(&pods, &mut see).await.map_err(|status| status.message)?;
            drop(pass);
            *held = generation;
        }
        Ok(graph.decide(attributes))
    }

    /// The policy as it is now.
    ///
    /// # Errors
    /// When roles cannot be read.
    pub async fn policy(&self) -> Result<Arc<Policy>, String> {
        self.policy.get(&*self.reader, |objects| Policy::new(objects.iter().map(AsRef::as_ref))).await
    }
}

#[async_trait]
impl Authorizer for NodeAndRbac {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        // The store may be down: masters get in all the same.
        if attributes.user.in_group("system:masters") {
            return Decision::allow("");
        }
        let mut reason = String::new();
        if attributes.user.node_name().is_some() {
            match self.decide_for_node(attributes).await {
                Ok(decision) if decision.allowed || decision.denied => return decision,
                Ok(decision) => reason = decision.reason,
                Err(error) => reason = error,
            }
        }
        match self.policy().await {
            Ok(policy) => {
                let mut decision = policy.decide(attributes);
                if !decision.allowed && decision.reason.is_empty() {
                    decision.reason = reason;
                }
                decision
            }
            Err(error) => Decision::no_opinion(format!("RBAC: {error}")),
        }
    }

    async fn rules(&self, user: &UserInfo, namespace: &str) -> Value {
        let Ok(policy) = self.policy().await else {
            return json!({"resourceRules": [], "nonResourceRules": [], "incomplete": true});
        };
        let (mut resource_rules, mut path_rules) = (Vec::new(), Vec::new());
        for rule in policy.rules_for(user, namespace) {
            if rule.non_resource_urls.is_empty() {
                resource_rules.push(serde_json::to_value(&rule).unwrap_or_default());
            } else {
                path_rules.push(json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls}));
            }
        }
        json!({"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": false})
    }
}
