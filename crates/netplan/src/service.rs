//! Services as the packet rules see them: a virtual address and port, and the endpoints it leads to.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ports::Protocol;

/// One port of a Service. Endpoints of another family than the Service's address are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `namespace/name:port`, for messages and comments.
    pub name: String,
    /// Virtual address.
    pub address: IpAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Virtual port.
    pub port: u16,
    /// Where connections go: each with the same likelihood. None: connections are refused.
    pub endpoints: Vec<(IpAddr, u16)>,
}
