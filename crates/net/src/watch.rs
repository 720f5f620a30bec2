//! Noticing that somebody took a part of the network away: the kernel reports changes of links and of nftables, and
//! once a minute everything is looked at in any case.

use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use netplan::link::LINK_NAME_MAX;
use sys::netns::NetlinkProtocol;
use tokio::io::unix::AsyncFd;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::error::{Error, Result};
use crate::netlink::{EventSocket, Reply, find, read_text};
use crate::network::Inner;
use crate::route::{DELETE_LINK, Link, NEW_LINK};

/// `RTNLGRP_LINK` and `NFNLGRP_NFTABLES` as bit masks.
const LINK_GROUP: u32 = 1;
const NFTABLES_GROUP: u32 = 1 << 6;

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
    let links = open(NetlinkProtocol::Route, LINK_GROUP)?;
    let rules = open(NetlinkProtocol::Netfilter, NFTABLES_GROUP)?;
    let filter = Filter {
        bridge: inner.bridge.name.clone(),
        table: inner.table.clone(),
        own_port: inner.rules_port(),
    };
    Ok(tokio::spawn(run(Arc::downgrade(inner), links, rules, filter)))
}

async fn run(inner: Weak<Inner>, links: AsyncFd<EventSocket>, rules: AsyncFd<EventSocket>, filter: Filter) {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    period.tick().await;
    loop {
        let relevant = tokio::select! {
            _ = period.tick() => true,
            relevant = hear(&links, |reply| filter.link(reply)) => relevant,
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
    bridge: String,
    table: String,
    own_port: u32,
}

impl Filter {
    /// The bridge went away or down.
    fn link(&self, reply: &Reply) -> bool {
        let Some(link) = Link::read(reply) else { return false };
        debug_assert!(link.name.len() <= LINK_NAME_MAX);
        let lost = reply.kind == DELETE_LINK || (reply.kind == NEW_LINK && !link.up);
        link.name == self.bridge && lost
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
        table.is_none_or(|table| table == self.table || !table.starts_with("carob-"))
    }
}
