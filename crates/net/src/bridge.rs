//! The bridge of an instance: made, adopted after a restart, repaired if somebody took it or a part of it away.

use std::collections::BTreeSet;

use netplan::cidr::Cidr;
use netplan::pool::Pool;
use netplan::{link, pool};
use rustix::io::Errno;

use crate::attach::{open_route_socket, perform};
use crate::error::{Error, Result};
use crate::netlink::{Message, Socket};
use crate::route::{self, Link};

/// What the bridge should be.
#[derive(Debug, Clone)]
pub struct BridgePlan {
    /// Name.
    pub name: String,
    /// Hardware address.
    pub hardware_address: [u8; 6],
    /// MTU in bytes.
    pub mtu: u32,
    /// Service blocks: routed to the bridge, so that the host has a route to every Service even without a default
    /// route, and so that another instance sees that they are taken.
    pub service_cidrs: Vec<Cidr>,
}

impl BridgePlan {
    /// The plan of an instance.
    pub fn new(instance_id: &str, mtu: u32, service_cidrs: Vec<Cidr>) -> Self {
        Self {
            name: link::bridge_name(instance_id),
            hardware_address: link::bridge_hardware_address(instance_id),
            mtu,
            service_cidrs,
        }
    }

    /// Makes the bridge what it should be and returns its index. Doing it again changes nothing.
    pub fn ensure(&self, pools: &[Pool]) -> Result<u32> {
        let mut socket = open_route_socket()?;
        let found = self.find(&mut socket)?;
        let link = match found {
            Some(link) if link.kind == "bridge" => link,
            Some(link) => {
                let kind = if link.kind.is_empty() { "hardware" } else { &link.kind };
                return Err(Error::Option(format!(
                    "link {} exists and is no bridge but {kind}: delete or rename it",
                    self.name
                )));
            }
            None => self.create(&mut socket)?,
        };
        let mut steps = vec![(format!("bring up bridge {}", self.name), route::set_up(link.index))];
        if link.mtu != self.mtu {
            steps
                .push((format!("set the MTU of bridge {}", self.name), route::set_mtu(link.index, self.mtu)));
        }
        steps.extend(pools.iter().map(|pool| {
            let (gateway, prefix) = (pool.gateway(), pool.cidr().prefix());
            let action = format!("add address {gateway}/{prefix} to bridge {}", self.name);
            (action, route::add_address(link.index, gateway, prefix))
        }));
        perform(&mut socket, steps)?;
        // Routes name the addresses as their source, so these come first.
        perform(&mut socket, self.service_routes(link.index, pools))?;
        Ok(link.index)
    }

    /// Joins those of the links to the bridge that exist and do not belong to it.
    pub fn rejoin(&self, bridge_index: u32, host_links: &BTreeSet<String>) -> Result<()> {
        let mut socket = open_route_socket()?;
        let links = route::links(&mut socket).map_err(Error::kernel("list links"))?;
        let lost = links.iter().filter(|link| host_links.contains(&link.name) && link.master != bridge_index);
        for link in lost {
            tracing::warn!(link = %link.name, bridge = %self.name, "joining a pod's link to its bridge again");
            let name = &link.name;
            let steps = vec![
                (format!("join {name} to bridge {}", self.name), route::set_master(name, bridge_index)),
                (format!("set bridge port {name} up"), route::set_hairpin(name)),
            ];
            perform(&mut socket, steps)?;
        }
        Ok(())
    }

    /// Names of the veth links on the bridge.
    pub fn ports(&self) -> Result<Vec<String>> {
        let mut socket = open_route_socket()?;
        let links = route::links(&mut socket).map_err(Error::kernel("list links"))?;
        let Some(bridge) = links.iter().find(|link| link.name == self.name) else { return Ok(Vec::new()) };
        let ours = |link: &&Link| link.master == bridge.index && link.kind == "veth";
        Ok(links.iter().filter(ours).map(|link| link.name.clone()).collect())
    }

    /// Deletes the bridge; a missing one is no error.
    pub fn remove(&self) -> Result<()> {
        crate::attach::disconnect(&self.name)
    }

    fn find(&self, socket: &mut Socket) -> Result<Option<Link>> {
        route::link_by_name(socket, &self.name)
            .map_err(Error::kernel(format!("look up bridge {}", self.name)))
    }

    fn create(&self, socket: &mut Socket) -> Result<Link> {
        let action = || format!("create bridge {}", self.name);
        let message = route::create_bridge(&self.name, self.hardware_address, self.mtu);
        socket.request(&message).map_err(Error::kernel(action()))?;
        self.find(socket)?.ok_or_else(|| Error::kernel(action())(Errno::NODEV.into()))
    }

    fn service_routes(&self, index: u32, pools: &[Pool]) -> Vec<(String, Message)> {
        let route = |block: &Cidr| {
            let source = pool::gateway_of(pools, block.family())?;
            let action = format!("add route {block} to bridge {}", self.name);
            Some((action, route::add_link_route(index, *block, source)))
        };
        self.service_cidrs.iter().filter_map(route).collect()
    }
}
