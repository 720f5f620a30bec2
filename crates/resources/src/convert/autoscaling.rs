//! HorizontalPodAutoscalers: autoscaling/v1 knows one CPU target; what else autoscaling/v2 holds travels in annotations
//! (k8s.io/kubernetes/pkg/apis/autoscaling/v1 `conversion.go`).

use model::tree::TreeExt;
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ALL: [&str; 4] = [METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR];

/// (source, path in v1, path in v2) of metrics' targets.
const SPEC: &[(&str, &str, &[&str])] = &[
    ("resource", "name", &["name"]),
    ("resource", "targetAverageUtilization", &["target", "averageUtilization"]),
    ("resource", "targetAverageValue", &["target", "averageValue"]),
    ("containerResource", "name", &["name"]),
    ("containerResource", "container", &["container"]),
    ("containerResource", "targetAverageUtilization", &["target", "averageUtilization"]),
    ("containerResource", "targetAverageValue", &["target", "averageValue"]),
    ("pods", "metricName", &["metric", "name"]),
    ("pods", "selector", &["metric", "selector"]),
    ("pods", "targetAverageValue", &["target", "averageValue"]),
    ("object", "target", &["describedObject"]),
    ("object", "metricName", &["metric", "name"]),
    ("object", "selector", &["metric", "selector"]),
    ("object", "targetValue", &["target", "value"]),
    ("object", "averageValue", &["target", "averageValue"]),
    ("external", "metricName", &["metric", "name"]),
    ("external", "metricSelector", &["metric", "selector"]),
    ("external", "targetValue", &["target", "value"]),
    ("external", "targetAverageValue", &["target", "averageValue"]),
];

/// The same of metrics' present values.
const STATUS: &[(&str, &str, &[&str])] = &[
    ("resource", "name", &["name"]),
    ("resource", "currentAverageUtilization", &["current", "averageUtilization"]),
    ("resource", "currentAverageValue", &["current", "averageValue"]),
    ("containerResource", "name", &["name"]),
    ("containerResource", "container", &["container"]),
    ("containerResource", "currentAverageUtilization", &["current", "averageUtilization"]),
    ("containerResource", "currentAverageValue", &["current", "averageValue"]),
    ("pods", "metricName", &["metric", "name"]),
    ("pods", "selector", &["metric", "selector"]),
    ("pods", "currentAverageValue", &["current", "averageValue"]),
    ("object", "target", &["describedObject"]),
    ("object", "metricName", &["metric", "name"]),
    ("object", "selector", &["metric", "selector"]),
    ("object", "currentValue", &["current", "value"]),
    ("object", "averageValue", &["current", "averageValue"]),
    ("external", "metricName", &["metric", "name"]),
    ("external", "metricSelector", &["metric", "selector"]),
    ("external", "currentValue", &["current", "value"]),
    ("external", "currentAverageValue", &["current", "averageValue"]),
];

/// v1 fields that Go always writes, as zero where unset.
const ALWAYS: &[(&str, &str)] = &[
    ("object", "targetValue"),
    ("pods", "targetAverageValue"),
    ("pods", "currentAverageValue"),
    ("resource", "currentAverageValue"),
    ("containerResource", "currentAverageValue"),
    ("object", "currentValue"),
    ("external", "currentValue"),
];

/// autoscaling/v2 to autoscaling/v1.
pub fn to_v1(object: &mut Value) {
    drop_annotations(object);
    let metrics = take_list(object, &["spec", "metrics"]);
    let (cpu, others): (Vec<Value>, Vec<Value>) = metrics.into_iter().partition(is_cpu_utilization);
    if let Some(target) =
        cpu.last().and_then(|metric| metric.integer(&["resource", "target", "averageUtilization"]))
    {
        object.set(&["spec", "targetCPUUtilizationPercentage"], target);
    }
    let current = take_list(object, &["status", "currentMetrics"]);
    for metric in &current {
        let cpu = metric.text(&["type"]) == "Resource" && metric.text(&["resource", "name"]) == "cpu";
        if let Some(now) = metric.integer(&["resource", "current", "averageUtilization"]).filter(|_| cpu) {
            object.set(&["status", "currentCPUUtilizationPercentage"], now);
        }
    }
    let down = |list: Vec<Value>, table| {
        Value::Array(list.iter().map(|metric| metric_down(metric, table)).collect())
    };
    annotate(object, METRICS, down(others, SPEC));
    annotate(object, CURRENT_METRICS, down(current, STATUS));
    let behavior = object.unset(&["spec", "behavior"]).map(|value| recase(&value, char::to_ascii_uppercase));
    annotate(object, BEHAVIOR, behavior.unwrap_or_default());
    let conditions = take_list(object, &["status", "conditions"]);
    annotate(object, CONDITIONS, conditions.into());
}

/// autoscaling/v1 to autoscaling/v2.
pub fn to_v2(object: &mut Value) {
    let annotation = |object: &Value, name: &str| {
        serde_json::from_str::<Value>(object.text(&["metadata", "annotations", name])).ok()
    };
    let up = |list: Option<Value>, table| -> Vec<Value> {
        list.iter().flat_map(|list| list.items(&[])).map(|metric| metric_up(metric, table)).collect()
    };
    let mut metrics = up(annotation(object, METRICS), SPEC);
    if let Some(target) =
        object.unset(&["spec", "targetCPUUtilizationPercentage"]).filter(|target| !target.is_null())
    {
        let target = json!({"type": "Utilization", "averageUtilization": target});
        metrics.push(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if !metrics.is_empty() {
        object.set(&["spec", "metrics"], metrics);
    }
    if let Some(behavior) = annotation(object, BEHAVIOR).filter(Value::is_object) {
        object.set(&["spec", "behavior"], recase(&behavior, char::to_ascii_lowercase));
    }
    let utilization = object.unset(&["status", "currentCPUUtilizationPercentage"]);
    let mut current = up(annotation(object, CURRENT_METRICS), STATUS);
    if let Some(now) = utilization.filter(|now| current.is_empty() && !now.is_null()) {
        current = vec![
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": now}}}),
        ];
    }
    if !current.is_empty() {
        object.set(&["status", "currentMetrics"], current);
    }
    if let Some(conditions) = annotation(object, CONDITIONS).filter(Value::is_array) {
        object.set(&["status", "conditions"], conditions);
    }
    drop_annotations(object);
}

fn is_cpu_utilization(metric: &Value) -> bool {
    metric.text(&["type"]) == "Resource"
        && metric.text(&["resource", "name"]) == "cpu"
        && metric.at(&["resource", "target", "averageUtilization"]).is_some()
}

fn take_list(object: &mut Value, path: &[&str]) -> Vec<Value> {
    match object.unset(path) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

fn annotate(object: &mut Value, name: &str, value: Value) {
    let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    if !empty {
        object.set(&["metadata", "annotations", name], value.to_string());
    }
}

fn drop_annotations(object: &mut Value) {
    for name in ALL {
        object.unset(&["metadata", "annotations", name]);
    }
    if object.at(&["metadata", "annotations"]).and_then(Value::as_object).is_some_and(Map::is_empty) {
        object.unset(&["metadata", "annotations"]);
    }
}

/// The source a metric is about: the key beside `type`.
fn source(metric: &Value) -> Option<(&String, &Value)> {
    metric.as_object()?.iter().find(|(name, value)| *name != "type" && value.is_object())
}

fn metric_down(metric: &Value, table: &[(&str, &str, &[&str])]) -> Value {
    let mut out = json!({"type": metric["type"]});
    let Some((name, from)) = source(metric) else { return out };
    let mut fields = Map::new();
    for (_, old, path) in table.iter().filter(|(own, ..)| own == name) {
        let always = ALWAYS.contains(&(name.as_str(), *old));
        if let Some(value) = from.at(path).cloned().or_else(|| always.then(|| "0".into())) {
            fields.insert((*old).to_owned(), value);
        }
    }
    out[name] = fields.into();
    out
}

fn metric_up(metric: &Value, table: &[(&str, &str, &[&str])]) -> Value {
    let mut out = json!({"type": metric["type"]});
    let Some((name, from)) = source(metric) else { return out };
    let mut to = json!({});
    for (_, old, path) in table.iter().filter(|(own, ..)| own == name) {
        if let Some(value) = from.get(old).filter(|value| !value.is_null()) {
            to.set(path, value.clone());
        }
    }
    if table == SPEC {
        let has = |field: &str| to.at(&["target", field]).is_some();
        let kind = match name.as_str() {
            "resource" | "containerResource" if has("averageUtilization") => "Utilization",
            "object" if !has("averageValue") => "Value",
            "external" if has("value") => "Value",
            _ => "AverageValue",
        };
        // v1 cannot leave the value out; its zero means none where there is an average.
        if name == "object" && kind == "AverageValue" && to.text(&["target", "value"]) == "0" {
            to.unset(&["target", "value"]);
        }
        to.set(&["target", "type"], kind);
    }
    out[name] = to;
    out
}

/// The behaviour annotation holds Go's own field names: the same with another first letter.
fn recase(value: &Value, first: fn(&char) -> char) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let mut letters = name.chars();
                let name: String =
                    letters.next().map(|letter| first(&letter)).into_iter().chain(letters).collect();
                (name, recase(value, first))
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(list) => list.iter().map(|value| recase(value, first)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry;

    #[test]
    fn autoscalers_go_there_and_back() {
        let registry = registry();
        let row =
            |version: &str| registry.by_path("autoscaling", version, "horizontalpodautoscalers").unwrap();
        let object = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "maxReplicas": 3, "minReplicas": 1,
                "metrics": [
                    {"type": "Pods", "pods": {"metric": {"name": "m"},
                        "target": {"type": "AverageValue", "averageValue": "5"}}},
                    {"type": "Resource", "resource": {"name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": 80}}},
                ],
                "behavior": {"scaleUp": {"stabilizationWindowSeconds": 3}},
            },
            "status": {"desiredReplicas": 0, "currentMetrics": null},
        });
        let v1 = super::super::convert(row("v2"), row("v1"), object.clone());
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(v1.at(&["spec", "metrics"]), None);
        assert!(v1.text(&["metadata", "annotations", METRICS]).contains("\"targetAverageValue\":\"5\""));
        let back = super::super::convert(row("v1"), row("v2"), v1);
        assert_eq!(back["spec"], object["spec"]);
        assert_eq!(back["metadata"], object["metadata"]);
    }
}
