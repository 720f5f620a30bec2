//! nftables as data: tables, chains, sets and rules at the level at which `nft` writes them. `Display` follows nft's
//! syntax closely enough to be read by people; crate `net` translates to the kernel's expressions.

mod diff;
mod show;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::cidr::{Cidr, octets};
use crate::ports::Protocol;

pub use diff::{Elements, Operation, diff, replace};

/// Address family of a table. One table per family: it needs no family checks in rules and works on kernels built
/// without IPv6, where `inet` tables do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }

    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`, which are also `AF_INET` and `AF_INET6`.
    pub fn number(self) -> u8 {
        match self {
            Self::Ipv4 => 2,
            Self::Ipv6 => 10,
        }
    }

    /// nft's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ipv4 => "ip",
            Self::Ipv6 => "ip6",
        }
    }
}

/// One table with everything in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// Family.
    pub family: Family,
    /// Table name.
    pub table: String,
    /// Sets and maps, by name.
    pub sets: BTreeMap<String, Set>,
    /// Chains, by name.
    pub chains: BTreeMap<String, Chain>,
}

/// A set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Parts of the key, concatenated.
    pub key: Vec<Field>,
    /// What a key leads to.
    pub data: DataType,
    /// Elements.
    pub elements: BTreeMap<Vec<Value>, Data>,
}

/// What the keys of a set lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataType {
    /// Nothing: a plain set.
    None,
    /// A verdict.
    Verdict,
    /// An address and a port to translate to.
    AddressPort,
}

/// What one key leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// Nothing.
    None,
    /// Go to this chain.
    Goto(String),
    /// Translate to this.
    AddressPort(IpAddr, u16),
}

/// A part of a packet that sets are keyed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Transport protocol number.
    Protocol,
    /// Source address.
    Source,
    /// Destination address.
    Destination,
    /// Transport destination port.
    DestinationPort,
}

/// The value of a [`Field`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Transport protocol.
    Protocol(Protocol),
    /// Address.
    Address(IpAddr),
    /// Port.
    Port(u16),
}

impl Value {
    /// As the kernel keeps it in registers: network byte order, padded to a multiple of 4 bytes.
    pub fn register_bytes(self) -> Vec<u8> {
        let mut bytes = match self {
            Self::Protocol(protocol) => vec![protocol.number()],
            Self::Address(address) => octets(address),
            Self::Port(port) => port.to_be_bytes().to_vec(),
        };
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Where packets enter it; `None` if only other chains lead here.
    pub base: Option<Base>,
    /// Rules, in order.
    pub rules: Vec<Rule>,
}

/// Where packets enter a base chain. Its policy is always accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Chain type.
    pub kind: ChainKind,
    /// Hook.
    pub hook: Hook,
    /// Priority: smaller comes first.
    pub priority: i32,
}

/// Chain type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// `filter`.
    Filter,
    /// `nat`: sees the first packet of each connection only.
    Nat,
}

impl ChainKind {
    /// The kernel's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// Netfilter hook of the IP families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// To this machine.
    Input,
    /// Through this machine.
    Forward,
    /// From this machine.
    Output,
    /// After routing.
    Postrouting,
}

impl Hook {
    /// Every hook, in the order of the kernel's numbers (`NF_INET_*`).
    pub const ALL: [Self; 5] =
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];

    /// The kernel's number.
    pub fn number(self) -> u32 {
        Self::ALL.iter().position(|hook| *hook == self).unwrap_or(0) as u32
    }

    /// nft's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

/// A rule: statements that must all match, the last of which says what happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Statements, in order.
    pub statements: Vec<Statement>,
    /// Shown by `nft list`, and how rules in foreign tables are found again. At most 127 bytes.
    pub comment: Option<String>,
}

impl Rule {
    /// A rule without comment.
    pub fn new(statements: impl IntoIterator<Item = Statement>) -> Self {
        Self { statements: statements.into_iter().collect(), comment: None }
    }
}

/// Which way a packet passes a link, or which of its addresses is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// In, or source.
    From,
    /// Out, or destination.
    To,
}

/// Whether a match must hold or must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    /// Equal.
    Equal,
    /// Unequal.
    Not,
}

/// A match or an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// The packet comes from or goes to a link of this name.
    Link(Side, Is, String),
    /// An address lies in a block.
    Address(Side, Is, Cidr),
    /// The destination is an address of this machine.
    DestinationLocal,
    /// The connection's destination was translated, or was not.
    Translated(Is),
    /// The packet opens a connection.
    NewConnection,
    /// An ICMP (ICMPv6) redirect message.
    IcmpRedirect,
    /// One connection in so many, at random.
    OneIn(u32),
    /// The fields are an element of the set.
    InSet(Vec<Field>, String),
    /// Takes the verdict that the map has for the fields; goes on if it has none.
    VerdictMap(Vec<Field>, String),
    /// Translates the destination to what the map has for the fields; goes on if it has nothing.
    TranslateMap(Vec<Field>, String),
    /// Translates the destination.
    Translate(IpAddr, u16),
    /// Translates the source to the outgoing link's address, with a random port.
    Masquerade,
    /// Counts.
    Counter,
    /// Goes through another chain and comes back.
    Jump(String),
    /// Ends this chain.
    Return,
    /// Lets the packet pass.
    Accept,
    /// Drops the packet.
    Drop,
    /// Refuses the packet with "port unreachable".
    Reject,
}
