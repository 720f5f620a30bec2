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
#[error("host port {port} is held by {holder}")]
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
            return Some(PortTaken { port: key(mapping), holder: format!("Pod {}", record.describe()) });
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

/// Whether a host port that `wanted` asks for is held by another instance on this machine: `held` is what the other
/// instances' tables lead elsewhere, with the name of each table.
pub fn conflict_between_instances(held: &[(String, HostPort)], wanted: &[PortMapping]) -> Option<PortTaken> {
    let wanted: Vec<HostPort> = wanted.iter().map(key).collect();
    held.iter().find_map(|(table, held)| {
        let port = wanted.iter().copied().find(|wanted| same_port(held, wanted))?;
        Some(PortTaken { port, holder: format!("a Pod of another instance (nftables table {table})") })
    })
}

/// Reads back the key of an element of a host port map: protocol, perhaps an address, port; each padded to a multiple
/// of 4 bytes.
pub fn read_key(bytes: &[u8]) -> Option<HostPort> {
    let (protocol, rest) = bytes.split_at_checked(4)?;
    let (address, port) = rest.split_at_checked(rest.len().checked_sub(4)?)?;
    let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
        .into_iter()
        .find(|known| known.number() == protocol[0])?;
    let address = match address.len() {
        0 => None,
        4 => Some(<[u8; 4]>::try_from(address).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(address).ok()?.into()),
        _ => return None,
    };
    Some(HostPort { protocol, address, port: u16::from_be_bytes([port[0], port[1]]) })
}

fn clashes(left: &PortMapping, right: &PortMapping) -> bool {
    same_port(&key(left), &key(right))
}

/// Upstream's rule (scheduler's `HostPortInfo`): the wildcard clashes with every address.
fn same_port(left: &HostPort, right: &HostPort) -> bool {
    let same_address = match (left.address, right.address) {
        (Some(left), Some(right)) => left == right,
        _ => true,
    };
    left.protocol == right.protocol && left.port == right.port && same_address
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::nft::Value;

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
    fn conflicts_between_instances() {
        for (held, wanted, want) in [
            ("tcp 8080 80", "tcp 127.0.0.1:8080 80", true),
            ("tcp 127.0.0.1:8080 80", "tcp 127.0.0.1:8080 80", true),
            ("tcp [::1]:8080 80", "tcp 8080 80", true),
            ("tcp 127.0.0.1:8080 80", "tcp 127.0.0.2:8080 80", false),
            ("udp 8080 80", "tcp 8080 80", false),
        ] {
            let held = key(&mapping(held));
            let mut bytes = Value::Protocol(held.protocol).register_bytes();
            bytes.extend(
                held.address.into_iter().flat_map(|address| Value::Address(address).register_bytes()),
            );
            bytes.extend(Value::Port(held.port).register_bytes());
            assert_eq!(read_key(&bytes), Some(held));
            let held = [("carob-ffffffff".to_owned(), held)];
            let found = conflict_between_instances(&held, &[mapping(wanted)]);
            assert_eq!(found.is_some(), want, "{held:?} {wanted}");
        }
        for bytes in [&[][..], &[6, 0, 0, 0], &[6, 0, 0, 0, 1, 2, 3], &[9, 0, 0, 0, 0, 80, 0, 0], &[6; 10]] {
            assert_eq!(read_key(bytes), None, "{bytes:?}");
        }
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
