//! The admission plug-ins that are built in, in upstream's order.

use std::sync::Arc;

use model::Status;
use stdx::entropy::Entropy;

use crate::authorization::NodeAndRbac;
use crate::seams::{Admission, AdmissionRequest, ObjectReader};

pub mod escalation;
pub mod limit_ranger;
pub mod namespace_lifecycle;
pub mod node_restriction;
pub mod priority;
pub mod runtime_class;
pub mod service_account;
pub mod taint_nodes;
pub mod tolerations;

/// All plug-ins.
pub fn plugins(
    reader: &Arc<dyn ObjectReader>,
    authorizer: &Arc<NodeAndRbac>,
    entropy: &Entropy,
) -> Vec<Arc<dyn Admission>> {
    vec![
        Arc::new(namespace_lifecycle::NamespaceLifecycle::new(reader.clone())),
        Arc::new(limit_ranger::LimitRanger::new(reader.clone())),
        Arc::new(service_account::ServiceAccount::new(reader.clone(), entropy.clone())),
        Arc::new(node_restriction::NodeRestriction::new(reader.clone())),
        Arc::new(taint_nodes::TaintNodesByCondition),
        Arc::new(priority::Priority::new(reader.clone())),
        Arc::new(tolerations::DefaultTolerationSeconds),
        Arc::new(runtime_class::RuntimeClass::new(reader.clone())),
        Arc::new(escalation::EscalationCheck::new(authorizer.clone())),
    ]
}

/// `pods "x" is forbidden: <why>`.
pub fn forbidden(request: &AdmissionRequest, why: impl AsRef<str>) -> Status {
    Status::forbidden(&request.row.group_resource(), &request.name, why.as_ref())
}

/// Whether a request concerns this resource of the core group.
pub fn is_core(row: &resources::Resource, plural: &str) -> bool {
    row.group.is_empty() && row.plural == plural
}
