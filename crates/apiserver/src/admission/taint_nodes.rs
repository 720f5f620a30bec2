//! TaintNodesByCondition: a new node is not ready until it says so.

use async_trait::async_trait;
use model::Status;
use model::tree::TreeExt;
use resources::Resource;
use serde_json::json;

use crate::admission::is_core;
use crate::seams::{Admission, AdmissionRequest, Operation};

/// The plug-in.
#[derive(Debug, Clone, Copy, Default)]
pub struct TaintNodesByCondition;

const TAINT: &str = "node.kubernetes.io/not-ready";

#[async_trait]
impl Admission for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, operation: Operation, row: &Resource, subresource: Option<&str>) -> bool {
        operation == Operation::Create && is_core(row, "nodes") && subresource.is_none()
    }

    async fn mutate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let mut taints = request.object.items(&["spec", "taints"]).to_vec();
        let there = |taint: &serde_json::Value| taint["key"] == TAINT && taint["effect"] == "NoSchedule";
        if !taints.iter().any(there) {
            taints.push(json!({"key": TAINT, "effect": "NoSchedule"}));
            request.object.set(&["spec", "taints"], taints);
        }
        Ok(())
    }
}
