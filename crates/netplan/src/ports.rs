//! Host ports: which destination on the host leads to which Pod, and who holds it already.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::nft::Family;
use crate::record::Record;

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// IANA protocol number.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// Lower-case name, as nft writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// One host port of a Pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Host address; `None` is every address of the host.
    pub host_address: Option<IpAddr>,
    /// Port of the host.
    pub host_port: u16,
    /// Port in the Pod.
    pub container_port: u16,
}

/// A destination on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Host address; `None` is every address of the host.
    pub address: Option<IpAddr>,
    /// Port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) if address.is_ipv6() => write!(formatter, "[{address}]:")?,
            Some(address) => write!(formatter, "{address}:")?,
            None => {}
        }
        write!(formatter, "{}/{}", self.port, self.protocol.name())
    }
}

/// Two sandboxes want the same host port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("host port {port} is held by Pod {holder}")]
pub struct PortTaken {
    /// What was asked for.
    pub port: HostPort,
    /// Who has it.
    pub holder: String,
}

/// Where every host port of a family leads. Of two sandboxes with the same port the one with the smaller id wins;
/// [`conflict`] keeps that from happening.
pub fn targets<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    family: Family,
) -> BTreeMap<HostPort, (IpAddr, u16)> {
    let mut records: Vec<&Record> = records.into_iter().collect();
    records.sort_by(|left, right| left.sandbox_id.cmp(&right.sandbox_id));
    let mut targets = BTreeMap::new();
    for record in records {
        let Some(address) = record.addresses.iter().copied().find(|address| Family::of(*address) == family)
        else {
            continue;
        };
        for mapping in &record.port_mappings {
            if mapping.host_address.is_some_and(|address| Family::of(address) != family) {
                continue;
            }
            targets.entry(key(mapping)).or_insert((address, mapping.container_port));
        }
    }
    targets
}

/// Whether a host port that `wanted` asks for is held by another sandbox.
pub fn conflict<'a>(
    records: impl IntoIterator<Item = &'a Record>,
    sandbox_id: &str,
    wanted: &[PortMapping],
) -> Option<PortTaken> {
    for record in records.into_iter().filter(|record| record.sandbox_id != sandbox_id) {
        let clash =
            wanted.iter().find(|wanted| record.port_mappings.iter().any(|held| clashes(held, wanted)));
        if let Some(mapping) = clash {
            return Some(PortTaken { port: key(mapping), holder: record.describe() });
        }
    }
    None
}

/// UDP ports whose connection tracking entries may point at a former target.
pub fn udp_ports(mappings: &[PortMapping]) -> Vec<u16> {
    let udp = mappings.iter().filter(|mapping| mapping.protocol == Protocol::Udp);
    udp.map(|mapping| mapping.host_port).collect()
}

fn key(mapping: &PortMapping) -> HostPort {
    HostPort { protocol: mapping.protocol, address: mapping.host_address, port: mapping.host_port }
}

/// Upstream's rule (scheduler's `HostPortInfo`): the wildcard clashes with every address.
fn clashes(left: &PortMapping, right: &PortMapping) -> bool {
    let same_address = match (left.host_address, right.host_address) {
        (Some(left), Some(right)) => left == right,
        _ => true,
    };
    left.protocol == right.protocol && left.host_port == right.host_port && same_address
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `tcp 127.0.0.1:8080 80`, `udp 53 5353`.
    pub(crate) fn mapping(text: &str) -> PortMapping {
        let words: Vec<&str> = text.split(' ').collect();
        let protocol = match words[0] {
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => Protocol::Tcp,
        };
        let (address, port) =
            words[1].rsplit_once(':').map_or((None, words[1]), |(address, port)| (Some(address), port));
        PortMapping {
            protocol,
            host_address: address.map(|address| address.trim_matches(['[', ']']).parse().unwrap()),
            host_port: port.parse().unwrap(),
            container_port: words[2].parse().unwrap(),
        }
    }

    pub(crate) fn record(id: &str, addresses: &[&str], mappings: &[&str]) -> Record {
        Record {
            version: 1,
            sandbox_id: id.into(),
            pod_namespace: "default".into(),
            pod_name: format!("pod-{id}"),
            host_link: format!("veth{id}"),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            port_mappings: mappings.iter().map(|text| mapping(text)).collect(),
        }
    }

    #[test]
    fn conflicts() {
        let records = [record("a", &["10.42.0.2"], &["tcp 8080 80", "udp 127.0.0.1:53 53"])];
        for (wanted, want) in [
            ("tcp 8080 81", Some("host port 8080/tcp is held by Pod default/pod-a (sandbox a)")),
            (
                "tcp 192.0.2.1:8080 81",
                Some("host port 192.0.2.1:8080/tcp is held by Pod default/pod-a (sandbox a)"),
            ),
            ("udp 8080 81", None),
            ("udp 192.0.2.1:53 53", None),
            ("udp 53 53", Some("host port 53/udp is held by Pod default/pod-a (sandbox a)")),
        ] {
            let found = conflict(&records, "b", &[mapping(wanted)]).map(|taken| taken.to_string());
            assert_eq!(found.as_deref(), want, "{wanted}");
        }
        assert_eq!(conflict(&records, "a", &[mapping("tcp 8080 80")]), None, "its own");
    }

    #[test]
    fn targets_per_family() {
        let records = [record("a", &["10.42.0.2", "fd00::2"], &["tcp 8080 80", "tcp [::1]:81 81"])];
        let show = |family| -> Vec<String> {
            let targets = targets(&records, family);
            targets.iter().map(|(port, (address, to))| format!("{port} {address} {to}")).collect()
        };
        assert_eq!(show(Family::Ipv4), ["8080/tcp 10.42.0.2 80"]);
        assert_eq!(show(Family::Ipv6), ["8080/tcp fd00::2 80", "[::1]:81/tcp fd00::2 81"]);
    }
}
