//! Nobody gives away rights that they do not hold: checks on roles and bindings (upstream's policy-based RBAC storage).

use std::sync::Arc;

use async_trait::async_trait;
use model::Status;
use model::tree::TreeExt;
use rbac::PolicyRule;
use resources::Resource;

use crate::admission::forbidden;
use crate::authorization::NodeAndRbac;
use crate::seams::{Admission, AdmissionRequest, Attributes, Authorizer, Operation};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The plug-in.
pub struct EscalationCheck {
    authorizer: Arc<NodeAndRbac>,
}

impl EscalationCheck {
    /// Asks `authorizer` what the user holds.
    pub fn new(authorizer: Arc<NodeAndRbac>) -> Self {
        Self { authorizer }
    }

    /// Whether the user may do `verb` (`escalate`, `bind`) to a role outright.
    async fn may(&self, request: &AdmissionRequest, verb: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes {
            user: request.user.clone(),
            verb: verb.into(),
            resource_request: true,
            group: GROUP.into(),
            version: "v1".into(),
            resource: resource.into(),
            namespace: request.namespace.clone(),
            name: name.into(),
            ..Attributes::default()
        };
        self.authorizer.authorize(&attributes).await.allowed
    }

    async fn check(&self, request: &AdmissionRequest, wanted: &[PolicyRule]) -> Result<(), Status> {
        let policy = self.authorizer.policy().await.map_err(Status::internal)?;
        let held = policy.rules_for(&request.user, &request.namespace);
        let missing = rbac::evaluate::uncovered(&held, wanted);
        if missing.is_empty() {
            return Ok(());
        }
        let mut lines: Vec<String> = missing.iter().map(describe).collect();
        lines.sort();
        let why = format!(
            "user {:?} (groups={:?}) is attempting to grant RBAC permissions not currently held:\n{}",
            request.user.username,
            request.user.groups,
            lines.join("\n")
        );
        Err(forbidden(request, why))
    }
}

/// A rule as upstream prints it.
fn describe(rule: &PolicyRule) -> String {
    let mut parts = Vec::new();
    for (name, list) in [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.resource_names),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("Verbs", &rule.verbs),
    ] {
        if !list.is_empty() {
            let quoted: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
            parts.push(format!("{name}:[{}]", quoted.join(" ")));
        }
    }
    format!("{{{}}}", parts.join(", "))
}

#[async_trait]
impl Admission for EscalationCheck {
    fn name(&self) -> &'static str {
        "RBACEscalation"
    }

    fn handles(&self, operation: Operation, row: &Resource, subresource: Option<&str>) -> bool {
        row.group == GROUP
            && subresource.is_none()
            && matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if request.user.in_group("system:masters") {
            return Ok(());
        }
        let field = if request.row.plural.ends_with("bindings") { "roleRef" } else { "rules" };
        let unchanged =
            |path: &str| request.old.as_ref().is_some_and(|old| old[path] == request.object[path]);
        if unchanged(field) && unchanged("subjects") {
            return Ok(());
        }
        if field == "rules" {
            if self.may(request, "escalate", &request.row.plural, &request.name).await {
                return Ok(());
            }
            let wanted: Vec<PolicyRule> =
                serde_json::from_value(request.object["rules"].clone()).unwrap_or_default();
            return self.check(request, &wanted).await;
        }
        let (kind, name) =
            (request.object.text(&["roleRef", "kind"]), request.object.text(&["roleRef", "name"]));
        let resource = if kind == "ClusterRole" { "clusterroles" } else { "roles" };
        if self.may(request, "bind", resource, name).await {
            return Ok(());
        }
        let policy = self.authorizer.policy().await.map_err(Status::internal)?;
        let Some(wanted) = policy.role_rules(kind, &request.namespace, name) else {
            let resource = model::GroupResource::new(GROUP, resource);
            return Err(Status::not_found(&resource, name));
        };
        self.check(request, wanted).await
    }
}
