//! Patches: JSON patches (RFC 6902), merge patches (RFC 7386) and strategic merge patches, applied as upstream does,
//! and made as `kubectl apply` does. Server-side apply has its seam in [`PatchType::Apply`]; the pipeline answers it.

pub mod json;
mod lookup;
pub mod merge;
pub mod print;
mod scalars;
pub mod strategic;
pub mod three_way;
pub mod two_way;

use model::{Cause, Reason, Status};
use serde_json::Value;

use crate::schema::{self, Definition, FieldValidation};

/// How a patch is written: its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// `application/json-patch+json`.
    Json,
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
    /// `application/apply-patch+yaml`.
    Apply,
}

impl PatchType {
    /// Reads a content type (parameters are ignored).
    pub fn parse(content_type: &str) -> Option<Self> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }
}

/// A patched object.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    /// The object, normalised if there is a schema.
    pub object: Value,
    /// Texts for `Warning:` headers.
    pub warnings: Vec<String>,
}

/// What is wrong with a patch; the words are upstream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch is malformed: 400.
    #[error("{0}")]
    Bad(String),
    /// The patch does not fit the object: 422.
    #[error("{0}")]
    Unprocessable(String),
    /// The patch has too many operations: 413.
    #[error("{0}")]
    TooLarge(String),
    /// Anything else that upstream answers with 500.
    #[error("{0}")]
    Other(String),
}

impl PatchError {
    /// The answer to the client.
    pub fn to_status(&self) -> Status {
        match self {
            Self::Bad(text) => Status::bad_request(text.clone()),
            // Upstream's generic response keeps the library's words to itself.
            Self::Unprocessable(_) => {
                let text = "the server rejected our request due to an error in our request";
                let mut status = Status::new(422, Reason::Invalid, text);
                status.details = Some(Box::default());
                status
            }
            Self::TooLarge(text) => {
                Status::new(413, Reason::RequestEntityTooLarge, format!("Request entity too large: {text}"))
            }
            Self::Other(text) => Status::new(500, Reason::Unknown, text.clone()),
        }
    }
}

/// Patches an object: the current one in the served version, the patch's bytes, the schema (`None` for custom
/// resources, which know no strategic merge patch). Unknown and duplicate fields are judged.
pub fn apply(
    patch_type: PatchType,
    definition: Option<&'static Definition>,
    current: &Value,
    patch: &[u8],
    validation: FieldValidation,
) -> Result<Patched, Status> {
    let (mut object, mut strict, shown) = match patch_type {
        PatchType::Json => {
            json::apply(current, patch, validation).map(|(object, strict)| (object, strict, None))
        }
        PatchType::Merge => merge::apply_bytes(current, patch).map(|(object, strict)| (object, strict, None)),
        PatchType::Strategic => strategic::apply_bytes(definition, current, patch),
        PatchType::Apply => Err(PatchError::Bad("server-side apply is not a patch of bytes".into())),
    }
    .map_err(|error| error.to_status())?;
    let shown = shown.unwrap_or_else(|| object.to_string());
    let refuse = |why: &str| {
        let message = format!("Invalid value: {}: {why}", schema::strict::quote(&shown));
        Status::invalid(
            "",
            "",
            "",
            vec![Cause { reason: "FieldValueInvalid".into(), message, field: "patch".into() }],
        )
    };
    if let Some(definition) = definition {
        strict.extend(schema::normalise(definition, &mut object).map_err(|why| refuse(&why))?);
    }
    let warnings = validation.judge(&strict).map_err(|why| refuse(&why))?;
    Ok(Patched { object, warnings })
}
