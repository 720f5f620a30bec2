//! Noticing that somebody took a part of the network away: the kernel reports changes of addresses and of nftables,
//! and once a minute everything is looked at in any case. Addresses rather than links: whoever deletes the bridge
//! deletes its addresses, and attaching a Pod, which makes a dozen link events, wakes nobody.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use netplan::link::TABLE_PREFIX;
use netplan::nft::Family;
use sys::netns::NetlinkProtocol;
use tokio::io::unix::AsyncFd;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::error::{Error, Result};
use crate::netlink::{EventSocket, Reply, find, read_text};
use crate::network::Inner;
use crate::route::read_address;

/// `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV6_IFADDR` and `NFNLGRP_NFTABLES` as bit masks.
const IPV4_ADDRESS_GROUP: u32 = 1 << 4;
const IPV6_ADDRESS_GROUP: u32 = 1 << 8;
const NFTABLES_GROUP: u32 = 1 << 6;
/// `RTM_DELADDR`.
const DELETE_ADDRESS: u16 = 21;

/// How often everything is looked at without an event.
const PERIOD: Duration = Duration::from_secs(60);
/// Programs change firewalls in bursts; looking once at the end of each is enough.
const BURST: Duration = Duration::from_millis(200);
/// Most reads per wake-up, so that a flood of events cannot hold the task.
const READS_MAX: usize = 64;

/// Starts the task; it ends when the network is dropped.
pub fn start(inner: &Arc<Inner>) -> Result<tokio::task::JoinHandle<()>> {
    let open = |protocol, groups| {
        // The deprecation warns of types that change or lose their descriptor; `EventSocket` owns one for life.
        #[allow(deprecated)]
        let socket = EventSocket::open(protocol, groups).and_then(AsyncFd::new);
        socket.map_err(Error::system("listen to network changes"))
    };
    // IPv6 addresses come and go with every veth pair, so they are heard only where there are no others.
    let group = match inner.families.contains(&Family::Ipv4) {
        true => IPV4_ADDRESS_GROUP,
        false => IPV6_ADDRESS_GROUP,
    };
    let addresses = open(NetlinkProtocol::Route, group)?;
    let rules = open(NetlinkProtocol::Netfilter, NFTABLES_GROUP)?;
    let filter =
        Filter { gateways: inner.gateways(), table: inner.table.clone(), own_port: inner.rules_port() };
    Ok(tokio::spawn(run(Arc::downgrade(inner), addresses, rules, filter)))
}

async fn run(
    inner: Weak<Inner>,
    addresses: AsyncFd<EventSocket>,
    rules: AsyncFd<EventSocket>,
    filter: Filter,
) {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    period.tick().await;
    loop {
        let relevant = tokio::select! {
            _ = period.tick() => true,
            relevant = hear(&addresses, |reply| filter.address(reply)) => relevant,
            relevant = hear(&rules, |reply| filter.rule(reply)) => relevant,
        };
        if !relevant {
            continue;
        }
        sleep(BURST).await;
        let Some(inner) = inner.upgrade() else { return };
        match tokio::task::spawn_blocking(move || inner.repair()).await {
            Ok(Err(error)) => tracing::warn!(%error, "cannot repair the pod network"),
            Ok(Ok(())) => {}
            Err(error) => tracing::error!(%error, "repairing the pod network failed"),
        }
    }
}

/// Waits for events and tells whether one of them matters. Lost events matter: nobody knows what they said.
async fn hear(socket: &AsyncFd<EventSocket>, matters: impl Fn(&Reply) -> bool) -> bool {
    let Ok(mut ready) = socket.readable().await else { return true };
    let mut relevant = false;
    for _ in 0..READS_MAX {
        match ready.try_io(|socket| socket.get_ref().read()) {
            Ok(Ok(replies)) => relevant |= replies.iter().any(&matters),
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(_)) => relevant = true,
            Err(_would_block) => break,
        }
    }
    relevant
}

/// Which events matter.
struct Filter {
    gateways: Vec<IpAddr>,
    table: String,
    own_port: u32,
}

impl Filter {
    /// The bridge lost an address, as it does when it is deleted.
    fn address(&self, reply: &Reply) -> bool {
        /// `IFA_ADDRESS`.
        const ADDRESS: u16 = 1;
        /// Bytes of `ifaddrmsg`.
        const HEADER_BYTES: usize = 8;
        let address =
            reply.body.get(HEADER_BYTES..).and_then(|rest| find(rest, ADDRESS)).and_then(read_address);
        reply.kind == DELETE_ADDRESS && address.is_some_and(|address| self.gateways.contains(&address))
    }

    /// Somebody else changed rules that are not another instance's.
    fn rule(&self, reply: &Reply) -> bool {
        /// In all nftables messages but those about generations, attribute 1 is the table's name.
        const TABLE_NAME: u16 = 1;
        /// `NFT_MSG_NEWGEN`: follows every transaction.
        const NEW_GENERATION: u8 = 15;
        if reply.port == self.own_port || reply.kind as u8 == NEW_GENERATION {
            return false;
        }
        let table = reply.body.get(4..).and_then(|rest| find(rest, TABLE_NAME)).map(read_text);
        table.is_none_or(|table| table == self.table || !table.starts_with(TABLE_PREFIX))
    }
}
