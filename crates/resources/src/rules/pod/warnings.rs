//! Warnings about Pods and Pod templates (pkg/api/pod/warnings.go).

use std::collections::{BTreeMap, BTreeSet};

use model::names;
use model::quantity::Quantity;
use model::tree::TreeExt;
use serde_json::Value;

use crate::field::Path;
use crate::rules::at::At;
use crate::rules::pod::{containers, not_acted_on, prepare};
use crate::rules::{checks, warnings};

/// Volume sources that do nothing any more: (field, name shown, since when).
const OLD_SOURCES: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

const OLD_ANNOTATIONS: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// Warnings about a new Pod.
pub(super) fn create(object: &Value) -> Vec<String> {
    let mut list = prepare::app_armor_warnings(object);
    let complaints = names::dns_label(object.name());
    if !complaints.is_empty() {
        list.push(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            complaints.join(" ")
        ));
    }
    of(&mut list, &At::root(object), false);
    list
}

/// Warnings about a template; `path` is the template's.
pub fn template_warnings(template: &Value, path: &Path) -> Vec<String> {
    let mut list = Vec::new();
    of(&mut list, &At::new(template, path.clone()), true);
    list
}

fn of(list: &mut Vec<String>, pod: &At, template: bool) {
    let spec = pod.child("spec");
    let annotations = pod.child("metadata").child("annotations");
    placement(list, &spec);
    for (key, words) in OLD_ANNOTATIONS {
        if annotations.has(key) {
            list.push(format!("{}: {words}", annotations.path.key(key)));
        }
    }
    volumes(list, &spec);
    overlaps(list, &spec);
    duplicates(list, &spec);
    fractions(list, &spec.child("overhead"));
    profiles_and_variables(list, &spec, &annotations, template);
    ports(list, &spec);
    let grace = spec.child("terminationGracePeriodSeconds");
    if grace.number().is_some_and(|seconds| seconds < 0) {
        list.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            grace.path
        ));
    }
    selectors(list, &spec);
    let servers = spec.child("dnsConfig").items("nameservers");
    let aliases = spec.items("hostAliases");
    let addresses = servers.into_iter().chain(aliases.iter().map(|alias| alias.child("ip")));
    list.extend(addresses.filter_map(|address| checks::ip_warning(&address.path, address.text())));
    not_acted_on::warn(list, &spec);
}

fn placement(list: &mut Vec<String>, spec: &At) {
    for (key, at) in spec.entries("nodeSelector") {
        if let Some(words) = warnings::old_node_label(key) {
            list.push(format!("{}: {words}", at.path));
        }
    }
    let affinity = spec.child("affinity").child("nodeAffinity");
    let required = affinity.child("requiredDuringSchedulingIgnoredDuringExecution");
    for term in required.items("nodeSelectorTerms") {
        warnings::node_selector_term(list, &term, false);
    }
    for term in affinity.items("preferredDuringSchedulingIgnoredDuringExecution") {
        warnings::node_selector_term(list, &term.child("preference"), true);
    }
    for constraint in spec.items("topologySpreadConstraints") {
        let key = constraint.child("topologyKey");
        if let Some(words) = warnings::old_node_label(key.text()) {
            list.push(format!("{}: {} is {words}", key.path, key.text()));
        }
        null_selector(list, &constraint.child("labelSelector"));
    }
}

fn null_selector(list: &mut Vec<String>, selector: &At) {
    if selector.value.is_null() {
        list.push(format!("{}: a null labelSelector results in matching no pod", selector.path));
    }
}

fn selectors(list: &mut Vec<String>, spec: &At) {
    for affinity in ["podAffinity", "podAntiAffinity"] {
        let affinity = spec.child("affinity").child(affinity);
        for term in affinity.items("requiredDuringSchedulingIgnoredDuringExecution") {
            null_selector(list, &term.child("labelSelector"));
        }
        for term in affinity.items("preferredDuringSchedulingIgnoredDuringExecution") {
            null_selector(list, &term.child("podAffinityTerm").child("labelSelector"));
        }
    }
}

fn volumes(list: &mut Vec<String>, spec: &At) {
    for volume in spec.items("volumes") {
        for (key, shown, words) in OLD_SOURCES {
            if volume.has(key) {
                list.push(format!("{}: {words}", volume.child(shown).path));
            }
        }
        let claim = volume.child("ephemeral").child("volumeClaimTemplate").child("spec");
        warnings::claim_spec(list, &claim);
    }
}

fn duplicates(list: &mut Vec<String>, spec: &At) {
    let mut seen = BTreeSet::new();
    for alias in spec.items("hostAliases") {
        if !seen.insert(alias.str("ip")) {
            list.push(format!("{}: duplicate ip {:?}", alias.child("ip").path, alias.str("ip")));
        }
    }
    let mut seen = BTreeSet::new();
    let secrets = spec.items("imagePullSecrets");
    for secret in &secrets {
        if !seen.insert(secret.str("name")) {
            list.push(format!("{}: duplicate name {:?}", secret.child("name").path, secret.str("name")));
        }
    }
    for secret in secrets.iter().filter(|secret| secret.str("name").is_empty()) {
        list.push(format!("{}: invalid empty name \"\"", secret.child("name").path));
    }
}

/// Bytes come whole.
fn fractions(list: &mut Vec<String>, amounts: &At) {
    for name in ["memory", "ephemeral-storage"] {
        let quantity = Quantity::of(amounts.value.get(name));
        if quantity.milli_value() % 1000 != 0 {
            list.push(format!(
                "{}: fractional byte value \"{quantity}\" is invalid, must be an integer",
                amounts.path.key(name)
            ));
        }
    }
}

fn profiles_and_variables(list: &mut Vec<String>, spec: &At, annotations: &At, template: bool) {
    let seccomp = |list: &mut Vec<String>, holder: &At, key: &str| {
        if !holder.child("securityContext").has("seccompProfile") && annotations.has(key) {
            let words = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
            list.push(format!("{}: {words}", annotations.path.key(key)));
        }
    };
    seccomp(list, spec, "seccomp.security.alpha.kubernetes.io/pod");
    let of_pod = spec.child("securityContext").child("appArmorProfile").value;
    for container in containers(spec) {
        let name = container.str("name");
        seccomp(list, &container, &format!("container.seccomp.security.alpha.kubernetes.io/{name}"));
        let key = format!("{}{name}", prepare::APP_ARMOR);
        if template && !container.child("securityContext").has("appArmorProfile") && annotations.has(&key) {
            let derived = prepare::app_armor_profile(annotations.str(&key)).unwrap_or_default();
            if of_pod.is_null() || *of_pod != derived {
                let words = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
                list.push(format!("{}: {words}", annotations.path.key(&key)));
            }
        }
        let resources = container.child("resources");
        // Upstream looks at memory in both lists first, then at storage.
        for name in ["memory", "ephemeral-storage"] {
            for key in ["limits", "requests"] {
                let amounts = resources.child(key);
                let one = serde_json::json!({(name): amounts.value.get(name)});
                fractions(list, &At::new(&one, amounts.path.clone()));
            }
        }
        hidden_variables(list, &container);
    }
}

fn hidden_variables(list: &mut Vec<String>, container: &At) {
    let mut seen = BTreeSet::new();
    for variable in container.items("env") {
        let (name, value) = (variable.str("name"), variable.str("value"));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        if variable.has("valueFrom") || value == reference || !value.contains(&reference) {
            list.push(format!(
                "{}: hides previous definition of {name:?}, which may be dropped when using apply",
                variable.path
            ));
        }
    }
}

fn ports(list: &mut Vec<String>, spec: &At) {
    let mut seen: BTreeMap<String, Vec<At>> = BTreeMap::new();
    let all: Vec<At> = containers(spec).iter().flat_map(|container| container.items("ports")).collect();
    for port in &all {
        let host = |port: &At| port.int("hostPort").unwrap_or_default();
        let number = port.int("containerPort").unwrap_or_default();
        if !port.str("hostIP").is_empty() && host(port) == 0 {
            list.push(format!(
                "{}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{number} Protocol:{} HostIP:{}}}",
                port.path,
                port.str("name"),
                port.str("protocol"),
                port.str("hostIP")
            ));
        }
        let others = seen.entry(format!("{number}/{}", port.str("protocol"))).or_default();
        for other in others.iter() {
            let (ip, other_ip) = (port.str("hostIP"), other.str("hostIP"));
            let kind = if ip == other_ip && host(port) == host(other) {
                "duplicate"
            } else if host(port) == 0 || host(other) == 0 {
                "overlapping"
            } else if host(port) == host(other) && ip.is_empty() != other_ip.is_empty() {
                "dangerously ambiguous"
            } else {
                continue;
            };
            list.push(format!("{}: {kind} port definition with {}", port.path, other.path));
        }
        others.push(port.clone());
    }
    let mut named: BTreeMap<&str, &Path> = BTreeMap::new();
    for port in all.iter().filter(|port| !port.str("name").is_empty()) {
        let name = port.str("name");
        match named.get(name) {
            Some(other) => list.push(format!(
                "{}: duplicate port name {name:?} with {other}, services and probes that select ports by name will use \
                 {other}",
                port.path
            )),
            None => {
                named.insert(name, &port.path);
            }
        }
    }
}

/// A file in a volume and what puts it there.
struct Entry {
    path: String,
    source: String,
}

impl Entry {
    fn new(path: &str, source: &str) -> Self {
        Self { path: path.trim_end_matches('/').to_owned(), source: source.to_owned() }
    }

    fn shown(&self) -> String {
        match self.source.as_str() {
            "" => format!("{:?}", self.path),
            source => format!("{:?} ({source})", self.path),
        }
    }

    fn overlaps(&self, other: &Entry) -> bool {
        let (own, other) = (format!("{}/", self.path), format!("{}/", other.path));
        own.len() > 1 && other.len() > 1 && (own.starts_with(&other) || other.starts_with(&own))
    }
}

/// Files of a volume that lie in each other's way.
fn overlaps(list: &mut Vec<String>, spec: &At) {
    for volume in spec.items("volumes") {
        let name = volume.str("name");
        let mut report = |what: &str, entries: Vec<Entry>| {
            for (index, entry) in entries.iter().enumerate() {
                for other in entries[..index].iter().filter(|other| entry.overlaps(other)) {
                    list.push(format!(
                        "volume {name:?} ({what}): overlapping paths: {} with {}",
                        entry.shown(),
                        other.shown()
                    ));
                }
            }
        };
        let config = volume.child("configMap");
        report(&format!("ConfigMap {:?}", config.str("name")), items(&config, ""));
        let secret = volume.child("secret");
        report(&format!("Secret {:?}", secret.str("secretName")), items(&secret, ""));
        report("DownwardAPI", items(&volume.child("downwardAPI"), ""));
        let mut entries = Vec::new();
        let mut empty = 0;
        for source in volume.child("projected").items("sources") {
            if source.is_empty() {
                empty += 1;
            }
            entries.extend(projected_entries(&source));
        }
        report("Projected", entries);
        list.extend(std::iter::repeat_n(
            format!("volume {name:?} (Projected) has no sources provided"),
            empty,
        ));
    }
}

fn items(source: &At, what: &str) -> Vec<Entry> {
    source.items("items").iter().map(|item| Entry::new(item.str("path"), what)).collect()
}

fn projected_entries(source: &At) -> Vec<Entry> {
    let named = |key: &str, kind: &str| {
        let object = source.child(key);
        items(&object, &format!("{kind} {:?}", object.str("name")))
    };
    for (key, kind) in [("configMap", "ConfigMap"), ("secret", "Secret")] {
        if !source.child(key).items("items").is_empty() {
            return named(key, kind);
        }
    }
    if !source.child("downwardAPI").items("items").is_empty() {
        return items(&source.child("downwardAPI"), "DownwardAPI");
    }
    if let Some(token) = source.some("serviceAccountToken") {
        return vec![Entry::new(token.str("path"), "ServiceAccountToken")];
    }
    if let Some(bundle) = source.some("clusterTrustBundle") {
        let name = if bundle.has("name") { bundle.str("name") } else { bundle.str("signerName") };
        return vec![Entry::new(bundle.str("path"), &format!("ClusterTrustBundle {name:?}"))];
    }
    let certificate = source.child("podCertificate");
    [("certificateChainPath", "chain"), ("keyPath", "key"), ("credentialBundlePath", "credential bundle")]
        .iter()
        .filter(|(key, _)| !certificate.str(key).is_empty())
        .map(|(key, what)| Entry::new(certificate.str(key), &format!("PodCertificate {what}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: Value, expected: &[&str]) {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        assert_eq!(create(&pod), expected);
    }

    #[test]
    fn texts() {
        check(
            json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}),
            &[
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ],
        );
        check(
            json!({"containers": [{"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}]}),
            &[],
        );
        check(
            json!({"containers": [{"ports": [
                {"containerPort": 80, "hostPort": 1, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}]}]}),
            &["spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]"],
        );
        check(
            json!({"volumes": [{"name": "v", "configMap": {"name": "c", "items": [{"path": "a"}, {"path": "a/b"}]}}]}),
            &["volume \"v\" (ConfigMap \"c\"): overlapping paths: \"a/b\" with \"a\""],
        );
        check(
            json!({"overhead": {"memory": "1m"}}),
            &["spec.overhead[memory]: fractional byte value \"1m\" is invalid, must be an integer"],
        );
    }
}
