//! The instance's nftables tables: what is applied, and the steps to what is wanted.

use netplan::foreign::{self, ForeignChain};
use netplan::nft::{Family, Ruleset, diff};
use netplan::ports::HostPort;
use rustix::io::Errno;
use sys::netns::NetlinkProtocol;

use crate::conntrack;
use crate::error::{Error, Result};
use crate::netlink::Socket;
use crate::nftables;

/// How often foreign chains are read again because they changed between reading and writing.
const FOREIGN_ATTEMPTS: usize = 4;

/// The tables as they were applied last.
#[derive(Debug)]
pub struct Rules {
    socket: Socket,
    applied: Vec<Ruleset>,
}

impl Rules {
    /// Starts with nothing known to be applied.
    pub fn open() -> Result<Self> {
        let socket = Socket::open(NetlinkProtocol::Netfilter)
            .map_err(Error::system("open a netfilter netlink socket"))?;
        Ok(Self { socket, applied: Vec::new() })
    }

    /// Port of the socket, by which events of our own making are known.
    pub fn port(&self) -> u32 {
        self.socket.port()
    }

    /// Brings the kernel to what is wanted: by steps from what was applied, or by replacing the table if that is
    /// unknown, or turns out to be gone.
    pub fn apply(&mut self, wanted: Vec<Ruleset>) -> Result<()> {
        for ruleset in wanted {
            let action = || format!("change nftables table {} {}", ruleset.family.word(), ruleset.table);
            let applied = self.applied.iter().position(|applied| applied.family == ruleset.family);
            match applied {
                Some(index) => {
                    let steps = diff(&self.applied[index], &ruleset);
                    match nftables::transact(&mut self.socket, &ruleset, &steps) {
                        Err(error) if error.is(Errno::NOENT) || error.is(Errno::EXIST) => {
                            tracing::warn!(table = %ruleset.table, %error, "the table was changed by somebody else: replacing it");
                            nftables::install(&mut self.socket, &ruleset).map_err(Error::kernel(action()))?;
                        }
                        answer => answer.map_err(Error::kernel(action()))?,
                    }
                    self.applied[index] = ruleset;
                }
                None => {
                    nftables::install(&mut self.socket, &ruleset).map_err(Error::kernel(action()))?;
                    self.applied.push(ruleset);
                }
            }
        }
        Ok(())
    }

    /// Puts back tables of which something is missing.
    pub fn repair(&mut self) -> Result<()> {
        for ruleset in &self.applied {
            let table = format!("nftables table {} {}", ruleset.family.word(), ruleset.table);
            let intact = nftables::is_intact(&mut self.socket, ruleset)
                .map_err(Error::kernel(format!("read {table}")))?;
            if !intact {
                tracing::warn!(table = %ruleset.table, family = ruleset.family.word(), "putting damaged nftables rules back");
                nftables::install(&mut self.socket, ruleset)
                    .map_err(Error::kernel(format!("restore {table}")))?;
            }
        }
        Ok(())
    }

    /// Opens foreign firewalls for the bridge; returns whether one drops forwarded packets.
    pub fn open_foreign(&mut self, bridge: &str, mark: &str) -> Result<bool> {
        let chains = self.change_foreign(|chains| foreign::open(chains, bridge, mark))?;
        Ok(foreign::drops_forwarded(&chains))
    }

    /// Takes our rules out of foreign firewalls.
    pub fn close_foreign(&mut self, mark: &str) -> Result<()> {
        self.change_foreign(|chains| foreign::close(chains, mark)).map(drop)
    }

    fn change_foreign(
        &mut self,
        decide: impl Fn(&[ForeignChain]) -> Vec<foreign::ForeignChange>,
    ) -> Result<Vec<ForeignChain>> {
        for _ in 0..FOREIGN_ATTEMPTS {
            let chains = nftables::foreign_chains(&mut self.socket)
                .map_err(Error::kernel("list nftables chains of other programs"))?;
            let changes = decide(&chains);
            if changes.is_empty() {
                return Ok(chains);
            }
            for change in &changes {
                if let foreign::ForeignChange::Insert { chain, rule } = change {
                    let chain = &chains[*chain];
                    tracing::info!(table = %chain.table, chain = %chain.name, %rule, "opening a firewall that drops pods' packets");
                }
            }
            match nftables::apply_foreign(&mut self.socket, &chains, &changes) {
                // Something went away meanwhile: look again.
                Err(error) if error.is(Errno::NOENT) => {}
                answer => {
                    answer.map_err(Error::kernel("change nftables chains of other programs"))?;
                    return Ok(chains);
                }
            }
        }
        Err(Error::kernel("change nftables chains of other programs")(Errno::BUSY.into()))
    }

    /// Host ports of other instances on this machine, with the table that holds each.
    pub fn host_ports_of_others(
        &mut self,
        families: &[Family],
        own_table: &str,
    ) -> Result<Vec<(String, HostPort)>> {
        let mut ports = Vec::new();
        for family in families {
            let found = nftables::host_ports_of_others(&mut self.socket, *family, own_table);
            ports.extend(found.map_err(Error::kernel("list the host ports of other instances"))?);
        }
        Ok(ports)
    }

    /// Forgets UDP connections to host ports whose target changed.
    pub fn forget_udp(&mut self, families: &[Family], ports: &[u16]) {
        for family in families {
            if let Err(error) = conntrack::forget_udp(&mut self.socket, *family, ports) {
                // Older kernels cannot filter; the entries time out after two minutes without packets.
                tracing::debug!(%error, ?ports, "cannot delete connection tracking entries");
            }
        }
    }

    /// Deletes the tables.
    pub fn remove(&mut self, rulesets: &[Ruleset]) -> Result<()> {
        for ruleset in rulesets {
            let action = format!("delete nftables table {} {}", ruleset.family.word(), ruleset.table);
            nftables::remove(&mut self.socket, ruleset).map_err(Error::kernel(action))?;
        }
        self.applied.clear();
        Ok(())
    }
}
