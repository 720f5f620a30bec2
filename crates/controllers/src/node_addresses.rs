//! Gives each node a part of the cluster's Pod addresses (upstream's range allocator).

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::tree::TreeExt;
use serde_json::{Value, json};

use crate::action::{Action, PatchKind, Target};

/// Prefix length of a node's part: IPv4 and IPv6, as upstream's defaults.
const NODE_BITS: (u8, u8) = (24, 64);

/// A cluster CIDR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// Network address.
    pub network: IpAddr,
    /// Prefix length.
    pub bits: u8,
}

impl Cidr {
    /// Reads `10.42.0.0/16`.
    pub fn parse(text: &str) -> Option<Self> {
        let (network, bits) = text.split_once('/')?;
        Some(Self { network: network.parse().ok()?, bits: bits.parse().ok()? })
    }

    fn node_bits(&self) -> u8 {
        let bits = if self.network.is_ipv4() { NODE_BITS.0 } else { NODE_BITS.1 };
        bits.max(self.bits)
    }

    /// The part of this number, if there is one.
    fn part(&self, index: u128) -> Option<String> {
        let bits = self.node_bits();
        if u32::from(bits - self.bits) < 128 && index >> (bits - self.bits) != 0 {
            return None;
        }
        let network = match self.network {
            IpAddr::V4(ip) => {
                let offset = u32::try_from(index).ok()?.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(ip) + offset))
            }
            IpAddr::V6(ip) => {
                let offset = index.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(ip) + offset))
            }
        };
        Some(format!("{network}/{bits}"))
    }
}

/// Decides for a node, given all nodes. A node that has addresses keeps them.
pub fn decide(node: &Value, nodes: &[&Value], cluster: &[Cidr]) -> Vec<Action> {
    if !node.text(&["spec", "podCIDR"]).is_empty() || cluster.is_empty() {
        return Vec::new();
    }
    let taken: HashSet<&str> =
        nodes.iter().flat_map(|own| own.items(&["spec", "podCIDRs"])).filter_map(Value::as_str).collect();
    let free =
        |cidr: &Cidr| (0..).map_while(|index| cidr.part(index)).find(|part| !taken.contains(part.as_str()));
    let Some(parts) = cluster.iter().map(free).collect::<Option<Vec<String>>>() else { return Vec::new() };
    let patch = json!({"spec": {"podCIDR": parts[0], "podCIDRs": parts}});
    vec![Action::Patch {
        target: Target::of("nodes", node),
        subresource: None,
        kind: PatchKind::Strategic,
        patch,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_get_parts_that_nobody_has() {
        let cluster = [Cidr::parse("10.42.0.0/16").unwrap(), Cidr::parse("fd00::/48").unwrap()];
        let first = json!({"metadata": {"name": "a"}, "spec": {"podCIDR": "10.42.0.0/24", "podCIDRs": ["10.42.0.0/24", "fd00::/64"]}});
        let second = json!({"metadata": {"name": "b"}});
        assert!(decide(&first, &[&first], &cluster).is_empty());
        let [Action::Patch { patch, .. }] = &decide(&second, &[&first, &second], &cluster)[..] else {
            panic!()
        };
        assert_eq!(patch["spec"]["podCIDRs"], json!(["10.42.1.0/24", "fd00:0:0:1::/64"]));
        let small = [Cidr::parse("10.42.0.0/24").unwrap()];
        assert!(decide(&second, &[&first, &second], &small).is_empty(), "used up");
    }
}
