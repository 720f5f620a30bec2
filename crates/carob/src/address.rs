//! Which addresses this machine has.

use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Addresses that no packet is sent to: connecting a datagram socket only asks the routing table.
const PROBES: [&str; 2] = ["192.88.99.1:9", "[2001:db8::1]:9"];

/// The machine's addresses: the sources of packets to the world, IPv4 first, or those of its private networks.
pub fn of_this_machine() -> Vec<IpAddr> {
    let source = |probe: &str| -> Option<IpAddr> {
        let target: SocketAddr = probe.parse().ok()?;
        let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(target).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
    };
    PROBES.into_iter().filter_map(source).collect()
}

/// The host's name, as Kubernetes has node names: lower case.
pub fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().trim().to_lowercase()
}
