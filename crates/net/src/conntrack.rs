//! Connection tracking: UDP has no end that the kernel could see, so a client that keeps talking to a host port would
//! be led to the former Pod for as long as it talks; such entries are deleted when a port's target changes.

use netplan::nft::Family;

use crate::netlink::{Answer, Message, Socket};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 1 << 8 | 2;

// `CTA_*`.
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_DESTINATION_PORT: u16 = 3;
const FILTER: u16 = 25;
const FILTER_ORIGINAL_FLAGS: u16 = 1;

/// `CTA_FILTER_F_CTA_PROTO_NUM | CTA_FILTER_F_CTA_PROTO_DST_PORT`: compare only these.
const COMPARE_PROTOCOL_AND_PORT: u32 = 1 << 3 | 1 << 5;

/// IANA number of UDP.
const UDP: u8 = 17;

/// Forgets the UDP connections to these ports. One message per port: the kernel filters (since 5.8).
pub fn forget_udp(socket: &mut Socket, family: Family, ports: &[u16]) -> Answer {
    for port in ports {
        let message = Message::new(DELETE, 0, &[family.number(), 0, 0, 0])
            .nest(TUPLE_ORIGINAL, |tuple| {
                tuple.nest(TUPLE_PROTOCOL, |protocol| {
                    protocol
                        .bytes(PROTOCOL_NUMBER, &[UDP])
                        .bytes(PROTOCOL_DESTINATION_PORT, &port.to_be_bytes())
                })
            })
            .nest(FILTER, |filter| filter.number(FILTER_ORIGINAL_FLAGS, COMPARE_PROTOCOL_AND_PORT));
        match socket.request(&message) {
            Err(error) if error.is(rustix::io::Errno::NOENT) => {}
            answer => answer?,
        }
    }
    Ok(())
}
