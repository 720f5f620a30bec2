//! Namespaces.

use model::tree::TreeExt;
use serde_json::Value;

use super::{Described, Writer, writer};
use crate::text::rfc1123;

/// Quotas and limit ranges.
pub fn related(object: &Value) -> Vec<(&'static str, String)> {
    let path =
        |plural: &str| client::Path::collection("", "v1", plural, Some(object.name())).as_str().to_owned();
    vec![("quotas", path("resourcequotas")), ("limits", path("limitranges"))]
}

/// A namespace.
pub fn describe(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    writer::beginning(object, out);
    out.field(0, "Status", object.text(&["status", "phase"]));
    let conditions = object.items(&["status", "conditions"]);
    if !conditions.is_empty() {
        out.line(0, "Conditions:");
        out.line(1, "Type\tStatus\tLastTransitionTime\tReason\tMessage");
        out.line(1, "----\t------\t------------------\t------\t-------");
        for one in conditions {
            let time = rfc1123(one.text(&["lastTransitionTime"]));
            let (kind, status) = (one.text(&["type"]), one.text(&["status"]));
            out.line(
                1,
                format!("{kind}\t{status}\t{time}\t{}\t{}", one.text(&["reason"]), one.text(&["message"])),
            );
        }
    }
    out.line(0, "");
    quotas(&described.items("quotas"), out);
    out.line(0, "");
    limits(&described.items("limits"), out);
}

fn quotas(list: &[Value], out: &mut Writer) {
    if list.is_empty() {
        out.line(0, "No resource quota.");
        return;
    }
    out.line(0, "Resource Quotas");
    for quota in list {
        out.line(1, format!("Name:\t{}", quota.name()));
        out.line(1, "Resource\tUsed\tHard");
        out.line(1, "--------\t---\t---");
        let hard = quota.at(&["status", "hard"]).and_then(Value::as_object);
        for (name, most) in hard.into_iter().flatten() {
            let used = writer::plain(quota.at(&["status", "used", name]));
            out.line(1, format!("{name}\t{used}\t{}", writer::plain(Some(most))));
        }
    }
}

fn limits(list: &[Value], out: &mut Writer) {
    if list.is_empty() {
        out.line(0, "No LimitRange resource.");
        return;
    }
    out.line(0, "Resource Limits");
    out.line(0, " Type\tResource\tMin\tMax\tDefault Request\tDefault Limit\tMax Limit/Request Ratio");
    out.line(0, " ----\t--------\t---\t---\t---------------\t-------------\t-----------------------");
    const COLUMNS: [&str; 5] = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
    for item in list.iter().flat_map(|range| range.items(&["spec", "limits"])) {
        let mut names: Vec<&String> = COLUMNS
            .iter()
            .filter_map(|column| item[*column].as_object())
            .flat_map(|map| map.keys())
            .collect();
        names.sort();
        names.dedup();
        for name in names {
            let cells = COLUMNS.map(|column| match item.at(&[column, name]) {
                Some(value) => writer::plain(Some(value)),
                None => "-".into(),
            });
            out.line(0, format!(" {}\t{name}\t{}", item.text(&["type"]), cells.join("\t")));
        }
    }
}
