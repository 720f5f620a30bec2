//! What create and update share: admission, metadata, validation, the transaction.

use std::sync::Arc;

use bytes::Bytes;
use model::tree::TreeExt;
use model::{Cause, Status, UserInfo, wire};
use resources::field::Errors;
use serde_json::Value;
use store::{Outcome, Transaction};

use crate::objects::store_failed;
use crate::pipeline::context::Context;
use crate::routes::Served;
use crate::seams::{AdmissionRequest, Operation};

/// A change of one object, whoever asked for it: a client's create or update, or a step of another verb.
pub struct Change<'c> {
    /// The request it belongs to.
    pub context: &'c Context,
    /// The resource.
    pub served: &'c Arc<Served>,
    /// Namespace, or empty.
    pub namespace: &'c str,
    /// Name; empty while not generated.
    pub name: &'c str,
    /// The subresource written to.
    pub subresource: Option<&'c str>,
    /// Nothing is stored.
    pub dry_run: bool,
    /// The options as admission sees them.
    pub options: Value,
    /// A step of the server's own (binding a Pod, marking it disrupted): the object's rules and policies have no say.
    pub internal: bool,
}

impl Change<'_> {
    /// Who.
    pub fn user(&self) -> &Arc<UserInfo> {
        &self.context.user
    }

    /// The object's key.
    pub fn key(&self) -> String {
        crate::objects::object_key(&self.served.prefix, self.namespace, self.name)
    }

    /// An admission request.
    pub fn admission(&self, operation: Operation, object: Value, old: Option<Value>) -> AdmissionRequest {
        AdmissionRequest {
            operation,
            row: Arc::clone(&self.served.row),
            subresource: self.subresource.map(str::to_owned),
            namespace: self.namespace.to_owned(),
            name: self.name.to_owned(),
            object,
            old,
            options: self.options.clone(),
            user: Arc::clone(self.user()),
            dry_run: self.dry_run,
            warnings: Vec::new(),
        }
    }

    /// Lets mutating policies at the object, then normalises and defaults it again if they changed it.
    ///
    /// # Errors
    /// Their refusals.
    pub async fn mutate(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let plugins = &self.context.server.options.admission;
        let handles = |plugin: &Arc<dyn crate::seams::Admission>| {
            plugin.handles(request.operation, &self.served.row, self.subresource)
        };
        let wanted: Vec<_> = plugins.iter().filter(|plugin| handles(plugin)).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let before = request.object.clone();
        let mut outcome = Ok(());
        for plugin in wanted {
            outcome = plugin.mutate(request).await;
            if outcome.is_err() {
                break;
            }
        }
        self.collect_warnings(request);
        outcome?;
        if request.object != before && request.operation != Operation::Delete {
            self.tidy(&mut request.object)?;
        }
        Ok(())
    }

    /// Lets validating policies see the object.
    ///
    /// # Errors
    /// Their refusals.
    pub async fn admit(&self, request: &mut AdmissionRequest) -> Result<(), Status> {
        let mut outcome = Ok(());
        for plugin in &self.context.server.options.admission {
            if plugin.handles(request.operation, &self.served.row, self.subresource) {
                outcome = plugin.validate(request).await;
                if outcome.is_err() {
                    break;
                }
            }
        }
        self.collect_warnings(request);
        if outcome.is_err() {
            self.abandon(request).await;
        }
        outcome
    }

    /// An admitted change came to nothing.
    pub async fn abandon(&self, request: &AdmissionRequest) {
        if self.internal {
            return;
        }
        for plugin in &self.context.server.options.admission {
            if plugin.handles(request.operation, &self.served.row, self.subresource) {
                plugin.abandoned(request).await;
            }
        }
    }

    fn collect_warnings(&self, request: &mut AdmissionRequest) {
        for warning in request.warnings.drain(..) {
            self.context.warn(warning);
        }
    }

    /// Normalises and defaults.
    ///
    /// # Errors
    /// 500 when a policy made something that is no such object.
    pub fn tidy(&self, object: &mut Value) -> Result<(), Status> {
        // Binding, Eviction and connect options have their own shape.
        if object.kind() != self.served.kind.kind {
            return Ok(());
        }
        if let Some(definition) = self.served.definition {
            resources::schema::normalise(definition, object).map_err(Status::internal)?;
            object["kind"] = self.served.kind.kind.as_str().into();
            object["apiVersion"] = self.served.api_version.as_str().into();
        }
        self.served.row.rules.default(object);
        Ok(())
    }

    /// 422 for field errors.
    pub fn invalid(&self, name: &str, errors: &Errors) -> Status {
        let causes: Vec<Cause> = errors.iter().map(resources::field::FieldError::to_cause).collect();
        Status::invalid(&self.served.kind.group, &self.served.kind.kind, name, causes)
    }

    /// The object in its storage version, encoded.
    pub fn encode(&self, object: &Value) -> Bytes {
        if self.served.is_storage_version() {
            return wire::encode(object).into();
        }
        let stored = resources::convert::convert(&self.served.row, &self.served.storage, object.clone());
        wire::encode(&stored).into()
    }

    /// The answer's bytes for what was stored at a revision.
    pub fn wire(&self, object: &Value, encoded: &[u8], revision: u64) -> Bytes {
        if self.served.is_storage_version() {
            return wire::splice(encoded, revision).into();
        }
        let mut object = object.clone();
        object.set(&["metadata", "resourceVersion"], revision.to_string());
        crate::pipeline::answer::write(crate::pipeline::negotiate::Format::Json, &object)
    }

    /// Performs a transaction on the object's key.
    ///
    /// # Errors
    /// When the store cannot.
    pub async fn transact(&self, transaction: Transaction) -> Result<Outcome, Status> {
        let store = self.context.server.objects().store();
        store.transact(transaction).await.map_err(|error| store_failed(&error))
    }
}

/// Takes from metadata what clients may not set and nobody keeps.
pub fn strip_metadata(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("selfLink");
    }
}

/// Whether anything but metadata and status differs: `metadata.generation` rises then.
pub fn content_differs(object: &Value, old: &Value) -> bool {
    let content = |value: &Value| {
        let fields = value.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status" | "kind" | "apiVersion"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    content(object) != content(old)
}
