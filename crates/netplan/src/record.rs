//! What is written down about one attached sandbox, so that a restarted daemon finds every address and host port
//! still held by the Pods that outlived it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ports::PortMapping;

/// Version of the record's format that this code writes.
pub const RECORD_VERSION: u32 = 1;

/// One attached sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Format version; a newer one is refused.
    pub version: u32,
    /// Sandbox id.
    pub sandbox_id: String,
    /// Pod namespace, for messages.
    pub pod_namespace: String,
    /// Pod name, for messages.
    pub pod_name: String,
    /// Name of the host's end of the veth pair.
    pub host_link: String,
    /// The Pod's addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// Host ports that lead to the Pod.
    pub port_mappings: Vec<PortMapping>,
}

impl Record {
    /// `namespace/name (sandbox id)` for messages.
    pub fn describe(&self) -> String {
        format!("{}/{} (sandbox {})", self.pod_namespace, self.pod_name, self.sandbox_id)
    }
}

/// Every address that a sandbox holds.
pub fn held<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeSet<IpAddr> {
    records.into_iter().flat_map(|record| record.addresses.iter().copied()).collect()
}

/// The sandboxes to forget: those recorded but not alive, in a stable order.
pub fn leaked<'a>(records: impl IntoIterator<Item = &'a Record>, live: &BTreeSet<&str>) -> Vec<String> {
    let mut leaked: Vec<String> = records
        .into_iter()
        .map(|record| record.sandbox_id.as_str())
        .filter(|id| !live.contains(id))
        .map(str::to_owned)
        .collect();
    leaked.sort();
    leaked
}
