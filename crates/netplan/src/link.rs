//! Names and hardware addresses of links, derived so that a restarted daemon finds them again.

use std::net::IpAddr;

/// Name of a Pod's interface inside the Pod (CNI's convention, which tools and people expect).
pub const POD_LINK: &str = "eth0";

/// Longest interface name the kernel takes, in bytes (`IFNAMSIZ` - 1).
pub const LINK_NAME_MAX: usize = 15;

/// Name of an instance's bridge.
pub fn bridge_name(instance_id: &str) -> String {
    format!("cb-{instance_id}")
}

/// What every instance's nftables tables start with.
pub const TABLE_PREFIX: &str = "carob-";

/// Name of an instance's nftables tables.
pub fn table_name(instance_id: &str) -> String {
    format!("{TABLE_PREFIX}{instance_id}")
}

/// Whether the text is an instance id: 8 lower-case hex digits, so that names made of it fit everywhere.
pub fn is_instance_id(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Name of the host's end of a sandbox's veth pair. `veth…` because network managers leave such links alone.
pub fn host_link_name(instance_id: &str, sandbox_id: &str) -> String {
    let hash = fnv1a(sandbox_id.bytes().chain([0]).chain(instance_id.bytes()));
    format!("veth{:011x}", hash >> 20)
}

/// Hardware address of a bridge. It must be set: a bridge without one takes the least of its ports', and Pods lose
/// their gateway whenever that changes.
pub fn bridge_hardware_address(instance_id: &str) -> [u8; 6] {
    let [.., a, b, c, d] = fnv1a(instance_id.bytes()).to_be_bytes();
    [0x0a, 0x57, a, b, c, d]
}

/// Hardware address of a Pod's interface: made of its primary address, so that a neighbour's cache entry for an
/// address that was handed out again is still right.
pub fn pod_hardware_address(address: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = fnv1a(address.octets().into_iter()).to_be_bytes();
            [a, b, c, d]
        }
    };
    [0x0a, 0x58, a, b, c, d]
}

/// FNV-1a, 64 bits: stable between releases, which std's hasher is not.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let name = host_link_name("1a2b3c4d", &"ab".repeat(32));
        assert_eq!(name.len(), LINK_NAME_MAX);
        assert_ne!(name, host_link_name("1a2b3c4e", &"ab".repeat(32)), "two instances");
        assert_ne!(name, host_link_name("1a2b3c4d", &"ac".repeat(32)), "two sandboxes");
        assert!(bridge_name("1a2b3c4d").len() <= LINK_NAME_MAX);
    }

    #[test]
    fn hardware_addresses_are_local_and_unicast() {
        for address in [
            bridge_hardware_address("1a2b3c4d"),
            pod_hardware_address("10.42.0.2".parse().unwrap()),
            pod_hardware_address("fd00::2".parse().unwrap()),
        ] {
            assert_eq!(address[0] & 0b11, 0b10, "{address:02x?}");
        }
        assert_eq!(pod_hardware_address("10.42.0.2".parse().unwrap()), [0x0a, 0x58, 10, 42, 0, 2]);
    }

    #[test]
    fn instance_ids() {
        for (text, want) in [("1a2b3c4d", true), ("1A2b3c4d", false), ("1a2b3c4", false), ("../x1234", false)]
        {
            assert_eq!(is_instance_id(text), want, "{text}");
        }
    }
}
