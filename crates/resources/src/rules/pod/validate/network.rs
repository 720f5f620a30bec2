//! Host ports, DNS, host names and aliases.

use model::names;
use model::tree::TreeExt;
use serde_json::Value;

use super::Subject;
use crate::field::{Errors, FieldError};
use crate::rules::at::At;
use crate::rules::checks;

const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;

/// With host networking, host ports are the container's ports.
pub(super) fn host_ports(errors: &mut Errors, spec: &At, subject: &Subject) {
    if !spec.flag("hostNetwork") {
        return;
    }
    for container in spec.items("containers") {
        for port in container.items("ports") {
            let host = port.int("hostPort").unwrap_or_default();
            let own = port.int("containerPort").unwrap_or_default();
            if (subject.is_pod || host != 0) && host != own {
                let words = "must match `containerPort` when `hostNetwork` is true";
                errors.push(port.child("hostPort").invalid_as(host, words));
            }
        }
    }
}

/// `dnsConfig`.
pub(super) fn dns_config(errors: &mut Errors, spec: &At) {
    let config = spec.child("dnsConfig");
    let nameservers = config.child("nameservers");
    if spec.str("dnsPolicy") == "None" {
        if config.value.is_null() {
            errors.push(config.required("must provide `dnsConfig` when `dnsPolicy` is None"));
            return;
        }
        if nameservers.is_empty() {
            let words = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.push(nameservers.required(words));
            return;
        }
    }
    let servers = nameservers.elements();
    if servers.len() > NAMESERVERS_MAX {
        errors.push(nameservers.invalid(format!("must not have more than {NAMESERVERS_MAX} nameservers")));
    }
    servers.iter().for_each(|server| checks::legacy_ip(errors, server));
    let searches = config.child("searches");
    let list: Vec<&str> = searches.elements().iter().map(At::text).collect();
    if list.len() > SEARCHES_MAX {
        errors.push(searches.invalid(format!("must not have more than {SEARCHES_MAX} search paths")));
    }
    if list.join(" ").len() > SEARCH_BYTES_MAX {
        errors.push(searches.invalid(format!(
            "must not have more than {SEARCH_BYTES_MAX} characters (including spaces) in the search list"
        )));
    }
    for search in searches.elements().iter().filter(|search| search.text() != ".") {
        let text = search.text().strip_suffix('.').unwrap_or(search.text());
        let shown = Value::from(text);
        At::new(&shown, search.path.clone()).complain(errors, names::dns_subdomain_with_underscore(text));
    }
    for option in config.items("options") {
        if option.str("name").is_empty() {
            errors.push(option.required("must not be empty"));
        }
    }
}

/// `hostnameOverride`.
pub(super) fn hostname_override(errors: &mut Errors, spec: &At) {
    let Some(name) = spec.some("hostnameOverride") else { return };
    if spec.flag("setHostnameAsFQDN") {
        errors.push(name.forbidden("may not be specified when setHostnameAsFQDN is true"));
    }
    if spec.flag("hostNetwork") {
        errors.push(name.forbidden("may not be specified when hostNetwork is true"));
    }
    if name.text().len() > 64 {
        errors.push(FieldError::too_long(&name.path, 64));
    }
    checks::dns_subdomain(errors, &name);
}

/// `hostAliases`.
pub(super) fn host_aliases(errors: &mut Errors, spec: &At) {
    for alias in spec.items("hostAliases") {
        checks::legacy_ip(errors, &alias.child("ip"));
        alias.items("hostnames").iter().for_each(|name| checks::dns_subdomain(errors, name));
    }
}

/// Addresses of a Pod's status, at most one of each family.
pub(in crate::rules::pod) fn addresses(errors: &mut Errors, list: &At, old: &Value, key: &str) {
    let before: Vec<&str> = old.items(&["status", key]).iter().map(|entry| entry.text(&["ip"])).collect();
    let entries = list.elements();
    for entry in entries.iter().filter(|entry| !before.contains(&entry.str("ip"))) {
        let ip = entry.value.get("ip").unwrap_or(&Value::Null);
        checks::legacy_ip(errors, &At::new(ip, entry.path.clone()));
    }
    let addresses: Vec<&str> = entries.iter().map(|entry| entry.str("ip")).collect();
    if !checks::at_most_one_per_family(&addresses) {
        let shown: Vec<String> =
            addresses.iter().map(|ip| format!("{{\"IP\":{}}}", Value::from(*ip))).collect();
        let words = "may specify no more than one IP for each IP family";
        errors.push(list.invalid_shown(format!("[{}]", shown.join(",")), words));
    }
}
