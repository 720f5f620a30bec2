//! Texts shared by the cells of several kinds.

use model::tree::TreeExt;
use serde_json::Value;

/// A label selector as `metav1.FormatLabelSelector` writes it, sorted by key: `a=b,c in (d,e)`; empty selectors are
/// empty here (callers that print show `<none>`).
pub fn label_selector(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = Vec::new();
    for (key, value) in selector.at(&["matchLabels"]).and_then(Value::as_object).into_iter().flatten() {
        parts.push((key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())));
    }
    for expression in selector.items(&["matchExpressions"]) {
        let key = expression.text(&["key"]);
        let mut values: Vec<&str> = expression.items(&["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression.text(&["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    let parts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
    parts.join(",")
}
