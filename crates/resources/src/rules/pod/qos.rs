//! The quality-of-service class of a Pod (`ComputePodQOS`).

use std::collections::BTreeMap;

use model::quantity::Quantity;
use model::tree::TreeExt;
use serde_json::Value;

/// `Guaranteed`, `Burstable` or `BestEffort`, computed from a Pod's spec.
pub fn class(spec: &Value) -> &'static str {
    let mut requests = BTreeMap::new();
    let mut limits = BTreeMap::new();
    let mut guaranteed = true;
    let mut take = |resources: &Value| {
        add(&mut requests, resources, "requests");
        add(&mut limits, resources, "limits") == 2
    };
    if let Some(resources) = spec.at(&["resources"]) {
        let both = take(resources);
        guaranteed = both || resources.at(&["limits"]).is_none_or(crate::rules::at::is_empty);
    } else {
        for container in spec.items(&["containers"]).iter().chain(spec.items(&["initContainers"])) {
            guaranteed &= take(container.get("resources").unwrap_or(&Value::Null));
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    let equal = requests.iter().all(|(name, amount)| limits.get(name) == Some(amount));
    if guaranteed && equal && requests.len() == limits.len() { "Guaranteed" } else { "Burstable" }
}

/// Adds the CPU and memory of a list; how many of the two are above zero.
fn add(sum: &mut BTreeMap<&'static str, Quantity>, resources: &Value, key: &str) -> usize {
    let mut found = 0;
    for name in ["cpu", "memory"] {
        let amount = Quantity::of(resources.at(&[key, name]));
        if amount.sign() > 0 {
            found += 1;
            sum.entry(name).and_modify(|sum| sum.add(&amount)).or_insert(amount);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let table = [
            (json!({"containers": [{}]}), "BestEffort"),
            (json!({"containers": [{"resources": {"requests": {"cpu": "0"}}}]}), "BestEffort"),
            (json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}]}), "Burstable"),
            (json!({"containers": [{"resources": {"requests": both, "limits": both}}]}), "Guaranteed"),
            (json!({"containers": [{"resources": {"requests": both, "limits": both}}, {}]}), "Burstable"),
            (json!({"resources": {"requests": both, "limits": both}, "containers": [{}]}), "Guaranteed"),
            (json!({"resources": {"limits": {"cpu": "1"}}, "containers": [{}]}), "Burstable"),
        ];
        for (spec, expected) in table {
            assert_eq!(class(&spec), expected, "{spec}");
        }
    }
}
