//! RuntimeClass: a Pod's class has to exist; its overhead, node selector and tolerations become the Pod's.

use std::sync::Arc;

use async_trait::async_trait;
use model::tree::TreeExt;
use model::{GroupResource, Status};
use resources::Resource;
use serde_json::Value;

use crate::admission::{forbidden, is_core};
use crate::seams::{Admission, AdmissionRequest, ObjectReader, Operation};

/// The plug-in.
pub struct RuntimeClass {
    reader: Arc<dyn ObjectReader>,
}

impl RuntimeClass {
    /// Reads classes through `reader`.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }
}

fn rejected(request: &AdmissionRequest, why: &str) -> Status {
    forbidden(request, format!("pod rejected: {why}"))
}

/// Puts what the class says into the Pod.
fn apply(request: &mut AdmissionRequest, class: &Value) -> Result<(), Status> {
    if let Some(overhead) = class.at(&["overhead", "podFixed"]) {
        match request.object.at(&["spec", "overhead"]) {
            Some(own) if own != overhead => {
                return Err(rejected(
                    request,
                    "Pod's Overhead doesn't match RuntimeClass's defined Overhead",
                ));
            }
            _ => request.object.set(&["spec", "overhead"], overhead.clone()),
        }
    }
    for (key, value) in
        class.at(&["scheduling", "nodeSelector"]).and_then(Value::as_object).into_iter().flatten()
    {
        let own = request.object.text(&["spec", "nodeSelector", key]).to_owned();
        let wanted = value.as_str().unwrap_or_default();
        if !own.is_empty() && own != wanted {
            let why = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {own}"
            );
            return Err(forbidden(request, why));
        }
        request.object.set(&["spec", "nodeSelector", key], wanted);
    }
    let mut tolerations = request.object.items(&["spec", "tolerations"]).to_vec();
    let before = tolerations.len();
    for toleration in class.items(&["scheduling", "tolerations"]) {
        if !tolerations.contains(toleration) {
            tolerations.push(toleration.clone());
        }
    }
    if tolerations.len() > before {
        request.object.set(&["spec", "tolerations"], tolerations);
    }
    Ok(())
}

#[async_trait]
impl Admission for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, operation: Operation, row: &Resource, subresource: Option<&str>) -> bool {
        operation == Operation::Create && is_core(row, "pods") && subresource.is_none()
    }

    async fn mutate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let name = request.object.text(&["spec", "runtimeClassName"]).to_owned();
        if name.is_empty() {
            if request.object.at(&["spec", "overhead"]).is_some() {
                let why = "Pod Overhead set without corresponding RuntimeClass defined Overhead";
                return Err(rejected(request, why));
            }
            return Ok(());
        }
        let resource = GroupResource::new("node.k8s.io", "runtimeclasses");
        match self.reader.get(&resource, "", &name).await? {
            Some(class) => apply(request, &class),
            None => Err(rejected(request, &format!("RuntimeClass {name:?} not found"))),
        }
    }
}
