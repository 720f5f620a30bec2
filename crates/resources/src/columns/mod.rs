//! Print columns: what `kubectl get` shows, as `meta.k8s.io/v1 Table`s. One row of a table per kind; kinds without one
//! show name and time of creation. Columns, types, formats and priorities are upstream's
//! (k8s.io/kubernetes/pkg/printers/internalversion).

pub mod age;
mod autoscaler;
pub mod cells;
mod cluster;
mod config;
pub mod custom;
mod devices;
mod event;
pub mod jsonpath;
mod kinds;
mod node;
mod pod;
mod service;
mod storage;
mod workload;

pub use pod::status as pod_status;

use jiff::Timestamp;
use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::row::Resource;
use cells::Row;

/// A column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Heading; clients print it in capitals.
    pub name: &'static str,
    /// `string`, `integer` or `boolean`.
    pub kind: &'static str,
    /// `name` for the column that names the object.
    pub format: &'static str,
    /// 0 is always shown, 1 in wide output.
    pub priority: i32,
}

/// How a kind is shown.
pub(crate) struct Printer {
    group: &'static str,
    kind: &'static str,
    columns: &'static [Column],
    cells: fn(&Row<'_>) -> Vec<Value>,
}

const fn column(name: &'static str, kind: &'static str, format: &'static str, priority: i32) -> Column {
    Column { name, kind, format, priority }
}

const NAME: Column = column("Name", "string", "name", 0);
const AGE: Column = text("Age");

const fn text(name: &'static str) -> Column {
    column(name, "string", "", 0)
}

const fn wide(name: &'static str) -> Column {
    column(name, "string", "", 1)
}

const fn number(name: &'static str) -> Column {
    column(name, "integer", "", 0)
}

const fn flag(name: &'static str) -> Column {
    column(name, "boolean", "", 0)
}

/// What stands in a row's `object`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IncludeObject {
    /// Nothing.
    None,
    /// `PartialObjectMetadata`.
    #[default]
    Metadata,
    /// The object.
    Object,
}

impl IncludeObject {
    /// Reads the `includeObject` parameter; empty is upstream's default.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// A `Table` of objects (in the row's version). `list_metadata` is the list's (`resourceVersion`, `continue`, …) or the
/// single object's `{"resourceVersion": …}`; without `headers` the definitions are left out, as in later watch events.
pub fn table(
    resource: &Resource,
    objects: &[Value],
    now: Timestamp,
    include: IncludeObject,
    list_metadata: Value,
    headers: bool,
) -> Value {
    let rows: Vec<Value> = objects.iter().map(|object| row(resource, object, now, include)).collect();
    let definitions = if headers { definitions(resource) } else { Value::Null };
    assemble(definitions, rows, list_metadata)
}

/// Puts a `Table` together.
pub(crate) fn assemble(definitions: Value, rows: Vec<Value>, list_metadata: Value) -> Value {
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": list_metadata,
        "columnDefinitions": definitions, "rows": rows,
    })
}

/// Column definitions of a resource.
pub fn definitions(resource: &Resource) -> Value {
    let columns = printer(resource).map_or(DEFAULT, |printer| printer.columns);
    columns.iter().map(definition).collect()
}

fn definition(column: &Column) -> Value {
    let kind = if column.name == CREATED_AT { "date" } else { column.kind };
    json!({
        "name": column.name, "type": kind, "format": column.format, "description": describe(column.name),
        "priority": column.priority,
    })
}

const CREATED_AT: &str = "Created At";
const DEFAULT: &[Column] = &[NAME, text(CREATED_AT)];

/// A column in few words.
fn describe(name: &str) -> String {
    match name {
        "Name" => "Name of the object, unique among its kind in a namespace.".into(),
        "Age" | CREATED_AT => "When the object was created.".into(),
        "Containers" => "Names of the containers.".into(),
        "Images" => "Images of the containers.".into(),
        "Selector" => "Labels that choose the objects.".into(),
        other => format!("{other} of the object."),
    }
}

/// The row of one object.
pub fn row(resource: &Resource, object: &Value, now: Timestamp, include: IncludeObject) -> Value {
    let shown = printed_form(resource, object);
    let seen = Row { object: shown.as_ref().unwrap_or(object), now };
    let cells = match printer(resource) {
        Some(printer) => (printer.cells)(&seen),
        None => vec![seen.name().into(), seen.text(&["metadata", "creationTimestamp"]).into()],
    };
    let mut row = json!({"cells": cells});
    if resource.group.is_empty() && resource.kind == "Pod" {
        let conditions = pod::row_conditions(&seen);
        if !conditions.is_empty() {
            row["conditions"] = conditions.into();
        }
    }
    set_object(&mut row, object, include);
    row
}

/// Puts what was asked for into a row's `object`.
pub(crate) fn set_object(row: &mut Value, object: &Value, include: IncludeObject) {
    row["object"] = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Object => object.clone(),
        IncludeObject::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
            "metadata": object.at(&["metadata"]).cloned().unwrap_or_else(|| json!({})),
        }),
    };
}

/// Objects that are printed in another version than their own.
fn printed_form(resource: &Resource, object: &Value) -> Option<Value> {
    let to = match (resource.group.as_str(), resource.version.as_str(), resource.kind.as_str()) {
        ("events.k8s.io", _, "Event") => crate::registry().by_path("", "v1", "events"),
        ("autoscaling", "v1", "HorizontalPodAutoscaler") => {
            crate::registry().by_path("autoscaling", "v2", "horizontalpodautoscalers")
        }
        _ => None,
    }?;
    Some(crate::convert::convert(resource, to, object.clone()))
}

fn printer(resource: &Resource) -> Option<&'static Printer> {
    let group = if resource.group == "events.k8s.io" { "" } else { resource.group.as_str() };
    kinds::ALL
        .iter()
        .flat_map(|list| list.iter())
        .find(|printer| printer.kind == resource.kind && printer.group == group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_as_many_cells_as_columns() {
        let now = model::time::parse("2026-01-02T03:04:05Z").unwrap();
        for resource in crate::Registry::every_version().rows() {
            let object = json!({"metadata": {"name": "x", "creationTimestamp": "2026-01-02T03:04:00Z"}});
            let table =
                table(resource, std::slice::from_ref(&object), now, IncludeObject::Metadata, json!({}), true);
            let columns = table["columnDefinitions"].as_array().unwrap();
            let surplus = usize::from(resource.kind == "IPAddress");
            assert_eq!(
                table["rows"][0]["cells"].as_array().unwrap().len(),
                columns.len() + surplus,
                "{resource:?}"
            );
        }
    }

    #[test]
    fn every_printer_is_of_a_resource() {
        let registry = crate::Registry::every_version();
        for printer in kinds::ALL.iter().flat_map(|list| list.iter()) {
            let known =
                registry.rows().iter().any(|row| row.kind == printer.kind && row.group == printer.group);
            assert!(known || printer.kind == "Scale", "{}", printer.kind);
        }
    }
}
