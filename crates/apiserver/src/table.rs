//! Tables of a resource's objects, for clients that print.

use model::Status;
use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::pipeline::answer::partial;
use crate::pipeline::context::Context;

/// A `meta.k8s.io/v1 Table` of objects in the served version. `headers`: with column definitions (a watch sends them
/// once). `includeObject` is read from the request.
///
/// # Errors
/// 406 for what has no metadata; 400 for an unknown `includeObject`.
pub fn of(context: &Context, objects: &[Value], metadata: Value, headers: bool) -> Result<Value, Status> {
    let include = match context.query.text("includeObject") {
        "" | "Metadata" => Include::Metadata,
        "None" => Include::Nothing,
        "Object" => Include::Object,
        other => {
            let text = format!("unrecognized includeObject value: {other:?}");
            return Err(Status::bad_request(text));
        }
    };
    context.served()?;
    let now = context.server.options.clock.now();
    let mut table = rows(objects, now);
    table["metadata"] = metadata;
    if !headers {
        table["columnDefinitions"] = Value::Null;
    }
    if let Some(rows) = table.get_mut("rows").and_then(Value::as_array_mut) {
        for (row, object) in rows.iter_mut().zip(objects) {
            row["object"] = match include {
                Include::Metadata => partial(object),
                Include::Object => object.clone(),
                Include::Nothing => json!(null),
            };
        }
    }
    Ok(table)
}

enum Include {
    Metadata,
    Object,
    Nothing,
}

/// Name and creation, as upstream's default for kinds without columns of their own.
fn rows(objects: &[Value], _now: jiff::Timestamp) -> Value {
    let column = |name: &str, kind: &str, format: &str, text: &str| json!({"name": name, "type": kind, "format": format, "description": text, "priority": 0});
    let row =
        |object: &Value| json!({"cells": [object.name(), object.text(&["metadata", "creationTimestamp"])]});
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1",
        "columnDefinitions": [
            column("Name", "string", "name", "Name of the object"),
            column("Created At", "date", "", "Time of the object's creation"),
        ],
        "rows": objects.iter().map(row).collect::<Vec<_>>(),
    })
}
