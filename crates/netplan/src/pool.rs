//! Handing out Pod addresses from the node's `spec.podCIDRs`: round robin, so that an address just given back is the
//! last to be given again (a client that still talks to the old Pod must not reach a new one).

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::cidr::Cidr;
use crate::nft::Family;

/// Index, within a block, of the bridge's own address.
const GATEWAY_INDEX: u128 = 1;

/// How many addresses of a block are used at most: an IPv6 block is larger than any node needs, and the search for a
/// free address must end.
const USABLE_MAX: u128 = 1 << 20;

/// One block of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    cidr: Cidr,
    last: Option<IpAddr>,
}

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Every address is held.
    #[error("no free address in {cidr}: {held} are held by Pods")]
    Full {
        /// The block.
        cidr: Cidr,
        /// How many are held.
        held: usize,
    },
    /// The block cannot hold a gateway and a Pod.
    #[error("pod CIDR {cidr} is too small: use /30 (IPv6: /126) or larger")]
    TooSmall {
        /// The block.
        cidr: Cidr,
    },
}

impl Pool {
    /// A pool over a block; `last` is the address handed out most recently, if known.
    pub fn new(cidr: Cidr, last: Option<IpAddr>) -> Result<Self, PoolError> {
        if cidr.size() < 4 {
            return Err(PoolError::TooSmall { cidr });
        }
        Ok(Self { cidr, last: last.filter(|address| cidr.contains(*address)) })
    }

    /// The block.
    pub fn cidr(&self) -> Cidr {
        self.cidr
    }

    /// Address handed out most recently.
    pub fn last(&self) -> Option<IpAddr> {
        self.last
    }

    /// The bridge's address: the block's first.
    pub fn gateway(&self) -> IpAddr {
        self.cidr.nth(GATEWAY_INDEX).unwrap_or(self.cidr.address())
    }

    /// The next address that nobody holds.
    pub fn allocate(&mut self, held: &BTreeSet<IpAddr>) -> Result<IpAddr, PoolError> {
        let first = GATEWAY_INDEX + 1;
        // IPv4 keeps the last address for broadcast; IPv6 has none, but one address more is nothing there.
        let count = (self.cidr.size() - 1).min(USABLE_MAX) - first;
        let after =
            self.last.and_then(|address| self.cidr.index_of(address)).map_or(first, |index| index + 1);
        let start = after.saturating_sub(first);
        let free = (0..count)
            .filter_map(|step| self.cidr.nth(first + (start + step) % count))
            .find(|address| !held.contains(address));
        let address = free.ok_or(PoolError::Full { cidr: self.cidr, held: held.len() })?;
        self.last = Some(address);
        Ok(address)
    }
}

/// One address from every pool, in the pools' order: the first is the Pod's primary.
pub fn allocate_each(pools: &mut [Pool], held: &BTreeSet<IpAddr>) -> Result<Vec<IpAddr>, PoolError> {
    let mut advanced = pools.to_vec();
    let addresses = advanced.iter_mut().map(|pool| pool.allocate(held)).collect::<Result<Vec<_>, _>>()?;
    pools.clone_from_slice(&advanced);
    Ok(addresses)
}

/// The bridge's address of a family.
pub fn gateway_of(pools: &[Pool], family: Family) -> Option<IpAddr> {
    pools.iter().find(|pool| pool.cidr.family() == family).map(Pool::gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidr: &str) -> Pool {
        Pool::new(cidr.parse().unwrap(), None).unwrap()
    }

    fn take(pool: &mut Pool, held: &[&str]) -> String {
        let held = held.iter().map(|address| address.parse().unwrap()).collect();
        pool.allocate(&held).map_or_else(|error| error.to_string(), |address| address.to_string())
    }

    #[test]
    fn goes_round() {
        let mut pool = pool("10.42.0.0/29");
        assert_eq!(pool.gateway().to_string(), "10.42.0.1");
        let taken: Vec<_> = (0..6).map(|_| take(&mut pool, &[])).collect();
        let want = ["10.42.0.2", "10.42.0.3", "10.42.0.4", "10.42.0.5", "10.42.0.6", "10.42.0.2"];
        assert_eq!(taken, want, "neither network, gateway nor broadcast address");
    }

    #[test]
    fn skips_held_and_reports_full() {
        let mut pool = pool("10.42.0.0/30");
        assert_eq!(take(&mut pool, &["10.42.0.2"]), "no free address in 10.42.0.0/30: 1 are held by Pods");
        assert_eq!(take(&mut pool, &[]), "10.42.0.2");
        let mut pool =
            Pool::new("10.42.0.0/29".parse().unwrap(), Some("10.42.0.4".parse().unwrap())).unwrap();
        assert_eq!(take(&mut pool, &["10.42.0.5"]), "10.42.0.6");
        assert_eq!(take(&mut pool, &["10.42.0.2"]), "10.42.0.3");
    }

    #[test]
    fn ipv6_and_small_blocks() {
        assert_eq!(take(&mut pool("fd00:42::/64"), &["fd00:42::2"]), "fd00:42::3");
        let error = Pool::new("10.42.0.0/31".parse().unwrap(), None).unwrap_err();
        assert_eq!(error.to_string(), "pod CIDR 10.42.0.0/31 is too small: use /30 (IPv6: /126) or larger");
    }

    #[test]
    fn all_or_nothing_over_families() {
        let mut pools = [pool("10.42.0.0/24"), pool("fd00:42::/126")];
        let held = BTreeSet::from(["fd00:42::2".parse().unwrap()]);
        assert!(allocate_each(&mut pools, &held).is_err());
        assert_eq!(pools[0].last(), None, "a failed allocation moves no cursor");
        assert_eq!(allocate_each(&mut pools, &BTreeSet::new()).unwrap().len(), 2);
    }

    proptest::proptest! {
        #[test]
        fn never_hands_out_a_held_address(operations in proptest::collection::vec(0u8..3, 1..200)) {
            let mut pool = pool("10.42.0.0/27");
            let mut held = BTreeSet::new();
            for operation in operations {
                if operation == 0 {
                    held.pop_first();
                } else if let Ok(address) = pool.allocate(&held) {
                    proptest::prop_assert!(held.insert(address));
                    proptest::prop_assert_ne!(address, pool.gateway());
                } else {
                    proptest::prop_assert_eq!(held.len(), 29);
                }
            }
        }
    }
}
