//! Address blocks in CIDR writing (RFC 4632, RFC 4291 §2.3) and their arithmetic, one type for both families.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::nft::Family;

/// A block of addresses. The host bits are always zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no CIDR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address block such as 10.42.0.0/24")]
pub struct ParseCidrError {
    /// What was given.
    pub text: String,
}

impl Cidr {
    /// Makes a block; host bits are cleared. `None` if the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let bits = width(address);
        if prefix > bits {
            return None;
        }
        let host_bits = u32::from(bits - prefix);
        let mask = if host_bits >= 128 { 0 } else { u128::MAX << host_bits };
        Some(Self { address: from_number(to_number(address) & mask, address), prefix })
    }

    /// The block of just this address.
    pub fn single(address: IpAddr) -> Self {
        Self { address, prefix: width(address) }
    }

    /// First address of the block.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Number of leading bits that are fixed.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Address family.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// Whether it lies in the block; addresses of the other family never do.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address, self.prefix)
            .is_some_and(|block| block == *self && width(address) == width(self.address))
    }

    /// Whether the two blocks share an address.
    pub fn overlaps(&self, other: &Self) -> bool {
        if self.prefix <= other.prefix { self.contains(other.address) } else { other.contains(self.address) }
    }

    /// Whether every address of `other` lies in this block.
    pub fn contains_block(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }

    /// How many addresses the block has, saturating.
    pub fn size(&self) -> u128 {
        1u128.checked_shl(u32::from(width(self.address) - self.prefix)).unwrap_or(u128::MAX)
    }

    /// The `index`-th address of the block, counted from 0.
    pub fn nth(&self, index: u128) -> Option<IpAddr> {
        (index < self.size()).then(|| from_number(to_number(self.address) + index, self.address))
    }

    /// Where in the block an address lies.
    pub fn index_of(&self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| to_number(address) - to_number(self.address))
    }
}

/// Number of bits of an address of this family.
pub fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The address as it stands in a packet: 4 or 16 bytes.
pub fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address with this number, of the family of `like`; bits beyond the family's width are dropped.
fn from_number(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits((number & u128::from(u32::MAX)) as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = ParseCidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            Self::new(address.parse().ok()?, prefix.parse().ok()?)
        };
        parse().ok_or_else(|| ParseCidrError { text: text.into() })
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

impl TryFrom<String> for Cidr {
    type Error = ParseCidrError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, want) in [
            ("10.42.0.0/24", Some("10.42.0.0/24")),
            ("10.42.0.7/24", Some("10.42.0.0/24")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("fd00:42::/64", Some("fd00:42::/64")),
            ("::/0", Some("::/0")),
            ("10.42.0.0", None),
            ("10.42.0.0/33", None),
            ("fd00::/129", None),
            ("x/8", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Cidr>().ok().map(|cidr| cidr.to_string()).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn overlap_is_symmetric_and_per_family() {
        for (left, right, want) in [
            ("10.42.0.0/16", "10.42.3.0/24", true),
            ("10.42.0.0/24", "10.42.1.0/24", false),
            ("0.0.0.0/0", "192.0.2.0/24", true),
            ("::/0", "192.0.2.0/24", false),
            ("fd00::/8", "fd12::/64", true),
        ] {
            let (left, right): (Cidr, Cidr) = (left.parse().unwrap(), right.parse().unwrap());
            assert_eq!((left.overlaps(&right), right.overlaps(&left)), (want, want), "{left} {right}");
        }
    }

    #[test]
    fn counts() {
        let cidr: Cidr = "10.42.0.0/24".parse().unwrap();
        assert_eq!(cidr.size(), 256);
        assert_eq!(cidr.nth(255), Some("10.42.0.255".parse().unwrap()));
        assert_eq!(cidr.nth(256), None);
        assert_eq!(cidr.index_of("10.42.0.9".parse().unwrap()), Some(9));
        assert_eq!(cidr.index_of("10.43.0.9".parse().unwrap()), None);
        assert_eq!("::/0".parse::<Cidr>().unwrap().size(), u128::MAX);
    }
}
