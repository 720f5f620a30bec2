//! netplan's statements as the kernel's expressions: each loads registers, compares them, or acts.

use std::net::IpAddr;

use netplan::cidr::{Cidr, octets, width};
use netplan::nft::{Family, Field, Is, Side, Statement, Value};

use super::{DATA_VALUE, LIST_ELEMENT, Verdict, append_verdict};
use crate::netlink::Message;

// Attributes of a list of expressions.
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;

/// `NFT_REG_VERDICT`.
const VERDICT: u32 = 0;
/// `NFT_REG32_00`: the first of sixteen 4-byte registers. Loads start here.
const FIRST: u32 = 8;

/// `NFT_CMP_EQ`, `NFT_CMP_NEQ`.
fn comparison(is: Is) -> u32 {
    match is {
        Is::Equal => 0,
        Is::Not => 1,
    }
}

// `enum nft_meta_keys`.
const META_LINK_IN: u32 = 6;
const META_LINK_OUT: u32 = 7;
const META_PROTOCOL: u32 = 16;
// `enum nft_payload_bases`.
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
// `enum nft_ct_keys`.
const CONNECTION_STATE: u32 = 0;
const CONNECTION_STATUS: u32 = 2;
/// `NF_CT_STATE_BIT(IP_CT_NEW)`.
const STATE_NEW: u32 = 8;
/// `IPS_DST_NAT`.
const STATUS_TRANSLATED: u32 = 1 << 5;
/// `NFT_FIB_RESULT_ADDRTYPE`.
const FIB_ADDRESS_TYPE: u32 = 3;
/// `NFTA_FIB_F_DADDR`.
const FIB_DESTINATION: u32 = 2;
/// `RTN_LOCAL`.
const ADDRESS_LOCAL: u32 = 2;
/// `NFT_NG_RANDOM`.
const NUMBER_RANDOM: u32 = 1;
/// `NFT_NAT_DNAT`.
const TRANSLATE_DESTINATION: u32 = 1;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`: without it, connections from several Pods to one server collide on ports.
const RANDOM_PORT: u32 = 1 << 4;
/// `NFT_REJECT_ICMP_UNREACH`.
const REJECT_UNREACHABLE: u32 = 0;

/// `IPPROTO_ICMP` and its redirect type; `IPPROTO_ICMPV6` and its redirect type.
const ICMP: (u8, u8) = (1, 5);
const ICMPV6: (u8, u8) = (58, 137);
/// `ICMP_PORT_UNREACH`, `ICMPV6_PORT_UNREACH`.
const PORT_UNREACHABLE: u8 = 3;
const PORT_UNREACHABLE_V6: u8 = 4;

/// A list of expressions of a rule in a table of the family.
pub(super) struct Expressions {
    family: Family,
    list: Message,
}

impl Expressions {
    /// Goes on with a list.
    pub(super) fn new(family: Family, list: Message) -> Self {
        Self { family, list }
    }

    /// The list.
    pub(super) fn finish(self) -> Message {
        self.list
    }

    /// Adds what a statement means.
    pub(super) fn statement(self, statement: &Statement) -> Self {
        match statement {
            Statement::Link(side, is, name) => self.link(*side, *is, name),
            Statement::Address(side, is, cidr) => self.address(*side, *is, cidr),
            Statement::DestinationLocal => self
                .add("fib", |data| {
                    data.network(1, FIRST).network(2, FIB_ADDRESS_TYPE).network(3, FIB_DESTINATION)
                })
                .compare(Is::Equal, &ADDRESS_LOCAL.to_ne_bytes()),
            Statement::Translated(is) => {
                let differs_from_zero = if *is == Is::Equal { Is::Not } else { Is::Equal };
                self.connection(CONNECTION_STATUS, STATUS_TRANSLATED).compare(differs_from_zero, &[0; 4])
            }
            Statement::NewConnection => {
                self.connection(CONNECTION_STATE, STATE_NEW).compare(Is::Not, &[0; 4])
            }
            Statement::IcmpRedirect => self.icmp_redirect(),
            Statement::OneIn(count) => self
                .add("numgen", |data| data.network(1, FIRST).network(2, *count).network(3, NUMBER_RANDOM))
                .compare(Is::Equal, &[0; 4]),
            Statement::InSet(fields, set) => self.fields(fields).lookup(set, None),
            Statement::VerdictMap(fields, map) => self.fields(fields).lookup(map, Some(VERDICT)),
            Statement::TranslateMap(fields, map) => self.fields(fields).lookup(map, Some(FIRST)).translate(),
            Statement::Translate(address, port) => self.load_target(*address, *port).translate(),
            Statement::Masquerade => self.add("masq", |data| data.network(1, RANDOM_PORT)),
            Statement::Counter => self.add("counter", |data| data),
            Statement::Jump(chain) => self.verdict(Verdict::Jump(chain)),
            Statement::Return => self.verdict(Verdict::Return),
            Statement::Accept => self.verdict(Verdict::Accept),
            Statement::Drop => self.verdict(Verdict::Drop),
            Statement::Reject => {
                let code = match self.family {
                    Family::Ipv4 => PORT_UNREACHABLE,
                    Family::Ipv6 => PORT_UNREACHABLE_V6,
                };
                self.add("reject", |data| data.network(1, REJECT_UNREACHABLE).bytes(2, &[code]))
            }
        }
    }

    fn add(mut self, name: &str, fill: impl FnOnce(Message) -> Message) -> Self {
        self.list = self
            .list
            .nest(LIST_ELEMENT, |element| element.text(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, fill));
        self
    }

    fn meta(self, key: u32, register: u32) -> Self {
        self.add("meta", |data| data.network(1, register).network(2, key))
    }

    fn payload(self, base: u32, offset: u32, bytes: u32, register: u32) -> Self {
        self.add("payload", |data| {
            data.network(1, register).network(2, base).network(3, offset).network(4, bytes)
        })
    }

    fn compare(self, is: Is, value: &[u8]) -> Self {
        self.add("cmp", |data| {
            data.network(1, FIRST).network(2, comparison(is)).nest(3, |nest| nest.bytes(DATA_VALUE, value))
        })
    }

    /// Keeps the bits of the first registers that are set in the mask.
    fn mask(self, mask: &[u8]) -> Self {
        let zeros = vec![0; mask.len()];
        let bytes = u32::try_from(mask.len()).unwrap_or(0);
        self.add("bitwise", |data| {
            data.network(1, FIRST)
                .network(2, FIRST)
                .network(3, bytes)
                .nest(4, |nest| nest.bytes(DATA_VALUE, mask))
                .nest(5, |nest| nest.bytes(DATA_VALUE, &zeros))
        })
    }

    fn immediate(self, register: u32, value: &[u8]) -> Self {
        self.add("immediate", |data| data.network(1, register).nest(2, |nest| nest.bytes(DATA_VALUE, value)))
    }

    fn verdict(self, verdict: Verdict<'_>) -> Self {
        self.add("immediate", |data| data.network(1, VERDICT).nest(2, |nest| append_verdict(nest, verdict)))
    }

    fn lookup(self, set: &str, destination: Option<u32>) -> Self {
        self.add("lookup", |data| {
            let data = data.text(1, set).network(2, FIRST);
            match destination {
                Some(register) => data.network(3, register),
                None => data,
            }
        })
    }

    /// Compares the name with its final zero, so that it is no prefix.
    fn link(self, side: Side, is: Is, name: &str) -> Self {
        let key = match side {
            Side::From => META_LINK_IN,
            Side::To => META_LINK_OUT,
        };
        let mut value = name.as_bytes().to_vec();
        value.push(0);
        self.meta(key, FIRST).compare(is, &value)
    }

    fn address(self, side: Side, is: Is, cidr: &Cidr) -> Self {
        let (offset, bytes) = address_place(Family::of(cidr.address()), side);
        let loaded = self.payload(NETWORK_HEADER, offset, bytes, FIRST);
        let masked = if cidr.prefix() == width(cidr.address()) {
            loaded
        } else {
            loaded.mask(&prefix_mask(cidr.prefix(), bytes))
        };
        masked.compare(is, &octets(cidr.address()))
    }

    /// Loads a word of the connection and keeps one bit.
    fn connection(self, key: u32, bit: u32) -> Self {
        self.add("ct", |data| data.network(1, FIRST).network(2, key)).mask(&bit.to_ne_bytes())
    }

    fn icmp_redirect(self) -> Self {
        let (protocol, kind) = match self.family {
            Family::Ipv4 => ICMP,
            Family::Ipv6 => ICMPV6,
        };
        self.meta(META_PROTOCOL, FIRST)
            .compare(Is::Equal, &[protocol])
            .payload(TRANSPORT_HEADER, 0, 1, FIRST)
            .compare(Is::Equal, &[kind])
    }

    /// Loads fields one behind the other, as a concatenated key.
    fn fields(self, fields: &[Field]) -> Self {
        let family = self.family;
        let mut register = FIRST;
        fields.iter().fold(self, |list, field| {
            let at = register;
            let (list, bytes) = match field {
                Field::Protocol => (list.meta(META_PROTOCOL, at), 4),
                Field::Source => list.load_address(family, Side::From, at),
                Field::Destination => list.load_address(family, Side::To, at),
                // The destination port is at the same place in TCP, UDP and SCTP; for other protocols what is loaded
                // means nothing, but then the protocol is not in the set.
                Field::DestinationPort => (list.payload(TRANSPORT_HEADER, 2, 2, at), 4),
            };
            register += bytes / 4;
            list
        })
    }

    fn load_address(self, family: Family, side: Side, register: u32) -> (Self, u32) {
        let (offset, bytes) = address_place(family, side);
        (self.payload(NETWORK_HEADER, offset, bytes, register), bytes)
    }

    fn load_target(self, address: IpAddr, port: u16) -> Self {
        let port_register = self.port_register();
        self.immediate(FIRST, &octets(address))
            .immediate(port_register, &Value::Port(port).register_bytes()[..2])
    }

    /// Where the port follows the address.
    fn port_register(&self) -> u32 {
        match self.family {
            Family::Ipv4 => FIRST + 1,
            Family::Ipv6 => FIRST + 4,
        }
    }

    /// Translates the destination to the address in the first registers and the port behind it.
    fn translate(self) -> Self {
        let (family, port) = (u32::from(self.family.number()), self.port_register());
        self.add("nat", |data| {
            data.network(1, TRANSLATE_DESTINATION).network(2, family).network(3, FIRST).network(5, port)
        })
    }
}

/// Offset and size in bytes of an address in its IP header.
fn address_place(family: Family, side: Side) -> (u32, u32) {
    match (family, side) {
        (Family::Ipv4, Side::From) => (12, 4),
        (Family::Ipv4, Side::To) => (16, 4),
        (Family::Ipv6, Side::From) => (8, 16),
        (Family::Ipv6, Side::To) => (24, 16),
    }
}

fn prefix_mask(prefix: u8, bytes: u32) -> Vec<u8> {
    let byte = |index: u32| {
        let bits = u32::from(prefix).saturating_sub(index * 8).min(8);
        (0xff00u32 >> bits) as u8
    };
    (0..bytes).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(prefix_mask(0, 4), [0, 0, 0, 0]);
        assert_eq!(prefix_mask(8, 4), [255, 0, 0, 0]);
        assert_eq!(prefix_mask(20, 4), [255, 255, 240, 0]);
        assert_eq!(prefix_mask(32, 4), [255; 4]);
        assert_eq!(prefix_mask(64, 16)[6..10], [255, 255, 0, 0]);
    }
}
