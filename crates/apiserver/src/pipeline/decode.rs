//! Bodies and options of writing requests.

use model::{Cause, GroupVersionKind, Status};
use resources::schema::decode::Expected;
use resources::schema::{Definition, FieldValidation};
use serde_json::{Value, json};

use super::context::Context;
use super::negotiate::body_format;

/// Options common to writing requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Nothing is stored.
    pub dry_run: bool,
    /// What happens to unknown fields.
    pub validation: FieldValidation,
    /// `fieldManager`.
    pub field_manager: String,
}

/// Reads `dryRun`, `fieldValidation` and `fieldManager`. `kind` is the options' kind, for messages.
///
/// # Errors
/// 422 for values that are not known.
pub fn write_options(context: &Context, kind: &str) -> Result<WriteOptions, Status> {
    if context.query.is_empty() {
        return Ok(WriteOptions::default());
    }
    let mut causes = Vec::new();
    let dry_run: Vec<&str> = context.query.all("dryRun").filter(|value| !value.is_empty()).collect();
    causes.extend(dry_run_fault(&dry_run));
    let text = context.query.text("fieldValidation");
    let validation = FieldValidation::parse(text);
    if validation.is_none() {
        causes.push(unsupported("fieldValidation", text, "\"Ignore\", \"Strict\", \"Warn\""));
    }
    let field_manager = context.query.text("fieldManager").to_owned();
    if field_manager.len() > 128 {
        causes.push(Cause {
            reason: "FieldValueTooLong".into(),
            message: "Too long: may not be more than 128 bytes".into(),
            field: "fieldManager".into(),
        });
    }
    if !causes.is_empty() {
        return Err(Status::invalid("meta.k8s.io", kind, "", causes));
    }
    Ok(WriteOptions {
        dry_run: !dry_run.is_empty(),
        validation: validation.unwrap_or_default(),
        field_manager,
    })
}

/// What is wrong with a `dryRun` list.
pub fn dry_run_fault(values: &[&str]) -> Option<Cause> {
    let wrong = values.iter().find(|value| **value != "All")?;
    Some(unsupported("dryRun", wrong, "\"All\""))
}

fn unsupported(field: &str, value: &str, supported: &str) -> Cause {
    Cause {
        reason: "FieldValueNotSupported".into(),
        message: format!("Unsupported value: {value:?}: supported values: {supported}"),
        field: field.into(),
    }
}

impl WriteOptions {
    /// As admission sees them.
    pub fn to_value(&self, kind: &str) -> Value {
        let mut value = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if self.dry_run {
            value["dryRun"] = json!(["All"]);
        }
        if !self.field_manager.is_empty() {
            value["fieldManager"] = json!(self.field_manager);
        }
        value
    }
}

/// Reads the body as an object of a kind, normalised; strict errors become warnings or 400 as asked.
///
/// # Errors
/// 400, 413, 415 in upstream's words.
pub async fn object(
    context: &Context,
    kind: &GroupVersionKind,
    definition: Option<&'static Definition>,
    validation: FieldValidation,
) -> Result<Value, Status> {
    let format = body_format(&context.headers, definition.is_none())?;
    let body = context.read_body().await?;
    let decoded = resources::schema::decode(&Expected { kind, definition }, format, &body)?;
    for warning in decoded.judge(validation, kind)? {
        context.warn(warning);
    }
    Ok(decoded.object)
}
