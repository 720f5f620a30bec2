//! Services: defaults, the rules between type, addresses and ports. Addresses and node ports are given out elsewhere.

use std::collections::BTreeSet;

use model::names;
use model::tree::TreeExt;
use serde_json::{Value, json};

use super::endpoints;
use crate::field::{Errors, Fault, FieldError, Path};
use crate::rules::at::At;
use crate::rules::kind::{Kind, is_status};
use crate::rules::{checks, fill, generic_update};

const AFFINITY_SECONDS: i64 = 10_800;
const AFFINITY_SECONDS_MAX: i64 = 86_400;
const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

/// The rules of Services.
pub const SERVICE: Kind = Kind {
    default,
    create: |object| object.set(&["status"], json!({"loadBalancer": {}})),
    update,
    validate: |errors, service| validate(errors, service, None),
    validate_update: Some(validate_update),
    name: names::dns_label_name,
    warnings,
    fields: &["spec.clusterIP", "spec.type"],
    creates_on_update: true,
    ..Kind::PLAIN
};

/// Whether traffic comes in from outside: `externalTrafficPolicy` means something then.
fn externally_accessible(spec: &Value) -> bool {
    match spec.text(&["type"]) {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !spec.items(&["externalIPs"]).is_empty(),
        _ => false,
    }
}

fn needs_health_check(spec: &Value) -> bool {
    spec.text(&["type"]) == "LoadBalancer" && spec.text(&["externalTrafficPolicy"]) == "Local"
}

fn default(object: &mut Value) {
    let Some(spec) = fill::object(object, "spec") else { return };
    fill::plain(spec, "sessionAffinity", "None");
    match spec.text(&["sessionAffinity"]) {
        "None" => {
            spec.unset(&["sessionAffinityConfig"]);
        }
        "ClientIP" if spec.at(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).is_none() => {
            spec.set(&["sessionAffinityConfig"], json!({"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}));
        }
        _ => {}
    }
    fill::plain(spec, "type", "ClusterIP");
    for port in fill::items(spec, "ports") {
        fill::plain(port, "protocol", "TCP");
        let target = port.get("targetPort").unwrap_or(&Value::Null);
        if target.is_null() || *target == 0 || *target == "" {
            let number = port.integer(&["port"]).unwrap_or_default();
            port.set(&["targetPort"], number);
        }
    }
    if externally_accessible(spec) {
        fill::plain(spec, "externalTrafficPolicy", "Cluster");
    }
    let kind = spec.text(&["type"]).to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        fill::pointer(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill::pointer(spec, "allocateLoadBalancerNodePorts", true);
        let ingress = object.pointer_mut("/status/loadBalancer/ingress").and_then(Value::as_array_mut);
        for entry in ingress.into_iter().flatten().filter(|entry| !entry.text(&["ip"]).is_empty()) {
            fill::pointer(entry, "ipMode", "VIP");
        }
    }
}

fn update(object: &mut Value, old: &Value, subresource: Option<&str>) {
    generic_update(object, old, subresource);
    if is_status(subresource) {
        return;
    }
    let (Some(spec), Some(before)) = (object.get_mut("spec"), old.get("spec")) else { return };
    let same = |spec: &Value, key: &str| spec.get(key) == before.get(key);
    let kind = spec.text(&["type"]).to_owned();
    // Fields that the old type had and the new one has not go, unless they were changed by hand.
    if before.text(&["type"]) != "ExternalName" && kind == "ExternalName" {
        for keys in [&["clusterIP", "clusterIPs"][..], &["ipFamilies"], &["ipFamilyPolicy"]] {
            if keys.iter().all(|key| same(spec, key)) {
                keys.iter().for_each(|key| drop(spec.unset(&[key])));
            }
        }
    }
    let has_node_ports = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if has_node_ports(before.text(&["type"])) && !has_node_ports(&kind) {
        let ports = |spec: &Value| -> Vec<i64> {
            let numbers = spec.items(&["ports"]).iter();
            numbers.map(|port| port.integer(&["nodePort"]).unwrap_or_default()).collect()
        };
        if ports(spec) == ports(before) {
            fill::items(spec, "ports").for_each(|port| drop(port.unset(&["nodePort"])));
        }
    }
    if needs_health_check(before) && !needs_health_check(spec) && same(spec, "healthCheckNodePort") {
        spec.unset(&["healthCheckNodePort"]);
    }
    if before.text(&["type"]) == "LoadBalancer" && kind != "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(spec, key) {
                spec.unset(&[key]);
            }
        }
    }
    if externally_accessible(before) && !externally_accessible(spec) && same(spec, "externalTrafficPolicy") {
        spec.unset(&["externalTrafficPolicy"]);
    }
    if kind != "LoadBalancer" {
        object.set(&["status", "loadBalancer"], json!({}));
    }
}

fn validate_update(errors: &mut Errors, new: &At, old: &At, subresource: Option<&str>) {
    if is_status(subresource) {
        ingress(errors, new, old);
        return;
    }
    let (spec, before) = (new.child("spec"), old.child("spec"));
    fixed_address(errors, &spec, &before);
    let balancers = [&spec, &before].iter().all(|spec| spec.str("type") == "LoadBalancer");
    let class = spec.child("loadBalancerClass");
    if balancers && class.value != before.child("loadBalancerClass").value {
        errors.push(class.invalid("may not change once set"));
    }
    if needs_health_check(before.value) && needs_health_check(spec.value) {
        let port = spec.child("healthCheckNodePort");
        if port.value != before.child("healthCheckNodePort").value {
            errors.push(port.forbidden(checks::IMMUTABLE));
        }
    }
    validate(errors, new, Some(old));
}

/// Addresses and families stay; a second one may come and go (`validateUpgradeDowngradeClusterIPs`, `…IPFamilies`).
fn fixed_address(errors: &mut Errors, spec: &At, before: &At) {
    if [spec, before].iter().any(|spec| spec.str("type") == "ExternalName") {
        return;
    }
    let (bare, was_bare) = (headless(spec), headless(before));
    if !(bare && was_bare) {
        kept_list(errors, spec, before, "clusterIPs", "clusterIP");
    }
    if !bare && !was_bare {
        kept_list(errors, spec, before, "ipFamilies", "ipFamily");
    }
}

fn kept_list(errors: &mut Errors, spec: &At, before: &At, key: &str, one: &str) {
    let list = spec.child(key);
    let texts =
        |at: &At| -> Vec<String> { at.elements().iter().map(|entry| entry.text().to_owned()).collect() };
    let (new, old) = (texts(&list), texts(&before.child(key)));
    let fault = |index: usize, words: String| {
        FieldError::invalid(&list.path.index(index), &Value::from(new.clone()), words)
    };
    let changed = || "may not change once set".to_owned();
    if new.len() == old.len() {
        for (index, _) in old.iter().enumerate().filter(|(index, was)| new.get(*index) != Some(*was)) {
            errors.push(fault(if key == "ipFamilies" { 0 } else { index }, changed()));
        }
        return;
    }
    match (new.first(), old.first()) {
        (None, Some(_)) => errors.push(fault(0, format!("primary {one} can not be unset"))),
        (Some(now), Some(was)) if now != was => errors.push(fault(0, changed())),
        _ => {}
    }
    if new.len() == 1 && old.len() > 1 {
        let policy = spec.child("ipFamilyPolicy");
        if policy.text() != "SingleStack" {
            errors.push(
                policy.invalid(format!("must be set to 'SingleStack' when releasing the secondary {one}")),
            );
        }
    }
}

fn headless(spec: &At) -> bool {
    spec.child("clusterIPs").elements().first().map_or(spec.str("clusterIP"), At::text) == "None"
}

fn validate(errors: &mut Errors, service: &At, old: Option<&At>) {
    let spec = service.child("spec");
    let kind = spec.str("type");
    let ports = spec.child("ports");
    if ports.is_empty() && !headless(&spec) && kind != "ExternalName" {
        errors.push(ports.required(""));
    }
    of_type(errors, &spec);
    let list = ports.elements();
    let mut seen = BTreeSet::new();
    for port in &list {
        service_port(errors, port, list.len() > 1, &mut seen);
    }
    checks::labels(errors, &spec.child("selector"));
    affinity(errors, &spec);
    if kind != "ExternalName" {
        addresses(errors, &spec, old);
    }
    for address in spec.items("externalIPs") {
        let before = errors.len();
        checks::legacy_ip(errors, &address);
        if errors.len() == before {
            endpoints::reachable(errors, &address);
        }
    }
    spec.child("type").required_one_of(errors, &TYPES);
    port_conflicts(errors, &list, kind);
    load_balancer(errors, &spec);
    traffic(errors, &spec);
}

/// What each type asks for.
fn of_type(errors: &mut Errors, spec: &At) {
    match spec.str("type") {
        kind @ ("LoadBalancer" | "NodePort") if headless(spec) => {
            let path = spec.child("clusterIPs").path.index(0);
            let words = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid(&path, &Value::from("None"), words));
        }
        "ExternalName" => {
            for key in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let field = spec.child(key);
                if !field.is_empty() {
                    errors.push(field.forbidden("may not be set for ExternalName services"));
                }
            }
            let name = spec.child("externalName");
            let shown = Value::from(name.text().strip_suffix('.').unwrap_or(name.text()));
            if shown == "" {
                errors.push(name.required(""));
            } else {
                checks::dns_subdomain(errors, &At::new(&shown, name.path));
            }
        }
        _ => {}
    }
}

fn service_port<'o>(errors: &mut Errors, port: &At<'o>, named: bool, seen: &mut BTreeSet<&'o str>) {
    let name = port.child("name");
    if name.text().is_empty() {
        if named {
            errors.push(name.required(""));
        }
    } else {
        checks::dns_label(errors, &name);
        if !seen.insert(name.text()) {
            errors.push(name.duplicate());
        }
    }
    let number = port.int("port").unwrap_or_default();
    let complaints = names::port_number(number).into_iter();
    errors.extend(complaints.map(|complaint| port.child("port").invalid_as(number, complaint)));
    port.child("protocol").required_one_of(errors, &["SCTP", "TCP", "UDP"]);
    checks::port_number_or_name(errors, &port.child("targetPort"));
    if let Some(protocol) = port.some("appProtocol") {
        checks::qualified_name(errors, &protocol);
    }
}

fn affinity(errors: &mut Errors, spec: &At) {
    let affinity = spec.child("sessionAffinity");
    affinity.required_one_of(errors, &["ClientIP", "None"]);
    let config = spec.child("sessionAffinityConfig");
    match affinity.text() {
        "ClientIP" => {
            let client = config.child("clientIP");
            let timeout = client.child("timeoutSeconds");
            let missing = [&config, &client, &timeout].into_iter().find(|at| at.value.is_null());
            if let Some(missing) = missing {
                errors.push(missing.required("when session affinity type is ClientIP"));
            } else if !(1..=AFFINITY_SECONDS_MAX).contains(&timeout.number().unwrap_or_default()) {
                errors.push(
                    timeout.invalid(format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}")),
                );
            }
        }
        "None" if !config.value.is_null() => {
            errors.push(config.forbidden("must not be set when session affinity is None"));
        }
        _ => {}
    }
}

/// `clusterIP`, `clusterIPs`, families and their policy.
fn addresses(errors: &mut Errors, spec: &At, old: Option<&At>) {
    let list = spec.child("clusterIPs");
    let addresses: Vec<&str> = list.elements().iter().map(At::text).collect();
    match (spec.str("clusterIP"), addresses.first()) {
        ("", Some(_)) => errors.push(list.invalid("must be empty when `clusterIP` is not specified")),
        ("", None) => {}
        (_, None) => errors.push(list.required("")),
        (own, Some(first)) if own != *first => {
            errors.push(list.invalid("first value must match `clusterIP`"))
        }
        _ => {}
    }
    let mut seen = BTreeSet::new();
    let families = spec.items("ipFamilies");
    for family in &families {
        family.one_of(errors, &["IPv4", "IPv6"]);
        if !seen.insert(family.text()) {
            errors.push(family.duplicate());
        }
    }
    if let Some(policy) = spec.some("ipFamilyPolicy") {
        policy.one_of(errors, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    }
    let kept: Vec<&str> = old
        .map(|old| old.child("spec").items("clusterIPs").iter().map(At::text).collect())
        .unwrap_or_default();
    let before = errors.len();
    for (index, address) in list.elements().iter().enumerate() {
        if index == 0 && address.text() == "None" {
            if addresses.len() > 1 {
                errors.push(list.invalid("'None' must be the first and only value"));
            }
        } else if !kept.contains(&address.text()) {
            checks::legacy_ip(errors, address);
        }
    }
    let faulty = errors.len() > before;
    if addresses.len() > 2 {
        errors.push(list.invalid("may only hold up to 2 values"));
    }
    if faulty {
        return;
    }
    if !checks::at_most_one_per_family(&addresses) {
        errors.push(list.invalid("may specify no more than one IP for each IP family"));
    }
    if headless(spec) {
        return;
    }
    for (index, (address, family)) in list.elements().iter().zip(&families).enumerate() {
        let six = address.text().contains(':');
        let expected = family.text();
        if (expected == "IPv4" && six) || (expected == "IPv6" && !six) {
            let words = format!("expected an {expected} value as indicated by `ipFamilies[{index}]`");
            errors.push(address.invalid(words));
        }
    }
}

fn port_conflicts(errors: &mut Errors, ports: &[At], kind: &str) {
    let node_port = |port: &At| port.int("nodePort").unwrap_or_default();
    if kind == "ClusterIP" {
        for port in ports.iter().filter(|port| node_port(port) != 0) {
            errors.push(port.child("nodePort").forbidden("may not be used when `type` is 'ClusterIP'"));
        }
    }
    let mut seen = BTreeSet::new();
    for port in ports.iter().filter(|port| node_port(port) != 0) {
        if !seen.insert((port.str("protocol"), node_port(port))) {
            errors.push(port.child("nodePort").duplicate());
        }
    }
    let mut seen = BTreeSet::new();
    for port in ports {
        let number = port.int("port").unwrap_or_default();
        if !seen.insert((port.str("protocol"), number)) {
            errors.push(FieldError {
                fault: Fault::Duplicate,
                path: port.path.clone(),
                value: format!(
                    "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{number},\"TargetPort\":0,\
                     \"NodePort\":0}}",
                    Value::from(port.str("protocol"))
                ),
                detail: String::new(),
            });
        }
    }
}

fn load_balancer(errors: &mut Errors, spec: &At) {
    let balancer = spec.str("type") == "LoadBalancer";
    let ranges = spec.child("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        // Upstream writes the field with a capital.
        let path = spec.path.child("LoadBalancerSourceRanges");
        if !balancer {
            errors.push(FieldError::forbidden(&path, BALANCER_ONLY));
        }
        for (index, range) in ranges.elements().iter().enumerate() {
            let text = Value::from(range.text().trim());
            checks::legacy_cidr(errors, &At::new(&text, path.index(index)));
        }
    }
    let allocate = spec.child("allocateLoadBalancerNodePorts");
    match (balancer, allocate.value.is_null()) {
        (false, false) => errors.push(allocate.forbidden(BALANCER_ONLY)),
        (true, true) => errors.push(FieldError::required(&Path::new("allocateLoadBalancerNodePorts"), "")),
        _ => {}
    }
    if let Some(class) = spec.some("loadBalancerClass") {
        if balancer {
            checks::qualified_name(errors, &class);
        } else {
            errors.push(class.forbidden(BALANCER_ONLY));
        }
    }
}

fn traffic(errors: &mut Errors, spec: &At) {
    let external = spec.child("externalTrafficPolicy");
    if externally_accessible(spec.value) {
        external.required_one_of(errors, &["Cluster", "Local"]);
    } else if !external.text().is_empty() {
        errors.push(external.invalid("may only be set for externally-accessible services"));
    }
    let health = spec.child("healthCheckNodePort");
    let number = health.number().unwrap_or_default();
    if needs_health_check(spec.value) {
        if number == 0 {
            errors.push(health.required(""));
        } else {
            health.complain(errors, names::port_number(number));
        }
    } else if number != 0 {
        let words = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.push(health.invalid(words));
    }
    let internal = spec.child("internalTrafficPolicy");
    if !internal.value.is_null() {
        internal.one_of(errors, &["Cluster", "Local"]);
    } else if matches!(spec.str("type"), "NodePort" | "LoadBalancer" | "ClusterIP") {
        errors.push(internal.required(""));
    }
    if let Some(distribution) = spec.some("trafficDistribution") {
        distribution.one_of(errors, &["PreferClose", "PreferSameZone", "PreferSameNode"]);
    }
}

/// What a load balancer reports (`ValidateLoadBalancerStatus`).
fn ingress(errors: &mut Errors, new: &At, old: &At) {
    let list = new.child("status").child("loadBalancer").child("ingress");
    if new.child("spec").str("type") != "LoadBalancer" && !list.is_empty() {
        errors.push(list.forbidden("may only be used when `spec.type` is 'LoadBalancer'"));
        return;
    }
    let before = old.child("status").child("loadBalancer").items("ingress");
    for entry in list.elements() {
        let (ip, mode, name) = (entry.child("ip"), entry.child("ipMode"), entry.child("hostname"));
        if !ip.text().is_empty() && !before.iter().any(|old| old.str("ip") == ip.text()) {
            checks::legacy_ip(errors, &ip);
        }
        match (mode.value.is_null(), ip.text().is_empty()) {
            (true, false) => errors.push(mode.required("must be specified when `ip` is set")),
            (false, true) => errors.push(mode.forbidden("may not be specified when `ip` is not set")),
            (false, false) => mode.one_of(errors, &["Proxy", "VIP"]),
            (true, true) => {}
        }
        if !name.text().is_empty() {
            checks::dns_subdomain(errors, &name);
            if checks::parse_ip_sloppy(name.text()).is_some() {
                errors.push(name.invalid("must be a DNS name, not an IP address"));
            }
        }
    }
}

fn warnings(object: &Value, _old: Option<&Value>) -> Vec<String> {
    let mut list = Vec::new();
    let service = At::root(object);
    let hints = "service.kubernetes.io/topology-aware-hints";
    if service.child("metadata").child("annotations").has(hints) {
        list.push(format!(
            "annotation {hints} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let spec = service.child("spec");
    let (bare, external) = (headless(&spec), spec.items("externalIPs"));
    let of_name = spec.str("type") == "ExternalName";
    let mut say = |words: &str| list.push(words.to_owned());
    if bare {
        if !spec.str("loadBalancerIP").is_empty() {
            say("spec.loadBalancerIP is ignored for headless services");
        }
        if !external.is_empty() {
            say("spec.externalIPs is ignored for headless services");
        }
        if spec.str("sessionAffinity") != "None" {
            say("spec.SessionAffinity is ignored for headless services");
        }
    }
    if !external.is_empty() && !bare && !of_name {
        say("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
    }
    if of_name && !external.is_empty() {
        say("spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    }
    if !of_name && !spec.str("externalName").is_empty() {
        say("spec.externalName is ignored when spec.type is not \"ExternalName\"");
    }
    if spec.str("trafficDistribution") == "PreferClose" {
        say("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"");
    }
    let own = spec.items("clusterIPs").into_iter().filter(|_| !bare);
    let balancer = spec.some("loadBalancerIP");
    let addresses = own.chain(external).chain(balancer).filter(|address| !address.text().is_empty());
    list.extend(addresses.filter_map(|address| checks::ip_warning(&address.path, address.text())));
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rules;

    fn service(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec});
        SERVICE.default(&mut object);
        object
    }

    fn texts(errors: &Errors) -> Vec<String> {
        errors.iter().map(|error| format!("{}: {}", error.path, error.to_cause().message)).collect()
    }

    #[test]
    fn defaults() {
        let object =
            service(json!({"type": "NodePort", "sessionAffinity": "ClientIP", "ports": [{"port": 80}]}));
        assert_eq!(
            object["spec"],
            json!({"type": "NodePort", "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
                "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
                "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]})
        );
    }

    #[test]
    fn faults() {
        let table: [(Value, &[&str]); 6] = [
            (json!({"ports": [{"port": 80}]}), &[]),
            (json!({}), &["spec.ports: Required value"]),
            (json!({"clusterIP": "None", "clusterIPs": ["None"]}), &[]),
            (
                json!({"ports": [{"port": 80}, {"port": 81}]}),
                &["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
            ),
            (json!({"type": "ExternalName"}), &["spec.externalName: Required value"]),
            (
                json!({"ports": [{"port": 80, "nodePort": 30000}]}),
                &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
            ),
        ];
        for (spec, expected) in table {
            assert_eq!(texts(&SERVICE.validate(&service(spec))), expected);
        }
    }

    #[test]
    fn addresses_stay() {
        let old =
            service(json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80}]}));
        let mut new = old.clone();
        new["spec"]["clusterIP"] = json!("10.0.0.2");
        new["spec"]["clusterIPs"] = json!(["10.0.0.2"]);
        let errors = texts(&SERVICE.validate_update(&new, &old, None));
        assert_eq!(errors, ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"]);
    }
}
