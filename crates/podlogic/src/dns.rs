//! `/etc/resolv.conf` of a Pod: `dnsPolicy`, `dnsConfig`, the node's file and upstream's limits.

use cri::sandbox::DnsConfig;
use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};

use crate::pod;

const SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_LINE_MAX: usize = 2048;
const SEARCH_LENGTH_MAX: usize = 253;

/// What the node knows of name servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeDns {
    /// Addresses of the cluster's DNS; empty if there is none.
    pub cluster_servers: Vec<String>,
    /// `cluster.local`; empty if there is none.
    pub cluster_domain: String,
    /// The text of the node's `resolv.conf`; `None` where `resolvConf` is set to the empty text.
    pub host_file: Option<String>,
}

/// A warning that goes into an event: (reason, message).
pub type Warning = (&'static str, String);

/// Reads a `resolv.conf`; the last `search` wins, options of a name replace earlier ones.
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                let kept = words.filter(|word| *word != ".");
                config.searches =
                    kept.map(|word| word.strip_suffix('.').unwrap_or(word).to_owned()).collect();
            }
            Some("options") => {
                for word in words {
                    set_option(&mut config.options, word.to_owned());
                }
            }
            _ => {}
        }
    }
    config
}

fn set_option(options: &mut Vec<String>, option: String) {
    let name = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
    let own = name(&option);
    match options.iter_mut().find(|other| name(other) == own) {
        Some(other) => *other = option,
        None => options.push(option),
    }
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    list.retain(|entry| seen.insert(entry.clone()));
}

fn add_config(config: &mut DnsConfig, own: &PodDNSConfig) {
    config.servers.extend(own.nameservers.iter().flatten().cloned());
    config.searches.extend(own.searches.iter().flatten().cloned());
    dedup(&mut config.servers);
    dedup(&mut config.searches);
    for option in own.options.iter().flatten() {
        let name = option.name.as_deref().unwrap_or_default();
        match option.value.as_deref().filter(|value| !value.is_empty()) {
            Some(value) => set_option(&mut config.options, format!("{name}:{value}")),
            None => set_option(&mut config.options, name.to_owned()),
        }
    }
}

fn limit(config: &mut DnsConfig, warnings: &mut Vec<Warning>) {
    if config.servers.len() > SERVERS_MAX {
        config.servers.truncate(SERVERS_MAX);
        warnings.push((
            "DNSConfigForming",
            format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line \
                 is: {}",
                config.servers.join(" ")
            ),
        ));
    }
    let before = config.searches.len();
    config.searches.truncate(SEARCHES_MAX);
    config.searches.retain(|search| search.len() <= SEARCH_LENGTH_MAX);
    while config.searches.join(" ").len() > SEARCH_LINE_MAX {
        config.searches.pop();
    }
    if config.searches.len() != before {
        warnings.push((
            "DNSConfigForming",
            format!(
                "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: \
                 {}",
                config.searches.join(" ")
            ),
        ));
    }
}

/// The Pod's configuration, and warnings to record.
pub fn pod_dns(pod: &Pod, node: &NodeDns) -> (DnsConfig, Vec<Warning>) {
    let spec = pod::spec(pod);
    let mut warnings = Vec::new();
    let mut config = node.host_file.as_deref().map(parse_resolv_conf).unwrap_or_default();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "Default" | "None" => false,
        "ClusterFirstWithHostNet" => true,
        _ => !pod::is_host_network(pod),
    };
    if policy == "None" {
        config = DnsConfig::default();
    } else if cluster && !node.cluster_servers.is_empty() {
        config.servers = node.cluster_servers.clone();
        if !node.cluster_domain.is_empty() {
            let (namespace, domain) = (pod::namespace(pod), &node.cluster_domain);
            let mut searches =
                vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            searches.append(&mut config.searches);
            dedup(&mut searches);
            config.searches = searches;
        }
        config.options = vec!["ndots:5".into()];
    } else {
        if cluster {
            warnings.push((
                "MissingClusterDNS",
                format!(
                    "pod: {:?}. kubelet does not have ClusterDNS IP configured and cannot create Pod using \
                     \"ClusterFirst\" policy. Falling back to \"Default\" policy.",
                    pod::describe(pod)
                ),
            ));
        }
        if node.host_file.is_none() {
            config = DnsConfig {
                servers: vec!["127.0.0.1".into()],
                searches: vec![".".into()],
                options: Vec::new(),
            };
        }
    }
    if let Some(own) = &spec.dns_config {
        add_config(&mut config, own);
    }
    limit(&mut config, &mut warnings);
    (config, warnings)
}
