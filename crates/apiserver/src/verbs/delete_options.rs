//! `DeleteOptions`, from body or query.

use model::tree::TreeExt;
use model::{Cause, GroupVersionKind, Status};
use resources::schema::{Definition, Format, protobuf};
use serde_json::{Value, json};

use crate::pipeline::context::Context;
use crate::pipeline::decode::dry_run_fault;
use crate::pipeline::negotiate::body_format;

/// What becomes of dependents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Propagation {
    /// They lose their owner.
    Orphan,
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
}

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Grace in seconds.
    pub grace_s: Option<i64>,
    /// Only the object of this uid.
    pub uid: Option<String>,
    /// Only this version of it.
    pub resource_version: Option<String>,
    /// Dependents.
    pub propagation: Option<Propagation>,
    /// Legacy `orphanDependents`.
    pub orphan_dependents: Option<bool>,
    /// Nothing is stored.
    pub dry_run: bool,
    /// Unreadable objects may be removed too.
    pub ignore_read_error: bool,
}

impl DeleteOptions {
    /// Reads them.
    ///
    /// # Errors
    /// 400 or 422 in upstream's words.
    pub async fn read(context: &Context) -> Result<Self, Status> {
        let body = context.read_body().await?;
        if body.is_empty() {
            return Self::from_value(&query_value(context)?);
        }
        let name = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
        let definition = resources::schema::definition(name);
        let mut tree = parse(body_format(&context.headers, false)?, &body, definition)?;
        if let Some(definition) = definition {
            let kind = GroupVersionKind::new("meta.k8s.io", "v1", "DeleteOptions");
            resources::schema::normalise(definition, &mut tree)
                .map_err(|error| resources::schema::decode::unhandled(&kind, &kind, &error))?;
        }
        Self::from_value(&tree)
    }

    fn from_value(tree: &Value) -> Result<Self, Status> {
        let mut causes = Vec::new();
        let policy = tree.text(&["propagationPolicy"]);
        let orphan_dependents = tree.get("orphanDependents").and_then(Value::as_bool);
        let propagation = match policy {
            "" => None,
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            other => {
                causes.push(Cause {
                    reason: "FieldValueNotSupported".into(),
                    message: format!(
                        "Unsupported value: {other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \
                         \"nil\""
                    ),
                    field: "propagationPolicy".into(),
                });
                None
            }
        };
        if orphan_dependents.is_some() && !policy.is_empty() {
            causes.push(Cause {
                reason: "FieldValueInvalid".into(),
                message: format!(
                    "Invalid value: {policy:?}: orphanDependents and deletionPropagation cannot be both set"
                ),
                field: "propagationPolicy".into(),
            });
        }
        let dry_run: Vec<&str> = tree.items(&["dryRun"]).iter().filter_map(Value::as_str).collect();
        causes.extend(dry_run_fault(&dry_run));
        if !causes.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", causes));
        }
        let text = |path: &[&str]| Some(tree.text(path).to_owned()).filter(|text| !text.is_empty());
        Ok(Self {
            // Upstream reads negative values as one second.
            grace_s: tree.integer(&["gracePeriodSeconds"]).map(|grace| if grace < 0 { 1 } else { grace }),
            uid: text(&["preconditions", "uid"]),
            resource_version: text(&["preconditions", "resourceVersion"]),
            propagation,
            orphan_dependents,
            dry_run: !dry_run.is_empty(),
            ignore_read_error: tree
                .get("ignoreStoreReadErrorWithClusterBreakingPotential")
                .and_then(Value::as_bool)
                .unwrap_or(false),
        })
    }

    /// As admission sees them.
    pub fn to_value(&self) -> Value {
        let mut value = json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"});
        if let Some(grace) = self.grace_s {
            value["gracePeriodSeconds"] = json!(grace);
        }
        if let Some(propagation) = self.propagation {
            value["propagationPolicy"] = json!(format!("{propagation:?}"));
        }
        if let Some(uid) = &self.uid {
            value["preconditions"] = json!({"uid": uid});
        }
        if self.dry_run {
            value["dryRun"] = json!(["All"]);
        }
        value
    }
}

/// The body's tree, which must be options if it says what it is.
fn parse(format: Format, body: &[u8], definition: Option<&'static Definition>) -> Result<Value, Status> {
    let read = match format {
        Format::Json => resources::schema::decode::from_json(body).map(|decoded| decoded.object),
        Format::Yaml => resources::schema::decode::from_yaml(body).map(|decoded| decoded.object),
        Format::Protobuf => protobuf::Unknown::parse(body).and_then(|unknown| {
            let mut tree = match definition.filter(|_| matches!(unknown.kind.as_str(), "" | "DeleteOptions"))
            {
                Some(definition) => protobuf::message(definition, unknown.raw)?,
                None => json!({}),
            };
            tree["kind"] = json!(unknown.kind);
            Ok(tree)
        }),
    };
    let tree = read.map_err(Status::bad_request)?;
    if matches!(tree.kind(), "" | "DeleteOptions") {
        return Ok(tree);
    }
    Err(Status::bad_request("decoded object cannot be converted to DeleteOptions"))
}

fn query_value(context: &Context) -> Result<Value, Status> {
    let query = &context.query;
    let mut value = json!({});
    if let Some(grace) = query.number("gracePeriodSeconds")? {
        value["gracePeriodSeconds"] = json!(grace);
    }
    if let Some(policy) = query.get("propagationPolicy").filter(|text| !text.is_empty()) {
        value["propagationPolicy"] = json!(policy);
    }
    if query.get("orphanDependents").is_some() {
        value["orphanDependents"] = json!(query.flag("orphanDependents"));
    }
    let dry_run: Vec<&str> = query.all("dryRun").filter(|text| !text.is_empty()).collect();
    if !dry_run.is_empty() {
        value["dryRun"] = json!(dry_run);
    }
    Ok(value)
}
