//! Services, endpoints, ingresses and what belongs to the network.

use std::collections::BTreeSet;

use model::tree::TreeExt;
use serde_json::Value;

use super::cells::{self, Row, row};
use super::{AGE, NAME, Printer, text, wide};

pub(super) const PRINTERS: &[Printer] = &[
    Printer {
        group: "",
        kind: "Service",
        columns: &[
            NAME,
            text("Type"),
            text("Cluster-IP"),
            text("External-IP"),
            text("Port(s)"),
            AGE,
            wide("Selector"),
        ],
        cells: service,
    },
    Printer { group: "", kind: "Endpoints", columns: &[NAME, text("Endpoints"), AGE], cells: endpoints },
    Printer {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        columns: &[NAME, text("AddressType"), text("Ports"), text("Endpoints"), AGE],
        cells: endpoint_slice,
    },
    Printer {
        group: "networking.k8s.io",
        kind: "Ingress",
        columns: &[NAME, text("Class"), text("Hosts"), text("Address"), text("Ports"), AGE],
        cells: ingress,
    },
    Printer {
        group: "networking.k8s.io",
        kind: "IngressClass",
        columns: &[NAME, text("Controller"), text("Parameters"), AGE],
        cells: ingress_class,
    },
    Printer {
        group: "networking.k8s.io",
        kind: "NetworkPolicy",
        columns: &[NAME, text("Pod-Selector"), AGE],
        cells: |policy| {
            row![policy.name(), cells::selector(policy.object.at(&["spec", "podSelector"])), policy.age()]
        },
    },
    Printer {
        group: "networking.k8s.io",
        kind: "ServiceCIDR",
        columns: &[NAME, text("CIDRs"), AGE],
        cells: |cidr| row![cidr.name(), joined(cidr.items(&["spec", "cidrs"])), cidr.age()],
    },
    // Upstream gives the row an age without a column for it; clients drop the extra cell.
    Printer {
        group: "networking.k8s.io",
        kind: "IPAddress",
        columns: &[NAME, text("ParentRef")],
        cells: |address| row![address.name(), parent(address), address.age()],
    },
];

fn joined(list: &[Value]) -> String {
    list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

fn service(service: &Row<'_>) -> Vec<Value> {
    let ports = service.items(&["spec", "ports"]).iter().map(port).collect::<Vec<_>>().join(",");
    let first = service.items(&["spec", "clusterIPs"]).first().and_then(Value::as_str).unwrap_or("<none>");
    row![
        service.name(),
        service.text(&["spec", "type"]),
        first,
        external_ip(service),
        if ports.is_empty() { "<none>".into() } else { ports },
        service.age(),
        cells::labels(service.object.at(&["spec", "selector"])),
    ]
}

fn port(port: &Value) -> String {
    let number = port.integer(&["port"]).unwrap_or(0);
    let protocol = port.text(&["protocol"]);
    match port.integer(&["nodePort"]).filter(|node_port| *node_port > 0) {
        Some(node_port) => format!("{number}:{node_port}/{protocol}"),
        None => format!("{number}/{protocol}"),
    }
}

fn external_ip(service: &Row<'_>) -> String {
    let own = joined(service.items(&["spec", "externalIPs"]));
    match service.text(&["spec", "type"]) {
        "ClusterIP" | "NodePort" if own.is_empty() => "<none>".into(),
        "ClusterIP" | "NodePort" => own,
        "LoadBalancer" => {
            let balancer = balancer(service);
            match (balancer.is_empty(), own.is_empty()) {
                (true, true) => "<pending>".into(),
                (true, false) => own,
                (false, true) => balancer,
                (false, false) => format!("{balancer},{own}"),
            }
        }
        "ExternalName" => service.text(&["spec", "externalName"]).to_owned(),
        _ => "<unknown>".into(),
    }
}

/// Addresses of a load balancer, sorted.
fn balancer(object: &Row<'_>) -> String {
    let addresses: BTreeSet<&str> = object
        .items(&["status", "loadBalancer", "ingress"])
        .iter()
        .map(|ingress| {
            Some(ingress.text(&["ip"])).filter(|ip| !ip.is_empty()).unwrap_or(ingress.text(&["hostname"]))
        })
        .filter(|address| !address.is_empty())
        .collect();
    addresses.into_iter().collect::<Vec<_>>().join(",")
}

fn endpoints(endpoints: &Row<'_>) -> Vec<Value> {
    let mut list = Vec::new();
    for subset in endpoints.items(&["subsets"]) {
        let addresses = subset.items(&["addresses"]).iter().map(|address| address.text(&["ip"]));
        let ports = subset.items(&["ports"]);
        if ports.is_empty() {
            list.extend(addresses.clone().map(str::to_owned));
        }
        for port in ports {
            let port = port.integer(&["port"]).unwrap_or(0);
            list.extend(addresses.clone().map(|address| host_port(address, port)));
        }
    }
    let shown = match (list.is_empty(), endpoints.count(&["subsets"])) {
        (_, 0) => "<none>".into(),
        (true, _) => String::new(),
        _ => cells::some_of(&list, 3),
    };
    row![endpoints.name(), shown, endpoints.age()]
}

fn host_port(address: &str, port: i64) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn endpoint_slice(slice: &Row<'_>) -> Vec<Value> {
    let port = |port: &Value| match (port.integer(&["port"]), port.at(&["name"])) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => cells::plain(Some(name)),
        (None, None) => "*".into(),
    };
    let ports: Vec<String> = slice.items(&["ports"]).iter().map(port).collect();
    let addresses: Vec<String> = slice
        .items(&["endpoints"])
        .iter()
        .flat_map(|endpoint| endpoint.items(&["addresses"]))
        .map(|address| cells::plain(Some(address)))
        .collect();
    row![
        slice.name(),
        slice.text(&["addressType"]),
        cells::some_of(&ports, 3),
        cells::some_of(&addresses, 3),
        slice.age()
    ]
}

fn ingress(ingress: &Row<'_>) -> Vec<Value> {
    let rules = ingress.items(&["spec", "rules"]);
    let mut hosts: Vec<&str> = Vec::new();
    let mut more = false;
    for host in rules.iter().map(|rule| rule.text(&["host"])) {
        more |= hosts.len() == 3;
        if !more && !host.is_empty() {
            hosts.push(host);
        }
    }
    let hosts = match (hosts.is_empty(), more) {
        (true, _) => "*".into(),
        (_, true) => format!("{} + {} more...", hosts.join(","), rules.len() - 3),
        _ => hosts.join(","),
    };
    let ports = if ingress.count(&["spec", "tls"]) > 0 { "80, 443" } else { "80" };
    let class = ingress.object.at(&["spec", "ingressClassName"]).and_then(Value::as_str).unwrap_or("<none>");
    row![ingress.name(), class, hosts, balancer(ingress), ports, ingress.age()]
}

fn ingress_class(class: &Row<'_>) -> Vec<Value> {
    let default =
        class.text(&["metadata", "annotations", "ingressclass.kubernetes.io/is-default-class"]) == "true";
    let name = if default { format!("{} (default)", class.name()) } else { class.name().to_owned() };
    let parameters = match class.object.at(&["spec", "parameters"]) {
        None => "<none>".into(),
        Some(parameters) => {
            let group = parameters.at(&["apiGroup"]).map(|group| format!(".{}", cells::plain(Some(group))));
            format!(
                "{}{}/{}",
                parameters.text(&["kind"]),
                group.unwrap_or_default(),
                parameters.text(&["name"])
            )
        }
    };
    row![name, class.text(&["spec", "controller"]), parameters, class.age()]
}

fn parent(address: &Row<'_>) -> String {
    let Some(parent) = address.object.at(&["spec", "parentRef"]) else { return "<none>".into() };
    let resource = model::GroupResource::new(parent.text(&["group"]), parent.text(&["resource"]));
    let namespace = match parent.text(&["namespace"]) {
        "" => String::new(),
        namespace => format!("/{namespace}"),
    };
    format!("{}{namespace}/{}", resource.to_string().to_lowercase(), parent.text(&["name"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cells_of(print: fn(&Row<'_>) -> Vec<Value>, object: Value) -> Value {
        let now = model::time::parse("2026-01-02T03:04:05Z").unwrap();
        print(&Row { object: &object, now }).into()
    }

    #[test]
    fn services_show_addresses_and_ports() {
        let created = "2026-01-02T03:04:00Z";
        let object = json!({"metadata": {"name": "s", "creationTimestamp": created}, "spec": {"type": "LoadBalancer",
            "clusterIPs": ["10.43.0.9"], "selector": {"b": "c", "a": "x"}, "externalIPs": ["1.2.3.4"], "ports": [
            {"port": 80, "protocol": "TCP", "nodePort": 30000}, {"port": 53, "protocol": "UDP"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "9.9.9.9"}, {"hostname": "lb"}]}}});
        let want = json!([
            "s",
            "LoadBalancer",
            "10.43.0.9",
            "9.9.9.9,lb,1.2.3.4",
            "80:30000/TCP,53/UDP",
            "5s",
            "a=x,b=c"
        ]);
        assert_eq!(cells_of(service, object), want);
        let headless =
            json!({"metadata": {"name": "s"}, "spec": {"type": "ClusterIP", "clusterIPs": ["None"]}});
        assert_eq!(
            cells_of(service, headless),
            json!(["s", "ClusterIP", "None", "<none>", "<none>", "<unknown>", "<none>"])
        );
    }

    #[test]
    fn endpoints_are_cut_short() {
        let subsets =
            json!([{"addresses": [{"ip": "1"}, {"ip": "2"}], "ports": [{"port": 80}, {"port": 81}]}]);
        let got = cells_of(endpoints, json!({"metadata": {"name": "e"}, "subsets": subsets}));
        assert_eq!(got[1], "1:80,2:80,1:81 + 1 more...");
        let got = cells_of(
            endpoint_slice,
            json!({"addressType": "IPv4", "ports": [{"port": 80}], "endpoints": [
            {"addresses": ["10.0.0.1"]}]}),
        );
        assert_eq!(got, json!(["", "IPv4", "80", "10.0.0.1", "<unknown>"]));
    }
}
