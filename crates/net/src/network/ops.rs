//! Attaching and detaching sandboxes. What is promised is written down before it is done, and forgotten after it is
//! undone, so that a crash at any point leaves something that the next start can finish or clean up.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use cri::network::Attachment;
use cri::sandbox;
use netplan::link::host_link_name;
use netplan::nft::Family;
use netplan::pool::{Pool, allocate_each, gateway_of};
use netplan::ports::{self, PortMapping, Protocol};
use netplan::record::{self, RECORD_VERSION, Record};
use parking_lot::Mutex;

use super::{Inner, State};
use crate::attach::{PodLink, connect, disconnect};
use crate::error::{Error, Result};
use crate::state::check_sandbox_id;

impl Inner {
    pub(super) fn attach(&self, namespace: BorrowedFd<'_>, attachment: &Attachment) -> Result<Vec<IpAddr>> {
        check_sandbox_id(&attachment.sandbox_id)?;
        let mappings = read_mappings(&attachment.port_mappings)?;
        let lock = self.sandbox_lock(&attachment.sandbox_id);
        let _guard = lock.lock();
        let (record, bridge_index, gateways, former_mappings) = {
            let mut state = self.state.lock();
            let former = state.records.get(&attachment.sandbox_id).map(|record| record.port_mappings.clone());
            let record = self.reserve(&mut state, attachment, mappings)?;
            let gateways = with_gateways(&record.addresses, &state.pools);
            (record, state.bridge_index, gateways, former)
        };
        let connect = |bridge_index| {
            let (host_name, mtu) = (record.host_link.as_str(), self.bridge.mtu);
            connect(&PodLink { host_name, bridge_index, mtu, addresses: &gateways }, namespace)
        };
        let connected = match connect(bridge_index) {
            // The bridge was taken away a moment ago.
            Err(error) if error.is_missing() => self.repair().and_then(|()| connect(self.bridge_index())),
            done => done,
        };
        let done = connected.and_then(|()| self.open_ports(&record, former_mappings.as_deref()));
        match done {
            Ok(()) => Ok(record.addresses),
            Err(error) => {
                // A second call that fails takes nothing away from the first.
                if former_mappings.is_none()
                    && let Err(cleanup) = self.take_away(&record)
                {
                    tracing::warn!(sandbox = %record.sandbox_id, error = %cleanup, "cannot clean up after a failed attach");
                }
                Err(error)
            }
        }
    }

    pub(super) fn detach(&self, sandbox_id: &str) -> Result<()> {
        let lock = self.sandbox_lock(sandbox_id);
        let _guard = lock.lock();
        let record = self.state.lock().records.get(sandbox_id).cloned();
        match record {
            Some(record) => self.take_away(&record),
            None => Ok(()),
        }
    }

    pub(super) fn retain(&self, live: &[String]) -> Result<()> {
        let live: BTreeSet<&str> = live.iter().map(String::as_str).collect();
        let leaked = record::leaked(self.state.lock().records.values(), &live);
        for sandbox_id in leaked {
            tracing::info!(sandbox = %sandbox_id, "freeing the network of a sandbox that is gone");
            self.detach(&sandbox_id)?;
        }
        // Links on our bridge that no record knows: their record was lost.
        for link in self.bridge.ports()? {
            let known = self.state.lock().records.values().any(|record| record.host_link == link);
            if !known {
                tracing::warn!(%link, "deleting a link of the bridge that belongs to no sandbox");
                disconnect(&link)?;
            }
        }
        Ok(())
    }

    /// The sandbox's record, written down before anything is done: the one it has, or a new one with addresses.
    fn reserve(
        &self,
        state: &mut State,
        attachment: &Attachment,
        mappings: Vec<PortMapping>,
    ) -> Result<Record> {
        if state.closed {
            return Err(Error::Option("the pod network is closed".into()));
        }
        if let Some(taken) = ports::conflict(state.records.values(), &attachment.sandbox_id, &mappings) {
            return Err(taken.into());
        }
        let addresses = match state.records.get(&attachment.sandbox_id) {
            Some(record) => record.addresses.clone(),
            None => {
                let held = record::held(state.records.values());
                let addresses = allocate_each(&mut state.pools, &held)?;
                let cursor: Vec<IpAddr> = state.pools.iter().filter_map(Pool::last).collect();
                self.files.write_cursor(&cursor)?;
                addresses
            }
        };
        let record = Record {
            version: RECORD_VERSION,
            sandbox_id: attachment.sandbox_id.clone(),
            pod_namespace: attachment.pod_namespace.clone(),
            pod_name: attachment.pod_name.clone(),
            host_link: host_link_name(&self.options.instance_id, &attachment.sandbox_id),
            addresses,
            port_mappings: mappings,
        };
        if state.records.get(&record.sandbox_id) != Some(&record) {
            self.files.write_record(&record)?;
            state.records.insert(record.sandbox_id.clone(), record.clone());
        }
        Ok(record)
    }

    /// Applies the host ports of a record that is in the state already.
    fn open_ports(&self, record: &Record, former: Option<&[PortMapping]>) -> Result<()> {
        let former = former.unwrap_or_default();
        if record.port_mappings == former {
            return Ok(());
        }
        let mut rules = self.rules.lock();
        if !record.port_mappings.is_empty() {
            let held = rules.host_ports_of_others(&self.families, &self.table)?;
            if let Some(taken) = ports::conflict_between_instances(&held, &record.port_mappings) {
                return Err(taken.into());
            }
        }
        self.apply_rules(&mut rules)?;
        let mut changed = ports::udp_ports(&record.port_mappings);
        changed.extend(ports::udp_ports(former));
        rules.forget_udp(&self.families, &changed);
        Ok(())
    }

    /// Disconnects a sandbox, closes its host ports and forgets it.
    fn take_away(&self, record: &Record) -> Result<()> {
        disconnect(&record.host_link)?;
        if record.port_mappings.is_empty() {
            self.state.lock().records.remove(&record.sandbox_id);
        } else {
            let mut rules = self.rules.lock();
            self.state.lock().records.remove(&record.sandbox_id);
            self.apply_rules(&mut rules)?;
            rules.forget_udp(&self.families, &ports::udp_ports(&record.port_mappings));
        }
        self.files.delete_record(&record.sandbox_id)
    }

    /// Calls for one sandbox follow one another.
    fn sandbox_lock(&self, sandbox_id: &str) -> Arc<Mutex<()>> {
        let mut locks = self.sandboxes.lock();
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(sandbox_id.to_owned()).or_default().clone()
    }
}

fn with_gateways(addresses: &[IpAddr], pools: &[Pool]) -> Vec<(IpAddr, IpAddr)> {
    let gateway = |address: &IpAddr| Some((*address, gateway_of(pools, Family::of(*address))?));
    addresses.iter().filter_map(gateway).collect()
}

/// Port mappings as netplan has them; those without a host port ask for nothing.
fn read_mappings(mappings: &[sandbox::PortMapping]) -> Result<Vec<PortMapping>> {
    mappings.iter().filter(|mapping| mapping.host_port != 0).map(read_mapping).collect()
}

fn read_mapping(mapping: &sandbox::PortMapping) -> Result<PortMapping> {
    let host_address = match mapping.host_ip.as_str() {
        "" => None,
        text => {
            let address: IpAddr = text.parse().map_err(|_| {
                Error::Option(format!("host IP {text:?} of host port {} is no address", mapping.host_port))
            })?;
            (!address.is_unspecified()).then_some(address)
        }
    };
    let protocol = match mapping.protocol {
        sandbox::Protocol::Tcp => Protocol::Tcp,
        sandbox::Protocol::Udp => Protocol::Udp,
        sandbox::Protocol::Sctp => Protocol::Sctp,
    };
    let (host_port, container_port) = (mapping.host_port, mapping.container_port);
    Ok(PortMapping { protocol, host_address, host_port, container_port })
}
