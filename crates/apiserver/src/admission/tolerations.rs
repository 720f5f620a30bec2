//! DefaultTolerationSeconds: a Pod stays for five minutes on a node that is not ready or not reachable.

use async_trait::async_trait;
use model::Status;
use model::tree::TreeExt;
use resources::Resource;
use serde_json::{Value, json};

use crate::admission::is_core;
use crate::seams::{Admission, AdmissionRequest, Operation};

/// The plug-in.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultTolerationSeconds;

const KEYS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: i64 = 300;

fn tolerates(toleration: &Value, key: &str) -> bool {
    let (own, effect) = (toleration.text(&["key"]), toleration.text(&["effect"]));
    (own.is_empty() || own == key) && (effect.is_empty() || effect == "NoExecute")
}

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, operation: Operation, row: &Resource, subresource: Option<&str>) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && is_core(row, "pods")
            && subresource.is_none()
    }

    async fn mutate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let present = request.object.items(&["spec", "tolerations"]);
        let missing: Vec<Value> = KEYS
            .into_iter()
            .filter(|key| !present.iter().any(|toleration| tolerates(toleration, key)))
            .map(|key| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS}))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let all = [present, &missing].concat();
        request.object.set(&["spec", "tolerations"], all);
        Ok(())
    }
}
