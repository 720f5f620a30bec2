//! Priority: a Pod's class becomes its number and its preemption policy.

use std::sync::Arc;

use async_trait::async_trait;
use model::tree::TreeExt;
use model::{GroupResource, Status};
use resources::Resource;
use serde_json::Value;

use crate::admission::{forbidden, is_core};
use crate::seams::{Admission, AdmissionRequest, ObjectReader, Operation};

/// The plug-in.
pub struct Priority {
    reader: Arc<dyn ObjectReader>,
}

fn classes() -> GroupResource {
    GroupResource::new("scheduling.k8s.io", "priorityclasses")
}

impl Priority {
    /// Reads classes through `reader`.
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader }
    }

    /// The class that counts when a Pod names none: the default one of the lowest value.
    async fn default_class(&self) -> Result<Option<Arc<Value>>, Status> {
        let mut defaults = self.reader.list(&classes(), None).await?;
        defaults.retain(|class| class["globalDefault"] == true);
        defaults.sort_by_key(|class| class.integer(&["value"]));
        Ok(defaults.into_iter().next())
    }

    async fn admit_pod(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let name = request.object.text(&["spec", "priorityClassName"]).to_owned();
        let class = if name.is_empty() {
            self.default_class().await?
        } else {
            let found = self.reader.get(&classes(), "", &name).await?;
            let why = || forbidden(request, format!("no PriorityClass with name {name} was found"));
            Some(found.ok_or_else(why)?)
        };
        let value = class.as_ref().and_then(|class| class.integer(&["value"])).unwrap_or(0);
        let policy = class.as_ref().map(|class| class.text(&["preemptionPolicy"]).to_owned());
        let policy =
            policy.filter(|policy| !policy.is_empty()).unwrap_or_else(|| "PreemptLowerPriority".into());
        if let Some(given) = request.object.integer(&["spec", "priority"])
            && given != value
        {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
            );
            return Err(forbidden(request, why));
        }
        let given = request.object.text(&["spec", "preemptionPolicy"]).to_owned();
        if !given.is_empty() && given != policy {
            let why = format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
            );
            return Err(forbidden(request, why));
        }
        if let (Some(class), true) = (&class, name.is_empty()) {
            request.object.set(&["spec", "priorityClassName"], class.name());
        }
        request.object.set(&["spec", "priority"], value);
        request.object.set(&["spec", "preemptionPolicy"], policy);
        Ok(())
    }

    async fn check_class(&self, request: &AdmissionRequest) -> Result<(), Status> {
        if request.object["globalDefault"] != true {
            return Ok(());
        }
        match self.default_class().await? {
            Some(other) if other.name() != request.object.name() => {
                let why = format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    other.name()
                );
                Err(forbidden(request, why))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, operation: Operation, row: &Resource, subresource: Option<&str>) -> bool {
        let pod = is_core(row, "pods") && operation == Operation::Create;
        let class = row.group == "scheduling.k8s.io"
            && row.plural == "priorityclasses"
            && matches!(operation, Operation::Create | Operation::Update);
        subresource.is_none() && (pod || class)
    }

    async fn mutate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if is_core(&request.row, "pods") { self.admit_pod(request).await } else { Ok(()) }
    }

    async fn validate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        if is_core(&request.row, "pods") { Ok(()) } else { self.check_class(request).await }
    }
}
