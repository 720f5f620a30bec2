//! NamespaceLifecycle: nothing new in a namespace that is not there or is going, and the system's namespaces stay.

use std::sync::Arc;

use async_trait::async_trait;
use model::tree::TreeExt;
use model::{Cause, GroupResource, Status};
use resources::Resource;

use crate::admission::{forbidden, is_core};
use crate::seams::{Admission, AdmissionRequest, ObjectReader, Operation};

/// Namespaces that may not be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];
/// Reviews of access have to work even where the namespace does not exist.
const EXEMPT_GROUPS: [&str; 1] = ["authorization.k8s.io"];

/// The plug-in.
pub struct NamespaceLifecycle {
    reader: Arc<dyn ObjectReader>,
}

impl NamespaceLifecycle {
    /// Reads namespaces through `reader`.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }
}

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation, row: &Resource, _subresource: Option<&str>) -> bool {
        match operation {
            Operation::Create => row.namespaced() && !EXEMPT_GROUPS.contains(&row.group.as_str()),
            Operation::Delete => is_core(row, "namespaces"),
            Operation::Update | Operation::Connect => false,
        }
    }

    async fn mutate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if request.operation == Operation::Delete {
            if IMMORTAL.contains(&request.name.as_str()) {
                return Err(forbidden(request, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        let resource = GroupResource::new("", "namespaces");
        let Some(namespace) = self.reader.get(&resource, "", &request.namespace).await? else {
            return Err(Status::not_found(&resource, &request.namespace));
        };
        let terminating = namespace.at(&["metadata", "deletionTimestamp"]).is_some()
            || namespace.text(&["status", "phase"]) == "Terminating";
        if !terminating {
            return Ok(());
        }
        let name = &request.namespace;
        let why = format!("unable to create new content in namespace {name} because it is being terminated");
        let mut status = forbidden(request, why);
        if let Some(details) = &mut status.details {
            details.causes.push(Cause {
                reason: "NamespaceTerminating".into(),
                message: format!("namespace {name} is being terminated"),
                field: "metadata.namespace".into(),
            });
        }
        Err(status)
    }
}
