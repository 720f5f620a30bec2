//! Ingresses, ingress classes and network policies.

use std::net::IpAddr;

use model::names;
use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::field::{Errors, FieldError, Path};
use crate::rules::at::At;
use crate::rules::kind::{Kind, is_status, nothing};
use crate::rules::workloads::batch::domain_prefixed_path;
use crate::rules::{checks, fill};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The rules of Ingresses.
pub const INGRESS: Kind = Kind {
    validate: |errors, ingress| {
        ingress_spec(errors, &ingress.child("spec"));
        let class = ingress.child("spec").child("ingressClassName");
        let annotation = ingress.child("metadata").child("annotations").child(CLASS_ANNOTATION);
        if !class.value.is_null() && !annotation.value.is_null() && class.text() != annotation.text() {
            let path = Path::new("annotations").child(CLASS_ANNOTATION);
            let words = "must match `ingressClassName` when both are specified";
            errors.push(FieldError::invalid(&path, annotation.value, words));
        }
    },
    validate_update: Some(|errors, new, _, subresource| {
        if is_status(subresource) {
            for entry in new.child("status").child("loadBalancer").items("ingress") {
                if !entry.str("ip").is_empty() {
                    checks::legacy_ip(errors, &entry.child("ip"));
                }
                let name = entry.child("hostname");
                if !name.text().is_empty() {
                    checks::dns_subdomain(errors, &name);
                }
            }
        } else {
            ingress_spec(errors, &new.child("spec"));
        }
    }),
    warnings: |object, old| {
        let annotated = object.at(&["metadata", "annotations", CLASS_ANNOTATION]).is_some();
        let warn = old.is_none() && annotated && object.at(&["spec", "ingressClassName"]).is_none();
        let words = "is deprecated, please use 'spec.ingressClassName' instead";
        warn.then(|| format!("annotation {CLASS_ANNOTATION:?} {words}")).into_iter().collect()
    },
    ..Kind::PLAIN
};

/// The rules of ingress classes.
pub const INGRESS_CLASS: Kind = Kind {
    default: |object| {
        if let Some(parameters) = object.pointer_mut("/spec/parameters").filter(|value| value.is_object()) {
            fill::pointer(parameters, "scope", "Cluster");
        }
    },
    create: nothing,
    validate: |errors, class| ingress_class(errors, &class.child("spec")),
    validate_update: Some(|errors, new, old, _| {
        let controller = new.child("spec").child("controller");
        checks::immutable(errors, &controller, Some(old.child("spec").child("controller").value));
        ingress_class(errors, &new.child("spec"));
    }),
    ..Kind::PLAIN
};

/// The rules of network policies.
pub const NETWORK_POLICY: Kind = Kind {
    default: policy_defaults,
    create: nothing,
    validate: |errors, policy| policy_spec(errors, &policy.child("spec")),
    ..Kind::PLAIN
};

fn ingress_spec(errors: &mut Errors, spec: &At) {
    let rules = spec.child("rules");
    let backend = spec.child("defaultBackend");
    if rules.is_empty() && backend.value.is_null() {
        errors
            .push(spec.invalid_shown("null".into(), "either `defaultBackend` or `rules` must be specified"));
    }
    if !backend.value.is_null() {
        ingress_backend(errors, &backend);
    }
    for rule in rules.elements() {
        let host = rule.child("host");
        if !host.text().is_empty() {
            if checks::parse_ip_sloppy(host.text()).is_some() || host.text().parse::<IpAddr>().is_ok() {
                errors.push(host.invalid("must be a DNS name, not an IP address"));
            }
            host_name(errors, &host);
        }
        if let Some(http) = rule.some("http") {
            http.require(errors, "paths");
            http.items("paths").iter().for_each(|path| ingress_path(errors, path));
        }
    }
    for tls in spec.items("tls") {
        tls.items("hosts").iter().for_each(|host| host_name(errors, host));
        let secret = tls.child("secretName");
        if !secret.text().is_empty() {
            checks::dns_subdomain(errors, &secret);
        }
    }
    if let Some(class) = spec.some("ingressClassName") {
        checks::dns_subdomain(errors, &class);
    }
}

fn host_name(errors: &mut Errors, host: &At) {
    let rule = if host.text().contains('*') { names::wildcard_dns_subdomain } else { names::dns_subdomain };
    host.complain(errors, rule(host.text()));
}

fn ingress_path(errors: &mut Errors, at: &At) {
    let (kind, path) = (at.child("pathType"), at.child("path"));
    let text = path.text();
    match kind.text() {
        _ if kind.value.is_null() => {
            errors.push(kind.required("pathType must be specified"));
            return;
        }
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.push(path.invalid_as(text, "must be an absolute path"));
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|part| text.contains(**part)) {
                errors.push(path.invalid(format!("must not contain '{part}'")));
            }
            for end in ["/..", "/."].iter().filter(|end| text.ends_with(**end)) {
                errors.push(path.invalid(format!("cannot end with '{end}'")));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.push(path.invalid("must be an absolute path"));
            }
        }
        _ => errors.push(kind.not_supported(&["Exact", "ImplementationSpecific", "Prefix"])),
    }
    ingress_backend(errors, &at.child("backend"));
}

fn ingress_backend(errors: &mut Errors, backend: &At) {
    match (backend.some("resource"), backend.some("service")) {
        (Some(_), Some(_)) => {
            errors.push(backend.invalid_as("", "cannot set both resource and service backends"));
        }
        (Some(resource), None) => object_reference(errors, &resource),
        (None, Some(service)) => {
            if service.require(errors, "name") {
                checks::dns_label(errors, &service.child("name"));
            }
            let port = service.child("port");
            let (name, number) = (port.child("name"), port.child("number"));
            match (name.text().is_empty(), number.number().unwrap_or_default()) {
                (true, 0) => errors.push(backend.required("port name or number is required")),
                (true, own) => number.complain(errors, names::port_number(own)),
                (false, 0) => name.complain(errors, names::port_name(name.text())),
                (false, _) => errors.push(backend.invalid_as("", "cannot set both port name & port number")),
            }
        }
        (None, None) => errors.push(backend.invalid_as("", "resource or service backend is required")),
    }
}

/// A reference to an object by group, kind and name.
fn object_reference(errors: &mut Errors, reference: &At) {
    if let Some(group) = reference.some("apiGroup") {
        checks::dns_subdomain(errors, &group);
    }
    for key in ["kind", "name"] {
        if reference.require(errors, key) {
            let field = reference.child(key);
            field.complain(errors, names::path_segment(field.text(), false));
        }
    }
}

fn ingress_class(errors: &mut Errors, spec: &At) {
    let controller = spec.child("controller");
    checks::at_most_bytes(errors, &controller, 250);
    domain_prefixed_path(errors, &controller);
    let Some(parameters) = spec.some("parameters") else { return };
    object_reference(errors, &parameters);
    let (scope, namespace) = (parameters.child("scope"), parameters.child("namespace"));
    match scope.text() {
        _ if scope.value.is_null() => errors.push(scope.required("")),
        "Namespace" if namespace.value.is_null() => {
            errors.push(namespace.required("`parameters.scope` is set to 'Namespace'"));
        }
        "Namespace" => namespace.complain(errors, names::dns_label(namespace.text())),
        "Cluster" => {
            if !namespace.value.is_null() {
                errors.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'"));
            }
        }
        _ => errors.push(scope.not_supported(&["Cluster", "Namespace"])),
    }
}

fn policy_defaults(object: &mut Value) {
    let Some(spec) = fill::object(object, "spec") else { return };
    for direction in ["ingress", "egress"] {
        for rule in fill::items(spec, direction) {
            fill::items(rule, "ports").for_each(|port| fill::pointer(port, "protocol", "TCP"));
        }
    }
    if spec.items(&["policyTypes"]).is_empty() {
        let both = !spec.items(&["egress"]).is_empty();
        let types = if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.set(&["policyTypes"], types);
    }
}

fn policy_spec(errors: &mut Errors, spec: &At) {
    checks::label_selector(errors, &spec.child("podSelector"));
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.items(direction) {
            rule.items("ports").iter().for_each(|port| policy_port(errors, port));
            rule.items(peers).iter().for_each(|peer| policy_peer(errors, peer));
        }
    }
    let types = spec.child("policyTypes");
    if types.elements().len() > 2 {
        errors.push(types.invalid("may not specify more than two policyTypes"));
        return;
    }
    types.elements().iter().for_each(|kind| kind.one_of(errors, &["Ingress", "Egress"]));
}

fn policy_port(errors: &mut Errors, at: &At) {
    if let Some(protocol) = at.some("protocol") {
        protocol.one_of(errors, &["TCP", "UDP", "SCTP"]);
    }
    let (port, end) = (at.child("port"), at.child("endPort"));
    let words = match port.value {
        Value::Null => "may not be specified when `port` is not specified",
        Value::String(name) => {
            if !end.value.is_null() {
                errors.push(end.invalid("may not be specified when `port` is non-numeric"));
            }
            return port.complain(errors, names::port_name(name));
        }
        _ => {
            checks::port_number_or_name(errors, &port);
            if let Some(last) = end.number() {
                if last < port.number().unwrap_or_default() {
                    let first = port.number().unwrap_or_default();
                    errors.push(end.invalid_as(first, "must be greater than or equal to `port`"));
                }
                end.complain(errors, names::port_number(last));
            }
            return;
        }
    };
    if !end.value.is_null() {
        errors.push(end.invalid(words));
    }
}

fn policy_peer(errors: &mut Errors, peer: &At) {
    let mut count = 0;
    for selector in ["podSelector", "namespaceSelector"].iter().filter_map(|key| peer.some(key)) {
        count += 1;
        checks::label_selector(errors, &selector);
    }
    let block = peer.some("ipBlock");
    if let Some(block) = &block {
        count += 1;
        ip_block(errors, block);
    }
    if count == 0 {
        errors.push(peer.required("must specify a peer"));
    } else if count > 1 && block.is_some() {
        errors.push(peer.forbidden("may not specify both ipBlock and another peer"));
    }
}

fn ip_block(errors: &mut Errors, block: &At) {
    if !block.require(errors, "cidr") {
        return;
    }
    let cidr = block.child("cidr");
    checks::legacy_cidr(errors, &cidr);
    let Some(outer) = network(cidr.text()) else { return };
    for except in block.items("except") {
        checks::legacy_cidr(errors, &except);
        let Some(inner) = network(except.text()) else { continue };
        let within =
            outer.0 == inner.0 && inner.2 > outer.2 && (outer.1 ^ inner.1) & mask(outer.0, outer.2) == 0;
        if !within {
            errors.push(except.invalid("must be a strict subset of `cidr`"));
        }
    }
}

/// (bits of an address, address as a number, bits of the prefix).
fn network(text: &str) -> Option<(u32, u128, u32)> {
    let (address, width) = text.split_once('/')?;
    let (address, _) = checks::parse_ip_sloppy(address)?;
    let width: u32 = width.parse().ok()?;
    let (bits, number) = match address {
        IpAddr::V4(four) => (32, u128::from(u32::from(four))),
        IpAddr::V6(six) => (128, u128::from(six)),
    };
    (width <= bits).then_some((bits, number, width))
}

fn mask(bits: u32, width: u32) -> u128 {
    let host = bits - width;
    let all = if bits == 128 { u128::MAX } else { (1u128 << bits) - 1 };
    all.checked_shr(host).unwrap_or(0).checked_shl(host).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;

    #[test]
    fn ingresses() {
        let table = [
            (json!({}), 1),
            (json!({"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}), 0),
            (json!({"defaultBackend": {"service": {"name": "s"}}}), 1),
            (json!({"rules": [{"host": "10.0.0.1"}]}), 1),
            (
                json!({"rules": [{"http": {"paths": [{"path": "x", "pathType": "Prefix",
                    "backend": {"service": {"name": "s", "port": {"name": "http"}}}}]}}]}),
                1,
            ),
        ];
        for (spec, expected) in table {
            let errors = INGRESS.validate(&json!({"spec": spec}));
            assert_eq!(errors.len(), expected, "{spec} {errors:?}");
        }
    }

    #[test]
    fn policies() {
        let mut policy = json!({"spec": {"egress": [{"ports": [{"port": 53}]}]}});
        NETWORK_POLICY.default(&mut policy);
        assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert_eq!(policy["spec"]["egress"][0]["ports"][0]["protocol"], "TCP");
        let block = |cidr: &str, except: &str| {
            let from = json!([{"ipBlock": {"cidr": cidr, "except": [except]}}]);
            NETWORK_POLICY.validate(&json!({"spec": {"ingress": [{"from": from}]}})).len()
        };
        assert_eq!(block("10.0.0.0/8", "10.1.0.0/16"), 0);
        assert_eq!(block("10.0.0.0/8", "11.0.0.0/16"), 1);
        assert_eq!(block("10.0.0.0/8", "10.0.0.0/8"), 1);
        assert_eq!(block("0.0.0.0/0", "10.0.0.0/8"), 0);
        assert_eq!(block("fd00::/8", "10.0.0.0/16"), 1);
    }
}
