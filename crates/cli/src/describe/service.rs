//! Services.

use model::tree::TreeExt;
use serde_json::Value;

use super::writer::{or_none, pairs, plain};
use super::{Described, Writer, writer};

/// Its endpoint slices.
pub fn related(object: &Value) -> Vec<(&'static str, String)> {
    let path = client::Path::collection("discovery.k8s.io", "v1", "endpointslices", Some(object.namespace()));
    let selector = format!("kubernetes.io/service-name={}", object.name());
    vec![("slices", crate::builder::with_query(path.as_str(), &crate::builder::selector_query(&selector)))]
}

fn joined(spec: &Value, field: &str) -> String {
    let list: Vec<&str> = spec.items(&[field]).iter().filter_map(Value::as_str).collect();
    list.join(",")
}

/// A Service.
pub fn describe(described: &Described<'_>, out: &mut Writer) {
    let object = described.object;
    let spec = &object["spec"];
    writer::beginning(object, out);
    out.field(0, "Selector", or_none(&pairs(spec.at(&["selector"]), "=").join(",")));
    out.field(0, "Type", spec.text(&["type"]));
    out.optional(0, "IP Family Policy", spec.text(&["ipFamilyPolicy"]));
    out.field(0, "IP Families", or_none(&joined(spec, "ipFamilies")));
    out.field(0, "IP", spec.text(&["clusterIP"]));
    out.field(0, "IPs", or_none(&joined(spec, "clusterIPs")));
    out.optional(0, "External IPs", &joined(spec, "externalIPs"));
    out.optional(0, "Desired LoadBalancer IP", spec.text(&["loadBalancerIP"]));
    out.optional(0, "External Name", spec.text(&["externalName"]));
    let ingress: Vec<String> =
        object.items(&["status", "loadBalancer", "ingress"]).iter().map(ingress_text).collect();
    out.optional(0, "LoadBalancer Ingress", &ingress.join(", "));
    let slices = described.items("slices");
    spec.items(&["ports"]).iter().for_each(|one| port(one, &slices, out));
    out.field(0, "Session Affinity", spec.text(&["sessionAffinity"]));
    out.optional(0, "External Traffic Policy", spec.text(&["externalTrafficPolicy"]));
    out.optional(0, "Internal Traffic Policy", spec.text(&["internalTrafficPolicy"]));
    out.optional(0, "HealthCheck NodePort", &plain(spec.at(&["healthCheckNodePort"])));
    out.optional(0, "LoadBalancer Source Ranges", &joined(spec, "loadBalancerSourceRanges"));
    out.optional(0, "Traffic Distribution", spec.text(&["trafficDistribution"]));
}

fn ingress_text(one: &Value) -> String {
    let text = match one.text(&["ip"]) {
        "" => one.text(&["hostname"]),
        ip => ip,
    };
    match one.text(&["ipMode"]) {
        "" => text.to_owned(),
        mode => format!("{text} ({mode})"),
    }
}

fn port(port: &Value, slices: &[Value], out: &mut Writer) {
    let protocol = port.text(&["protocol"]);
    let name = port.text(&["name"]);
    let shown = if name.is_empty() { "<unset>" } else { name };
    out.line(0, format!("Port:\t{shown}\t{}/{protocol}", plain(port.at(&["port"]))));
    out.field(0, "TargetPort", format!("{}/{protocol}", plain(port.at(&["targetPort"]))));
    out.optional(0, "AppProtocol", port.text(&["appProtocol"]));
    if let Some(number) = port.integer(&["nodePort"]).filter(|number| *number != 0) {
        out.line(0, format!("NodePort:\t{shown}\t{number}/{protocol}"));
    }
    out.field(0, "Endpoints", endpoints(slices, name));
}

/// `10.0.0.1:80,10.0.0.2:80 + 3 more...`.
fn endpoints(slices: &[Value], name: &str) -> String {
    const SHOWN: usize = 3;
    if slices.is_empty() {
        return "<none>".into();
    }
    let mut all = Vec::new();
    for slice in slices {
        let ports = slice.items(&["ports"]).iter().filter(|port| port.text(&["name"]) == name);
        for port in ports {
            for endpoint in slice.items(&["endpoints"]) {
                if endpoint.at(&["conditions", "ready"]) == Some(&Value::Bool(false)) {
                    continue;
                }
                for address in endpoint.items(&["addresses"]).iter().filter_map(Value::as_str) {
                    let host =
                        if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
                    all.push(format!("{host}:{}", plain(port.at(&["port"]))));
                }
            }
        }
    }
    let text = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(",");
    if all.len() > SHOWN { format!("{text} + {} more...", all.len() - SHOWN) } else { text }
}
