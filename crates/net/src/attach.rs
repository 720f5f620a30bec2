//! Connecting one sandbox: the veth pair is made by one request with its other end already in the Pod's
//! namespace; addresses and routes follow by a second send, from a socket opened in there. No process, no name lookup in between.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use netplan::cidr::width;
use netplan::link::{POD_LINK, pod_hardware_address};
use rustix::io::Errno;
use sys::netns::{self, NetlinkProtocol};

use crate::error::{Error, Result};
use crate::netlink::{KernelError, Message, Socket};
use crate::route::{self, LOOPBACK_INDEX, VethPair};
use crate::sysctl;

/// How a Pod is to be connected.
#[derive(Debug)]
pub struct PodLink<'a> {
    /// Name of the host's end.
    pub host_name: &'a str,
    /// Index of the bridge.
    pub bridge_index: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// The Pod's addresses with the gateway of each.
    pub addresses: &'a [(IpAddr, IpAddr)],
}

/// Connects a namespace; one that is connected already stays as it is. Blocks for about a millisecond.
pub fn connect(link: &PodLink<'_>, namespace: BorrowedFd<'_>) -> Result<()> {
    let mut host = open_route_socket()?;
    netns::run_inside(namespace, || connect_inside(link, namespace, &mut host))
        .map_err(Error::system("enter the pod's network namespace"))?
}

/// Deletes the host's end, and with it the Pod's; a missing one is no error.
pub fn disconnect(host_name: &str) -> Result<()> {
    match open_route_socket()?.request(&route::delete_link(host_name)) {
        Err(error) if error.is(Errno::NODEV) => Ok(()),
        answer => answer.map_err(Error::kernel(format!("delete link {host_name}"))),
    }
}

/// A socket for links and routes of the calling thread's namespace.
pub fn open_route_socket() -> Result<Socket> {
    Socket::open(NetlinkProtocol::Route).map_err(Error::system("open a netlink socket"))
}

/// Runs in the Pod's namespace; `host` was opened outside of it.
fn connect_inside(link: &PodLink<'_>, namespace: BorrowedFd<'_>, host: &mut Socket) -> Result<()> {
    sysctl::prepare_pod()?;
    let mut pod = open_route_socket()?;
    create_pair(link, namespace, host, &mut pod)?;
    let index = pod_link_index(&mut pod)?.ok_or_else(|| {
        let gone = KernelError::from(Errno::NODEV);
        Error::kernel(format!("find {POD_LINK} in the pod's network namespace"))(gone)
    })?;
    let mut steps: Vec<(String, Message)> = vec![
        ("bring up lo".into(), route::set_up(LOOPBACK_INDEX)),
        (format!("bring up {POD_LINK}"), route::set_up(index)),
    ];
    for (address, gateway) in link.addresses {
        steps.push((
            format!("add address {address} to the pod"),
            route::add_address(index, *address, width(*address)),
        ));
        steps.push((
            format!("add the pod's default route by {gateway}"),
            route::add_default_route(index, *gateway),
        ));
    }
    perform(&mut pod, steps)
}

/// Creates the pair and sets its port up. A pair left by a crash, or by an earlier call, is kept if it ends in this
/// namespace, else made anew.
fn create_pair(
    link: &PodLink<'_>,
    namespace: BorrowedFd<'_>,
    host: &mut Socket,
    pod: &mut Socket,
) -> Result<()> {
    let hardware_address = link.addresses.first().map(|(address, _)| pod_hardware_address(*address));
    let create = route::create_veth(&VethPair {
        host_name: link.host_name,
        bridge_index: link.bridge_index,
        pod_name: POD_LINK,
        pod_hardware_address: hardware_address.unwrap_or([0x0a, 0x58, 0, 0, 0, 1]),
        namespace,
        mtu: link.mtu,
    });
    let action = || format!("create the veth pair {}", link.host_name);
    let hairpin = route::set_hairpin(link.host_name);
    let mut answers =
        host.perform(&[create.clone(), hairpin.clone()]).map_err(Error::kernel(action()))?.into_iter();
    let (created, port_set) = (answers.next().unwrap_or(Ok(())), answers.next().unwrap_or(Ok(())));
    match created {
        Ok(()) => port_set.map_err(Error::kernel(format!("set the bridge port {} up", link.host_name))),
        Err(error) if error.is(Errno::EXIST) => {
            if pod_link_index(pod)?.is_some() {
                // This end may have lost its bridge meanwhile.
                let join = route::set_master(link.host_name, link.bridge_index);
                let joined = format!("join {} to its bridge", link.host_name);
                return perform(host, vec![(joined, join), (action(), hairpin)]);
            }
            let stale = route::delete_link(link.host_name);
            let steps = vec![
                (format!("delete the stale link {}", link.host_name), stale),
                (action(), create),
                (action(), hairpin),
            ];
            perform(host, steps)
        }
        Err(error) => Err(Error::kernel(action())(error)),
    }
}

fn pod_link_index(pod: &mut Socket) -> Result<Option<u32>> {
    let link = route::link_by_name(pod, POD_LINK).map_err(Error::kernel(format!("look up {POD_LINK}")))?;
    Ok(link.map(|link| link.index))
}

/// Sends requests at once; the first that fails is the error, by its own name.
pub fn perform(socket: &mut Socket, steps: Vec<(String, Message)>) -> Result<()> {
    let (actions, messages): (Vec<String>, Vec<Message>) = steps.into_iter().unzip();
    let all = actions.first().cloned().unwrap_or_default();
    let answers = socket.perform(&messages).map_err(Error::kernel(all))?;
    for (action, answer) in actions.into_iter().zip(answers) {
        answer.map_err(Error::kernel(action))?;
    }
    Ok(())
}
