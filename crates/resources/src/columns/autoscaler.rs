//! HorizontalPodAutoscalers, in the form of autoscaling/v2.

use model::tree::TreeExt;
use serde_json::Value;

use super::cells::{Row, plain, row};
use super::{AGE, NAME, Printer, text};

pub(super) const PRINTERS: &[Printer] = &[Printer {
    group: "autoscaling",
    kind: "HorizontalPodAutoscaler",
    columns: &[
        NAME,
        text("Reference"),
        text("Targets"),
        text("MinPods"),
        text("MaxPods"),
        text("Replicas"),
        AGE,
    ],
    cells: autoscaler,
}];

const SHOWN_MAX: usize = 2;

fn autoscaler(autoscaler: &Row<'_>) -> Vec<Value> {
    let target = autoscaler.object.at(&["spec", "scaleTargetRef"]).unwrap_or(&Value::Null);
    let min =
        autoscaler.object.integer(&["spec", "minReplicas"]).map_or("<unset>".into(), |min| min.to_string());
    row![
        autoscaler.name(),
        format!("{}/{}", target.text(&["kind"]), target.text(&["name"])),
        metrics(autoscaler.items(&["spec", "metrics"]), autoscaler.items(&["status", "currentMetrics"])),
        min,
        autoscaler.number(&["spec", "maxReplicas"]),
        autoscaler.number(&["status", "currentReplicas"]),
        autoscaler.age(),
    ]
}

fn metrics(specs: &[Value], statuses: &[Value]) -> String {
    if specs.is_empty() {
        return "<none>".into();
    }
    let shown: Vec<String> = specs
        .iter()
        .enumerate()
        .take(SHOWN_MAX)
        .map(|(at, spec)| metric(spec, statuses.get(at).unwrap_or(&Value::Null)))
        .collect();
    let shown = shown.join(", ");
    match specs.len() {
        count if count > SHOWN_MAX => format!("{shown} + {} more...", count - SHOWN_MAX),
        _ => shown,
    }
}

/// `cpu: 10%/80%`, `5/10 (avg)`.
fn metric(spec: &Value, status: &Value) -> String {
    let (source, resource) = match spec.text(&["type"]) {
        "External" => ("external", false),
        "Object" => ("object", false),
        "Pods" => ("pods", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".into(),
    };
    let target = |field: &str| spec.at(&[source, "target", field]);
    let current = |field: &str| match status.at(&[source, "current", field]) {
        Some(value) => plain(Some(value)),
        None => "<unknown>".into(),
    };
    let average = target("averageValue");
    if resource {
        let name = spec.text(&[source, "name"]);
        if average.is_some() {
            return format!("{name}: {}/{}", current("averageValue"), plain(average));
        }
        let percent = |value: Option<i64>, otherwise: &str| {
            value.map_or(otherwise.to_owned(), |value| format!("{value}%"))
        };
        let now = percent(status.integer(&[source, "current", "averageUtilization"]), "<unknown>");
        let wanted = percent(spec.integer(&[source, "target", "averageUtilization"]), "<auto>");
        return format!("{name}: {now}/{wanted}");
    }
    match (source, average) {
        ("pods", _) => format!("{}/{}", current("averageValue"), plain(average)),
        (_, Some(_)) => format!("{}/{} (avg)", current("averageValue"), plain(average)),
        (_, None) => format!("{}/{}", current("value"), plain(target("value"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::metrics;

    #[test]
    fn targets_show_now_and_wanted() {
        let specs = json!([
            {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
            {"type": "Pods", "pods": {"target": {"averageValue": "10"}}},
            {"type": "External", "external": {"target": {"value": "3"}}}]);
        let statuses = json!([{"resource": {"current": {"averageUtilization": 10}}}]);
        let (specs, statuses) = (specs.as_array().unwrap(), statuses.as_array().unwrap());
        assert_eq!(metrics(specs, statuses), "cpu: 10%/80%, <unknown>/10 + 1 more...");
        assert_eq!(metrics(&specs[2..], &[]), "<unknown>/3");
        assert_eq!(metrics(&[], &[]), "<none>");
    }
}
