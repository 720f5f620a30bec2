//! Objects that say who may do what, how much, and which way traffic comes.

use model::tree::TreeExt;
use serde_json::Value;

use super::writer::{or_none, pairs, plain};
use super::{Described, Writer, rules};
use crate::commands::pods;

fn labelled(object: &Value, out: &mut Writer) {
    out.field(0, "Name", object.name());
    out.labels("Labels", object.at(&["metadata", "labels"]));
    out.annotations("Annotations", object.at(&["metadata", "annotations"]));
}

/// A table below a title: names of columns, lines under them, rows.
fn table(level: usize, titles: &[&str], rows: &[Vec<String>], out: &mut Writer) {
    let lines: Vec<String> = titles.iter().map(|title| "-".repeat(title.len())).collect();
    out.line(level, titles.join("\t"));
    out.line(level, lines.join("\t"));
    rows.iter().for_each(|row| out.line(level, row.join("\t")));
}

/// A Role or ClusterRole.
pub fn role(described: &Described<'_>, out: &mut Writer) {
    labelled(described.object, out);
    out.line(0, "PolicyRule:");
    let rows: Vec<Vec<String>> =
        rules::rows(described.object.items(&["rules"])).into_iter().map(Vec::from).collect();
    table(1, &rules::TITLES, &rows, out);
}

/// A RoleBinding or ClusterRoleBinding.
pub fn binding(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    labelled(object, out);
    out.line(0, "Role:");
    out.field(1, "Kind", object.text(&["roleRef", "kind"]));
    out.field(1, "Name", object.text(&["roleRef", "name"]));
    out.line(0, "Subjects:");
    let row = |one: &Value| ["kind", "name", "namespace"].map(|field| one.text(&[field]).to_owned()).to_vec();
    let rows: Vec<Vec<String>> = object.items(&["subjects"]).iter().map(row).collect();
    table(1, &["Kind", "Name", "Namespace"], &rows, out);
}

/// What is said about the scopes of a quota.
const SCOPES: [(&str, &str); 4] = [
    (
        "Terminating",
        "Matches all pods that have an active deadline. These pods have a limited lifespan on a node before being actively terminated by the system.",
    ),
    (
        "NotTerminating",
        "Matches all pods that do not have an active deadline. These pods usually include long running pods whose container command is not expected to terminate.",
    ),
    (
        "BestEffort",
        "Matches all pods that do not have resource requirements set. These pods have a best effort quality of service.",
    ),
    (
        "NotBestEffort",
        "Matches all pods that have at least one resource requirement set. These pods have a burstable or guaranteed quality of service.",
    ),
];

/// A ResourceQuota.
pub fn quota(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    out.field(0, "Name", object.name());
    out.field(0, "Namespace", object.namespace());
    let mut scopes: Vec<&str> = object.items(&["spec", "scopes"]).iter().filter_map(Value::as_str).collect();
    if !scopes.is_empty() {
        scopes.sort_unstable();
        out.field(0, "Scopes", scopes.join(", "));
        for scope in scopes {
            if let Some((_, help)) = SCOPES.iter().find(|(own, _)| *own == scope) {
                out.line(0, format!(" * {help}"));
            }
        }
    }
    let hard = object.at(&["status", "hard"]).and_then(Value::as_object);
    let row = |(name, limit): (&String, &Value)| {
        let used = match plain(object.at(&["status", "used", name])) {
            text if text.is_empty() => "0".to_owned(),
            text => text,
        };
        vec![name.clone(), used, plain(Some(limit))]
    };
    let rows: Vec<Vec<String>> = hard.into_iter().flatten().map(row).collect();
    table(0, &["Resource", "Used", "Hard"], &rows, out);
}

/// A LimitRange.
pub fn limits(described: &Described<'_>, out: &mut Writer) {
    const FIELDS: [&str; 5] = ["min", "max", "defaultRequest", "default", "maxLimitRequestRatio"];
    let object = described.object;
    out.field(0, "Name", object.name());
    out.field(0, "Namespace", object.namespace());
    let mut rows = Vec::new();
    for item in object.items(&["spec", "limits"]) {
        let maps = FIELDS.iter().filter_map(|field| item[*field].as_object());
        let names: std::collections::BTreeSet<&String> = maps.flat_map(|map| map.keys()).collect();
        for name in names {
            let mut row = vec![item.text(&["type"]).to_owned(), name.clone()];
            row.extend(FIELDS.map(|field| match plain(item.at(&[field, name])) {
                text if text.is_empty() => "-".to_owned(),
                text => text,
            }));
            rows.push(row);
        }
    }
    let titles =
        ["Type", "Resource", "Min", "Max", "Default Request", "Default Limit", "Max Limit/Request Ratio"];
    table(0, &titles, &rows, out);
}

/// A PodDisruptionBudget.
pub fn disruption_budget(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    out.field(0, "Name", object.name());
    out.field(0, "Namespace", object.namespace());
    for (title, field) in [("Min available", "minAvailable"), ("Max unavailable", "maxUnavailable")] {
        out.optional(0, title, &plain(object.at(&["spec", field])));
    }
    out.field(0, "Selector", pods::selector(object).unwrap_or_else(|| "<unset>".into()));
    out.line(0, "Status:");
    for (title, field) in [
        ("Allowed disruptions", "disruptionsAllowed"),
        ("Current", "currentHealthy"),
        ("Desired", "desiredHealthy"),
        ("Total", "expectedPods"),
    ] {
        out.field(2, title, object.integer(&["status", field]).unwrap_or(0));
    }
}

/// A PriorityClass.
pub fn priority_class(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    out.field(0, "Name", object.name());
    out.field(0, "Value", object.integer(&["value"]).unwrap_or(0));
    out.field(0, "GlobalDefault", object["globalDefault"] == true);
    out.field(0, "PreemptionPolicy", object.text(&["preemptionPolicy"]));
    out.field(0, "Description", object.text(&["description"]));
    out.field(0, "Annotations", or_none(&pairs(object.at(&["metadata", "annotations"]), "=").join(",")));
}
