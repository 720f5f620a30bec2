//! Tables of custom resources: columns as their definition names them (`additionalPrinterColumns`), name and age
//! otherwise.

use jiff::Timestamp;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::jsonpath::{Path, PathError};
use super::{IncludeObject, age};

/// Columns of a version of a custom resource.
#[derive(Debug, Clone)]
pub struct Columns(Vec<Column>);

#[derive(Debug, Clone)]
struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: Path,
}

impl Columns {
    /// From `additionalPrinterColumns` of a definition's version; an empty list means age alone.
    pub fn new(printer_columns: &[Value]) -> Result<Self, PathError> {
        if printer_columns.is_empty() {
            let path = ".metadata.creationTimestamp";
            return Self::new(&[json!({"name": "Age", "type": "date", "jsonPath": path})]);
        }
        let column = |column: &Value| {
            let json_path = column.text(&["jsonPath"]);
            let described = column.text(&["description"]);
            let fallback = || format!("Custom resource definition column (in JSONPath format): {json_path}");
            Ok(Column {
                name: column.text(&["name"]).into(),
                kind: column.text(&["type"]).into(),
                format: column.text(&["format"]).into(),
                description: if described.is_empty() { fallback() } else { described.into() },
                priority: column.integer(&["priority"]).unwrap_or(0),
                path: Path::parse(json_path)?,
            })
        };
        printer_columns.iter().map(column).collect::<Result<Vec<_>, _>>().map(Self)
    }

    /// Column definitions, the name's first.
    pub fn definitions(&self) -> Value {
        let name = super::definition(&super::NAME);
        let others = self.0.iter().map(|column| {
            json!({
                "name": column.name, "type": column.kind, "format": column.format,
                "description": column.description, "priority": column.priority,
            })
        });
        std::iter::once(name).chain(others).collect()
    }

    /// The row of one object.
    pub fn row(&self, object: &Value, now: Timestamp, include: IncludeObject) -> Value {
        let cells = self.0.iter().map(|column| column.cell(object, now));
        let cells: Vec<Value> = std::iter::once(object.name().into()).chain(cells).collect();
        let mut row = json!({"cells": cells});
        super::set_object(&mut row, object, include);
        row
    }

    /// A `Table` of objects, as [`super::table`] makes for built-in kinds.
    pub fn table(
        &self,
        objects: &[Value],
        now: Timestamp,
        include: IncludeObject,
        list_metadata: Value,
        headers: bool,
    ) -> Value {
        let rows = objects.iter().map(|object| self.row(object, now, include)).collect();
        super::assemble(if headers { self.definitions() } else { Value::Null }, rows, list_metadata)
    }
}

impl Column {
    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = self.path.find(object);
        let Some(first) = found.first().filter(|first| !first.is_null()) else { return Value::Null };
        match (self.kind.as_str(), *first) {
            ("integer", Value::Number(number)) => match number.as_i64() {
                Some(whole) => whole.into(),
                None => number.as_f64().map_or(Value::Null, |number| (number as i64).into()),
            },
            ("number", Value::Number(number)) => number.as_f64().map_or(Value::Null, Value::from),
            ("boolean", Value::Bool(flag)) => (*flag).into(),
            ("date", Value::String(text)) => match model::time::parse(text) {
                Some(_) => age::since(text, now).into(),
                None => "<invalid>".into(),
            },
            ("string", value) => match value {
                Value::String(text) => text.as_str().into(),
                other => other.to_string().into(),
            },
            _ => Value::Null,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_definitions() {
        let now = model::time::parse("2026-01-02T03:04:05Z").unwrap();
        let columns = Columns::new(&[
            json!({"name": "Size", "type": "integer", "jsonPath": ".spec.size"}),
            json!({"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}),
            json!({"name": "Since", "type": "date", "jsonPath": ".spec.time", "priority": 1}),
        ])
        .unwrap();
        let object = json!({"metadata": {"name": "x"}, "spec": {"size": 3, "time": "2026-01-02T03:04:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        let table = columns.table(
            &[object, json!({"metadata": {"name": "y"}})],
            now,
            IncludeObject::None,
            json!({}),
            true,
        );
        assert_eq!(table["rows"][0]["cells"], json!(["x", 3, "True", "5s"]));
        assert_eq!(table["rows"][1]["cells"], json!(["y", null, null, null]));
        assert_eq!(table["columnDefinitions"][3]["priority"], 1);
        let default = Columns::new(&[]).unwrap();
        assert_eq!(default.definitions()[1]["name"], "Age");
        assert!(Columns::new(&[json!({"name": "X", "jsonPath": ".a["})]).is_err());
    }
}
