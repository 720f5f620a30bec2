//! The downward API: `fieldRef` and `resourceFieldRef`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use model::quantity::Quantity;

use crate::{limits, pod};

/// What fields are read from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// Its addresses, the primary one first.
    pub pod_ips: &'a [String],
    /// The node's addresses, the primary one first.
    pub host_ips: &'a [String],
    /// What the node can give: limits of containers that have none.
    pub allocatable: &'a BTreeMap<String, Quantity>,
}

/// Writes a map as the downward API does: `key="value"` lines, sorted.
pub fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value)));
    lines.collect::<Vec<_>>().join("\n")
}

/// Go's `strconv.Quote` (`%q`).
fn quote(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            other if (other as u32) < 0x20 || other == '\u{7f}' => {
                quoted.push_str(&format!("\\x{:02x}", other as u32))
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// The map and key of `metadata.labels['key']`.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// The value of a `fieldRef`.
///
/// # Errors
/// When the field is not one of those the downward API gives.
pub fn field(facts: &Facts<'_>, path: &str) -> Result<String, String> {
    let Facts { pod, pod_ips, host_ips, .. } = *facts;
    let (labels, annotations) = (pod.metadata.labels.as_ref(), pod.metadata.annotations.as_ref());
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => labels,
            "metadata.annotations" => annotations,
            _ => return Err(format!("field label does not support subscript: {map}")),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let spec = pod::spec(pod);
    Ok(match path {
        "metadata.name" => pod::name(pod).to_owned(),
        "metadata.namespace" => pod::namespace(pod).to_owned(),
        "metadata.uid" => pod::uid(pod).to_owned(),
        "metadata.labels" => format_map(labels),
        "metadata.annotations" => format_map(annotations),
        "spec.nodeName" => spec.node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => host_ips.join(","),
        "status.podIP" => pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => pod_ips.join(","),
        other => return Err(format!("unsupported fieldPath: {other}")),
    })
}

/// The value of a `resourceFieldRef`, divided and rounded up; a limit that is not set is what the node can give.
/// `container` is the one that asks, unless the reference names another.
///
/// # Errors
/// When the resource or the container is unknown.
pub fn resource(
    facts: &Facts<'_>,
    container: &Container,
    reference: &ResourceFieldSelector,
) -> Result<String, String> {
    let named =
        reference.container_name.as_deref().filter(|name| !name.is_empty() && *name != container.name);
    let other = match named {
        Some(name) => {
            Some(pod::find_container(facts.pod, name).ok_or_else(|| format!("container {name} not found"))?.1)
        }
        None => None,
    };
    let resources = other.as_ref().unwrap_or(container).resources.clone().unwrap_or_default();
    let unsupported = || format!("unsupported container resource : {}", reference.resource);
    let (side, name) = reference.resource.split_once('.').ok_or_else(unsupported)?;
    let amount = match side {
        "limits" => {
            let own = limits::quantity(resources.limits.as_ref(), name);
            match own.is_zero() {
                true => facts.allocatable.get(name).cloned().unwrap_or(Quantity::ZERO),
                false => own,
            }
        }
        "requests" => limits::quantity(resources.requests.as_ref(), name),
        _ => return Err(unsupported()),
    };
    let divisor = reference.divisor.as_ref().and_then(|own| Quantity::parse(&own.0).ok());
    let divisor = divisor.filter(|own| !own.is_zero()).map_or(1_000_000_000, |own| own.nanos());
    // Upstream counts CPU in milli-units and all else in whole ones before it divides.
    let nanos = amount.nanos();
    let rounded = (nanos + divisor - 1).div_euclid(divisor);
    Ok(rounded.to_string())
}
