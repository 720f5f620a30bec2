//! Applies netplan to the kernel by netlink: the Pod network of one node, without any helper program.
//!
//! Pods hang on a bridge by veth pairs. Each has a host address (/32, /128) and a default route by the bridge, so that
//! packets between Pods pass the host's IP layer and Services work between neighbours, too, whether or not the machine
//! filters bridged packets. Translation and masquerading are nftables rules in tables of the instance's own.

mod attach;
mod bridge;
mod conntrack;
mod error;
mod netlink;
mod network;
mod nftables;
mod route;
mod rules;
mod state;
mod sysctl;
mod watch;

pub use error::{Error, Result};
pub use netplan::Cidr;
pub use netplan::ports::Protocol;
pub use netplan::service::Service;
pub use network::{Network, Options};
