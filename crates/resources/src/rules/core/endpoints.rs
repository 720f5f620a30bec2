//! Endpoints and EndpointSlices.

use std::net::IpAddr;

use model::names;
use serde_json::Value;

use crate::field::{Errors, FieldError};
use crate::rules::at::{At, same};
use crate::rules::kind::{Kind, nothing};
use crate::rules::{checks, fill};

/// The rules of Endpoints.
pub const ENDPOINTS: Kind = Kind {
    default: |object| {
        for subset in fill::items(object, "subsets") {
            fill::items(subset, "ports").for_each(|port| fill::plain(port, "protocol", "TCP"));
        }
    },
    create: nothing,
    validate: subsets,
    validate_update: Some(|errors, new, old, _| {
        if !same(Some(new.child("subsets").value), Some(old.child("subsets").value)) {
            subsets(errors, new);
        }
    }),
    warnings: |object, _| {
        let subsets = At::root(object).items("subsets");
        let lists = ["addresses", "notReadyAddresses"].iter();
        let addresses = subsets.iter().flat_map(|subset| lists.clone().flat_map(|key| subset.items(key)));
        let ips = addresses.map(|address| address.child("ip"));
        ips.filter_map(|ip| checks::ip_warning(&ip.path, ip.text())).collect()
    },
    creates_on_update: true,
    ..Kind::PLAIN
};

/// The rules of EndpointSlices.
pub const ENDPOINT_SLICE: Kind = Kind {
    default: |object| {
        for port in fill::items(object, "ports") {
            fill::pointer(port, "name", "");
            fill::pointer(port, "protocol", "TCP");
        }
    },
    create: nothing,
    validate: slice,
    validate_update: Some(|errors, new, old, _| {
        slice(errors, new);
        checks::immutable(errors, &new.child("addressType"), old.value.get("addressType"));
    }),
    ..Kind::PLAIN
};

const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

/// An address that traffic may be sent to (`ValidateEndpointIP`).
pub fn reachable(errors: &mut Errors, at: &At) {
    let Some((address, _)) = checks::parse_ip_sloppy(at.text()) else {
        errors.push(at.invalid_as(at.text(), "must be a valid IP address"));
        return;
    };
    if address.is_unspecified() {
        errors.push(at.invalid(format!("may not be unspecified ({})", at.text())));
    }
    if address.is_loopback() {
        errors.push(at.invalid("may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    }
    let (unicast, multicast) = match address {
        IpAddr::V4(four) => (four.is_link_local(), four.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(six) => (six.is_unicast_link_local(), six.segments()[0] & 0xff0f == 0xff02),
    };
    if unicast {
        errors.push(at.invalid("may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
    }
    if multicast {
        errors.push(at.invalid("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"));
    }
}

fn subsets(errors: &mut Errors, endpoints: &At) {
    for subset in endpoints.items("subsets") {
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|key| subset.child(key).is_empty()) {
            errors.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
        }
        for address in lists.iter().flat_map(|key| subset.items(key)) {
            let ip = address.child("ip");
            checks::legacy_ip(errors, &ip);
            if !address.str("hostname").is_empty() {
                checks::dns_label(errors, &address.child("hostname"));
            }
            if let Some(node) = address.some("nodeName") {
                checks::dns_subdomain(errors, &node);
            }
            reachable(errors, &ip);
        }
        let ports = subset.items("ports");
        for port in &ports {
            let name = port.child("name");
            if !name.text().is_empty() {
                checks::dns_label(errors, &name);
            } else if ports.len() > 1 {
                errors.push(name.required(""));
            }
            let number = port.int("port").unwrap_or_default();
            let complaints = names::port_number(number).into_iter();
            errors.extend(complaints.map(|complaint| port.child("port").invalid_as(number, complaint)));
            port.child("protocol").required_one_of(errors, &PROTOCOLS);
            if let Some(protocol) = port.some("appProtocol") {
                checks::qualified_name(errors, &protocol);
            }
        }
    }
}

fn slice(errors: &mut Errors, slice: &At) {
    let kind = slice.child("addressType");
    kind.required_one_of(errors, &["FQDN", "IPv4", "IPv6"]);
    let endpoints = slice.child("endpoints");
    let count = endpoints.elements().len();
    if count > 1000 {
        errors.push(FieldError::too_many(&endpoints.path, count, 1000));
        return;
    }
    for endpoint in endpoints.elements() {
        endpoint_addresses(errors, &endpoint, kind.text());
        if let Some(node) = endpoint.some("nodeName") {
            checks::dns_subdomain(errors, &node);
        }
        checks::labels(errors, &endpoint.child("deprecatedTopology"));
        if let Some(name) = endpoint.some("hostname") {
            checks::dns_label(errors, &name);
        }
    }
    slice_ports(errors, slice);
}

fn endpoint_addresses(errors: &mut Errors, endpoint: &At, kind: &str) {
    let list = endpoint.child("addresses");
    let addresses = list.elements();
    if addresses.is_empty() {
        errors.push(list.required("must contain at least 1 address"));
    } else if addresses.len() > 100 {
        errors.push(FieldError::too_many(&list.path, addresses.len(), 100));
    }
    for address in addresses {
        match kind {
            "IPv4" | "IPv6" => {
                checks::legacy_ip(errors, &address);
                let six = address.text().contains(':');
                if checks::parse_ip_sloppy(address.text()).is_some() {
                    if kind == "IPv4" && six {
                        errors.push(address.invalid("must be an IPv4 address"));
                    } else if kind == "IPv6" && !six {
                        errors.push(address.invalid("must be an IPv6 address"));
                    }
                    reachable(errors, &address);
                }
            }
            "FQDN" => {
                let name = address.text().strip_suffix('.').unwrap_or(address.text());
                let complaints = names::dns_subdomain(name);
                if !complaints.is_empty() {
                    errors.push(address.invalid(complaints.join(",")));
                } else if !name.contains('.') {
                    let words = "should be a domain with at least two segments separated by dots";
                    errors.push(address.invalid(words));
                }
            }
            _ => {}
        }
    }
}

fn slice_ports(errors: &mut Errors, slice: &At) {
    let list = slice.child("ports");
    let ports = list.elements();
    if ports.len() > 20_000 {
        errors.push(FieldError::too_many(&list.path, ports.len(), 20_000));
        return;
    }
    let mut seen = std::collections::BTreeSet::new();
    for port in ports {
        let name = port.child("name");
        if !name.text().is_empty() {
            checks::dns_label(errors, &name);
        }
        if !seen.insert(name.text()) {
            errors.push(FieldError::duplicate(&name.path, &Value::from(name.text())));
        }
        port.child("protocol").required_one_of(errors, &PROTOCOLS);
        if let Some(protocol) = port.some("appProtocol") {
            checks::qualified_name(errors, &protocol);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;
    use serde_json::json;

    #[test]
    fn slices() {
        let table = [
            (json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}), 0),
            (json!({"addressType": "IPv6", "endpoints": [{"addresses": ["10.0.0.1"]}]}), 1),
            (json!({"addressType": "X"}), 1),
            (json!({"addressType": "IPv4", "endpoints": [{}]}), 1),
            (json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.b"]}]}), 0),
            (json!({"addressType": "IPv4", "endpoints": [{"addresses": ["127.0.0.1"]}]}), 1),
        ];
        for (object, expected) in table {
            let errors = ENDPOINT_SLICE.validate(&object);
            assert_eq!(errors.len(), expected, "{object} {errors:?}");
        }
    }
}
