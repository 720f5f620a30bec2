//! rtnetlink: links, addresses and routes (`linux/if_link.h`, `linux/rtnetlink.h`). Requests are values, so that
//! several travel in one send.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use netplan::cidr::{Cidr, octets};
use netplan::nft::Family;
use netplan::overlap;

use crate::netlink::{Answer, CREATE, EXCLUSIVE, Message, REPLACE, Reply, Socket, find, read_text, read_u32};

// `RTM_*`.
const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

/// `IFF_UP`.
const FLAG_UP: u32 = 1;

// `IFLA_*`.
const LINK_HARDWARE_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MTU: u16 = 4;
const LINK_MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const LINK_NAMESPACE: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_PORT_KIND: u16 = 4;
const INFO_PORT_DATA: u16 = 5;
const VETH_PEER: u16 = 1;
const BRIDGE_MULTICAST_SNOOPING: u16 = 23;
const BRIDGE_PORT_HAIRPIN: u16 = 4;

// `IFA_*`.
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ADDRESS_BROADCAST: u16 = 4;
const ADDRESS_FLAGS: u16 = 8;
/// `IFA_F_NODAD`: usable at once; addresses are handed out by one authority, so nobody else has them.
const NO_DUPLICATE_DETECTION: u32 = 2;

// `RTA_*`, `RT*`.
const ROUTE_DESTINATION: u16 = 1;
const ROUTE_LINK: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_SOURCE: u16 = 7;
const ROUTE_MULTIPATH: u16 = 9;
const ROUTE_TABLE: u16 = 15;
const TABLE_MAIN: u8 = 254;
const PROTOCOL_STATIC: u8 = 4;
/// What routes added by hand carry; `ip route` does not show it.
const PROTOCOL_BOOT: u8 = 3;
/// Offset of the protocol in `rtmsg`.
const ROUTE_PROTOCOL_AT: usize = 5;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const TYPE_UNICAST: u8 = 1;
/// `RTNH_F_ONLINK`: the gateway is on the link although no address of it says so.
const ON_LINK: u32 = 4;

/// Index of `lo` in every network namespace.
pub const LOOPBACK_INDEX: u32 = 1;

/// A link as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Index.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// MTU in bytes.
    pub mtu: u32,
    /// Index of the bridge it belongs to; 0 is none.
    pub master: u32,
    /// `veth`, `bridge` …; empty for hardware.
    pub kind: String,
}

impl Link {
    /// Reads an `RTM_NEWLINK`.
    fn read(reply: &Reply) -> Option<Self> {
        let index = read_u32(&reply.body, 4)?;
        let flags = read_u32(&reply.body, 8)?;
        let rest = reply.body.get(16..)?;
        let number = |kind| find(rest, kind).and_then(|value| read_u32(value, 0)).unwrap_or(0);
        let kind = find(rest, LINK_INFO).and_then(|info| find(info, INFO_KIND));
        Some(Self {
            index,
            name: find(rest, LINK_NAME).map(read_text)?,
            up: flags & FLAG_UP != 0,
            mtu: number(LINK_MTU),
            master: number(LINK_MASTER),
            kind: kind.map(read_text).unwrap_or_default(),
        })
    }
}

/// Finds a link by name.
pub fn link_by_name(socket: &mut Socket, name: &str) -> Answer<Option<Link>> {
    let message = Message::new(GET_LINK, 0, &link_header(0, false)).text(LINK_NAME, name);
    Ok(socket.get(&message)?.as_ref().and_then(Link::read))
}

/// Lists all links.
pub fn links(socket: &mut Socket) -> Answer<Vec<Link>> {
    let replies = socket.dump(&Message::new(GET_LINK, 0, &link_header(0, false)))?;
    Ok(replies.iter().filter_map(Link::read).collect())
}

/// Creates a bridge, up. Multicast snooping is off: its timers would wake the machine for every port.
pub fn create_bridge(name: &str, hardware_address: [u8; 6], mtu: u32) -> Message {
    Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, true))
        .text(LINK_NAME, name)
        .bytes(LINK_HARDWARE_ADDRESS, &hardware_address)
        .number(LINK_MTU, mtu)
        .nest(LINK_INFO, |info| {
            info.text(INFO_KIND, "bridge").nest(INFO_DATA, |data| data.bytes(BRIDGE_MULTICAST_SNOOPING, &[0]))
        })
}

/// The two ends of a veth pair.
#[derive(Debug)]
pub struct VethPair<'a> {
    /// Name of this end.
    pub host_name: &'a str,
    /// Index of the bridge this end joins.
    pub bridge_index: u32,
    /// Name of the other end.
    pub pod_name: &'a str,
    /// Hardware address of the other end.
    pub pod_hardware_address: [u8; 6],
    /// Namespace of the other end.
    pub namespace: BorrowedFd<'a>,
    /// MTU of both ends in bytes.
    pub mtu: u32,
}

/// Creates a veth pair: this end up and on the bridge, the other end down in its namespace (the kernel cannot bring
/// that up before the two are tied together).
pub fn create_veth(pair: &VethPair<'_>) -> Message {
    let descriptor = u32::try_from(pair.namespace.as_raw_fd()).unwrap_or(u32::MAX);
    Message::new(NEW_LINK, CREATE | EXCLUSIVE, &link_header(0, true))
        .text(LINK_NAME, pair.host_name)
        .number(LINK_MTU, pair.mtu)
        .number(LINK_MASTER, pair.bridge_index)
        .nest(LINK_INFO, |info| {
            info.text(INFO_KIND, "veth").nest(INFO_DATA, |data| {
                data.nest(VETH_PEER, |peer| {
                    peer.raw(&link_header(0, false))
                        .text(LINK_NAME, pair.pod_name)
                        .bytes(LINK_HARDWARE_ADDRESS, &pair.pod_hardware_address)
                        .number(LINK_MTU, pair.mtu)
                        .number(LINK_NAMESPACE, descriptor)
                })
            })
        })
}

/// Joins a link to a bridge.
pub fn set_master(name: &str, bridge_index: u32) -> Message {
    Message::new(NEW_LINK, 0, &link_header(0, true)).text(LINK_NAME, name).number(LINK_MASTER, bridge_index)
}

/// Lets a bridge port send back out of itself what came in by it: a Pod that reaches itself by a Service is switched,
/// not routed, where the machine filters bridged packets.
pub fn set_hairpin(name: &str) -> Message {
    Message::new(NEW_LINK, 0, &link_header(0, false)).text(LINK_NAME, name).nest(LINK_INFO, |info| {
        info.text(INFO_PORT_KIND, "bridge").nest(INFO_PORT_DATA, |port| port.bytes(BRIDGE_PORT_HAIRPIN, &[1]))
    })
}

/// Brings a link up.
pub fn set_up(index: u32) -> Message {
    Message::new(NEW_LINK, 0, &link_header(index, true))
}

/// Sets a link's MTU.
pub fn set_mtu(index: u32, mtu: u32) -> Message {
    Message::new(NEW_LINK, 0, &link_header(index, false)).number(LINK_MTU, mtu)
}

/// Deletes a link.
pub fn delete_link(name: &str) -> Message {
    Message::new(DELETE_LINK, 0, &link_header(0, false)).text(LINK_NAME, name)
}

/// Gives a link an address; the same again changes nothing.
pub fn add_address(index: u32, address: IpAddr, prefix: u8) -> Message {
    let header = [&[Family::of(address).number(), prefix, 0, 0][..], &index.to_ne_bytes()].concat();
    let mut message = Message::new(NEW_ADDRESS, CREATE | REPLACE, &header)
        .bytes(ADDRESS_LOCAL, &octets(address))
        .bytes(ADDRESS, &octets(address));
    if address.is_ipv6() {
        message = message.number(ADDRESS_FLAGS, NO_DUPLICATE_DETECTION);
    } else if prefix < 31 {
        let block = Cidr::new(address, prefix).and_then(|block| block.nth(block.size() - 1));
        message = message.bytes(ADDRESS_BROADCAST, &octets(block.unwrap_or(address)));
    }
    message
}

/// A default route by a gateway that need not be in any block of the link's addresses.
pub fn add_default_route(index: u32, gateway: IpAddr) -> Message {
    let mut header = route_header(Family::of(gateway).number(), 0, SCOPE_UNIVERSE, ON_LINK);
    header[ROUTE_PROTOCOL_AT] = PROTOCOL_BOOT;
    Message::new(NEW_ROUTE, CREATE | REPLACE, &header)
        .bytes(ROUTE_GATEWAY, &octets(gateway))
        .number(ROUTE_LINK, index)
}

/// A route straight out of a link, with the source address to prefer.
pub fn add_link_route(index: u32, destination: Cidr, source: IpAddr) -> Message {
    // IPv6 knows no scopes.
    let scope = if destination.family() == Family::Ipv4 { SCOPE_LINK } else { SCOPE_UNIVERSE };
    let header = route_header(destination.family().number(), destination.prefix(), scope, 0);
    Message::new(NEW_ROUTE, CREATE | REPLACE, &header)
        .bytes(ROUTE_DESTINATION, &octets(destination.address()))
        .number(ROUTE_LINK, index)
        .bytes(ROUTE_SOURCE, &octets(source))
}

/// The main table's routes, of both families.
pub fn routes(socket: &mut Socket) -> Answer<Vec<overlap::Route>> {
    let names: BTreeMap<u32, String> =
        links(socket)?.into_iter().map(|link| (link.index, link.name)).collect();
    let mut routes = Vec::new();
    for family in [Family::Ipv4, Family::Ipv6] {
        let message = Message::new(GET_ROUTE, 0, &route_header(family.number(), 0, SCOPE_UNIVERSE, 0));
        let replies = match socket.dump(&message) {
            Err(_) if family == Family::Ipv6 => continue, // a kernel without IPv6
            replies => replies?,
        };
        routes.extend(replies.iter().filter_map(|reply| read_route(reply, &names)));
    }
    Ok(routes)
}

fn read_route(reply: &Reply, names: &BTreeMap<u32, String>) -> Option<overlap::Route> {
    let (family, prefix) = (*reply.body.first()?, *reply.body.get(1)?);
    let rest = reply.body.get(12..)?;
    let table = find(rest, ROUTE_TABLE).and_then(|value| read_u32(value, 0));
    // Routes the kernel keeps for itself (local, broadcast, link-local, multicast) are in other tables or blocks.
    if table != Some(u32::from(TABLE_MAIN)) {
        return None;
    }
    let address = match find(rest, ROUTE_DESTINATION) {
        Some(bytes) => read_address(bytes)?,
        None if family == Family::Ipv4.number() => Ipv4Addr::UNSPECIFIED.into(),
        None => Ipv6Addr::UNSPECIFIED.into(),
    };
    let first_hop = find(rest, ROUTE_MULTIPATH).and_then(|hops| read_u32(hops, 4));
    let link = find(rest, ROUTE_LINK).and_then(|value| read_u32(value, 0)).or(first_hop);
    let link = link.and_then(|index| names.get(&index).cloned()).unwrap_or_default();
    Some(overlap::Route { destination: Cidr::new(address, prefix)?, link })
}

/// The smallest MTU of the links that default routes use: what Pods send must fit on the way out.
pub fn outgoing_mtu(links: &[Link], routes: &[overlap::Route]) -> Option<u32> {
    let default = routes.iter().filter(|route| route.destination.prefix() == 0);
    let links = default.filter_map(|route| links.iter().find(|link| link.name == route.link));
    links.map(|link| link.mtu).min()
}

/// An address of 4 or 16 bytes.
pub fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// `ifinfomsg`.
fn link_header(index: u32, up: bool) -> Vec<u8> {
    let flags = if up { FLAG_UP } else { 0 };
    [&[0; 4][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &flags.to_ne_bytes()].concat()
}

/// `rtmsg`.
fn route_header(family: u8, prefix: u8, scope: u8, flags: u32) -> Vec<u8> {
    let fixed = [family, prefix, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, scope, TYPE_UNICAST];
    [&fixed[..], &flags.to_ne_bytes()].concat()
}

/// Names of the attributes' types in a message, for tests of requests.
#[cfg(test)]
fn kinds(bytes: &[u8]) -> Vec<u16> {
    crate::netlink::attributes(bytes).map(|(kind, _)| kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_link() {
        let mut body = link_header(7, true);
        let message = Message::new(NEW_LINK, 0, &body)
            .text(LINK_NAME, "cb-1a2b3c4d")
            .number(LINK_MTU, 1400)
            .nest(LINK_INFO, |info| info.text(INFO_KIND, "bridge"));
        body = message.body().to_vec();
        let link = Link::read(&Reply { kind: NEW_LINK, port: 0, body: body.clone() }).unwrap();
        let want = Link {
            index: 7,
            name: "cb-1a2b3c4d".into(),
            up: true,
            mtu: 1400,
            master: 0,
            kind: "bridge".into(),
        };
        assert_eq!(link, want);
        assert_eq!(kinds(&body[16..]), [LINK_NAME, LINK_MTU, LINK_INFO]);
        assert_eq!(Link::read(&Reply { kind: NEW_LINK, port: 0, body: vec![0; 5] }), None);
    }

    #[test]
    fn mtu_follows_the_default_route() {
        let link = |name: &str, mtu| Link {
            index: 1,
            name: name.into(),
            up: true,
            mtu,
            master: 0,
            kind: String::new(),
        };
        let route =
            |to: &str, link: &str| overlap::Route { destination: to.parse().unwrap(), link: link.into() };
        let links = [link("eth0", 1400), link("eth1", 9000), link("lo", 65536)];
        for (routes, want) in [
            (vec![route("0.0.0.0/0", "eth0"), route("10.0.0.0/8", "lo")], Some(1400)),
            (vec![route("::/0", "eth1"), route("0.0.0.0/0", "eth0")], Some(1400)),
            (vec![route("10.0.0.0/8", "eth1")], None),
        ] {
            assert_eq!(outgoing_mtu(&links, &routes), want);
        }
    }
}
