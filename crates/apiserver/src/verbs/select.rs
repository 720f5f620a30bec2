//! Which objects a list, watch or deletion of a collection means.

use model::selector::{FieldRequirement, FieldSelector, LabelSelector};
use model::{Cause, Status};

use crate::objects::{Stored, split_key};
use crate::pipeline::context::Context;
use crate::routes::Served;

/// A selection of objects.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// By label.
    pub labels: LabelSelector,
    /// By field, in the storage version's names.
    pub fields: FieldSelector,
    /// The one name that can match, if the field selector names one.
    pub name: Option<String>,
    /// The one namespace that can match, if the field selector names one.
    pub namespace: Option<String>,
}

impl Selection {
    /// Reads the selectors of a request.
    ///
    /// # Errors
    /// 400 in upstream's words.
    pub fn of(context: &Context, served: &Served) -> Result<Self, Status> {
        let labels =
            LabelSelector::parse(context.query.text("labelSelector")).map_err(Status::bad_request)?;
        let mut fields =
            FieldSelector::parse(context.query.text("fieldSelector")).map_err(Status::bad_request)?;
        // The legacy `/watch/…/NAME` paths.
        if !context.route.name.is_empty() && fields.exact("metadata.name").is_none() {
            let value = context.route.name.clone();
            fields.requirements.push(FieldRequirement { field: "metadata.name".into(), equal: true, value });
        }
        for requirement in &mut fields.requirements {
            let (group, kind) = (&served.row.group, &served.row.kind);
            requirement.field = resources::convert::field_label(group, kind, &requirement.field).into_owned();
            let known = matches!(requirement.field.as_str(), "metadata.name" | "metadata.namespace")
                || served.storage.rules.selectable_field_names().contains(&requirement.field.as_str());
            if !known {
                return Err(Status::bad_request(format!("field label not supported: {}", requirement.field)));
            }
        }
        let exact = |field: &str| fields.exact(field).map(str::to_owned);
        Ok(Self { name: exact("metadata.name"), namespace: exact("metadata.namespace"), labels, fields })
    }

    /// Whether it restricts nothing.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object is selected.
    pub fn matches(&self, served: &Served, entry: &Stored) -> bool {
        if self.is_everything() {
            return true;
        }
        let (namespace, name) = split_key(&served.prefix, &entry.key);
        if self.name.as_deref().is_some_and(|wanted| wanted != name)
            || self.namespace.as_deref().is_some_and(|wanted| wanted != namespace)
        {
            return false;
        }
        let only_names = self.labels.is_everything()
            && self.fields.requirements.iter().all(|requirement| requirement.field.starts_with("metadata."));
        if only_names {
            return self
                .fields
                .matches(|field| Some(if field == "metadata.name" { name } else { namespace }));
        }
        let facts = entry.object.facts(&served.storage);
        let field = |field: &str| match field {
            "metadata.name" => Some(name),
            "metadata.namespace" => Some(namespace),
            _ => facts.fields.iter().find(|(own, _)| *own == field).map(|(_, value)| value.as_str()),
        };
        self.fields.matches(field) && self.labels.matches(facts.labels.as_ref())
    }
}

/// Reads a `resourceVersion`.
///
/// # Errors
/// Upstream's 400.
pub fn parse_revision(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| {
        let cause = Cause {
            reason: "FieldValueInvalid".into(),
            message: format!("Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"),
            field: "resourceVersion".into(),
        };
        let text = format!("resourceVersion: {}", cause.message);
        Status::bad_request(text)
    })
}
